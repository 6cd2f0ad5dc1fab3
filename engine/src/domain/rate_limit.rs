//! Rate limits that are exact across all nodes: never more than `limit` requests in any window of `window_ms`,
//! wherever it begins.
//!
//! A counter per clock minute lets twice as many through around the turn of the minute, and so does a token bucket
//! that starts full. This limit stores the times of the last `limit` allowed requests in one row, and allows the
//! next one if the oldest is at least `window_ms` ago. So each allowed request is at least `window_ms` later than
//! the one `limit` places before it, in whatever order nodes commit, which is the bound. All nodes use the
//! database's clock ([`crate::clock`]), as exactly as a round trip allows; the window is shorter by the difference.

use crate::error::{Error, Result};

/// The highest limit: the most times in a row.
pub const LIMIT_MAX: u32 = 1_000;

/// The result of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is allowed and counted.
    Allowed,
    /// It is denied and not counted.
    Denied {
        /// When the next request will be allowed if no other comes before, in milliseconds.
        retry_after_ms: i64,
    },
}

impl Admission {
    /// Converts a denial into an error.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn into_result(self) -> Result<()> {
        match self {
            Self::Allowed => Ok(()),
            Self::Denied { retry_after_ms } => Err(Error::RateLimited { retry_after_ms }),
        }
    }
}
