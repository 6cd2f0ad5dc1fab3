//! Rows of `jobs`.

mod due;
mod filter;

pub use due::{DuePart, DuePosition, job_due, job_due_expired};

use super::stream::{Advance, Leased, stream_advance_many, stream_drop_new, stream_drop_unused, stream_unblock};
use super::{Kind, Rows, execute, field, get, query_all, query_one};
use crate::clock::TimeMs;
use crate::domain::failure_group::cause_of;
use crate::domain::job::{Job, JobFilter, JobFinish, JobKind, JobState, NewJob, Wake};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, EventId, JobId};
use sea_orm::{ConnectionTrait, QueryResult};
use std::collections::{BTreeMap, HashSet};

const COLUMNS: &str = "id, kind, args, stream_key, seq, state, attempt, attempts_max, rescues, run_at_ms, unique_key, \
                       event_id, customer_id, last_error, created_at_ms, finished_at_ms";

pub(super) fn read(row: &QueryResult) -> Result<Job> {
    let state: String = get(row, "state")?;
    Ok(Job {
        id: JobId::trusted(get(row, "id")?),
        kind: get(row, "kind")?,
        args: get(row, "args")?,
        stream_key: get(row, "stream_key")?,
        seq: get(row, "seq")?,
        state: JobState::parse(&state).ok_or_else(|| Error::Corrupt(format!("job state {state}")))?,
        attempt: get(row, "attempt")?,
        attempts_max: get(row, "attempts_max")?,
        rescues: get(row, "rescues")?,
        run_at_ms: get(row, "run_at_ms")?,
        unique_key: get(row, "unique_key")?,
        event_id: get::<Option<String>>(row, "event_id")?.map(EventId::trusted),
        customer_id: get::<Option<String>>(row, "customer_id")?.map(CustomerId::trusted),
        last_error: get(row, "last_error")?,
        created_at_ms: get(row, "created_at_ms")?,
        finished_at_ms: get(row, "finished_at_ms")?,
    })
}

/// Inserts jobs with two statements, whatever their number. Each gets the next sequence number of its stream; the
/// stream's row stays locked until the transaction ends, so the numbers follow the order of commits. Streams are
/// locked in the order of their keys, which prevents deadlocks. A job with an existing unique key is skipped and
/// leaves no row of its stream. Returns the jobs to announce after the commit.
pub async fn job_insert_many(db: &impl ConnectionTrait, jobs: &[NewJob], now_ms: TimeMs) -> Result<Vec<Wake>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.stream()).or_default() += 1;
    }
    let mut streams = stream_advance_many(db, &counts, now_ms).await?;
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("kind", Kind::Text),
        ("args", Kind::Text),
        ("stream_key", Kind::Text),
        ("seq", Kind::Int),
        ("state", Kind::Text),
        ("attempts_max", Kind::Int),
        ("run_at_ms", Kind::Int),
        ("unique_key", Kind::Text),
        ("event_id", Kind::Text),
        ("customer_id", Kind::Text),
        ("last_error", Kind::Text),
        ("created_at_ms", Kind::Int),
        ("finished_at_ms", Kind::Int),
    ]);
    for job in jobs {
        let key = job.stream();
        let stream = streams.get_mut(&key).ok_or_else(|| Error::Corrupt(format!("stream {key} has no row")))?;
        stream.last_seq += 1;
        rows.push([
            job.id.as_str().into(),
            job.kind.as_str().into(),
            job.args.as_str().into(),
            key.into(),
            stream.last_seq.into(),
            job.state.as_str().into(),
            job.kind.attempts_max().into(),
            job.run_at_ms.into(),
            job.unique_key.clone().into(),
            job.event_id.as_ref().map(|id| id.as_str().to_owned()).into(),
            job.customer_id.as_ref().map(|id| id.as_str().to_owned()).into(),
            job.last_error.clone().into(),
            now_ms.into(),
            (job.state != JobState::Available).then_some(now_ms).into(),
        ]);
    }
    let sql = "INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempts_max, run_at_ms, unique_key, \
               event_id, customer_id, last_error, created_at_ms, finished_at_ms) \
               SELECT id, kind, args, stream_key, seq, state, attempts_max, run_at_ms, unique_key, event_id, \
               customer_id, last_error, created_at_ms, finished_at_ms FROM {rows} WHERE true \
               ON CONFLICT (unique_key) DO NOTHING RETURNING id, stream_key, run_at_ms, state";
    let inserted = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    let (mut wakes, mut used) = (Vec::new(), HashSet::new());
    for row in &inserted {
        let (stream_key, state): (String, String) = (get(row, "stream_key")?, get(row, "state")?);
        used.insert(stream_key.clone());
        if state == JobState::Available.as_str() {
            let (job_id, run_at_ms) = (JobId::trusted(get(row, "id")?), get(row, "run_at_ms")?);
            wakes.push(Wake { stream_key, job_id, attempt: 0, run_at_ms });
        }
    }
    let is_unused = |(key, stream): &(String, Advance)| stream.is_new && !used.contains(key);
    let unused: Vec<String> = streams.into_iter().filter(is_unused).map(|(key, _)| key).collect();
    stream_drop_new(db, &unused).await?;
    Ok(wakes)
}

/// Finds a job.
pub async fn job_find(db: &impl ConnectionTrait, id: &JobId) -> Result<Option<Job>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = $1");
    query_one(db, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds a job by its unique key.
pub async fn job_find_by_key(db: &impl ConnectionTrait, key: &str) -> Result<Option<Job>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE unique_key = $1");
    query_one(db, &sql, [key.into()]).await?.map(|row| read(&row)).transpose()
}

/// The job at the head of a stream: the lowest unfinished one.
pub async fn job_head(db: &impl ConnectionTrait, key: &str) -> Result<Option<Job>> {
    let sql = "SELECT * FROM jobs WHERE stream_key = $1 AND state IN ('available', 'running') ORDER BY seq LIMIT 1";
    query_one(db, sql, [key.into()]).await?.map(|row| read(&row)).transpose()
}

/// Jobs newest first, before the cursor (a job id; empty for the first page).
pub async fn job_list(
    db: &impl ConnectionTrait,
    filter: &JobFilter,
    before: &str,
    limit: u64,
    now_ms: TimeMs,
) -> Result<Vec<Job>> {
    let (sql, values) = filter.statement(before, limit, now_ms);
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Maximum number of jobs whose causes a search reads.
pub const CAUSES_READ_MAX: u64 = 50_000;

/// The jobs that a replay with this filter would run, oldest first, at most `limit`. With a cause, `None` if the rest
/// of the filter matches more than [`CAUSES_READ_MAX`]: a cause is no column, so each of these is read.
pub async fn job_ids(
    db: &impl ConnectionTrait,
    filter: &JobFilter,
    limit: u64,
    now_ms: TimeMs,
) -> Result<Option<Vec<JobId>>> {
    let (clause, mut values) = filter.clause(now_ms);
    let read_max = if filter.cause.is_some() { CAUSES_READ_MAX + 1 } else { limit };
    values.push(read_max.cast_signed().into());
    let sql = format!(
        "SELECT j.id AS id, j.last_error AS last_error FROM jobs j WHERE {clause} \
         AND j.state IN ('dead', 'cancelled', 'succeeded') ORDER BY j.stream_key, j.seq LIMIT ${}",
        values.len()
    );
    let rows = query_all(db, &sql, values).await?;
    if filter.cause.is_some() && rows.len() as u64 > CAUSES_READ_MAX {
        return Ok(None);
    }
    let mut ids = Vec::new();
    for row in &rows {
        let fits = match &filter.cause {
            None => true,
            Some(cause) => get::<Option<String>>(row, "last_error")?.is_some_and(|text| cause_of(&text) == *cause),
        };
        if fits {
            ids.push(JobId::trusted(get(row, "id")?));
        }
    }
    ids.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Some(ids))
}

/// Marks the lowest unfinished job of each stream as running, if it is due, and returns it. The streams must be
/// leased to the caller in the same transaction: a job that still runs in a stream that was taken over belongs to a
/// dead node, and is rescued first. The state is checked twice, because Postgres rechecks a row that changed while
/// it waited for it, but not the subquery that chose the row: a job that is cancelled meanwhile stays cancelled. Of a
/// paused stream only the canary is taken.
pub async fn job_take_heads(db: &impl ConnectionTrait, streams: &[Leased], now_ms: TimeMs) -> Result<Vec<Job>> {
    let taken_over: Vec<String> =
        streams.iter().filter(|stream| stream.is_taken_over).map(|stream| stream.key.clone()).collect();
    job_put_back(db, &taken_over, true).await?;
    let mut rows =
        Rows::new(&[("key", Kind::Text), ("now_ms", Kind::Int), ("was", Kind::Text), ("canary", Kind::Text)]);
    for stream in streams {
        let canary = stream.canary.as_ref().map(|job| job.as_str().to_owned());
        rows.push([stream.key.as_str().into(), now_ms.into(), JobState::Available.as_str().into(), canary.into()]);
    }
    let take = format!(
        "UPDATE jobs SET state = 'running' \
         FROM {{rows}} WHERE jobs.id = {{(SELECT h.id FROM jobs h WHERE h.stream_key = r.key \
         AND h.state IN ('available', 'running') ORDER BY h.seq LIMIT 1)}} AND jobs.run_at_ms <= r.now_ms \
         AND jobs.state = r.was AND (r.canary IS NULL OR jobs.id = r.canary) RETURNING {}",
        COLUMNS.split(", ").map(|column| format!("jobs.{column} AS {column}")).collect::<Vec<_>>().join(", ")
    );
    let taken = db.query_all_raw(rows.statement(db.get_database_backend(), &take)).await?;
    taken.iter().map(read).collect()
}

/// Why a job that was put back has not ended.
const JOB_PUT_BACK: &str = "it was put back while it ran";

/// Makes the running job of each stream available again without using up an attempt. The caller must own the
/// streams in the same transaction. It counts as a rescue if the node died. That it may have begun stays known.
pub async fn job_put_back(db: &impl ConnectionTrait, streams: &[String], is_rescue: bool) -> Result<()> {
    if streams.is_empty() {
        return Ok(());
    }
    let mut rows =
        Rows::new(&[("key", Kind::Text), ("rescue", Kind::Int), ("was", Kind::Text), ("reason", Kind::Text)]);
    for stream in streams {
        let was = JobState::Running.as_str();
        rows.push([stream.as_str().into(), is_rescue.into(), was.into(), JOB_PUT_BACK.into()]);
    }
    let sql = "UPDATE jobs SET state = 'available', rescues = jobs.rescues + r.rescue, \
               last_error = COALESCE(jobs.last_error, r.reason) FROM {rows} \
               WHERE jobs.id = {(SELECT h.id FROM jobs h WHERE h.stream_key = r.key \
               AND h.state IN ('available', 'running') AND h.state = 'running' ORDER BY h.seq LIMIT 1)} \
               AND jobs.state = r.was";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}

/// Writes the ends of attempts. The leases must be released in the same transaction. Returns the jobs that were
/// written, which are those that were running. An attempt that ended killed no node, so it resets the rescues.
pub async fn job_finish_many(db: &impl ConnectionTrait, finishes: &[&JobFinish]) -> Result<Vec<String>> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("state", Kind::Text),
        ("attempt", Kind::Int),
        ("run_at_ms", Kind::Int),
        ("reason", Kind::Text),
        ("finished_at_ms", Kind::Int),
        ("was", Kind::Text),
    ]);
    for finish in finishes {
        rows.push([
            finish.job_id.as_str().into(),
            finish.state.as_str().into(),
            finish.attempt_after.into(),
            finish.run_at_ms.into(),
            finish.reason.clone().into(),
            (finish.state != JobState::Available).then_some(finish.finished_at_ms).into(),
            JobState::Running.as_str().into(),
        ]);
    }
    let sql = "UPDATE jobs SET state = r.state, attempt = r.attempt, run_at_ms = r.run_at_ms, rescues = 0, \
               last_error = COALESCE(r.reason, CASE WHEN r.state = 'succeeded' THEN NULL ELSE jobs.last_error END), \
               finished_at_ms = r.finished_at_ms \
               FROM {rows} WHERE jobs.id = {r.id} AND jobs.state = r.was RETURNING jobs.id AS id";
    let written = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    written.iter().map(|row| get(row, "id")).collect()
}

/// Makes an ended job available again with a full number of attempts; a stream blocked by its death continues.
/// `None` if it is deleted, or has not ended.
pub async fn job_requeue(db: &impl ConnectionTrait, id: &JobId, now_ms: TimeMs) -> Result<Option<Wake>> {
    let Some(job) = job_find(db, id).await? else { return Ok(None) };
    if job.state == JobState::Dead {
        // Streams first, because every transaction locks their rows before those of jobs.
        stream_unblock(db, &job).await?;
    }
    let allowance = JobKind::parse(&job.kind).map_or(job.attempts_max, JobKind::attempts_max);
    let sql = "UPDATE jobs SET state = 'available', run_at_ms = $2, finished_at_ms = NULL, rescues = 0, \
               attempts_max = attempt + $3 \
               WHERE id = $1 AND state IN ('dead', 'cancelled', 'succeeded') RETURNING id, stream_key, attempt";
    let row = query_one(db, sql, [id.as_str().into(), now_ms.into(), allowance.into()]).await?;
    row.map(|row| read_wake(&row, now_ms)).transpose()
}

fn read_wake(row: &QueryResult, run_at_ms: TimeMs) -> Result<Wake> {
    let job_id = JobId::trusted(get(row, "id")?);
    Ok(Wake { stream_key: get(row, "stream_key")?, job_id, attempt: get(row, "attempt")?, run_at_ms })
}

/// Cancels a waiting job. False if it is not waiting (any more).
pub async fn job_cancel(db: &impl ConnectionTrait, id: &JobId, reason: &str, now_ms: TimeMs) -> Result<bool> {
    let sql = "UPDATE jobs SET state = 'cancelled', last_error = $2, finished_at_ms = $3 \
               WHERE id = $1 AND state = 'available'";
    Ok(execute(db, sql, [id.as_str().into(), reason.into(), now_ms.into()]).await? == 1)
}

/// Replaces the arguments of jobs.
pub async fn job_set_args_many(db: &impl ConnectionTrait, jobs: &[(&JobId, &str)]) -> Result<()> {
    let mut rows = Rows::new(&[("id", Kind::Text), ("args", Kind::Text)]);
    for (id, args) in jobs {
        rows.push([id.as_str().into(), (*args).into()]);
    }
    let sql = "UPDATE jobs SET args = r.args FROM {rows} WHERE jobs.id = {r.id}";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}

/// Whether a job with this unique key exists, in any state.
pub async fn job_exists(db: &impl ConnectionTrait, key: &str) -> Result<bool> {
    Ok(query_one(db, "SELECT id FROM jobs WHERE unique_key = $1", [key.into()]).await?.is_some())
}

/// Makes those jobs of a stream due now that failed and wait for another attempt: what they failed for may be there by
/// now. A job whose time has not come, and which was never tried, keeps its time. No row of the stream is locked: a job
/// that is taken meanwhile is left alone. The state is asked for twice so that the index of unfinished jobs serves.
pub async fn job_hasten_stream(db: &impl ConnectionTrait, stream_key: &str, now_ms: TimeMs) -> Result<Vec<Wake>> {
    let sql = "UPDATE jobs SET run_at_ms = $2 WHERE stream_key = $1 AND state IN ('available', 'running') \
               AND state = 'available' AND attempt > 0 AND run_at_ms > $2 RETURNING id, stream_key, attempt";
    let rows = query_all(db, sql, [stream_key.into(), now_ms.into()]).await?;
    rows.iter().map(|row| read_wake(row, now_ms)).collect()
}

/// Makes a job due now that failed and waits for another attempt.
pub async fn job_hasten_failed(db: &impl ConnectionTrait, id: &JobId, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE jobs SET run_at_ms = $2 WHERE id = $1 AND state = 'available' AND attempt > 0 AND run_at_ms > $2";
    execute(db, sql, [id.as_str().into(), now_ms.into()]).await?;
    Ok(())
}

/// Makes the job with this unique key due now, if it is waiting, dead or cancelled.
pub async fn job_hasten(db: &impl ConnectionTrait, key: &str, now_ms: TimeMs) -> Result<Option<Wake>> {
    let sql = "SELECT id FROM jobs WHERE unique_key = $1 AND state IN ('dead', 'cancelled')";
    if let Some(row) = query_one(db, sql, [key.into()]).await? {
        return job_requeue(db, &JobId::trusted(get(&row, "id")?), now_ms).await;
    }
    let sql = "UPDATE jobs SET run_at_ms = $2 WHERE unique_key = $1 AND state = 'available' AND run_at_ms > $2 \
               RETURNING id, stream_key, attempt";
    let row = query_one(db, sql, [key.into(), now_ms.into()]).await?;
    row.map(|row| read_wake(&row, now_ms)).transpose()
}

/// Makes the job with this unique key due now, if it ran before and waits, or cancelled itself for this reason. One
/// whose time has not come stays as it is.
pub async fn job_hasten_waiting(
    db: &impl ConnectionTrait,
    key: &str,
    cancelled_for: &str,
    now_ms: TimeMs,
) -> Result<Option<Wake>> {
    let sql = "SELECT id FROM jobs WHERE unique_key = $1 AND state = 'cancelled' AND last_error = $2";
    if let Some(row) = query_one(db, sql, [key.into(), cancelled_for.into()]).await? {
        return job_requeue(db, &JobId::trusted(get(&row, "id")?), now_ms).await;
    }
    let sql = "UPDATE jobs SET run_at_ms = $2 WHERE unique_key = $1 AND state = 'available' AND run_at_ms > $2 \
               AND EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = jobs.id) RETURNING id, stream_key, attempt";
    let row = query_one(db, sql, [key.into(), now_ms.into()]).await?;
    row.map(|row| read_wake(&row, now_ms)).transpose()
}

/// Maximum number of jobs of one kind that are made due together.
const LOOKED_AT_MAX: i64 = 1_000;

/// Makes those jobs of a kind due now that were looked at and wait for another look, at most 1,000, the
/// earliest first. Those whose time has not come stay as they are, and so does what waits until after `until_ms`.
pub async fn job_hasten_looked_at(
    db: &impl ConnectionTrait,
    kind: JobKind,
    until_ms: TimeMs,
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    // The kind is a part of the text and the state is asked for twice, so that indexes of single kinds serve.
    let sql = format!(
        "UPDATE jobs SET run_at_ms = $1 WHERE state = 'available' AND id IN (SELECT j.id FROM jobs j \
         WHERE j.kind = '{}' AND j.state IN ('available', 'running') AND j.state = 'available' \
         AND j.run_at_ms > $1 AND j.run_at_ms <= $2 AND EXISTS (SELECT 1 FROM attempts a WHERE a.job_id = j.id) \
         ORDER BY j.run_at_ms LIMIT $3) RETURNING id, stream_key, attempt",
        kind.as_str()
    );
    let rows = query_all(db, &sql, [now_ms.into(), until_ms.into(), LOOKED_AT_MAX.into()]).await?;
    rows.iter().map(|row| read_wake(row, now_ms)).collect()
}

/// The highest number of jobs counted for one kind and state.
pub const QUEUE_COUNT_MAX: i64 = 10_000;

/// The unfinished and dead jobs of one kind. [`QUEUE_COUNT_MAX`] in a figure means "at least".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCount {
    /// The kind.
    pub kind: JobKind,
    /// Jobs waiting for their time.
    pub scheduled: i64,
    /// Due jobs waiting for their turn.
    pub available: i64,
    /// Jobs under way.
    pub running: i64,
    /// Dead jobs.
    pub dead: i64,
    /// The earliest time at which an available job was due.
    pub oldest_due_ms: Option<TimeMs>,
}

/// Counts the jobs that are not done, for each kind that this version knows. The cost does not depend on how many
/// are scheduled or ended: each figure comes from a range of an index and stops at [`QUEUE_COUNT_MAX`]. Running
/// jobs are found by the leases, of which there are no more than workers.
pub async fn job_queue(db: &impl ConnectionTrait, now_ms: TimeMs) -> Result<Vec<QueueCount>> {
    // The states are parameters, to avoid another index of waiting jobs, which contains all kinds.
    let mut rows =
        Rows::new(&[("kind", Kind::Text), ("waiting", Kind::Text), ("dead", Kind::Text), ("now_ms", Kind::Int)]);
    for kind in JobKind::ALL {
        let [waiting, dead] = [JobState::Available, JobState::Dead].map(|state| state.as_str().into());
        rows.push([kind.as_str().into(), waiting, dead, now_ms.into()]);
    }
    let of =
        |state: &str| format!("FROM jobs j WHERE j.state IN ('available', 'dead') AND j.kind = r.kind AND {state}");
    let count =
        |state: &str| format!("(SELECT COUNT(*) FROM (SELECT 1 AS one {} LIMIT {QUEUE_COUNT_MAX}) AS c)", of(state));
    let due = "j.state = r.waiting AND j.run_at_ms <= r.now_ms";
    let sql = format!(
        "SELECT r.kind AS kind, {} AS scheduled, {} AS available, {} AS dead, (SELECT MIN(j.run_at_ms) {}) AS oldest_ms \
         FROM {{rows}}",
        count("j.state = r.waiting AND j.run_at_ms > r.now_ms"),
        count(due),
        count("j.state = r.dead"),
        of(due),
    );
    let waiting = db.query_all_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    let sql = "SELECT kind, COUNT(*) AS n FROM (SELECT (SELECT j.kind FROM jobs j WHERE j.stream_key = s.key \
               AND j.state IN ('available', 'running') AND j.state = 'running' ORDER BY j.seq LIMIT 1) AS kind \
               FROM streams s WHERE s.owner IS NOT NULL) AS leased WHERE kind IS NOT NULL GROUP BY kind";
    let running = query_all(db, sql, []).await?;
    let mut counts = Vec::new();
    for row in &waiting {
        let name: String = get(row, "kind")?;
        let Some(kind) = JobKind::parse(&name) else { continue };
        let mut n = 0;
        for row in &running {
            if get::<String>(row, "kind")? == name {
                n = get(row, "n")?;
            }
        }
        let (scheduled, available, dead) = (get(row, "scheduled")?, get(row, "available")?, get(row, "dead")?);
        counts.push(QueueCount { kind, scheduled, available, running: n, dead, oldest_due_ms: get(row, "oldest_ms")? });
    }
    Ok(counts)
}

/// Deletes up to `limit` jobs that ended before `before_ms`, earliest end first, with their attempts, their events
/// and unused streams. Returns their number. Dead jobs are kept until a person handles them, and cancelled ones of an
/// operation as long as it is under way: they say why nobody carries it out. The jobs are deleted first, by their
/// present state: one that is being replayed stays, and so does its event.
pub async fn job_prune(db: &impl ConnectionTrait, before_ms: TimeMs, limit: u64) -> Result<u64> {
    let sql = format!(
        "DELETE FROM jobs WHERE id IN (SELECT j.id FROM jobs j WHERE j.state IN ('succeeded', 'cancelled') \
         AND j.finished_at_ms < $1 AND (j.state <> 'cancelled' OR j.kind <> '{}' OR NOT EXISTS \
         (SELECT 1 FROM operations o WHERE o.id = {} AND o.state = 'processing')) \
         ORDER BY j.finished_at_ms LIMIT $2) AND state IN ('succeeded', 'cancelled') \
         RETURNING id, event_id, stream_key",
        JobKind::OperationRun.as_str(),
        field(db, "j.args", "operation")
    );
    let deleted = query_all(db, &sql, [before_ms.into(), limit.cast_signed().into()]).await?;
    if deleted.is_empty() {
        return Ok(0);
    }
    for sql in [
        "DELETE FROM attempts WHERE job_id IN (SELECT id FROM {rows})",
        "DELETE FROM events WHERE id IN (SELECT event_id FROM {rows})",
    ] {
        let mut rows = Rows::new(&[("id", Kind::Text), ("event_id", Kind::Text)]);
        for row in &deleted {
            rows.push([get::<String>(row, "id")?.into(), get::<Option<String>>(row, "event_id")?.into()]);
        }
        db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    }
    let streams = deleted.iter().map(|row| get(row, "stream_key")).collect::<Result<HashSet<String>>>()?;
    stream_drop_unused(db, &Vec::from_iter(streams)).await?;
    Ok(deleted.len() as u64)
}
