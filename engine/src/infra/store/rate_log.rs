//! Rows of `rate_logs`: the [`SlidingLog`] of each key, as bytes.
//!
//! A log is read under a lock of its row, decided upon, and written back. The version guards what the lock cannot: a
//! row that does not exist yet.

use super::rows::{Kind, Rows};
use super::{execute, get, query_by, query_one};
use crate::clock::TimeMs;
use crate::domain::rate_limit::log::SlidingLog;
use crate::error::Result;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

/// A log with the version of its row; 0 if there is none.
#[derive(Debug, Clone, Default)]
pub struct RateLog {
    /// The log.
    pub log: SlidingLog,
    /// The version.
    pub version: i64,
}

/// Finds a log, without a lock.
pub async fn rate_log_find(db: &impl ConnectionTrait, key: &str) -> Result<Option<RateLog>> {
    let sql = "SELECT log, version FROM rate_logs WHERE key = $1";
    query_one(db, sql, [key.into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds logs and locks them until the transaction ends, in the order of their keys; missing ones are left out. SQLite
/// has no row locks, but runs one writing transaction at a time.
pub async fn rate_log_lock_many(tx: &impl ConnectionTrait, keys: &[String]) -> Result<Vec<(String, RateLog)>> {
    let order = match tx.get_database_backend() {
        DbBackend::Postgres => "ORDER BY l.key COLLATE \"C\" FOR UPDATE OF l",
        _ => "",
    };
    let sql = format!(
        "SELECT l.key AS key, l.log AS log, l.version AS version \
         FROM {{rows}} JOIN rate_logs l ON l.key = {{r.sought}} {order}"
    );
    let rows = query_by(tx, &sql, keys).await?;
    rows.iter().map(|row| Ok((get(row, "key")?, read(row)?))).collect()
}

/// A log to write.
#[derive(Debug, Clone, Copy)]
pub struct RateLogWrite<'a> {
    /// The key.
    pub key: &'a str,
    /// The log, with the version that was read.
    pub log: &'a RateLog,
    /// When the row may be deleted.
    pub until_ms: TimeMs,
}

/// Writes logs, in the order of their keys. Returns whether all rows still had the versions that were read; if not, the
/// caller rolls back.
pub async fn rate_log_put_many(tx: &impl ConnectionTrait, writes: &[RateLogWrite<'_>]) -> Result<bool> {
    if writes.is_empty() {
        return Ok(true);
    }
    let columns =
        &[("key", Kind::SomeText), ("log", Kind::Bytes), ("version", Kind::SomeInt), ("until_ms", Kind::SomeInt)];
    let mut rows = Rows::new(columns);
    for write in writes {
        let bytes = super::rows::Cell::Bytes(write.log.log.encode());
        rows.push([write.key.into(), bytes, (write.log.version + 1).into(), write.until_ms.into()]);
    }
    // `WHERE true`: SQLite takes ON CONFLICT after a bare SELECT … FROM for a join's condition.
    let sql = "INSERT INTO rate_logs (key, log, version, until_ms) SELECT key, log, version, until_ms FROM {rows} \
               WHERE true ON CONFLICT (key) DO UPDATE SET log = excluded.log, version = excluded.version, \
               until_ms = excluded.until_ms WHERE rate_logs.version = excluded.version - 1";
    let written = tx.execute_raw(rows.statement(tx.get_database_backend(), sql)).await?.rows_affected();
    Ok(written == writes.len() as u64)
}

/// Deletes logs with a last window that ended before `before_ms`; returns their number.
pub async fn rate_log_prune(db: &impl ConnectionTrait, before_ms: TimeMs, limit: u64) -> Result<u64> {
    // The condition is repeated, so that a row used between selection and deletion stays.
    let sql = "DELETE FROM rate_logs WHERE until_ms < $1 AND key IN \
               (SELECT key FROM rate_logs WHERE until_ms < $1 LIMIT $2)";
    execute(db, sql, [before_ms.into(), limit.cast_signed().into()]).await
}

fn read(row: &QueryResult) -> Result<RateLog> {
    let bytes: Vec<u8> = get(row, "log")?;
    Ok(RateLog { log: SlidingLog::decode(&bytes)?, version: get(row, "version")? })
}
