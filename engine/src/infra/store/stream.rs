//! Rows of `streams`: order, leases, epochs, pauses.

use super::{Kind, Rows, containing, execute, get, query_all, query_by, query_one};
use crate::clock::TimeMs;
use crate::domain::job::{Job, JobOwner, JobState, PAUSED_BY_DEAD_JOB};
use crate::error::Result;
use crate::ids::JobId;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A stream for support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its key, such as `stripe:cus_…`.
    pub key: String,
    /// Sequence number of its latest job.
    pub last_seq: i64,
    /// The node that leases it.
    pub owner: Option<String>,
    /// The number of its latest lease. It only grows, and begins with the time at which the row was made, in
    /// milliseconds.
    pub epoch: i64,
    /// When the lease ends.
    pub lease_until_ms: TimeMs,
    /// When it was paused.
    pub paused_at_ms: Option<TimeMs>,
    /// Why it is paused.
    pub paused_reason: Option<String>,
    /// The job at its head that may start although it is paused.
    pub canary: Option<JobId>,
    /// Waiting and running jobs.
    pub unfinished: i64,
}

fn read(row: &QueryResult) -> Result<Stream> {
    Ok(Stream {
        key: get(row, "key")?,
        last_seq: get(row, "last_seq")?,
        owner: get(row, "owner")?,
        epoch: get(row, "epoch")?,
        lease_until_ms: get(row, "lease_until_ms")?,
        paused_at_ms: get(row, "paused_at_ms")?,
        paused_reason: get(row, "paused_reason")?,
        canary: get::<Option<String>>(row, "canary")?.map(JobId::trusted),
        unfinished: get(row, "unfinished")?,
    })
}

/// The condition that the head of the stream `s` is its canary and was not tried since. An attempt that ends is
/// counted, which ends the permission.
macro_rules! head_is_canary {
    () => {
        "(s.canary_job_id IS NOT NULL AND (s.canary_job_id, s.canary_attempt) = (SELECT h.id, h.attempt FROM jobs h \
         WHERE h.stream_key = s.key AND h.state IN ('available', 'running') ORDER BY h.seq LIMIT 1))"
    };
}

/// The condition that the head of the stream `s` may start: the stream is not paused, or its head is the canary.
pub(super) const STARTS: &str = concat!("(s.paused_at_ms IS NULL OR ", head_is_canary!(), ")");

const SELECT: &str = concat!(
    "SELECT s.key AS key, s.last_seq AS last_seq, s.owner AS owner, s.epoch AS epoch, \
    s.lease_until_ms AS lease_until_ms, s.paused_at_ms AS paused_at_ms, s.paused_reason AS paused_reason, \
    CASE WHEN s.paused_at_ms IS NOT NULL AND ",
    head_is_canary!(),
    " THEN s.canary_job_id END AS canary, \
    (SELECT COUNT(*) FROM jobs j WHERE j.stream_key = s.key AND j.state IN ('available', 'running')) AS unfinished \
    FROM streams s"
);

/// Finds a stream.
pub async fn stream_find(db: &impl ConnectionTrait, key: &str) -> Result<Option<Stream>> {
    query_one(db, &format!("{SELECT} WHERE s.key = $1"), [key.into()]).await?.map(|row| read(&row)).transpose()
}

/// A search for streams that are paused or have unfinished jobs.
#[derive(Debug, Clone, Default)]
pub struct StreamFilter {
    /// Paused ones only.
    pub is_paused: bool,
    /// Without those whose jobs all wait for their time and were never tried, such as the follow-up mails to new
    /// customers.
    pub is_due: bool,
    /// Those with jobs of this customer.
    pub owner: Option<JobOwner>,
    /// Paused ones whose reason contains this text.
    pub reason: Option<String>,
    /// Those that were paused at this time or later.
    pub paused_from_ms: Option<TimeMs>,
}

/// Streams that a filter selects, by key, after the cursor.
pub async fn stream_list(
    db: &impl ConnectionTrait,
    filter: &StreamFilter,
    now_ms: TimeMs,
    after: &str,
    limit: u64,
) -> Result<Vec<Stream>> {
    let mut values: Vec<Value> = vec![after.into(), limit.cast_signed().into()];
    let mut clause = "s.key > $1".to_owned();
    if filter.is_paused {
        clause.push_str(" AND s.paused_at_ms IS NOT NULL");
    } else {
        let due = if filter.is_due {
            values.push(now_ms.into());
            format!(" AND (j.attempt > 0 OR j.run_at_ms <= ${})", values.len())
        } else {
            String::new()
        };
        clause.push_str(&format!(
            " AND (s.paused_at_ms IS NOT NULL OR EXISTS (SELECT 1 FROM jobs j WHERE j.stream_key = s.key \
             AND j.state IN ('available', 'running'){due}))"
        ));
    }
    if let Some(owner) = &filter.owner {
        clause.push_str(&format!(" AND s.key IN ({})", owner.jobs("stream_key", &mut values)));
    }
    if let Some(reason) = &filter.reason {
        values.push(containing(reason).into());
        clause.push_str(&format!(" AND s.paused_reason LIKE ${} ESCAPE '\\'", values.len()));
    }
    if let Some(from_ms) = filter.paused_from_ms {
        values.push(from_ms.into());
        clause.push_str(&format!(" AND s.paused_at_ms >= ${}", values.len()));
    }
    let sql = format!("{SELECT} WHERE {clause} ORDER BY s.key LIMIT $2");
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// The row of a stream after sequence numbers were reserved in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advance {
    /// The last number reserved before.
    pub last_seq: i64,
    /// Whether the row was created.
    pub is_new: bool,
}

/// Reserves sequence numbers in streams, creating missing rows, which stay locked until the transaction ends. A row
/// begins with an epoch above all those of an earlier row of the stream (which was dropped long after its last
/// lease, and had fewer leases than milliseconds), so a result of an earlier lease is never accepted under a later
/// one.
pub(super) async fn stream_advance_many(
    db: &impl ConnectionTrait,
    counts: &BTreeMap<String, i64>,
    now_ms: TimeMs,
) -> Result<HashMap<String, Advance>> {
    let mut rows = Rows::new(&[("key", Kind::Text), ("n", Kind::Int), ("epoch", Kind::Int)]);
    for (key, n) in counts {
        rows.push([key.as_str().into(), (*n).into(), now_ms.max(0).into()]);
    }
    let sql = "INSERT INTO streams (key, last_seq, epoch) SELECT key, n, epoch FROM {rows} WHERE true \
               ON CONFLICT (key) DO UPDATE SET last_seq = streams.last_seq + excluded.last_seq \
               RETURNING key, last_seq";
    let advanced = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    let mut streams = HashMap::new();
    for row in &advanced {
        let key: String = get(row, "key")?;
        let last_seq = get::<i64>(row, "last_seq")? - counts.get(&key).copied().unwrap_or(0);
        // In an existing row a number was reserved, unless this transaction created it to lock it.
        streams.insert(key, Advance { last_seq, is_new: last_seq == 0 });
    }
    Ok(streams)
}

/// Locks streams in the order of their keys until the transaction ends. Missing ones are created as by
/// [`stream_advance_many`], because otherwise two transactions that create them could deadlock. The caller adds a
/// job to each of those in this transaction.
pub(super) async fn stream_lock_many(db: &impl ConnectionTrait, keys: &BTreeSet<String>, now_ms: TimeMs) -> Result<()> {
    stream_advance_many(db, &keys.iter().map(|key| (key.clone(), 0)).collect(), now_ms).await?;
    Ok(())
}

/// Drops rows that this transaction created without adding a job.
pub(super) async fn stream_drop_new(db: &impl ConnectionTrait, keys: &[String]) -> Result<()> {
    query_by(db, "DELETE FROM streams WHERE key IN (SELECT sought FROM {rows})", keys).await?;
    Ok(())
}

/// The condition of an unused row: the stream is free, not paused, and has neither jobs nor attempts.
const UNUSED: &str = "s.owner IS NULL AND s.paused_at_ms IS NULL \
                      AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.stream_key = s.key) \
                      AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.stream_key = s.key)";

/// Drops the unused ones of these streams; returns their number. A locked row is skipped, because a job is being
/// added. The rows are locked before their jobs are checked: a transaction that adds one waits for the lock, and
/// then creates the row again.
pub(super) async fn stream_drop_unused(db: &impl ConnectionTrait, keys: &[String]) -> Result<u64> {
    if db.get_database_backend() == DbBackend::Postgres {
        let lock = "SELECT s.key AS key FROM {rows} JOIN streams s ON s.key = {r.sought} FOR UPDATE OF s SKIP LOCKED";
        let locked: Vec<String> =
            query_by(db, lock, keys).await?.iter().map(|row| get(row, "key")).collect::<Result<_>>()?;
        return drop_unused(db, &locked).await;
    }
    drop_unused(db, keys).await
}

async fn drop_unused(db: &impl ConnectionTrait, keys: &[String]) -> Result<u64> {
    let sql =
        format!("DELETE FROM streams AS s WHERE s.key IN (SELECT sought FROM {{rows}}) AND {UNUSED} RETURNING key");
    Ok(query_by(db, &sql, keys).await?.len() as u64)
}

/// The result of sweeping a part of the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptStreams {
    /// Where the next part begins; `None` after the last.
    pub next: Option<String>,
    /// Dropped rows.
    pub dropped: u64,
}

/// Checks up to `limit` streams after the cursor and drops unused ones: those of versions that left such rows, and
/// those that were paused or leased when their last job was deleted.
pub async fn stream_sweep(db: &impl ConnectionTrait, after: &str, limit: u64) -> Result<SweptStreams> {
    let last = "SELECT key FROM streams WHERE key > $1 ORDER BY key LIMIT 1 OFFSET $2";
    let last = query_one(db, last, [after.into(), (limit.cast_signed() - 1).into()]).await?;
    let next: Option<String> = last.map(|row| get(&row, "key")).transpose()?;
    let upto = if next.is_some() { "AND s.key <= $2" } else { "AND $2 = ''" };
    let sql = format!("SELECT s.key AS key FROM streams s WHERE s.key > $1 {upto} AND {UNUSED}");
    let unused = query_all(db, &sql, [after.into(), next.clone().unwrap_or_default().into()]).await?;
    let unused: Vec<String> = unused.iter().map(|row| get(row, "key")).collect::<Result<_>>()?;
    Ok(SweptStreams { dropped: stream_drop_unused(db, &unused).await?, next })
}

/// A taken lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The stream.
    pub key: String,
    /// The lease's number.
    pub epoch: i64,
    /// Whether the lease before it expired without being released: its node died, or lost the database.
    pub is_taken_over: bool,
    /// The only job that may start: the canary of a paused stream.
    pub canary: Option<JobId>,
}

/// Selects the streams that are free, have a due head, and are not paused unless that is the canary.
pub async fn stream_due_many(db: &impl ConnectionTrait, keys: &[&str], now_ms: TimeMs) -> Result<Vec<String>> {
    let mut rows = Rows::new(&[("key", Kind::Text), ("now_ms", Kind::Int)]);
    for key in keys {
        rows.push([(*key).into(), now_ms.into()]);
    }
    let sql = format!(
        "SELECT s.key AS key FROM {{rows}} JOIN streams s ON s.key = {{r.key}} WHERE {STARTS} \
               AND (s.owner IS NULL OR s.lease_until_ms < r.now_ms) \
               AND (SELECT h.run_at_ms FROM jobs h WHERE h.stream_key = s.key \
               AND h.state IN ('available', 'running') ORDER BY h.seq LIMIT 1) <= r.now_ms"
    );
    let due = db.query_all_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    due.iter().map(|row| get(row, "key")).collect()
}

/// Leases to a node the streams that [`stream_due_many`] selects, each under its next epoch.
/// Returns the leases. A locked row is skipped: another node is leasing it, or a job is being added, which
/// is announced later; the sweeper finds the rest.
pub async fn stream_lease_many(
    db: &impl ConnectionTrait,
    keys: &[String],
    node: &str,
    now_ms: TimeMs,
    lease_ms: i64,
) -> Result<Vec<Leased>> {
    let mut rows =
        Rows::new(&[("key", Kind::Text), ("node", Kind::Text), ("now_ms", Kind::Int), ("lease_until_ms", Kind::Int)]);
    for key in keys {
        rows.push([key.as_str().into(), node.into(), now_ms.into(), (now_ms + lease_ms).into()]);
    }
    let skip = if db.get_database_backend() == DbBackend::Postgres { "FOR UPDATE OF s SKIP LOCKED" } else { "" };
    let sql = format!(
        "UPDATE streams SET previous_owner = streams.owner, owner = f.node, epoch = streams.epoch + 1, lease_until_ms = f.lease_until_ms \
         FROM (SELECT s.key AS key, r.node AS node, r.lease_until_ms AS lease_until_ms \
         FROM {{rows}} JOIN streams s ON s.key = {{r.key}} WHERE {STARTS} \
         AND (s.owner IS NULL OR s.lease_until_ms < r.now_ms) \
         AND (SELECT h.run_at_ms FROM jobs h WHERE h.stream_key = s.key \
         AND h.state IN ('available', 'running') ORDER BY h.seq LIMIT 1) <= r.now_ms {skip}) AS f \
         WHERE streams.key = {{f.key}} RETURNING streams.key AS key, streams.epoch AS epoch, streams.previous_owner AS previous_owner, \
         CASE WHEN streams.paused_at_ms IS NULL THEN NULL ELSE streams.canary_job_id END AS canary"
    );
    let leased = db.query_all_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    let read = |row| {
        let is_taken_over = get::<Option<String>>(row, "previous_owner")?.is_some();
        let canary = get::<Option<String>>(row, "canary")?.map(JobId::trusted);
        Ok(Leased { key: get(row, "key")?, epoch: get(row, "epoch")?, is_taken_over, canary })
    };
    leased.iter().map(read).collect()
}

/// Releases leases, each only under its epoch, pausing those with a reason. Returns the keys of leases that the
/// caller still had: only their results may be written.
pub async fn stream_release_many(
    db: &impl ConnectionTrait,
    leases: &[(&str, i64, Option<&str>)],
    now_ms: TimeMs,
) -> Result<Vec<String>> {
    let mut rows =
        Rows::new(&[("key", Kind::Text), ("epoch", Kind::Int), ("pause_reason", Kind::Text), ("now_ms", Kind::Int)]);
    for (key, epoch, pause_reason) in leases {
        rows.push([(*key).into(), (*epoch).into(), pause_reason.map(str::to_owned).into(), now_ms.into()]);
    }
    // Lock rows in the same order as intake, which prevents deadlocks.
    let order = if db.get_database_backend() == DbBackend::Postgres {
        "ORDER BY s.key COLLATE \"C\" FOR UPDATE OF s"
    } else {
        ""
    };
    let sql = format!(
        "UPDATE streams SET owner = NULL, lease_until_ms = 0, \
         paused_at_ms = COALESCE(streams.paused_at_ms, CASE WHEN f.pause_reason IS NULL THEN NULL ELSE f.now_ms END), \
         paused_reason = COALESCE(streams.paused_reason, f.pause_reason) \
         FROM (SELECT s.key AS key, r.pause_reason AS pause_reason, r.now_ms AS now_ms FROM {{rows}} \
         JOIN streams s ON s.key = {{r.key}} AND s.epoch = r.epoch AND s.owner IS NOT NULL {order}) AS f \
         WHERE streams.key = {{f.key}} RETURNING streams.key AS key"
    );
    let released = db.query_all_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    released.iter().map(|row| get(row, "key")).collect()
}

/// Renews leases of a node, each only under its epoch. A locked row is skipped: its attempt is being committed, or
/// is stuck, and must not delay the others.
pub async fn stream_renew_many(db: &impl ConnectionTrait, leases: &[(String, i64)], until_ms: TimeMs) -> Result<u64> {
    let mut rows = Rows::new(&[("key", Kind::Text), ("epoch", Kind::Int), ("until_ms", Kind::Int)]);
    for (key, epoch) in leases {
        rows.push([key.as_str().into(), (*epoch).into(), until_ms.into()]);
    }
    let skip = if db.get_database_backend() == DbBackend::Postgres { "FOR UPDATE OF s SKIP LOCKED" } else { "" };
    let sql = format!(
        "UPDATE streams SET lease_until_ms = f.until_ms FROM (SELECT s.key AS key, r.until_ms AS until_ms \
         FROM {{rows}} JOIN streams s ON s.key = {{r.key}} AND s.epoch = r.epoch AND s.owner IS NOT NULL {skip}) AS f \
         WHERE streams.key = {{f.key}}"
    );
    Ok(db.execute_raw(rows.statement(db.get_database_backend(), &sql)).await?.rows_affected())
}

/// Owner of a stream whose node stopped in the middle of its jobs. Its lease counts as expired, so that the next sweep
/// of any node finds it.
const NODE_STOPPED: &str = "";

/// Releases the leases of a node under any epoch, and raises the epochs so that results under them are rejected;
/// returns the streams. `None` means all nodes: only valid where no other process can be alive. A locked row is
/// skipped: its attempt is being committed, or is stuck and its lease will expire.
pub async fn stream_release_owned(db: &impl ConnectionTrait, node: Option<&str>) -> Result<Vec<String>> {
    let skip = if db.get_database_backend() == DbBackend::Postgres { "FOR UPDATE OF s SKIP LOCKED" } else { "" };
    let sql = format!(
        "UPDATE streams SET owner = CASE WHEN EXISTS (SELECT 1 FROM jobs h WHERE h.stream_key = streams.key \
         AND h.state IN ('available', 'running')) THEN $2 END, lease_until_ms = 0, epoch = epoch + 1 WHERE key IN \
         (SELECT s.key FROM streams s WHERE s.owner IS NOT NULL AND ($1 = '' OR s.owner = $1) {skip}) RETURNING key"
    );
    let values = [node.unwrap_or_default().into(), NODE_STOPPED.into()];
    query_all(db, &sql, values).await?.iter().map(|row| get(row, "key")).collect()
}

/// Marks a released stream with due jobs as one whose node stopped, so that the next sweep of any node finds it.
/// Without the mark, a sweep finds it only where it comes among all due jobs.
pub async fn stream_mark_stopped(db: &impl ConnectionTrait, key: &str, now_ms: TimeMs) -> Result<()> {
    let sql = "UPDATE streams SET owner = $2, lease_until_ms = 0 WHERE key = $1 AND owner IS NULL AND EXISTS \
               (SELECT 1 FROM jobs h WHERE h.stream_key = streams.key AND h.state = 'available' AND h.run_at_ms <= $3)";
    execute(db, sql, [key.into(), NODE_STOPPED.into(), now_ms.into()]).await?;
    Ok(())
}

/// Pauses a stream: a running job continues, no other begins. False if there is no such stream or it is already
/// paused.
pub async fn stream_pause(db: &impl ConnectionTrait, key: &str, reason: &str, now_ms: TimeMs) -> Result<bool> {
    let sql = format!(
        "UPDATE streams SET paused_at_ms = $2, paused_reason = $3, {NO_CANARY} WHERE key = $1 AND paused_at_ms IS NULL"
    );
    Ok(execute(db, &sql, [key.into(), now_ms.into(), reason.into()]).await? == 1)
}

/// Resumes a paused stream. False if it is not paused.
pub async fn stream_resume(db: &impl ConnectionTrait, key: &str) -> Result<bool> {
    let sql = format!(
        "UPDATE streams SET paused_at_ms = NULL, paused_reason = NULL, {NO_CANARY} \
         WHERE key = $1 AND paused_at_ms IS NOT NULL"
    );
    Ok(execute(db, &sql, [key.into()]).await? == 1)
}

/// Takes the canary back.
const NO_CANARY: &str = "canary_job_id = NULL, canary_attempt = NULL";

/// Lets a job of a paused stream start once, as soon as it is at the head. False if the stream is not paused.
pub async fn stream_set_canary(db: &impl ConnectionTrait, key: &str, job: &Job) -> Result<bool> {
    let sql = "UPDATE streams SET canary_job_id = $2, canary_attempt = $3 WHERE key = $1 AND paused_at_ms IS NOT NULL";
    Ok(execute(db, sql, [key.into(), job.id.as_str().into(), job.attempt.into()]).await? == 1)
}

/// Resumes a stream that the death of a job blocked, because the job will run again. A pause by a person or by a
/// later death stays.
pub(super) async fn stream_unblock(db: &impl ConnectionTrait, dead: &Job) -> Result<()> {
    let sql = format!(
        "UPDATE streams SET paused_at_ms = NULL, paused_reason = NULL, {NO_CANARY} \
         WHERE key = $1 AND paused_reason = $2 \
         AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.stream_key = streams.key AND j.state = 'dead' \
         AND j.id <> $3 AND j.finished_at_ms > $4)"
    );
    let died_at_ms = dead.finished_at_ms.unwrap_or(0);
    let values =
        [dead.stream_key.as_str().into(), PAUSED_BY_DEAD_JOB.into(), dead.id.as_str().into(), died_at_ms.into()];
    execute(db, &sql, values).await?;
    Ok(())
}

/// The streams of the dead jobs among these, which they may have blocked.
pub(super) async fn stream_of_dead_many(db: &impl ConnectionTrait, ids: &[String]) -> Result<Vec<String>> {
    // The state is not a condition of the statement, to avoid a scan of the index of dead jobs.
    let sql = "SELECT j.stream_key AS stream_key, j.state AS state FROM {rows} JOIN jobs j ON j.id = {r.sought}";
    let found = query_by(db, sql, ids).await?;
    let mut streams = Vec::new();
    for row in &found {
        if get::<String>(row, "state")? == JobState::Dead.as_str() {
            streams.push(get(row, "stream_key")?);
        }
    }
    Ok(streams)
}

/// Counts paused streams.
pub async fn stream_count_paused(db: &impl ConnectionTrait) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM streams WHERE paused_at_ms IS NOT NULL";
    query_one(db, sql, []).await?.map_or(Ok(0), |row| get(&row, "n"))
}
