//! Logging something at most once in an interval, however often it happens.

use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Lets one event through in an interval and counts those that it holds back.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// At most one in this interval.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, held_back: 0 }) }
    }

    /// Whether an event may pass now; if so, how many were held back since the last one passed.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        // Nothing panics under the lock, and a wrong count would do no harm.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.last.is_some_and(|last| now < last + self.interval) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_in_an_interval_and_the_next_tells_how_many_did_not() {
        let throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        let after = |ms| throttle.pass(start + Duration::from_millis(ms));
        assert_eq!((after(0), after(1), after(999)), (Some(0), None, None));
        assert_eq!((after(1_000), after(1_999), after(5_000)), (Some(2), None, Some(1)));
    }
}
