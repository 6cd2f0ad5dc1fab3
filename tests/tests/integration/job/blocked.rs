//! A dead job that blocks its stream, and the effects of its replay.

use super::{insert, settle};
use crate::scene::{admin_get, admin_post, job, job_in_state, now_ms, sql};
use bursar_engine::domain::job::{JobState, PAUSED_BY_DEAD_JOB};
use bursar_engine::ids::{CustomerId, JobId};
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, with_app};
use serde_json::{Value, json};

/// A blocked stream: the settlement of a missing account is dead, and another job waits behind it.
struct Blocked {
    stream: String,
    dead: JobId,
    next: JobId,
}

impl Blocked {
    async fn before_one_of(app: &TestApp, customer: &TestCustomer) -> Self {
        let nobody = TestCustomer { id: CustomerId::new().to_string(), api_key: String::new() };
        let stream = format!("blocked:{}", unique());
        let jobs = [settle(&nobody, Some(&stream), now_ms()), settle(customer, Some(&stream), now_ms())];
        insert(app, &jobs).await;
        let [dead, next] = jobs.map(|job| job.id);
        job_in_state(app, &dead, JobState::Dead).await;
        let blocked = Self { stream, dead, next };
        assert_eq!(blocked.paused_reason(app).await, PAUSED_BY_DEAD_JOB);
        blocked
    }

    async fn paused_reason(&self, app: &TestApp) -> Value {
        admin_get(app, &format!("/admin/v1/streams/{}", self.stream)).await["stream"]["paused_reason"].clone()
    }

    async fn resume(&self, app: &TestApp) {
        app.admin("POST", &format!("/admin/v1/streams/{}/resume", self.stream), None).await.expect(200);
    }
}

/// Changes the job to settle another customer's account.
async fn settles(app: &TestApp, id: &JobId, customer: &str) {
    let args = json!({ "customer": customer });
    sql(app, &format!("UPDATE jobs SET args = '{args}' WHERE id = '{id}'")).await;
}

async fn replay(app: &TestApp, id: &JobId) {
    admin_post(app, &format!("/admin/v1/jobs/{id}/replay"), "ticket 4711").await.expect(200);
}

async fn replay_all_dead_of(app: &TestApp, stream: &str) {
    let request = json!({ "filter": { "state": "dead", "stream": stream }, "reason": "ticket 4711" });
    let made = app.admin("POST", "/admin/v1/replays", Some(&request)).await.expect(201);
    let start = format!("/admin/v1/replays/{}/start", made["replay"]["id"].as_str().unwrap());
    app.admin("POST", &start, None).await.expect(200);
}

with_app! {
    async fn replaying_the_blocking_job_unblocks_its_stream(app: &TestApp) {
        let customer = app.onboard().await;
        for in_bulk in [false, true] {
            let blocked = Blocked::before_one_of(app, &customer).await;
            settles(app, &blocked.dead, &customer.id).await;
            if in_bulk {
                replay_all_dead_of(app, &blocked.stream).await;
            } else {
                replay(app, &blocked.dead).await;
            }
            for id in [&blocked.dead, &blocked.next] {
                job_in_state(app, id, JobState::Succeeded).await;
            }
            assert_eq!(blocked.paused_reason(app).await, Value::Null);
        }
        app.verify().await;
    }

    async fn a_replay_does_not_resume_a_stream_paused_by_staff(app: &TestApp) {
        let customer = app.onboard().await;
        let blocked = Blocked::before_one_of(app, &customer).await;
        blocked.resume(app).await;
        job_in_state(app, &blocked.next, JobState::Succeeded).await;
        admin_post(app, &format!("/admin/v1/streams/{}/pause", blocked.stream), "ticket 4711").await.expect(200);
        settles(app, &blocked.dead, &customer.id).await;

        replay(app, &blocked.dead).await;
        assert_eq!(blocked.paused_reason(app).await, "ticket 4711");
        assert_eq!(job(app, &blocked.dead).await.state, JobState::Available);
        blocked.resume(app).await;
        job_in_state(app, &blocked.dead, JobState::Succeeded).await;
        app.verify().await;
    }

    async fn replaying_one_dead_job_leaves_a_stream_blocked_by_a_later_one(app: &TestApp) {
        let customer = app.onboard().await;
        let blocked = Blocked::before_one_of(app, &customer).await;
        settles(app, &blocked.next, CustomerId::new().as_str()).await;
        blocked.resume(app).await;
        job_in_state(app, &blocked.next, JobState::Dead).await;
        for id in [&blocked.dead, &blocked.next] {
            settles(app, id, &customer.id).await;
        }

        replay(app, &blocked.dead).await;
        assert_eq!(blocked.paused_reason(app).await, PAUSED_BY_DEAD_JOB);
        replay(app, &blocked.next).await;
        for id in [&blocked.dead, &blocked.next] {
            job_in_state(app, id, JobState::Succeeded).await;
        }
        app.verify().await;
    }
}
