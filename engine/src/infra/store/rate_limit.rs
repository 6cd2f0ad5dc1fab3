//! Rows of `rate_limits`: for each key the times of the last allowed requests, oldest first, concatenated, each as
//! 13 digits of milliseconds (enough until the year 2286).
//!
//! One statement decides and counts. It locks the row, so the statements of all nodes run one after the other, each
//! seeing the result of the one before.

use super::{execute, get, query_one};
use crate::clock::TimeMs;
use crate::error::{Error, Result};
use sea_orm::ConnectionTrait;

/// Characters of one time.
const TIME_LEN: usize = 13;

/// Counts a request if fewer than `limit` were allowed within the window. Returns the times of the last allowed ones,
/// this one included; `None` if it was not allowed.
pub async fn rate_limit_take(
    db: &impl ConnectionTrait,
    key: &str,
    limit: u32,
    window_ms: i64,
    now_ms: TimeMs,
) -> Result<Option<Vec<TimeMs>>> {
    // `$4` is the length of a full row. A row may be longer if the limit was higher before; only its latest times
    // count.
    let sql = "INSERT INTO rate_limits (key, hits, until_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (key) DO UPDATE SET until_ms = excluded.until_ms, \
               hits = CASE WHEN length(rate_limits.hits) < $4 THEN rate_limits.hits || excluded.hits \
               ELSE substr(rate_limits.hits, CAST(length(rate_limits.hits) - $4 + 14 AS INTEGER)) || excluded.hits END \
               WHERE length(rate_limits.hits) < $4 \
               OR CAST(substr(rate_limits.hits, CAST(length(rate_limits.hits) - $4 + 1 AS INTEGER), 13) AS BIGINT) <= $5 RETURNING hits";
    let time = format!("{:013}", now_ms.clamp(0, 9_999_999_999_999));
    let values =
        [key.into(), time.into(), (now_ms + window_ms).into(), row_len(limit).into(), (now_ms - window_ms).into()];
    let Some(row) = query_one(db, sql, values).await? else { return Ok(None) };
    let hits: String = get(&row, "hits")?;
    let read_time = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let times = hits.as_bytes().chunks(TIME_LEN).map(read_time).collect::<Option<Vec<_>>>();
    times.map(Some).ok_or_else(|| Error::Corrupt("a rate limit's times cannot be read".to_owned()))
}

/// The time that must be a window ago before the next request is allowed.
pub async fn rate_limit_oldest(db: &impl ConnectionTrait, key: &str, limit: u32) -> Result<Option<TimeMs>> {
    let sql = "SELECT CAST(substr(hits, CAST(length(hits) - $2 + 1 AS INTEGER), 13) AS BIGINT) AS at_ms \
               FROM rate_limits WHERE key = $1 AND length(hits) >= $2";
    query_one(db, sql, [key.into(), row_len(limit).into()]).await?.map(|row| get(&row, "at_ms")).transpose()
}

/// Deletes keys with a last window that ended before `before_ms`; returns their number.
pub async fn rate_limit_prune(db: &impl ConnectionTrait, before_ms: TimeMs, limit: u64) -> Result<u64> {
    // The condition is repeated, so that a row used between selection and deletion stays.
    let sql = "DELETE FROM rate_limits WHERE until_ms < $1 AND key IN \
               (SELECT key FROM rate_limits WHERE until_ms < $1 LIMIT $2)";
    execute(db, sql, [before_ms.into(), limit.cast_signed().into()]).await
}

fn row_len(limit: u32) -> i64 {
    i64::from(limit) * TIME_LEN as i64
}
