//! What nodes do with the jobs at the heads of streams is found by keys, however many other jobs wait.

use super::{DAY_MS, insert, settle};
use crate::scene::{now_ms, sql};
use bursar_engine::domain::job::{Attempt, Backoff, Outcome, finish};
use bursar_engine::infra::store::job::{job_finish_many, job_take_heads};
use bursar_engine::infra::store::stream::{stream_due_many, stream_lease_many, stream_release_many, stream_renew_many};
use bursar_tests::{Backend, TestApp};
use sea_orm::{ConnectionTrait, Statement};

/// Jobs that wait, each in a stream of its own.
const WAITING: usize = 2_000;
/// Streams that are claimed at once.
const CLAIMED: usize = 20;
/// Most entries of one index that all statements together read for each claimed stream.
const READ_MAX: usize = 20;

/// What Postgres believes of tables that were emptied and vacuumed, until autovacuum looks at them again.
const BELIEVE_EMPTY: &str = "UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE oid IN \
                             (SELECT i.indexrelid FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid \
                             WHERE t.relname IN ('jobs', 'streams')) OR relname IN ('jobs', 'streams')";
/// The entries that the transaction has read from each index.
const READ: &str = "SELECT indexrelname::text AS name, pg_stat_get_xact_tuples_returned(indexrelid) AS n \
                    FROM pg_stat_user_indexes WHERE relname IN ('jobs', 'streams')";

// Production only: SQLite believes nothing about the sizes of tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_other_streams_are_not_read_even_if_postgres_believes_that_there_are_none() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard().await;
    let streams: Vec<String> = (0..WAITING).map(|n| format!("stream:{n}")).collect();
    let tomorrow_ms = now_ms() + DAY_MS;
    let jobs: Vec<_> = streams.iter().map(|stream| settle(&customer, Some(stream), tomorrow_ms)).collect();
    insert(&app, &jobs).await;
    sql(&app, BELIEVE_EMPTY).await;

    let (keys, now_ms) = (&streams[..CLAIMED], tomorrow_ms + DAY_MS);
    let tx = app.app.db.begin().await.unwrap();
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
            finish(&Attempt { job, epoch: 1, started_at_ms: now_ms }, Outcome::Done, Backoff::default(), now_ms, 0.0)
        })
        .collect();
    let written = job_finish_many(&tx, &ends.iter().collect::<Vec<_>>()).await.unwrap();
    let counts =
        [due.len(), leased.len(), taken.len(), usize::try_from(renewed).unwrap(), released.len(), written.len()];
    assert_eq!(counts, [CLAIMED; 6]);
    for row in tx.query_all_raw(Statement::from_string(tx.get_database_backend(), READ)).await.unwrap() {
        let (name, n): (String, i64) = (row.try_get("", "name").unwrap(), row.try_get("", "n").unwrap());
        assert!(usize::try_from(n).unwrap() <= READ_MAX * CLAIMED, "{n} entries of {name} were read");
    }
    tx.rollback().await.unwrap();
    app.stop().await;
}
