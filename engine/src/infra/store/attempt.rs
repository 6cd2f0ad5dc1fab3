//! Rows of `attempts`: one for each lease under which a job ran.

use super::{Kind, Rows, get, query_all, query_one};
use crate::clock::TimeMs;
use crate::domain::job::JobFinish;
use crate::error::Result;
use crate::ids::JobId;
use sea_orm::ConnectionTrait;

/// A stored attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The lease.
    pub epoch: i64,
    /// Its number, from 1; a snooze has the number of the postponed attempt.
    pub attempt: i64,
    /// The node that ran it.
    pub node: String,
    /// When it began.
    pub started_at_ms: TimeMs,
    /// When it ended.
    pub finished_at_ms: TimeMs,
    /// `done`, `retry`, `snooze`, `cancel` or `dead`.
    pub outcome: String,
    /// The reason.
    pub reason: Option<String>,
}

/// Records attempts. The primary key (stream, epoch) prevents a second result of one lease.
pub async fn attempt_insert_many(db: &impl ConnectionTrait, finishes: &[&JobFinish], node: &str) -> Result<()> {
    let mut rows = Rows::new(&[
        ("stream_key", Kind::Text),
        ("epoch", Kind::Int),
        ("job_id", Kind::Text),
        ("attempt", Kind::Int),
        ("node", Kind::Text),
        ("started_at_ms", Kind::Int),
        ("finished_at_ms", Kind::Int),
        ("outcome", Kind::Text),
        ("reason", Kind::Text),
    ]);
    for finish in finishes {
        rows.push([
            finish.stream_key.as_str().into(),
            finish.epoch.into(),
            finish.job_id.as_str().into(),
            finish.attempt.into(),
            node.into(),
            finish.started_at_ms.into(),
            finish.finished_at_ms.into(),
            finish.outcome.into(),
            finish.reason.clone().into(),
        ]);
    }
    let columns = "stream_key, epoch, job_id, attempt, node, started_at_ms, finished_at_ms, outcome, reason";
    let sql = format!("INSERT INTO attempts ({columns}) SELECT {columns} FROM {{rows}}");
    db.execute_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    Ok(())
}

/// When an attempt under a lease ended, and its outcome; `None` if its end is not committed.
pub async fn attempt_end(
    db: &impl ConnectionTrait,
    stream_key: &str,
    epoch: i64,
    job: &JobId,
) -> Result<Option<(TimeMs, String)>> {
    let sql = "SELECT finished_at_ms, outcome FROM attempts WHERE stream_key = $1 AND epoch = $2 AND job_id = $3";
    let row = query_one(db, sql, [stream_key.into(), epoch.into(), job.as_str().into()]).await?;
    row.map(|row| Ok((get(&row, "finished_at_ms")?, get(&row, "outcome")?))).transpose()
}

/// The latest attempts of a job, oldest first.
pub async fn attempt_list(db: &impl ConnectionTrait, job: &JobId, limit: u64) -> Result<Vec<Attempt>> {
    let sql = "SELECT epoch, attempt, node, started_at_ms, finished_at_ms, outcome, reason FROM attempts \
               WHERE job_id = $1 ORDER BY epoch DESC LIMIT $2";
    let rows = query_all(db, sql, [job.as_str().into(), limit.cast_signed().into()]).await?;
    rows.iter()
        .rev()
        .map(|row| {
            Ok(Attempt {
                epoch: get(row, "epoch")?,
                attempt: get(row, "attempt")?,
                node: get(row, "node")?,
                started_at_ms: get(row, "started_at_ms")?,
                finished_at_ms: get(row, "finished_at_ms")?,
                outcome: get(row, "outcome")?,
                reason: get(row, "reason")?,
            })
        })
        .collect()
}
