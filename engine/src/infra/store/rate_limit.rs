//! Rows of `rate_limits`: for each key the times of those that were let through last, oldest first, each
//! as 13 digits of milliseconds (enough until the year 2286), one after the other.
//!
//! One statement decides and counts. It locks the row, so those of all nodes come one after the other,
//! each seeing what the one before it wrote.

use super::{execute, get, query_one};
use crate::clock::TimeMs;
use crate::error::Result;
use sea_orm::ConnectionTrait;

/// Characters of one time.
const TIME_LEN: i64 = 13;

/// Counts one, if fewer than `limit` were let through within the window. Whether it was let through.
pub async fn rate_limit_take(
    db: &impl ConnectionTrait,
    key: &str,
    limit: u32,
    window_ms: i64,
    now_ms: TimeMs,
) -> Result<bool> {
    // `$4` is the length of a full row. A row may be longer, if the limit was higher before: what
    // counts are the latest.
    let sql = "INSERT INTO rate_limits (key, hits, until_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (key) DO UPDATE SET until_ms = excluded.until_ms, \
               hits = CASE WHEN length(rate_limits.hits) < $4 THEN rate_limits.hits || excluded.hits \
               ELSE substr(rate_limits.hits, CAST(length(rate_limits.hits) - $4 + 14 AS INTEGER)) || excluded.hits END \
               WHERE length(rate_limits.hits) < $4 \
               OR CAST(substr(rate_limits.hits, CAST(length(rate_limits.hits) - $4 + 1 AS INTEGER), 13) AS BIGINT) <= $5";
    let time = format!("{:013}", now_ms.clamp(0, 9_999_999_999_999));
    let values =
        [key.into(), time.into(), (now_ms + window_ms).into(), row_len(limit).into(), (now_ms - window_ms).into()];
    Ok(execute(db, sql, values).await? == 1)
}

/// When the one was let through that has to be a window ago for the next.
pub async fn rate_limit_oldest(db: &impl ConnectionTrait, key: &str, limit: u32) -> Result<Option<TimeMs>> {
    let sql = "SELECT CAST(substr(hits, CAST(length(hits) - $2 + 1 AS INTEGER), 13) AS BIGINT) AS at_ms \
               FROM rate_limits WHERE key = $1 AND length(hits) >= $2";
    query_one(db, sql, [key.into(), row_len(limit).into()]).await?.map(|row| get(&row, "at_ms")).transpose()
}

/// Deletes keys whose last window ended before a time; how many.
pub async fn rate_limit_prune(db: &impl ConnectionTrait, before_ms: TimeMs, limit: u64) -> Result<u64> {
    // Said twice: a row that is used between the choice and the deletion stays.
    let sql = "DELETE FROM rate_limits WHERE until_ms < $1 AND key IN \
               (SELECT key FROM rate_limits WHERE until_ms < $1 LIMIT $2)";
    execute(db, sql, [before_ms.into(), limit.cast_signed().into()]).await
}

fn row_len(limit: u32) -> i64 {
    i64::from(limit) * TIME_LEN
}
