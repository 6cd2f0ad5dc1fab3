//! Takes from a rate limit that all nodes share.

use crate::clock::TimeMs;
use crate::domain::rate_limit::{Admission, LIMIT_MAX};
use crate::error::Result;
use crate::infra::store::{Db, rate_limit};

/// Takes one of the `limit` requests of a key in any `window_ms`. The key names the limit and its subject, such as
/// `signup:203.0.113.7`. A taken request cannot be returned.
///
/// # Errors
/// If the database fails; then nothing was taken, or one request that remains unused.
pub async fn take(db: &Db, key: &str, limit: u32, window_ms: i64, now_ms: TimeMs) -> Result<Admission> {
    let limit = limit.min(LIMIT_MAX);
    if limit == 0 {
        return Ok(Admission::Denied { retry_after_ms: window_ms });
    }
    if rate_limit::rate_limit_take(db.write(), key, limit, window_ms, now_ms).await? {
        return Ok(Admission::Allowed);
    }
    let oldest_ms = rate_limit::rate_limit_oldest(db.read(), key, limit).await?;
    // A missing row was pruned meanwhile, so the next request is allowed.
    let free_at_ms = oldest_ms.map_or(now_ms, |oldest_ms| oldest_ms.saturating_add(window_ms));
    Ok(Admission::Denied { retry_after_ms: (free_at_ms - now_ms).clamp(1, window_ms.max(1)) })
}
