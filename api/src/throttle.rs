//! Limits how often an event is logged.

use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Lets one event per interval pass and counts those that it suppresses.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    /// Lets one event pass per `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Returns how many events were suppressed since the last one passed, or `None` if this one is suppressed.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        // Nothing panics under the lock, and a wrong count would do no harm.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.last.is_some_and(|last| now < last + self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_passes_per_interval_with_the_number_suppressed() {
        let throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        let after = |ms| throttle.pass(start + Duration::from_millis(ms));
        assert_eq!((after(0), after(1), after(999)), (Some(0), None, None));
        assert_eq!((after(1_000), after(1_999), after(5_000)), (Some(2), None, Some(1)));
    }
}
