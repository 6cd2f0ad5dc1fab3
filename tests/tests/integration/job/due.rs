//! Sweeps for due jobs: each looks at a bounded number, and none is forgotten behind jobs that cannot run.

use super::{HOUR_MS, insert, settle};
use crate::scene::{job, now_ms, sql};
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::job::{JobState, NewJob};
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::job::{DuePosition, job_due, job_due_expired};
use bursar_engine::infra::store::stream::stream_mark_stopped;
use bursar_engine::usecase::work;
use bursar_tests::{TestApp, wait, with_app};

/// Due jobs of a paused stream: more than two sweeps look at.
const BLOCKED_JOBS: i64 = 10_500;

/// Those of the jobs that are the due heads of streams with an expired lease. The node's own streams are left out.
async fn found_expired(app: &TestApp, now_ms: TimeMs, ids: &[JobId]) -> Vec<JobId> {
    let found = job_due_expired(app.app.db.write(), now_ms, now_ms, 100).await.unwrap();
    found.into_iter().map(|wake| wake.job_id).filter(|id| ids.contains(id)).collect()
}

with_app! {
    async fn due_jobs_are_read_in_parts_of_a_fixed_size(app: &TestApp) {
        let customer = app.onboard().await;
        let due_ms = now_ms() + HOUR_MS;
        let now_ms = due_ms + HOUR_MS;
        wait::until("the jobs of the signup have ended", || async {
            let part = job_due(app.app.db.write(), &DuePosition::default(), now_ms, now_ms, 1).await.unwrap();
            part.wakes.is_empty().then_some(())
        })
        .await;
        let at = |stream: &str, ms: i64| settle(&customer, Some(stream), due_ms + ms);
        // Nine blocked jobs, with two of the same time among them, and one that can run after every third.
        let mut jobs: Vec<NewJob> = (0..9).map(|n| at("blocked", n / 2 * 10)).collect();
        jobs.extend([at("free 1", 15), at("free 2", 35), at("free 3", 1_000)]);
        let ids = insert(app, &jobs).await;
        sql(app, "UPDATE streams SET paused_at_ms = 5 WHERE key = 'blocked'").await;

        let (mut found, mut parts, mut after) = (Vec::new(), 0, DuePosition::default());
        loop {
            let part = job_due(app.app.db.write(), &after, now_ms, now_ms, 5).await.unwrap();
            found.extend(part.wakes.into_iter().map(|wake| wake.job_id));
            parts += 1;
            let Some(next) = part.next else { break };
            after = next;
        }
        assert_eq!(found, ids[9..], "each job that can run once, and no other");
        assert_eq!(parts, 3, "twelve jobs, five at a time");
        app.verify().await;
    }

    async fn heads_of_expired_leases_are_found_without_a_look_at_all_jobs(app: &TestApp) {
        let customer = app.onboard().await;
        let due_ms = now_ms() + HOUR_MS;
        let jobs: Vec<_> = ["expired", "leased", "free"].iter().map(|key| settle(&customer, Some(key), due_ms)).collect();
        let ids = insert(app, &jobs).await;
        for (key, until_ms) in [("expired", due_ms), ("leased", due_ms + 2 * HOUR_MS)] {
            sql(app, &format!("UPDATE streams SET owner = 'dead', lease_until_ms = {until_ms} WHERE key = '{key}'")).await;
        }
        let now_ms = due_ms + HOUR_MS;
        assert_eq!(found_expired(app, now_ms, &ids).await, ids[..1]);
        sql(app, "UPDATE streams SET owner = NULL, lease_until_ms = 0 WHERE owner = 'dead'").await;
    }

    async fn a_stream_whose_node_stopped_is_found_like_one_whose_lease_expired(app: &TestApp) {
        let customer = app.onboard().await;
        let due_ms = now_ms() + HOUR_MS;
        let jobs: Vec<_> = ["waits", "done"].iter().map(|key| settle(&customer, Some(key), due_ms)).collect();
        let ids = insert(app, &jobs).await;
        sql(app, "UPDATE streams SET owner = 'leaving', lease_until_ms = 9000000000000 WHERE key IN ('waits', 'done')").await;
        sql(app, "UPDATE jobs SET state = 'succeeded', finished_at_ms = 5 WHERE stream_key = 'done'").await;
        work::release_node(&app.app.db, "leaving").await.unwrap();
        let now_ms = due_ms + HOUR_MS;
        assert_eq!(found_expired(app, now_ms, &ids).await, ids[..1]);
    }

    async fn a_stream_that_a_stopping_node_releases_with_due_jobs_left_is_found_too(app: &TestApp) {
        let customer = app.onboard().await;
        let due_ms = now_ms() + HOUR_MS;
        let at = |key: &str, ms: i64| settle(&customer, Some(key), due_ms + ms);
        let ids = insert(app, &[at("left", 0), at("later", HOUR_MS), at("leased", 0)]).await;
        sql(app, "UPDATE streams SET owner = 'other', lease_until_ms = 9000000000000 WHERE key = 'leased'").await;
        for key in ["left", "later", "leased", "unheard of"] {
            stream_mark_stopped(app.app.db.write(), key, due_ms).await.unwrap();
        }
        assert_eq!(found_expired(app, due_ms + 2 * HOUR_MS, &ids).await, ids[..1]);
        sql(app, "UPDATE streams SET owner = NULL, lease_until_ms = 0 WHERE owner = 'other'").await;
    }

    async fn jobs_that_cannot_run_hide_no_others(app: &TestApp) {
        let customer = app.onboard().await;
        insert(app, &[settle(&customer, Some("blocked"), now_ms() + HOUR_MS)]).await;
        sql(app, "UPDATE streams SET paused_at_ms = 5 WHERE key = 'blocked'").await;
        let long_ago_ms = now_ms() - HOUR_MS;
        let blocked: Vec<_> =
            (0..BLOCKED_JOBS).map(|n| settle(&customer, Some("blocked"), long_ago_ms + n)).collect();
        insert(app, &blocked).await;
        // Nobody announces these: one that was due a while ago, and one that has just become due.
        let others = [now_ms() - HOUR_MS / 2, now_ms()].map(|at_ms| settle(&customer, None, at_ms));
        for id in insert(app, &others).await {
            wait::until("the sweeper finds it", || async {
                (job(app, &id).await.state == JobState::Succeeded).then_some(())
            })
            .await;
        }
    }
}
