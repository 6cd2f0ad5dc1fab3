//! Taking from a limit that all nodes share.

use crate::clock::TimeMs;
use crate::domain::rate_limit::{LIMIT_MAX, Taken};
use crate::error::Result;
use crate::infra::store::{Db, rate_limit};

/// Takes one of the `limit` that a key may have in any `window_ms`. The key says what is limited and
/// for whom: `signup:203.0.113.7`. What was taken is never given back.
///
/// # Errors
/// If the database fails; then nothing was taken, or one that nobody used.
pub async fn take(db: &Db, key: &str, limit: u32, window_ms: i64, now_ms: TimeMs) -> Result<Taken> {
    let limit = limit.min(LIMIT_MAX);
    if limit == 0 {
        return Ok(Taken::Denied { retry_after_ms: window_ms });
    }
    if rate_limit::rate_limit_take(db.write(), key, limit, window_ms, now_ms).await? {
        return Ok(Taken::Allowed);
    }
    let oldest_ms = rate_limit::rate_limit_oldest(db.read(), key, limit).await?;
    // Without a row it was pruned since: the next one is let through.
    let free_at_ms = oldest_ms.map_or(now_ms, |oldest_ms| oldest_ms.saturating_add(window_ms));
    Ok(Taken::Denied { retry_after_ms: (free_at_ms - now_ms).clamp(1, window_ms.max(1)) })
}
