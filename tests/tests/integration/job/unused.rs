//! Streams are deleted with their jobs, and the cost of counting the queue is bounded.

use super::{DAY_MS, HOUR_MS, insert, settle};
use crate::database::{number, texts};
use crate::scene::{now_ms, run_retention, sql};
use bursar_engine::domain::job::{JobKind, NewJob};
use bursar_engine::infra::store::job::{QUEUE_COUNT_MAX, job_queue};
use bursar_engine::infra::store::stream::{stream_find, stream_sweep};
use bursar_engine::usecase::work;
use bursar_tests::{TestApp, wait, with_app};
use futures_util::future::join_all;

const LEASE_MS: i64 = 30_000;
const WITHOUT_JOBS: &str =
    "SELECT s.key FROM streams s WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.stream_key = s.key) ORDER BY s.key";

/// Waits until a node's first retention, which sweeps as well, is over.
async fn until_nothing_sweeps(app: &TestApp) {
    wait::until("nothing else sweeps", || async {
        let of_state = "SELECT COUNT(*) FROM jobs WHERE kind = 'retention' AND state";
        let unended = number(app, &format!("{of_state} <> 'succeeded'"), []).await;
        let ended = number(app, &format!("{of_state} = 'succeeded'"), []).await;
        ((unended, ended) == (0, 1)).then_some(())
    })
    .await;
}

with_app! {
    async fn a_duplicate_job_leaves_no_stream(app: &TestApp) {
        let customer = app.onboard().await;
        let asked = |key: &str, stream: Option<&str>| {
            let unique_key = Some(key.to_owned());
            NewJob { unique_key, ..settle(&customer, stream, now_ms() + HOUR_MS) }
        };
        insert(app, &[asked("first", None)]).await;
        // In their own streams, in a new named one, beside an accepted job, and concurrently.
        insert(app, &[asked("first", None), asked("first", Some("named")), asked("second", None)]).await;
        insert(app, &[asked("first", Some("shared")), asked("third", Some("shared"))]).await;
        let many = (0..8).map(|_| [asked("fourth", None), asked("first", Some("named"))]).collect::<Vec<_>>();
        join_all(many.iter().map(|jobs| insert(app, jobs))).await;
        assert_eq!(texts(app, WITHOUT_JOBS).await, Vec::<String>::new());
        // An existing stream is unchanged.
        insert(app, &[asked("first", Some("shared"))]).await;
        let shared = stream_find(app.app.db.read(), "shared").await.unwrap().unwrap();
        assert_eq!(shared.unfinished, 1);
        app.verify().await;
    }

    async fn retention_drops_exactly_the_unused_streams(app: &TestApp) {
        let customer = app.onboard().await;
        let waiting = settle(&customer, Some("with a job"), now_ms() + HOUR_MS);
        insert(app, std::slice::from_ref(&waiting)).await;
        let later = now_ms() + HOUR_MS;
        sql(app, &format!(
            "INSERT INTO streams (key, last_seq, owner, lease_until_ms, paused_at_ms) VALUES ('unused 1', 1, NULL, 0, NULL), \
             ('unused 2', 7, NULL, 0, NULL), ('leased', 1, 'a-node', {later}, NULL), ('paused', 1, NULL, 0, 5)"
        )).await;
        run_retention(app).await;
        assert_eq!(texts(app, WITHOUT_JOBS).await, ["leased", "paused"]);
        sql(app, "UPDATE streams SET owner = NULL, paused_at_ms = NULL WHERE key IN ('leased', 'paused')").await;
        run_retention(app).await;
        assert_eq!(texts(app, WITHOUT_JOBS).await, Vec::<String>::new());
        assert!(stream_find(app.app.db.read(), "with a job").await.unwrap().is_some());
        app.verify().await;
    }

    async fn retention_continues_until_nothing_is_left_to_delete(app: &TestApp) {
        const OLD: u32 = 1_100;
        until_nothing_sweeps(app).await;
        let ended = now_ms() - 91 * DAY_MS;
        let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OLD})");
        for prefix in ["ended", "unused"] {
            let streams = format!("INSERT INTO streams (key, last_seq) SELECT '{prefix}:' || i, 1 FROM n");
            sql(app, &format!("{numbers} {streams}")).await;
        }
        sql(app, &format!(
            "{numbers} INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempts_max, run_at_ms, created_at_ms, \
             finished_at_ms) SELECT 'job_ended' || i, 'replay.run', '{{}}', 'ended:' || i, 1, 'succeeded', 1, 0, 0, \
             {ended} FROM n"
        )).await;
        run_retention(app).await;
        assert_eq!(number(app, "SELECT COUNT(*) FROM jobs WHERE id LIKE 'job_ended%'", []).await, 0);
        assert_eq!(texts(app, WITHOUT_JOBS).await, Vec::<String>::new());
    }

    async fn a_sweep_visits_all_streams_in_parts(app: &TestApp) {
        until_nothing_sweeps(app).await;
        for at in 0..7 {
            sql(app, &format!("INSERT INTO streams (key, last_seq) VALUES ('unused {at}', 1)")).await;
        }
        let (mut after, mut dropped, mut parts) = (String::new(), 0, 0);
        loop {
            let tx = app.app.db.begin().await.unwrap();
            let swept = stream_sweep(&tx, &after, 2).await.unwrap();
            tx.commit().await.unwrap();
            assert!(swept.dropped <= 2, "{swept:?}");
            (dropped, parts) = (dropped + swept.dropped, parts + 1);
            let Some(next) = swept.next else { break };
            after = next;
        }
        assert_eq!(dropped, 7);
        assert!(parts >= 4, "{parts}");
    }

    async fn a_recreated_stream_rejects_results_under_an_old_lease(app: &TestApp) {
        let customer = app.onboard().await;
        let new = || settle(&customer, Some("again"), now_ms() + DAY_MS);
        let tomorrow = now_ms() + DAY_MS + HOUR_MS;
        let claim = async || {
            let keys = ["again".to_owned()];
            work::claim(&app.app.db, &keys, "a-node", tomorrow, LEASE_MS).await.unwrap().pop().unwrap()
        };
        insert(app, &[new()]).await;
        let straggler = claim().await;
        // The stream disappears: its job is skipped, and deleted by the retention.
        sql(app, "UPDATE streams SET owner = NULL, lease_until_ms = 0 WHERE key = 'again'").await;
        let ended = now_ms() - 91 * DAY_MS;
        let skipped = format!("state = 'cancelled', last_error = 'skipped', finished_at_ms = {ended}");
        sql(app, &format!("UPDATE jobs SET {skipped} WHERE stream_key = 'again'")).await;
        run_retention(app).await;
        assert!(stream_find(app.app.db.read(), "again").await.unwrap().is_none(), "its row goes with its job");

        insert(app, &[new()]).await;
        let now = claim().await;
        assert!(now.epoch > straggler.epoch, "{} is not above {}", now.epoch, straggler.epoch);
        assert!(!work::give_back(&app.app.db, "again", straggler.epoch, tomorrow).await.unwrap());
        let leased = stream_find(app.app.db.read(), "again").await.unwrap().unwrap();
        assert_eq!((leased.owner.as_deref(), leased.epoch), (Some("a-node"), now.epoch));
        app.verify().await;
    }

    async fn the_queue_is_counted_by_kind_and_state_up_to_a_bound(app: &TestApp) {
        let customer = app.onboard().await;
        // More jobs than are counted, due in a year.
        let (n, later) = (QUEUE_COUNT_MAX + 100, now_ms() + 365 * DAY_MS);
        let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n})");
        sql(app, &format!("{numbers} INSERT INTO streams (key, last_seq) SELECT 'many:' || i, 1 FROM n")).await;
        sql(app, &format!(
            "{numbers} INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempts_max, run_at_ms, created_at_ms) \
             SELECT 'job_many' || i, 'replay.run', '{{}}', 'many:' || i, 1, 'available', 1, {later}, 0 FROM n"
        )).await;
        let tomorrow = now_ms() + DAY_MS;
        let jobs = [1, 2, 3].map(|at| settle(&customer, Some(&format!("counted {at}")), tomorrow + at));
        insert(app, &jobs).await;
        sql(app, "UPDATE jobs SET state = 'dead', last_error = 'no' WHERE stream_key = 'counted 1'").await;
        work::claim(&app.app.db, &["counted 2".to_owned()], "a-node", tomorrow + 2, LEASE_MS).await.unwrap();

        let counts = job_queue(app.app.db.read(), tomorrow + 3).await.unwrap();
        assert_eq!(counts.len(), JobKind::ALL.len(), "every kind has its figures");
        let of = |kind: JobKind| counts.iter().find(|count| count.kind == kind).unwrap();
        let many = of(JobKind::ReplayRun);
        assert_eq!((many.scheduled, many.available, many.running, many.dead), (QUEUE_COUNT_MAX, 0, 0, 0));
        assert_eq!(many.oldest_due_ms, None);
        let few = of(JobKind::AccountSettle);
        assert_eq!((few.available, few.running, few.dead), (1, 1, 1));
        assert_eq!(few.oldest_due_ms, Some(tomorrow + 3));
        assert_eq!(number(app, "SELECT COUNT(*) FROM jobs WHERE kind = 'replay.run'", []).await, n);
    }
}
