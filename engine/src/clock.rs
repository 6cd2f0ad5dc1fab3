//! The one place that reads the time. Rules never do: `now` is an argument of theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type TimeMs = i64;

/// Where the time comes from: the machine, or a hand that tests move.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until it is set.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that tests move; it starts at the machine's time.
    pub fn manual() -> Self {
        Self::Manual(Arc::new(AtomicI64::new(Self::System.now_ms())))
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> TimeMs {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock on; does nothing to the machine's.
    pub fn advance_ms(&self, by_ms: i64) {
        if let Self::Manual(now) = self {
            now.fetch_add(by_ms, Ordering::SeqCst);
        }
    }
}

/// Reads a time as people and API clients write it: RFC 3339, in any offset.
pub fn parse_rfc3339(text: &str) -> Option<TimeMs> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())
}

/// The day of a time in UTC, such as `2026-11-22`.
pub fn day(at_ms: TimeMs) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms).unwrap_or_default().format("%Y-%m-%d").to_string()
}

/// A time as people and API clients read it: RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at_ms: TimeMs) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
