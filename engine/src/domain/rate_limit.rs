//! Rate limits that are exact across all nodes: never more than `limit` requests in any window of `window_ms`,
//! wherever it begins.
//!
//! A counter per clock minute lets twice as many through around the turn of the minute, and so does a token bucket
//! that starts full. This limit stores the times of the last `limit` allowed requests in one row, and allows the
//! next one if the oldest is at least `window_ms` ago. So each allowed request is at least `window_ms` later than
//! the one `limit` places before it, in whatever order nodes commit, which is the bound. All nodes use the
//! database's clock ([`crate::clock`]), as exactly as a round trip allows; the window is shorter by the difference.

mod configured;
pub mod log;
pub mod place;
pub mod share;

use crate::clock::TimeMs;
use crate::error::{Error, Result};

/// A limit of units in any window. A unit is a request, or a part of its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The most units in a window.
    pub units: u32,
    /// The length of the window, in milliseconds; at least 1.
    pub window_ms: i64,
}

/// So many processes may use units without asking, those counted that ended within the longest window. The others ask for
/// everything.
pub const PROCESSES_MAX: u32 = 16;
/// Part of a limit that a process may use without asking. In a window that may be twice as much, because it counts in
/// windows of its own. A 32nd of the limit is kept for all of them.
const OWN_DIVISOR: u32 = 64 * PROCESSES_MAX;
/// Without asking, nothing is used of a limit whose window is longer than this: processes remember keys no longer.
pub const OWN_WINDOW_MAX_MS: i64 = 10 * 60 * 1_000;

/// How often a customer may exchange its API key for credentials: 500 times in any hour.
pub const EXCHANGES: Quota = Quota { units: 500, window_ms: 60 * 60 * 1_000 };

impl Quota {
    /// The limit that lets `burst` units through at once and, in the long run, `units` in each `per_ms`: `burst` in any
    /// window in which so many come at that pace. `None` if `units` is 0, which is no limit.
    pub fn from_rate(units: u32, per_ms: u32, burst: u32) -> Option<Self> {
        let window_ms = (u64::from(burst) * u64::from(per_ms)).checked_div(u64::from(units))?;
        Some(Self { units: burst, window_ms: i64::try_from(window_ms).unwrap_or(i64::MAX).max(1) })
    }

    /// Units that each process may use in a window without asking the log; none of a small limit.
    pub fn own_units(self) -> u32 {
        if self.window_ms <= OWN_WINDOW_MAX_MS { self.units / OWN_DIVISOR } else { 0 }
    }

    /// The part of the limit that the log gives: the rest is kept for what processes use without asking.
    pub fn logged(self) -> Self {
        Self { units: self.units - self.own_units() * 2 * PROCESSES_MAX, ..self }
    }

    /// In which steps its log counts, in milliseconds.
    pub fn step_ms(self) -> i64 {
        if self.units <= log::STEPS_MAX {
            return 1;
        }
        self.window_ms.unsigned_abs().div_ceil(u64::from(log::STEPS_MAX)).cast_signed().max(1)
    }
}

/// Counts how many of `limit` requests are left, given the times of the last ones that were allowed.
pub fn count_left(times_ms: impl Iterator<Item = TimeMs>, limit: u32, window_ms: i64, now_ms: TimeMs) -> u32 {
    let counted = times_ms.filter(|at_ms| *at_ms > now_ms - window_ms).count();
    limit.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX))
}

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
