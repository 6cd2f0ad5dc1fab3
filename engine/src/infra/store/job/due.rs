//! Due jobs that nobody runs: the embedded dispatcher runs them, and the sweeper publishes them again.

use super::super::{get, query_all};
use crate::clock::TimeMs;
use crate::domain::job::Wake;
use crate::error::Result;
use crate::ids::JobId;
use sea_orm::{ConnectionTrait, QueryResult};

/// A position in the due jobs, which are ordered by time and identifier. The default is before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuePosition {
    /// When the last job before the position was due.
    pub run_at_ms: TimeMs,
    /// Its identifier; empty before the first job of that time.
    pub id: String,
}

/// The result of looking at a part of the due jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePart {
    /// The first of them that are heads of free streams.
    pub wakes: Vec<Wake>,
    /// Where the next part begins; `None` after the last.
    pub next: Option<DuePosition>,
}

/// Conditions of a due head `j` of a stream `s` that is neither paused nor leased at `$2`.
const IS_RUNNABLE: &str = "s.paused_at_ms IS NULL AND (s.owner IS NULL OR s.lease_until_ms < $2) \
                           AND j.id = (SELECT h.id FROM jobs h WHERE h.stream_key = j.stream_key \
                           AND h.state IN ('available', 'running') ORDER BY h.seq LIMIT 1)";

/// Looks at up to `part` due jobs after a position, however few of them can run, and returns up to `limit` that can.
/// The limit of `part` keeps the cost of a sweep constant when many jobs wait for their streams.
pub async fn job_due(
    db: &impl ConnectionTrait,
    after: &DuePosition,
    due_before_ms: TimeMs,
    now_ms: TimeMs,
    (part, limit): (u64, u64),
) -> Result<DuePart> {
    let sql = format!(
        "WITH part AS MATERIALIZED (SELECT id, stream_key, attempt, run_at_ms FROM jobs \
         WHERE state IN ('available', 'running') AND run_at_ms <= $1 AND run_at_ms >= $3 \
         AND (run_at_ms > $3 OR id > $4) ORDER BY run_at_ms, id LIMIT $5) \
         SELECT * FROM (SELECT j.id AS id, j.stream_key AS stream_key, j.attempt AS attempt, j.run_at_ms AS run_at_ms, \
         1 AS is_runnable FROM part j JOIN streams s ON s.key = j.stream_key WHERE {IS_RUNNABLE} \
         ORDER BY j.run_at_ms, j.id LIMIT $6) AS runnable \
         UNION ALL SELECT * FROM (SELECT id, stream_key, attempt, run_at_ms, 0 AS is_runnable FROM part \
         ORDER BY run_at_ms, id LIMIT 1 OFFSET $7) AS last"
    );
    let values = [
        due_before_ms.into(),
        now_ms.into(),
        after.run_at_ms.into(),
        after.id.as_str().into(),
        part.cast_signed().into(),
        limit.cast_signed().into(),
        (part.cast_signed() - 1).into(),
    ];
    let (mut wakes, mut next) = (Vec::new(), None);
    for row in query_all(db, &sql, values).await? {
        if get::<i32>(&row, "is_runnable")? == 1 {
            wakes.push(read(&row)?);
        } else {
            next = Some(DuePosition { run_at_ms: get(&row, "run_at_ms")?, id: get(&row, "id")? });
        }
    }
    Ok(DuePart { wakes, next })
}

/// Returns the due heads of streams whose lease expired without being released: their node died, or lost the database.
pub async fn job_due_expired(
    db: &impl ConnectionTrait,
    due_before_ms: TimeMs,
    now_ms: TimeMs,
    limit: u64,
) -> Result<Vec<Wake>> {
    let sql = format!(
        "SELECT j.id AS id, j.stream_key AS stream_key, j.attempt AS attempt, j.run_at_ms AS run_at_ms \
         FROM streams s JOIN jobs j ON j.stream_key = s.key WHERE s.owner IS NOT NULL AND s.lease_until_ms < $2 \
         AND j.state IN ('available', 'running') AND j.run_at_ms <= $1 AND {IS_RUNNABLE} LIMIT $3"
    );
    let rows = query_all(db, &sql, [due_before_ms.into(), now_ms.into(), limit.cast_signed().into()]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &QueryResult) -> Result<Wake> {
    Ok(Wake {
        stream_key: get(row, "stream_key")?,
        job_id: JobId::trusted(get(row, "id")?),
        attempt: get(row, "attempt")?,
        run_at_ms: get(row, "run_at_ms")?,
    })
}
