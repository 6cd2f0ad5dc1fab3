//! Rows of `replays` and `replay_items`.

use super::{Kind, Rows, containing, execute, from_json, get, query_all, query_one, to_json};
use crate::clock::TimeMs;
use crate::domain::job::{JobFilter, JobState};
use crate::domain::replay::{Replay, ReplayItem, ReplayStep, ReplayedJobs};
use crate::error::{Error, Result};
use crate::ids::{JobId, ReplayId};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

const SELECT: &str = "SELECT id, filter, dry_run, rate_per_second, reason, state, total, created_by, created_at_ms, \
    finished_at_ms, (SELECT COUNT(*) FROM replay_items i WHERE i.replay_id = replays.id AND i.state <> 'waiting') \
    AS done FROM replays";

fn read(row: &QueryResult) -> Result<Replay> {
    let filter: String = get(row, "filter")?;
    Ok(Replay {
        id: ReplayId::trusted(get(row, "id")?),
        filter: from_json(&filter)?,
        dry_run: get(row, "dry_run")?,
        rate_per_second: get(row, "rate_per_second")?,
        reason: get(row, "reason")?,
        state: get(row, "state")?,
        total: get(row, "total")?,
        done: get(row, "done")?,
        created_by: get(row, "created_by")?,
        created_at_ms: get(row, "created_at_ms")?,
        finished_at_ms: get(row, "finished_at_ms")?,
    })
}

/// Finds a replay by its request's key, with the hash of the request.
pub async fn replay_id_by_key(db: &impl ConnectionTrait, key: &str) -> Result<Option<(ReplayId, String)>> {
    let sql = "SELECT id, request_hash FROM replays WHERE idempotency_key = $1";
    let Some(row) = query_one(db, sql, [key.into()]).await? else { return Ok(None) };
    Ok(Some((ReplayId::trusted(get(&row, "id")?), get(&row, "request_hash")?)))
}

/// Inserts a replay with its frozen set, under a key and the hash of its request. False if the key was used
/// meanwhile.
pub async fn replay_insert(
    db: &impl ConnectionTrait,
    replay: &Replay,
    jobs: &[JobId],
    (key, request_hash): (&str, &str),
) -> Result<bool> {
    let inserted = execute(
        db,
        "INSERT INTO replays (id, filter, dry_run, rate_per_second, reason, state, total, created_by, created_at_ms, \
         idempotency_key, request_hash) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11) \
         ON CONFLICT (idempotency_key) DO NOTHING",
        [
            replay.id.as_str().into(),
            to_json::<JobFilter>(&replay.filter)?.into(),
            replay.dry_run.into(),
            replay.rate_per_second.into(),
            replay.reason.as_str().into(),
            replay.state.as_str().into(),
            replay.total.into(),
            replay.created_by.as_str().into(),
            replay.created_at_ms.into(),
            key.into(),
            request_hash.into(),
        ],
    )
    .await?;
    if inserted == 0 {
        return Ok(false);
    }
    let mut rows = Rows::new(&[("replay_id", Kind::Text), ("n", Kind::Int), ("job_id", Kind::Text)]);
    for (n, job) in (1_i64..).zip(jobs) {
        rows.push([replay.id.as_str().into(), n.into(), job.as_str().into()]);
    }
    if !rows.is_empty() {
        let sql = "INSERT INTO replay_items (replay_id, n, job_id, state) \
                   SELECT replay_id, n, job_id, 'waiting' FROM {rows} WHERE true";
        db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    }
    Ok(true)
}

/// Finds a replay.
pub async fn replay_find(db: &impl ConnectionTrait, id: &ReplayId) -> Result<Option<Replay>> {
    query_one(db, &format!("{SELECT} WHERE id = $1"), [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Replays newest first, before the cursor: those that were made at or after a time, and whose reason contains a text.
pub async fn replay_list(
    db: &impl ConnectionTrait,
    (from_ms, reason): (Option<TimeMs>, Option<&str>),
    before: &str,
    limit: u64,
) -> Result<Vec<Replay>> {
    let sql = format!(
        "{SELECT} WHERE ($1 = '' OR id < $1) AND created_at_ms >= $2 AND reason LIKE $3 ESCAPE '\\' \
         ORDER BY id DESC LIMIT $4"
    );
    let from_ms = from_ms.unwrap_or(TimeMs::MIN);
    let values =
        [before.into(), from_ms.into(), containing(reason.unwrap_or_default()).into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Moves a replay from one of the given states to another. False if it was in none of them.
pub async fn replay_move(
    db: &impl ConnectionTrait,
    id: &ReplayId,
    from: &[&str],
    to: &str,
    finished_at_ms: Option<TimeMs>,
) -> Result<bool> {
    let allowed = from.iter().map(|state| format!("'{state}'")).collect::<Vec<_>>().join(",");
    let sql = format!("UPDATE replays SET state = $2, finished_at_ms = $3 WHERE id = $1 AND state IN ({allowed})");
    Ok(execute(db, &sql, [id.as_str().into(), to.into(), finished_at_ms.into()]).await? == 1)
}

/// Items by number, all of them or only waiting ones.
pub async fn replay_items(
    db: &impl ConnectionTrait,
    id: &ReplayId,
    only_waiting: bool,
    after: i64,
    limit: u64,
) -> Result<Vec<ReplayItem>> {
    let sql = "SELECT n, job_id, state, result FROM replay_items WHERE replay_id = $1 AND n > $2 \
               AND ($3 = 0 OR state = 'waiting') ORDER BY n LIMIT $4";
    let values = [id.as_str().into(), after.into(), i64::from(only_waiting).into(), limit.cast_signed().into()];
    let rows = query_all(db, sql, values).await?;
    rows.iter()
        .map(|row| {
            Ok(ReplayItem {
                n: get(row, "n")?,
                job_id: JobId::trusted(get(row, "job_id")?),
                state: get(row, "state")?,
                result: get(row, "result")?,
            })
        })
        .collect()
}

/// The jobs of a replay, counted by what became of them. A replay has no more jobs than it may.
pub async fn replay_jobs_count(db: &impl ConnectionTrait, id: &ReplayId) -> Result<Vec<ReplayedJobs>> {
    let sql = "SELECT i.state AS item, j.state AS job, j.kind AS kind, \
               COALESCE(j.attempts_max - j.attempt, CAST(0 AS BIGINT)) AS attempts_left, COUNT(*) AS n \
               FROM replay_items i LEFT JOIN jobs j ON j.id = i.job_id WHERE i.replay_id = $1 \
               GROUP BY i.state, j.state, j.kind, j.attempts_max - j.attempt";
    let read = |row: &QueryResult| {
        let state = |text: String| JobState::parse(&text).ok_or_else(|| Error::Corrupt(format!("job state {text}")));
        Ok(ReplayedJobs {
            item: get(row, "item")?,
            job: get::<Option<String>>(row, "job")?.map(state).transpose()?,
            kind: get(row, "kind")?,
            attempts_left: get(row, "attempts_left")?,
            count: get(row, "n")?,
        })
    };
    query_all(db, sql, [id.as_str().into()]).await?.iter().map(read).collect()
}

/// Whether a replay runs. Locks it until the transaction ends, so that a pause or cancellation waits.
pub async fn replay_lock_running(db: &impl ConnectionTrait, id: &ReplayId) -> Result<bool> {
    let lock = if db.get_database_backend() == DbBackend::Postgres { "FOR UPDATE" } else { "" };
    let sql = format!("SELECT id FROM replays WHERE id = $1 AND state = 'running' {lock}");
    Ok(query_one(db, &sql, [id.as_str().into()]).await?.is_some())
}

/// Writes the result of an item, once.
pub async fn replay_item_finish(db: &impl ConnectionTrait, id: &ReplayId, step: &ReplayStep) -> Result<()> {
    let sql = "UPDATE replay_items SET state = $3, result = $4 WHERE replay_id = $1 AND n = $2 AND state = 'waiting'";
    let values = [id.as_str().into(), step.n.into(), step.state.into(), step.result.clone().into()];
    execute(db, sql, values).await?;
    Ok(())
}
