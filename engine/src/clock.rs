//! The one place that reads the time. Rules take `now` as an argument instead.
//!
//! Nodes on one Postgres must agree on the time, because one may expire a hold that another opened. So they all use
//! the database's clock ([`Clock::correct`]), not their machines' own.

mod machine;

pub use machine::Reading;

use machine::Machine;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type TimeMs = i64;

/// The machine's clock, one for the process: identifiers contain the time and are made in places without a
/// [`Clock`].
static MACHINE: Machine = Machine::new();

/// Zero of the process's monotonic clock: the first time that it was read.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Error that a test adds to the machine's clock.
static SKEW_MS: AtomicI64 = AtomicI64::new(0);

/// The source of the time.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock, corrected by the database's once the two have been compared.
    #[default]
    System,
    /// A clock that stands still until it is set.
    Manual(Arc<AtomicI64>),
}

/// The result of comparing the machine's clock with the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// They agree.
    Right,
    /// They disagree. The process uses the database's.
    Differs,
    /// The last comparison is so old that the machine's clock may have drifted since.
    Unknown,
}

impl Clock {
    /// Makes a manual clock that starts at the machine's time.
    pub fn manual() -> Self {
        Self::Manual(Arc::new(AtomicI64::new(Self::System.now_ms())))
    }

    /// Now, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> TimeMs {
        match self {
            Self::System => MACHINE.time_ms(process_us()).unwrap_or_else(machine_ms),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// The machine's time as it is, whatever the database says.
    pub fn uncorrected_ms(&self) -> TimeMs {
        match self {
            Self::System => machine_ms(),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Advances a manual clock. Does nothing to [`Clock::System`].
    pub fn advance_ms(&self, by_ms: i64) {
        if let Self::Manual(now) = self {
            now.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Whether the database's clock corrects this one.
    pub fn is_corrected(&self) -> bool {
        matches!(self, Self::System)
    }

    /// Corrects the machine's clock by readings of the database's. Returns the correction in milliseconds, 0 for
    /// the first one.
    pub fn correct(&self, readings: &[Reading]) -> i64 {
        match self {
            Self::System => readings.iter().map(|reading| MACHINE.correct(*reading)).sum::<i64>() / 1_000,
            Self::Manual(_) => 0,
        }
    }

    /// How far the machine's own clock is ahead of the database's, in milliseconds. `None` before the first
    /// comparison and on SQLite, where both are one clock.
    pub fn offset_ms(&self) -> Option<i64> {
        match self {
            Self::System => MACHINE.time_ms(process_us()).map(|time_ms| machine_ms() - time_ms),
            Self::Manual(_) => None,
        }
    }

    /// Whether the machine's own clock is within `offset_max_ms` of the database's. `None` before the first
    /// comparison.
    pub fn health(&self, offset_max_ms: i64) -> Option<Health> {
        let offset_ms = self.offset_ms()?;
        Some(machine::health(offset_ms, MACHINE.comparison_age_us(process_us()), offset_max_ms))
    }
}

/// Microseconds since the first call, on a monotonic clock, for a [`Reading`].
pub fn process_us() -> i64 {
    i64::try_from(STARTED.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// Shifts the machine's clock for the rest of the process, for tests of nodes whose clocks differ.
pub fn skew_for_tests(by_ms: i64) {
    SKEW_MS.store(by_ms, Ordering::Relaxed);
}

/// The machine's time, uncorrected.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
fn machine_ms() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(SKEW_MS.load(Ordering::Relaxed))
}

/// The years 0 to 9999, which are all that RFC 3339 can write: what is read can be shown, and days and months can be
/// added to it.
const WRITABLE_MS: RangeInclusive<TimeMs> = -62_167_219_200_000..=253_402_300_799_999;

/// Parses an RFC 3339 time with any offset.
pub fn parse_rfc3339(text: &str) -> Option<TimeMs> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.timestamp_millis()).filter(|at_ms| WRITABLE_MS.contains(at_ms))
}

/// The first millisecond, in UTC, of a day such as `2026-11-22`.
pub fn parse_day(text: &str) -> Option<TimeMs> {
    let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let at_ms = day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis();
    Some(at_ms).filter(|at_ms| WRITABLE_MS.contains(at_ms))
}

/// Formats the UTC day of a time, such as `2026-11-22`.
pub fn day(at_ms: TimeMs) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms).unwrap_or_default().format("%Y-%m-%d").to_string()
}

/// Formats a time as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at_ms: TimeMs) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_could_not_be_shown_is_none() {
        for text in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2016-12-31T23:59:60+05:30"] {
            let at_ms = parse_rfc3339(text).expect("a time");
            assert_eq!(parse_rfc3339(&rfc3339(at_ms)), Some(at_ms), "{text}");
        }
        assert_eq!(parse_day("9999-12-31").map(day).as_deref(), Some("9999-12-31"));
        for text in ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        for text in ["+10000-01-01", "-0001-12-31", "+262142-12-31"] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }
}
