//! The machine's clock, corrected by readings of the database's.
//!
//! Between two comparisons the time advances with the process's monotonic clock, so setting the machine's own clock
//! has no effect. The monotonic clock stops while a machine sleeps; the next comparison corrects that.

use super::{Health, TimeMs};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The longest round trip of a comparison. A slower reading still corrects the clock.
const ROUND_TRIP_MAX_US: i64 = 1_000_000;
/// The oldest comparison that is relied on. A clock that drifts by 500 µs a second, ten times more than usual, is
/// wrong by 0.3 s by then.
const COMPARISON_AGE_MAX_US: i64 = 600_000_000;
/// The largest correction backwards that lets the time stand still. After a larger one it goes back: the database's
/// clock was set, and nodes that start now already use it.
const STAND_STILL_MAX_US: i64 = 1_000_000;
/// Stands for a time or difference before the first comparison.
const NEVER: i64 = i64::MIN;

/// One reading of the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When the question was sent, by [`super::process_us`].
    pub asked_us: i64,
    /// The answer, in microseconds since the Unix epoch.
    pub database_us: i64,
    /// When the answer arrived, by [`super::process_us`].
    pub answered_us: i64,
}

/// The clock of one process.
pub(super) struct Machine {
    /// The database's time minus the process's, in microseconds.
    difference_us: AtomicI64,
    /// The time never goes below this.
    floor_ms: AtomicI64,
    /// When the last comparison was, by the process's clock.
    compared_us: AtomicI64,
    correcting: Mutex<()>,
}

impl Machine {
    pub(super) const fn new() -> Self {
        Self {
            difference_us: AtomicI64::new(NEVER),
            floor_ms: AtomicI64::new(i64::MIN),
            compared_us: AtomicI64::new(NEVER),
            correcting: Mutex::new(()),
        }
    }

    /// The database's time at `process_us`; `None` before the first reading.
    pub(super) fn time_ms(&self, process_us: i64) -> Option<TimeMs> {
        let difference_us = self.difference_us.load(Ordering::Acquire);
        let time_ms = process_us.saturating_add(difference_us).div_euclid(1_000);
        (difference_us != NEVER).then(|| time_ms.max(self.floor_ms.load(Ordering::Relaxed)))
    }

    /// How long ago the last comparison was, in microseconds.
    pub(super) fn comparison_age_us(&self, process_us: i64) -> i64 {
        process_us.saturating_sub(self.compared_us.load(Ordering::Relaxed))
    }

    /// Corrects the difference by a reading. Returns the correction in microseconds.
    pub(super) fn correct(&self, reading: Reading) -> i64 {
        let _turn = self.correcting.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.answered_us - reading.asked_us <= ROUND_TRIP_MAX_US {
            self.compared_us.store(reading.answered_us, Ordering::Relaxed);
        }
        let known_us = Some(self.difference_us.load(Ordering::Relaxed)).filter(|known| *known != NEVER);
        let new_us = difference_us(known_us, reading);
        let moved_us = known_us.map_or(0, |known| new_us - known);
        if moved_us < -STAND_STILL_MAX_US {
            self.floor_ms.store(i64::MIN, Ordering::Relaxed);
        } else if let Some(time_ms) = self.time_ms(reading.answered_us).filter(|_| moved_us < 0) {
            self.floor_ms.store(time_ms, Ordering::Relaxed);
        }
        // Stored last, so that a reader of the new difference also sees the new floor.
        self.difference_us.store(new_us, Ordering::Release);
        moved_us
    }
}

/// The new difference, given the known one. The database read its clock between question and answer, which bounds
/// the difference; the known one is clamped to these bounds, so a reading never makes it worse, however slow it
/// was.
fn difference_us(known_us: Option<i64>, reading: Reading) -> i64 {
    let least_us = reading.database_us - reading.answered_us;
    let most_us = reading.database_us - reading.asked_us;
    known_us.map_or(i64::midpoint(least_us, most_us), |known_us| known_us.clamp(least_us, most_us))
}

/// Judges a clock that is `offset_ms` ahead of the database's, by a comparison `age_us` old.
pub(super) fn health(offset_ms: i64, age_us: i64, offset_max_ms: i64) -> Health {
    if age_us > COMPARISON_AGE_MAX_US {
        Health::Unknown
    } else if offset_ms.saturating_abs() > offset_max_ms {
        Health::Differs
    } else {
        Health::Right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The database's time when the process's is 0.
    const EPOCH_US: i64 = 1_700_000_000_000_000;
    const MINUTE_US: i64 = 60_000_000;

    /// A reading of a database that is ahead of the process by `difference_us`.
    fn reading(asked_us: i64, there_us: i64, back_us: i64, difference_us: i64) -> Reading {
        let read_us = asked_us + there_us;
        Reading { asked_us, database_us: read_us + difference_us, answered_us: read_us + back_us }
    }

    #[test]
    fn there_is_no_time_before_the_first_reading() {
        assert_eq!(Machine::new().time_ms(1_000), None);
    }

    #[test]
    fn time_advances_with_the_process_between_readings() {
        let machine = Machine::new();
        machine.correct(reading(5_000, 100, 100, EPOCH_US));
        let at_ms = |process_us| machine.time_ms(process_us).unwrap();
        assert_eq!(at_ms(10_000), EPOCH_US / 1_000 + 10);
        assert_eq!(at_ms(10_000 + MINUTE_US), EPOCH_US / 1_000 + 10 + 60_000);
    }

    #[test]
    fn time_stands_still_when_it_was_a_little_ahead() {
        let machine = Machine::new();
        // The whole round trip was the way back, so the first reading is half a second wrong.
        machine.correct(reading(0, 0, 1_000_000, EPOCH_US));
        let wrong_ms = machine.time_ms(2_000_000).unwrap();
        assert_eq!(wrong_ms, EPOCH_US / 1_000 + 2_000 - 500);
        machine.correct(reading(0, 1_000_000, 0, EPOCH_US - 700_000));
        let mut last_ms = wrong_ms;
        for process_us in (2_000_000..5_000_000).step_by(10_000) {
            let time_ms = machine.time_ms(process_us).unwrap();
            assert!(time_ms >= last_ms, "the time went back from {last_ms} to {time_ms}");
            last_ms = time_ms;
        }
        assert_eq!(last_ms, machine.time_ms(4_990_000).unwrap());
    }

    #[test]
    fn time_follows_a_database_whose_clock_was_set_back() {
        let machine = Machine::new();
        machine.correct(reading(0, 100, 100, EPOCH_US));
        // A floor from before must not hold it up.
        machine.correct(reading(1_000_000, 100, 100, EPOCH_US - 500_000));
        let moved_us = machine.correct(reading(2_000_000, 100, 100, EPOCH_US - MINUTE_US));
        assert!((moved_us + MINUTE_US - 500_000).abs() <= 200, "{moved_us}");
        let time_ms = machine.time_ms(3_000_000).unwrap();
        assert!((time_ms - (EPOCH_US - MINUTE_US) / 1_000 - 3_000).abs() <= 1, "{time_ms}");
    }

    #[test]
    fn a_machine_that_slept_catches_up_at_the_next_reading() {
        let machine = Machine::new();
        machine.correct(reading(0, 100, 100, EPOCH_US));
        let slept_us = 480 * MINUTE_US;
        let moved_us = machine.correct(reading(1_000_000, 100, 100, EPOCH_US + slept_us));
        assert!((moved_us - slept_us).abs() <= 200, "{moved_us}");
    }

    #[test]
    fn a_reading_that_took_long_is_no_comparison() {
        let machine = Machine::new();
        machine.correct(reading(0, 100, 100, EPOCH_US));
        machine.correct(reading(20 * MINUTE_US, 900_000, 900_000, EPOCH_US));
        let age_us = machine.comparison_age_us(20 * MINUTE_US);
        assert_eq!(health(0, age_us, 1_000), Health::Unknown);
        machine.correct(reading(20 * MINUTE_US, 100, 100, EPOCH_US));
        assert_eq!(health(0, machine.comparison_age_us(21 * MINUTE_US), 1_000), Health::Right);
    }

    #[test]
    fn a_clock_is_off_beyond_the_bound_in_either_direction() {
        assert_eq!(health(1_000, 0, 1_000), Health::Right);
        assert_eq!(health(1_001, 0, 1_000), Health::Differs);
        assert_eq!(health(-1_001, 0, 1_000), Health::Differs);
    }

    proptest! {
        #[test]
        fn no_reading_makes_the_difference_worse(
            known_us in -10_000_000_i64..10_000_000,
            asked_us in 0_i64..10_000_000,
            (there_us, back_us) in (0_i64..3_000_000, 0_i64..3_000_000),
        ) {
            let reading = reading(asked_us, there_us, back_us, EPOCH_US);
            let new_us = difference_us(Some(EPOCH_US + known_us), reading);
            prop_assert!((new_us - EPOCH_US).abs() <= known_us.abs());
            prop_assert!((new_us - EPOCH_US).abs() <= there_us + back_us);
        }

        #[test]
        fn the_first_reading_is_wrong_by_half_of_its_round_trip_at_most(
            (there_us, back_us) in (0_i64..3_000_000, 0_i64..3_000_000),
        ) {
            let wrong_us = difference_us(None, reading(0, there_us, back_us, EPOCH_US)) - EPOCH_US;
            prop_assert!(wrong_us.abs() <= (there_us + back_us) / 2 + 1);
        }
    }
}
