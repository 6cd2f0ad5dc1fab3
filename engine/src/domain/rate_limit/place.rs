//! A process's place among the [`PROCESSES_MAX`] that may use units of large limits without asking.
//!
//! A place is a unit of a limit itself, [`PLACES`], taken for a minute and renewed while it is needed. The place of a
//! process that ended stays taken for a window, which is the longest in which units are used without asking.

use super::log::{Asked, Settlement};
use super::share::Question;
use super::{OWN_WINDOW_MAX_MS, PROCESSES_MAX, Quota};
use crate::clock::TimeMs;

/// The limit of the places.
pub const PLACES: Quota = Quota { units: PROCESSES_MAX, window_ms: OWN_WINDOW_MAX_MS };
/// For how long a place is taken, in milliseconds.
const HOLD_MS: i64 = 60_000;
/// It is renewed when less than this is left of it, in milliseconds.
const RENEW_MS: i64 = 40_000;

/// What asks for a place, or for a longer time of the one that ends at `until_ms`, which is given back unused.
pub fn question(until_ms: Option<TimeMs>, now_ms: TimeMs) -> Question {
    let settled = until_ms.map(|until_ms| Settlement { until_ms, units: 1, used: 0, last_used_ms: now_ms });
    Question { asked: Some(Asked { needed: 1, wanted: 1, hold_ms: HOLD_MS }), settled, given_back: 0 }
}

/// Whether it is time to ask.
pub fn is_short(until_ms: Option<TimeMs>, now_ms: TimeMs) -> bool {
    until_ms.is_none_or(|until_ms| until_ms < now_ms + RENEW_MS)
}

#[cfg(test)]
mod tests {
    use super::super::log::{SlidingLog, Taken};
    use super::*;

    const START_MS: TimeMs = 1_795_000_000_000;

    /// Asks as a process does; the end of its place if it gets one.
    fn ask(log: &mut SlidingLog, until_ms: Option<TimeMs>, now_ms: TimeMs) -> Option<TimeMs> {
        let question = question(until_ms, now_ms);
        question.settled.into_iter().for_each(|settled| log.settle(PLACES, settled));
        match log.take(PLACES, question.asked?, now_ms) {
            Taken::Share { until_ms, .. } => Some(until_ms),
            Taken::Denied { .. } => None,
        }
    }

    #[test]
    fn as_many_processes_as_may_be_keep_their_places_and_no_other_gets_one() {
        let (mut log, mut places) = (SlidingLog::default(), vec![None; PROCESSES_MAX as usize]);
        for minute in 0..60 {
            let now_ms = START_MS + minute * 30_000;
            for place in &mut places {
                assert!(is_short(*place, now_ms));
                *place = ask(&mut log, *place, now_ms);
                assert_eq!(*place, Some(now_ms + HOLD_MS));
            }
            assert_eq!(ask(&mut log, None, now_ms), None, "one too many");
        }
    }

    #[test]
    fn the_place_of_a_process_that_ended_is_free_after_the_longest_window() {
        let mut log = SlidingLog::default();
        let ends: Vec<_> = (0..PROCESSES_MAX).map(|_| ask(&mut log, None, START_MS)).collect();
        assert!(ends.iter().all(|end| *end == Some(START_MS + HOLD_MS)));
        let free_ms = START_MS + HOLD_MS + OWN_WINDOW_MAX_MS;
        assert_eq!(ask(&mut log, None, free_ms - 1), None);
        assert_eq!(ask(&mut log, None, free_ms), Some(free_ms + HOLD_MS));
    }

    #[test]
    fn a_place_is_renewed_before_it_ends() {
        assert!(is_short(None, START_MS) && !is_short(Some(START_MS + HOLD_MS), START_MS));
        assert!(is_short(Some(START_MS + RENEW_MS - 1), START_MS));
    }
}
