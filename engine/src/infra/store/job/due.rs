//! Due jobs that nobody runs: the embedded dispatcher runs them, and the sweeper publishes them again.

use super::super::stream::STARTS;
use super::super::{get, query_all, query_by};
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
    /// The due heads of their streams, unless these are leased, or paused without a canary.
    pub wakes: Vec<Wake>,
    /// Where the next part begins; `None` after the last.
    pub next: Option<DuePosition>,
}

/// The head of the stream `s`.
const HEAD: &str = "(SELECT h.id FROM jobs h WHERE h.stream_key = s.key AND h.state IN ('available', 'running') \
                    ORDER BY h.seq LIMIT 1)";

/// Looks at the streams of the next `limit` due jobs after a position, however few of them can run. The limit keeps the
/// cost of a look constant when many jobs wait for their streams.
pub async fn job_due(
    db: &impl ConnectionTrait,
    after: &DuePosition,
    due_before_ms: TimeMs,
    now_ms: TimeMs,
    limit: u64,
) -> Result<DuePart> {
    let sql = format!(
        "WITH part AS MATERIALIZED (SELECT id, stream_key, run_at_ms FROM jobs \
         WHERE state IN ('available', 'running') AND run_at_ms <= $1 AND (run_at_ms, id) > ($2, $3) \
         ORDER BY run_at_ms, id LIMIT $4) \
         SELECT {HEAD} AS id, NULL AS run_at_ms FROM (SELECT DISTINCT stream_key FROM part) p \
         JOIN streams s ON s.key = p.stream_key \
         WHERE {STARTS} AND (s.owner IS NULL OR s.lease_until_ms < $5) \
         UNION ALL SELECT * FROM (SELECT id, run_at_ms FROM part ORDER BY run_at_ms, id LIMIT 1 OFFSET $6) AS last"
    );
    let values = [
        due_before_ms.into(),
        after.run_at_ms.into(),
        after.id.as_str().into(),
        limit.cast_signed().into(),
        now_ms.into(),
        (limit.cast_signed() - 1).into(),
    ];
    let (mut heads, mut next) = (Vec::new(), None);
    for row in query_all(db, &sql, values).await? {
        let (id, run_at_ms): (Option<String>, Option<TimeMs>) = (get(&row, "id")?, get(&row, "run_at_ms")?);
        match (id, run_at_ms) {
            (Some(id), Some(run_at_ms)) => next = Some(DuePosition { run_at_ms, id }),
            (id, _) => heads.extend(id),
        }
    }
    Ok(DuePart { wakes: due_heads(db, &heads, due_before_ms).await?, next })
}

/// Returns the due heads of up to `limit` streams whose lease expired without being released: their node died, or lost
/// the database.
pub async fn job_due_expired(
    db: &impl ConnectionTrait,
    due_before_ms: TimeMs,
    now_ms: TimeMs,
    limit: u64,
) -> Result<Vec<Wake>> {
    let sql = format!(
        "SELECT {HEAD} AS id FROM streams s WHERE s.owner IS NOT NULL AND s.lease_until_ms < $1 \
         AND {STARTS} LIMIT $2"
    );
    let rows = query_all(db, &sql, [now_ms.into(), limit.cast_signed().into()]).await?;
    let heads: Vec<Option<String>> = rows.iter().map(|row| get(row, "id")).collect::<Result<_>>()?;
    due_heads(db, &heads.into_iter().flatten().collect::<Vec<_>>(), due_before_ms).await
}

/// Returns those of the heads that are due, in the order of their times.
async fn due_heads(db: &impl ConnectionTrait, heads: &[String], due_before_ms: TimeMs) -> Result<Vec<Wake>> {
    let sql = "SELECT j.id AS id, j.stream_key AS stream_key, j.attempt AS attempt, j.run_at_ms AS run_at_ms \
               FROM {rows} JOIN jobs j ON j.id = {r.sought}";
    let rows = query_by(db, sql, heads).await?;
    let mut wakes: Vec<Wake> = rows.iter().map(read).collect::<Result<_>>()?;
    wakes.retain(|wake| wake.run_at_ms <= due_before_ms);
    wakes.sort_by(|one, other| (one.run_at_ms, &one.job_id).cmp(&(other.run_at_ms, &other.job_id)));
    Ok(wakes)
}

fn read(row: &QueryResult) -> Result<Wake> {
    Ok(Wake {
        stream_key: get(row, "stream_key")?,
        job_id: JobId::trusted(get(row, "id")?),
        attempt: get(row, "attempt")?,
        run_at_ms: get(row, "run_at_ms")?,
    })
}
