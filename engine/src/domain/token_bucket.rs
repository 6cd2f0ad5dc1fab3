//! A rate limit for frequent operations: units that refill evenly, up to a burst.
//!
//! It lives in one process. A time span allows the burst and the units that refill during the span, so it is less
//! exact than [`crate::domain::rate_limit`], but needs no SQL.

use crate::clock::TimeMs;
use crate::config::LimitsConfig;
use crate::domain::rate_limit::Admission;

/// The rate at which a bucket refills, and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units that refill in each `window_ms`; at least 1.
    pub units: u32,
    /// In milliseconds; at least 1.
    pub window_ms: u32,
    /// Units of a full bucket; at least 1.
    pub burst: u32,
}

impl Rate {
    /// The rate of a customer's writes that cost no credits, if limited.
    pub fn for_writes(config: &LimitsConfig) -> Option<Self> {
        let rate = Self { units: config.writes_per_second, window_ms: 1_000, burst: config.writes_burst };
        (rate.units > 0).then_some(rate)
    }

    /// The rate at which a customer may create API keys, if limited.
    pub fn for_new_keys(config: &LimitsConfig) -> Option<Self> {
        let rate = Self { units: config.keys_per_minute, window_ms: 60_000, burst: config.keys_burst };
        (rate.units > 0).then_some(rate)
    }

    /// The rate at which a customer's purchases may be refused, if limited.
    pub fn for_refusals(config: &LimitsConfig) -> Option<Self> {
        let rate = Self { units: config.refusals_per_second, window_ms: 1_000, burst: config.refusals_burst };
        (rate.units > 0).then_some(rate)
    }

    /// How long an empty bucket takes to refill, in milliseconds. A bucket that was unused for so long can be
    /// deleted.
    pub fn full_after_ms(self) -> u64 {
        (u64::from(self.burst) * u64::from(self.window_ms)).div_ceil(u64::from(self.units.max(1)))
    }

    /// The weight of units in a bucket: each millisecond adds a weight of `units`, so that nothing is rounded.
    fn weight(self, units: u32) -> i64 {
        i64::from(units.min(self.burst)) * i64::from(self.window_ms)
    }
}

/// The units left for one customer.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    level: i64,
    at_ms: TimeMs,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now_ms: TimeMs) -> Self {
        Self { level: rate.weight(rate.burst), at_ms: now_ms }
    }

    /// Takes units, if the bucket has enough. A number above the burst counts as the burst.
    pub fn take(&mut self, rate: Rate, units: u32, now_ms: TimeMs) -> Admission {
        // A clock that is set back neither adds nor removes units.
        let elapsed_ms = now_ms.saturating_sub(self.at_ms).max(0);
        self.at_ms = now_ms;
        let come = elapsed_ms.saturating_mul(i64::from(rate.units));
        self.level = self.level.saturating_add(come).min(rate.weight(rate.burst));
        let missing = rate.weight(units) - self.level;
        if missing > 0 {
            return Admission::Denied {
                retry_after_ms: missing.unsigned_abs().div_ceil(u64::from(rate.units)).cast_signed(),
            };
        }
        self.level -= rate.weight(units);
        Admission::Allowed
    }

    /// Returns taken units.
    pub fn give_back(&mut self, rate: Rate, units: u32) {
        self.level = (self.level + rate.weight(units)).min(rate.weight(rate.burst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { units: 10, window_ms: 60_000, burst: 20 };

    #[test]
    fn a_burst_passes_at_once_and_then_one_each_six_seconds() {
        let mut bucket = TokenBucket::new(RATE, 0);
        assert!((0..20).all(|_| bucket.take(RATE, 1, 0) == Admission::Allowed));
        assert_eq!(bucket.take(RATE, 1, 0), Admission::Denied { retry_after_ms: 6_000 });
        assert_eq!(bucket.take(RATE, 1, 5_999), Admission::Denied { retry_after_ms: 1 });
        assert_eq!(bucket.take(RATE, 1, 6_000), Admission::Allowed);
        assert_eq!(bucket.take(RATE, 1, 6_000), Admission::Denied { retry_after_ms: 6_000 });
    }

    #[test]
    fn a_bucket_is_full_after_the_time_that_it_says_and_never_fuller() {
        let mut bucket = TokenBucket::new(RATE, 0);
        assert_eq!(bucket.take(RATE, 20, 0), Admission::Allowed);
        assert_eq!(RATE.full_after_ms(), 120_000);
        assert_eq!(bucket.take(RATE, 20, 119_999), Admission::Denied { retry_after_ms: 1 });
        assert_eq!(bucket.take(RATE, 20, 1_000_000), Admission::Allowed);
        assert_eq!(bucket.take(RATE, 1, 1_000_000), Admission::Denied { retry_after_ms: 6_000 });
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_up_to_the_burst() {
        let mut bucket = TokenBucket::new(RATE, 0);
        assert_eq!(bucket.take(RATE, 20, 0), Admission::Allowed);
        bucket.give_back(RATE, 5);
        assert_eq!(bucket.take(RATE, 5, 0), Admission::Allowed);
        (0..10).for_each(|_| bucket.give_back(RATE, 20));
        assert_eq!(bucket.take(RATE, 20, 0), Admission::Allowed);
        assert_ne!(bucket.take(RATE, 1, 0), Admission::Allowed);
    }

    #[test]
    fn more_than_the_burst_takes_a_full_bucket() {
        let mut bucket = TokenBucket::new(RATE, 0);
        assert_eq!(bucket.take(RATE, 1_000, 0), Admission::Allowed);
        assert_eq!(bucket.take(RATE, 1_000, 0), Admission::Denied { retry_after_ms: 120_000 });
    }

    #[test]
    fn a_clock_that_is_put_back_changes_nothing() {
        let mut bucket = TokenBucket::new(RATE, 100_000);
        assert_eq!(bucket.take(RATE, 20, 100_000), Admission::Allowed);
        assert_eq!(bucket.take(RATE, 1, 0), Admission::Denied { retry_after_ms: 6_000 });
        assert_eq!(bucket.take(RATE, 1, 6_000), Admission::Allowed);
    }

    proptest::proptest! {
        #[test]
        fn no_span_lets_more_through_than_the_burst_and_what_refills(
            units in 1_u32..100, window_ms in 1_u32..100_000, burst in 1_u32..5_000,
            tries in proptest::collection::vec((0_i64..5_000, 1_u32..200), 1..200)) {
            let rate = Rate { units, window_ms, burst };
            let mut bucket = TokenBucket::new(rate, 0);
            let (mut now_ms, mut taken) = (0_i64, 0_i64);
            for (wait_ms, units) in tries {
                now_ms += wait_ms;
                if bucket.take(rate, units, now_ms) == Admission::Allowed {
                    taken += i64::from(units.min(burst));
                }
            }
            let refilled = now_ms * i64::from(units) / i64::from(window_ms);
            proptest::prop_assert!(taken <= i64::from(burst) + refilled);
        }
    }
}
