//! The circuit breaker: after several consecutive failures it rejects calls for a while, so that callers fail at
//! once instead of waiting for one timeout after the other.

use crate::clock::TimeMs;

/// When it opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Consecutive failures after which it opens.
    pub failures_max: u32,
    /// How long it stays open before it admits a trial call.
    pub open_ms: i64,
}

/// The state of the breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    open_until_ms: Option<TimeMs>,
}

impl Breaker {
    /// Whether a call may be made. While open, it admits one trial call after each pause.
    pub fn admits(&mut self, options: BreakerOptions, now_ms: TimeMs) -> bool {
        match self.open_until_ms {
            None => true,
            Some(until_ms) if now_ms < until_ms => false,
            Some(_) => {
                // The others wait for the result of this one.
                self.open_until_ms = Some(now_ms + options.open_ms);
                true
            }
        }
    }

    /// Records an answer, even an error: Stripe is reachable.
    pub fn record_answer(&mut self) {
        *self = Self::default();
    }

    /// Records a missing answer or a failure of Stripe's own.
    pub fn record_failure(&mut self, options: BreakerOptions, now_ms: TimeMs) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= options.failures_max {
            self.open_until_ms = Some(now_ms + options.open_ms);
        }
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open_until_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BreakerOptions = BreakerOptions { failures_max: 3, open_ms: 1_000 };

    fn open_at(now_ms: TimeMs) -> Breaker {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.record_failure(OPTIONS, now_ms));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_an_answer_in_between_starts_the_count_again() {
        let mut breaker = Breaker::default();
        breaker.record_failure(OPTIONS, 0);
        breaker.record_failure(OPTIONS, 0);
        breaker.record_answer();
        breaker.record_failure(OPTIONS, 0);
        assert!(breaker.admits(OPTIONS, 0));
        assert!(!open_at(0).admits(OPTIONS, 999));
    }

    #[test]
    fn once_the_pause_is_over_one_call_tries_and_its_answer_closes_it() {
        let mut breaker = open_at(0);
        assert!(breaker.admits(OPTIONS, 1_000));
        assert!(!breaker.admits(OPTIONS, 1_000));
        breaker.record_answer();
        assert!(breaker.admits(OPTIONS, 1_000));
    }

    #[test]
    fn a_failed_trial_opens_it_again() {
        let mut breaker = open_at(0);
        assert!(breaker.admits(OPTIONS, 1_000));
        breaker.record_failure(OPTIONS, 1_500);
        assert!(!breaker.admits(OPTIONS, 2_400));
    }
}
