//! Jobs: created once, kept over a stop, dead with a reason, deleted in the end.

mod blocked;
mod due;
mod head;
mod lease;
mod unused;

use crate::scene::{
    PERIOD, SIGNUP, admin_get, admin_post, attempts, audited, deliver_until, failed_times, invoice_paid, job,
    job_in_state, job_of, jobs_of_stream, now_ms, run_retention, sql, stream_of, stripe_customer, undecidable_invoice,
    with_backend,
};
use bursar_engine::domain::job::{Job, JobKind, JobState, NewJob, PAUSED_BY_DEAD_JOB};
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::job::{job_hasten, job_insert_many};
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, wait, with_app};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, TransactionTrait};
use serde_json::{Value, json};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A job that settles a customer's account, in its own stream by default.
fn settle(customer: &TestCustomer, stream: Option<&str>, run_at_ms: i64) -> NewJob {
    let args = json!({ "customer": customer.id }).to_string();
    NewJob { stream_key: stream.map(str::to_owned), ..NewJob::new(JobKind::AccountSettle, args, run_at_ms) }
}

/// Inserts jobs in one transaction without announcing them. Returns those that are new and not ended.
async fn insert(app: &TestApp, jobs: &[NewJob]) -> Vec<JobId> {
    let tx = app.app.db.begin().await.unwrap();
    let wakes = job_insert_many(&tx, jobs, now_ms()).await.unwrap();
    tx.commit().await.unwrap();
    wakes.into_iter().map(|wake| wake.job_id).collect()
}

with_app! {
    async fn a_unique_key_creates_one_job_under_concurrent_requests(app: &TestApp) {
        let customer = app.onboard().await;
        let asked = |key: &str| {
            let job = settle(&customer, Some("a stream of settlements"), now_ms() + HOUR_MS);
            NewJob { unique_key: Some(key.to_owned()), ..job }
        };
        // Twice in one statement, concurrently, and once more afterwards.
        let twice = insert(app, &[asked("first"), asked("first"), asked("second")]).await;
        assert_eq!(twice.len(), 2);
        let asked_at_once = (0..8).map(|_| [asked("third"), asked("first")]).collect::<Vec<_>>();
        let at_once = join_all(asked_at_once.iter().map(|jobs| insert(app, jobs))).await;
        assert_eq!(at_once.concat().len(), 1, "{at_once:?}");
        assert!(insert(app, &[asked("third")]).await.is_empty());

        let jobs = jobs_of_stream(app, "a stream of settlements").await;
        let keys: Vec<_> = jobs.iter().filter_map(|job| job.unique_key.as_deref()).collect();
        assert_eq!(keys, ["first", "second", "third"]);
        app.verify().await;
    }

    async fn a_job_removed_by_support_can_be_requested_again(app: &TestApp) {
        let customer = app.onboard().await;
        for action in ["job.skip", "job.cancel"] {
            let (stream, key) = (format!("stream:{action}"), format!("first:{action}"));
            let mut first = settle(&customer, Some(&stream), now_ms() + HOUR_MS);
            first.unique_key = Some(key.clone());
            let jobs = [first, settle(&customer, Some(&stream), now_ms())];
            let [first, next] = [&jobs[0].id, &jobs[1].id];
            insert(app, &jobs).await;
            let path = match action {
                "job.skip" => format!("streams/{stream}/skip"),
                _ => format!("jobs/{first}/cancel"),
            };
            admin_post(app, &format!("/admin/v1/{path}"), "not wanted").await.expect(200);
            job_in_state(app, next, JobState::Succeeded).await;
            assert_eq!(audited(app, first.as_str()).await, [action]);

            // As if a customer repeats the request of an operation whose job was skipped.
            let wake = job_hasten(app.app.db.write(), &key, now_ms()).await.unwrap();
            assert_eq!(&wake.unwrap().job_id, first);
            job_in_state(app, first, JobState::Succeeded).await;
            assert!(attempts(app, first).await[0].epoch > attempts(app, next).await[0].epoch);
        }
        app.verify().await;
    }

    async fn a_job_of_an_unknown_kind_waits_for_a_node_that_knows_it(app: &TestApp) {
        let customer = app.onboard().await;
        let jobs = [settle(&customer, Some("mixed"), now_ms() + HOUR_MS), settle(&customer, Some("mixed"), now_ms())];
        let [unknown, next] = [&jobs[0].id, &jobs[1].id];
        insert(app, &jobs).await;
        // A node of a newer version stored it, and it is due.
        let due = now_ms() - DAY_MS;
        sql(app, &format!("UPDATE jobs SET kind = 'moon.landing', run_at_ms = {due} WHERE id = '{unknown}'")).await;

        let looked_at = wait::until("this version has looked at the job", || async {
            attempts(app, unknown).await.pop()
        })
        .await;
        assert_eq!((looked_at.outcome.as_str(), looked_at.reason), ("snooze", None));
        let waiting = job(app, unknown).await;
        assert_eq!((waiting.state, waiting.attempt, waiting.rescues), (JobState::Available, 0, 0));
        assert!(waiting.run_at_ms > looked_at.finished_at_ms, "it is looked at later");
        let shown = admin_get(app, &format!("/admin/v1/jobs/{unknown}")).await;
        let run_at = shown["job"]["run_at"].as_str().unwrap();
        let why = format!("It waits for a node that supports its kind. The next check is at {run_at}.");
        assert_eq!(shown["why"], why);
        assert_eq!(job(app, next).await.attempt, 0, "what follows waits with it");

        // A newer node claims it.
        admin_post(app, "/admin/v1/streams/mixed/pause", "to let nobody else look").await.expect(200);
        let known = JobKind::AccountSettle.as_str();
        sql(app, &format!("UPDATE jobs SET kind = '{known}', run_at_ms = {due} WHERE id = '{unknown}'")).await;
        app.admin("POST", "/admin/v1/streams/mixed/resume", None).await.expect(200);
        for id in [unknown, next] {
            assert_eq!(job_in_state(app, id, JobState::Succeeded).await.attempt, 1);
        }
        app.verify().await;
    }

    async fn a_job_of_an_unknown_kind_is_dead_after_a_week_and_blocks_its_stream(app: &TestApp) {
        let customer = app.onboard().await;
        let jobs = [settle(&customer, Some("mixed"), now_ms() + HOUR_MS), settle(&customer, Some("mixed"), now_ms())];
        let [unknown, next] = [&jobs[0].id, &jobs[1].id];
        insert(app, &jobs).await;
        // A node of another version stored it and never came back.
        let due = now_ms() - 7 * DAY_MS;
        let forgotten = format!("kind = 'moon.landing', run_at_ms = {due}, created_at_ms = {due}");
        sql(app, &format!("UPDATE jobs SET {forgotten} WHERE id = '{unknown}'")).await;

        let dead = job_in_state(app, unknown, JobState::Dead).await;
        assert_eq!((dead.attempt, dead.rescues), (1, 0));
        assert_eq!(dead.last_error.unwrap(), "this version knows no job of kind moon.landing");
        let stream = admin_get(app, "/admin/v1/streams/mixed").await;
        assert_eq!(stream["stream"]["paused_reason"], PAUSED_BY_DEAD_JOB);
        assert_eq!(stream["head"]["id"], next.as_str());
        let shown = admin_get(app, &format!("/admin/v1/jobs/{next}")).await;
        assert_eq!(shown["why"], format!("Its stream is paused: {PAUSED_BY_DEAD_JOB}."));
        assert_eq!(job(app, next).await.attempt, 0);

        // Support continues without it.
        app.admin("POST", "/admin/v1/streams/mixed/resume", None).await.expect(200);
        job_in_state(app, next, JobState::Succeeded).await;
        assert_eq!(job(app, unknown).await.state, JobState::Dead);
        app.verify().await;
    }

    async fn a_job_with_unreadable_arguments_is_retried_and_says_why(app: &TestApp) {
        let mut unreadable = NewJob::new(JobKind::AccountSettle, "[]".to_owned(), now_ms() - DAY_MS);
        unreadable.stream_key = Some("unreadable".to_owned());
        insert(app, std::slice::from_ref(&unreadable)).await;
        let dead = job_in_state(app, &unreadable.id, JobState::Dead).await;
        assert_eq!(dead.attempt, JobKind::AccountSettle.attempts_max());
        assert!(dead.last_error.unwrap().contains("arguments of a job"));
        assert_eq!(attempts(app, &unreadable.id).await.len(), 20);
    }

    async fn retention_deletes_old_ended_jobs_and_keeps_dead_or_recent_ones(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        let [granted, young] = [0; 2].map(|_| invoice_paid(&stripe_customer, Some(&customer)));
        let ignored = stripe::event("customer.created", &json!({ "id": stripe_customer, "object": "customer" }));
        let dead = undecidable_invoice("cus_of_another_stream", &app.onboard().await);
        for event in [&granted, &young, &ignored] {
            deliver_until(app, event, "processed").await;
        }
        deliver_until(app, &dead, "dead").await;
        admin_post(app, &format!("/admin/v1/streams/{stream}/pause"), "to skip one").await.expect(200);
        let skipped = invoice_paid(&stripe_customer, Some(&customer));
        app.deliver(&skipped).await.expect(200);
        admin_post(app, &format!("/admin/v1/streams/{stream}/skip"), "not wanted").await.expect(200);
        app.admin("POST", &format!("/admin/v1/streams/{stream}/resume"), None).await.expect(200);

        let mut old = Vec::new();
        for event in [&granted, &ignored, &skipped, &dead] {
            old.push(job_of(app, event).await.id);
        }
        let ids = old.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
        let ended = now_ms() - 91 * DAY_MS;
        sql(app, &format!("UPDATE jobs SET finished_at_ms = {ended} WHERE id IN ({ids})")).await;
        run_retention(app).await;

        let shown = async |event: &Value| {
            app.admin("GET", &format!("/admin/v1/events/{}", stripe::id(event)), None).await
        };
        for event in [&granted, &ignored, &skipped] {
            shown(event).await.expect_problem(404, "not_found");
        }
        for id in &old[..3] {
            app.admin("GET", &format!("/admin/v1/jobs/{id}"), None).await.expect_problem(404, "not_found");
            assert!(attempts(app, id).await.is_empty());
        }
        assert_eq!(shown(&dead).await.expect(200)["attempts"].as_array().unwrap().len(), 1);
        assert_eq!(shown(&young).await.expect(200)["event"]["state"], "processed");

        // Its effects stay, and happen once, even if Stripe sends it again much later.
        assert_eq!(app.deliver(&granted).await.expect(200)["duplicate"], false);
        app.event_in_state(stripe::id(&granted), "processed").await;
        assert_eq!(app.balance(&customer).await, SIGNUP + 2 * PERIOD);
        app.verify().await;
    }
}

with_backend! {
    async fn an_orderly_stop_uses_up_no_attempt(backend: Backend) {
        let app = TestApp::start_with(backend, |config| {
            config.jobs.workers_max = 2;
            config.jobs.backoff_base_ms = HOUR_MS;
        })
        .await;
        let failed = invoice_paid(&stripe_customer(), None);
        app.deliver(&failed).await.expect(200);
        failed_times(&app, &failed, 1).await;
        let mut events = Vec::new();
        for _ in 0..10 {
            let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
            events.extend((0..5).map(|_| invoice_paid(&stripe_customer, Some(&customer))));
        }
        for answer in join_all(events.iter().map(|event| app.deliver(event))).await {
            answer.expect(200);
        }

        // Two run at a time; the others wait for a worker or for their turn.
        let (config, folder) = app.halt().await;
        let app = TestApp::start_on(config, folder).await;
        for event in &events {
            app.event_in_state(stripe::id(event), "processed").await;
            let Job { id, attempt, rescues, .. } = job_of(&app, event).await;
            let outcomes: Vec<_> = attempts(&app, &id).await.into_iter().map(|attempt| attempt.outcome).collect();
            assert_eq!((attempt, rescues, outcomes), (1, 0, vec!["done".to_owned()]));
        }
        let waiting = job_of(&app, &failed).await;
        assert_eq!((waiting.state, waiting.attempt, waiting.rescues), (JobState::Available, 1, 0));
        app.verify().await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_job_does_not_prevent_a_stop() {
    let app = TestApp::start(Backend::Production).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    // Another transaction holds the account's row and does not end.
    let other = Database::connect(&app.config.database_url).await.unwrap();
    let hanging = other.begin().await.unwrap();
    let lock = format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", customer.id);
    hanging.execute_unprepared(&lock).await.unwrap();
    let event = invoice_paid(&stripe_customer, Some(&customer));
    app.deliver(&event).await.expect(200);
    let id = job_of(&app, &event).await.id;
    job_in_state(&app, &id, JobState::Running).await;

    let stopping = tokio::spawn(app.halt());
    wait::until("the application has stopped", || async { stopping.is_finished().then_some(()) }).await;
    let (config, folder) = stopping.await.unwrap();
    hanging.rollback().await.unwrap();
    let app = TestApp::start_on(config, folder).await;
    app.event_in_state(stripe::id(&event), "processed").await;
    assert_eq!(job_of(&app, &event).await.attempt, 1);
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);
    app.verify().await;
    app.stop().await;
}
