//! Rate limits that hold exactly, however many nodes there are: never more than `limit` in any span of
//! `window_ms`, wherever that span begins.
//!
//! A limit that only counts per minute of the clock lets twice as many through around the turn of the
//! minute, and so does a bucket of tokens that starts full. This one remembers the times of the last
//! `limit` that were let through, as one text in one row, and lets the
//! next one through if the oldest of them is at least `window_ms` ago. Every one that is let through is
//! thus at least `window_ms` later than the one `limit` places before it, in whatever order nodes
//! commit, which is the bound. All nodes go by the database's clock ([`crate::clock`]), as closely as a round
//! trip to it; the window is shorter by the difference.

use crate::error::{Error, Result};

/// The highest limit: a row holds this many times.
pub const LIMIT_MAX: u32 = 1_000;

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was let through, and counted.
    Allowed,
    /// It was not, and does not count.
    Denied {
        /// After how long one will be let through, if nobody else comes before, in milliseconds.
        retry_after_ms: i64,
    },
}

impl Taken {
    /// Denied is an error.
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
