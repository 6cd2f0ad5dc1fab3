//! Nodes find the first jobs of streams by key, however many other jobs wait.

use super::{DAY_MS, insert, settle};
use crate::scene::{now_ms, sql};
use bursar_engine::domain::job::{Attempt, Backoff, Outcome, finish};
use bursar_engine::infra::store::job::{job_finish_many, job_take_heads};
use bursar_engine::infra::store::stream::{stream_due_many, stream_lease_many, stream_release_many, stream_renew_many};
use bursar_tests::{Backend, TestApp};
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};
use std::collections::BTreeMap;

/// Waiting jobs, each in its own stream.
const WAITING: usize = 2_000;
/// Streams claimed at once.
const CLAIMED: usize = 20;
/// Maximum number of entries of one index that all statements together may read.
const READ_MAX: i64 = 400;

/// Statements after which Postgres, until autovacuum runs, estimates hardly any jobs, or only ended ones.
const WRONG_STATISTICS: [&str; 2] = [
    "UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE relname IN ('jobs', 'streams') OR oid IN \
     (SELECT indexrelid FROM pg_index WHERE indrelid IN ('jobs'::regclass, 'streams'::regclass))",
    "UPDATE jobs SET state = 'succeeded', finished_at_ms = 1; ANALYZE jobs, streams; \
     UPDATE jobs SET state = 'available', finished_at_ms = NULL WHERE kind = 'account.settle'",
];

/// The entries that a session has read from each index, in this transaction and unreported before.
async fn entries_read(tx: &DatabaseTransaction) -> BTreeMap<String, i64> {
    let read = "SELECT indexrelname::text AS name, pg_stat_get_xact_tuples_returned(indexrelid) AS n \
                FROM pg_stat_user_indexes WHERE relname IN ('jobs', 'streams')";
    let rows = tx.query_all_raw(Statement::from_string(tx.get_database_backend(), read)).await.unwrap();
    rows.iter().map(|row| (row.try_get("", "name").unwrap(), row.try_get("", "n").unwrap())).collect()
}

// Production only: SQLite has no such statistics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_other_streams_are_not_read_even_with_wrong_statistics() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard().await;
    let streams: Vec<String> = (0..WAITING).map(|n| format!("stream:{n}")).collect();
    let tomorrow_ms = now_ms() + DAY_MS;
    let jobs: Vec<_> = streams.iter().map(|stream| settle(&customer, Some(stream), tomorrow_ms)).collect();
    insert(&app, &jobs).await;
    for (statistics, keys) in WRONG_STATISTICS.iter().zip(streams.chunks(CLAIMED)) {
        sql(&app, statistics).await;
        let now_ms = tomorrow_ms + DAY_MS;
        let tx = app.app.db.begin().await.unwrap();
        let before = entries_read(&tx).await;
        let due = stream_due_many(&tx, &keys.iter().map(String::as_str).collect::<Vec<_>>(), now_ms).await.unwrap();
        let leased = stream_lease_many(&tx, keys, "a-node", now_ms, DAY_MS).await.unwrap();
        let taken = job_take_heads(&tx, &leased, now_ms).await.unwrap();
        let leases: Vec<_> = leased.iter().map(|lease| (lease.key.clone(), lease.epoch)).collect();
        let renewed = stream_renew_many(&tx, &leases, now_ms + 2 * DAY_MS).await.unwrap();
        let released: Vec<_> = leases.iter().map(|(key, epoch)| (key.as_str(), *epoch, None)).collect();
        let released = stream_release_many(&tx, &released, now_ms).await.unwrap();
        let ends: Vec<_> = taken
            .iter()
            .map(|job| {
                finish(
                    &Attempt { job, epoch: 1, started_at_ms: now_ms },
                    Outcome::Done,
                    Backoff::default(),
                    now_ms,
                    0.0,
                )
            })
            .collect();
        let written = job_finish_many(&tx, &ends.iter().collect::<Vec<_>>()).await.unwrap();
        let counts =
            [due.len(), leased.len(), taken.len(), usize::try_from(renewed).unwrap(), released.len(), written.len()];
        assert_eq!(counts, [CLAIMED; 6]);
        for (name, n) in entries_read(&tx).await {
            let n = n - before.get(&name).copied().unwrap_or(0);
            assert!(n <= READ_MAX, "{n} entries of {name} were read: {statistics}");
        }
        tx.rollback().await.unwrap();
    }
    app.stop().await;
}
