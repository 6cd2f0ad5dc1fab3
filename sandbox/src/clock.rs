//! The sandbox's clock: the real time, advanced on demand and optionally faster.

use std::time::{SystemTime, UNIX_EPOCH};

/// The real time, in milliseconds.
#[expect(clippy::disallowed_methods, reason = "the sandbox does not depend on the engine and its clock")]
pub(crate) fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Converts real time to the sandbox's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clock {
    /// How far it is ahead of the real time, in milliseconds.
    pub(crate) offset_ms: i64,
    /// Milliseconds of the sandbox per real millisecond.
    scale: f64,
    /// The real time from which the scale applies.
    since_ms: i64,
}

impl Clock {
    pub(crate) fn new(scale: f64, real_ms: i64) -> Self {
        Self { offset_ms: 0, scale, since_ms: real_ms }
    }

    /// The sandbox's time, in seconds.
    pub(crate) fn now_s(&self, real_ms: i64) -> i64 {
        self.now_ms(real_ms).div_euclid(1_000)
    }

    fn now_ms(&self, real_ms: i64) -> i64 {
        let elapsed_ms = real_ms - self.since_ms;
        let extra_ms = (elapsed_ms as f64 * (self.scale - 1.0)) as i64;
        real_ms + self.offset_ms + extra_ms
    }

    /// Advances it to `to_s`. It never goes back.
    pub(crate) fn advance(&mut self, to_s: i64, real_ms: i64) {
        let behind_ms = to_s.saturating_mul(1_000) - self.now_ms(real_ms);
        self.offset_ms += behind_ms.max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_advances_and_never_goes_back() {
        let mut clock = Clock::new(1.0, 5_000);
        clock.advance(100, 5_000);
        assert_eq!(clock.now_s(5_000), 100);
        clock.advance(50, 6_000);
        assert_eq!(clock.now_s(6_000), 101);
    }

    #[test]
    fn the_clock_can_run_faster_than_real_time() {
        let clock = Clock::new(3_600.0, 1_000_000);
        assert_eq!(clock.now_s(1_001_000), 1_000 + 3_600);
    }
}
