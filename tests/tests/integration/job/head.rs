//! The job at the head of a stream is found by the stream, however many jobs wait.

use super::{DAY_MS, insert, settle};
use crate::scene::{now_ms, sql};
use bursar_engine::infra::store::job::job_take_heads;
use bursar_engine::infra::store::stream::{stream_due_many, stream_lease_many};
use bursar_tests::{Backend, TestApp};
use sea_orm::{ConnectionTrait, Statement};

/// Jobs that wait, each in a stream of its own.
const WAITING: usize = 2_000;
/// Streams that are claimed at once.
const CLAIMED: usize = 20;

// Production only: SQLite keeps no sizes that could be out of date.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_reads_no_jobs_of_other_streams_after_a_queue_that_was_empty_grew() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard().await;
    sql(&app, "ANALYZE").await;
    let streams: Vec<String> = (0..WAITING).map(|n| format!("stream:{n}")).collect();
    let tomorrow_ms = now_ms() + DAY_MS;
    let jobs: Vec<_> = streams.iter().map(|stream| settle(&customer, Some(stream), tomorrow_ms)).collect();
    insert(&app, &jobs).await;

    let (keys, now_ms) = (&streams[..CLAIMED], tomorrow_ms + DAY_MS);
    let tx = app.app.db.begin().await.unwrap();
    let due = stream_due_many(&tx, &keys.iter().map(String::as_str).collect::<Vec<_>>(), now_ms).await.unwrap();
    let leased = stream_lease_many(&tx, keys, "a-node", now_ms, DAY_MS).await.unwrap();
    let taken = job_take_heads(&tx, &leased, now_ms).await.unwrap();
    assert_eq!([due.len(), leased.len(), taken.len()], [CLAIMED; 3]);
    let read = "SELECT indexrelname::text AS name, pg_stat_get_xact_tuples_returned(indexrelid) AS n \
                FROM pg_stat_user_indexes WHERE relname = 'jobs' AND pg_stat_get_xact_tuples_returned(indexrelid) > 0";
    for row in tx.query_all_raw(Statement::from_string(tx.get_database_backend(), read)).await.unwrap() {
        let (name, n): (String, i64) = (row.try_get("", "name").unwrap(), row.try_get("", "n").unwrap());
        // Heads are looked for three times, and taken by their identifiers.
        assert!(usize::try_from(n).unwrap() <= 6 * CLAIMED, "{n} entries of {name} were read");
    }
    tx.rollback().await.unwrap();
    app.stop().await;
}
