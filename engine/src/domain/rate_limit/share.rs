//! A process's share of a limit: units that it may use without asking the database.

use super::Quota;
use super::log::{Asked, Left, Settlement, Taken};
use crate::clock::TimeMs;

/// A share may be used for this part of the window …
const HOLD_DIVISOR: i64 = 10;
/// … but no longer than this, in milliseconds.
const HOLD_MAX_MS: i64 = 10_000;
/// Part of a limit that a first share has: of a large limit enough for most subjects, who then ask once in its time.
const FIRST_DIVISOR: u32 = 256;
/// Part of a limit below which unused units of a share that is over are not worth a question. They count as used for a
/// window, unless the next question settles them.
const SETTLED_DIVISOR: u32 = 64;
/// For how long a denial is repeated without asking again, in milliseconds. Other nodes may free units meanwhile.
pub const DENIAL_MS: i64 = 100;

/// How long a share of the limit may be used, in milliseconds.
pub fn hold_ms(quota: Quota) -> i64 {
    (quota.window_ms / HOLD_DIVISOR).clamp(0, HOLD_MAX_MS)
}

/// What a process knows of one key of a limit.
#[derive(Debug, Clone, Default)]
pub struct Share {
    held: Option<Held>,
    /// Until when everybody who needs so many units, or more, is denied, and when they are free.
    denied: Option<Denied>,
    /// Units to give back with the next question.
    given_back: u32,
    /// What was used of the last share, to guess the size of the next one.
    used_before: u32,
    /// What the log said was left beside the share, and when.
    left: Left,
    left_at_ms: TimeMs,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    from_ms: TimeMs,
    until_ms: TimeMs,
    units: u32,
    used: u32,
    last_used_ms: TimeMs,
}

#[derive(Debug, Clone, Copy)]
struct Denied {
    units: u32,
    until_ms: TimeMs,
    free_at_ms: TimeMs,
}

/// What a process can say without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The units are used, from the share that ends then.
    Used {
        /// Names the share.
        until_ms: TimeMs,
    },
    /// They are denied.
    Denied {
        /// When they are free if nobody else takes them, in milliseconds.
        retry_after_ms: i64,
    },
    /// The log has to be asked.
    Unknown,
}

/// What a process asks the log of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What it needs now; `None` if it only says what became of its share.
    pub asked: Option<Asked>,
    /// What became of its last share.
    pub settled: Option<Settlement>,
    /// Units of earlier shares that it gives back.
    pub given_back: u32,
}

impl Share {
    /// Uses units, or denies them, as far as it is known.
    pub fn take(&mut self, units: u32, now_ms: TimeMs) -> Known {
        if let Some(held) = &mut self.held
            && held.is_current(now_ms)
            && held.units - held.used >= units
        {
            held.used += units;
            held.last_used_ms = held.last_used_ms.max(now_ms);
            return Known::Used { until_ms: held.until_ms };
        }
        match self.denied {
            Some(denied) if units >= denied.units && now_ms < denied.until_ms => {
                Known::Denied { retry_after_ms: (denied.free_at_ms - now_ms).max(1) }
            }
            _ => Known::Unknown,
        }
    }

    /// The question for `units`, when `waiting` units are asked for at the moment, those included. The process gives
    /// its share away with it.
    pub fn ask(&mut self, quota: Quota, units: u32, waiting: u32) -> Question {
        let settled = self.settle();
        let wanted = waiting.max(self.used_before.saturating_mul(2)).max(quota.units / FIRST_DIVISOR);
        let asked = Asked { needed: units.min(quota.units), wanted, hold_ms: hold_ms(quota) };
        Question { asked: Some(asked), settled, given_back: std::mem::take(&mut self.given_back) }
    }

    /// Says what became of a share that is over, if that frees anything of note.
    pub fn ask_nothing(&mut self, quota: Quota, now_ms: TimeMs) -> Option<Question> {
        let is_over = self.held.is_some_and(|held| !held.is_current(now_ms));
        let unused = self.held.map_or(0, |held| held.units.saturating_sub(held.used));
        if self.given_back == 0 && !(is_over && unused > quota.units / SETTLED_DIVISOR) {
            return None;
        }
        let settled = if is_over { self.settle() } else { None };
        Some(Question { asked: None, settled, given_back: std::mem::take(&mut self.given_back) })
    }

    /// Learns the answer, and uses `units` of it.
    pub fn learn(&mut self, taken: Taken, units: u32, now_ms: TimeMs) -> Known {
        self.left_at_ms = now_ms;
        match taken {
            Taken::Share { units: granted, until_ms, left } => {
                let used = units.min(granted);
                self.held = Some(Held { from_ms: now_ms, until_ms, units: granted, used, last_used_ms: now_ms });
                (self.left, self.denied) = (left, None);
                Known::Used { until_ms }
            }
            Taken::Denied { retry_after_ms, left } => {
                let until_ms = now_ms + retry_after_ms.min(DENIAL_MS);
                self.denied = Some(Denied { units, until_ms, free_at_ms: now_ms + retry_after_ms });
                self.left = left;
                Known::Denied { retry_after_ms }
            }
        }
    }

    /// Takes back units that were used: from the share if it is still this one, else with the next question. Returns
    /// whether these are the first that wait for a question.
    pub fn give_back(&mut self, units: u32, until_ms: Option<TimeMs>) -> bool {
        self.denied = None;
        if let Some(held) = &mut self.held
            && until_ms == Some(held.until_ms)
            && held.used >= units
        {
            held.used -= units;
            return false;
        }
        let is_first = self.given_back == 0;
        self.given_back = self.given_back.saturating_add(units);
        is_first
    }

    /// What is left, as far as this process knows.
    pub fn left(&self, now_ms: TimeMs) -> Left {
        let own = self.held.filter(|held| held.is_current(now_ms)).map_or(0, |held| held.units - held.used);
        let passed_ms = now_ms.saturating_sub(self.left_at_ms).max(0);
        Left {
            units: self.left.units.saturating_add(own),
            full_after_ms: self.left.full_after_ms.saturating_sub(passed_ms).max(0),
        }
    }

    fn settle(&mut self) -> Option<Settlement> {
        let Held { until_ms, units, used, last_used_ms, .. } = self.held.take()?;
        self.used_before = used;
        Some(Settlement { until_ms, units, used, last_used_ms })
    }
}

impl Held {
    fn is_current(&self, now_ms: TimeMs) -> bool {
        (self.from_ms..=self.until_ms).contains(&now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::SlidingLog;
    use super::*;
    use proptest::collection::vec;
    use proptest::{prop_assert, proptest};

    const QUOTA: Quota = Quota { units: 400, window_ms: 60_000 };
    const START_MS: i64 = 1_795_000_000_000;

    /// Takes as a process does; returns whether the log was asked.
    fn take(share: &mut Share, log: &mut SlidingLog, units: u32, now_ms: TimeMs) -> (Known, bool) {
        let known = share.take(units, now_ms);
        if known != Known::Unknown {
            return (known, false);
        }
        let taken = answer(log, share.ask(QUOTA, units, units), now_ms).unwrap();
        (share.learn(taken, units, now_ms), true)
    }

    fn answer(log: &mut SlidingLog, question: Question, now_ms: TimeMs) -> Option<Taken> {
        question.settled.into_iter().for_each(|share| log.settle(QUOTA, share));
        log.give_back(question.given_back);
        question.asked.map(|asked| log.take(QUOTA, asked, now_ms))
    }

    #[test]
    fn a_busy_key_asks_a_few_times_for_hundreds_of_requests() {
        let (mut share, mut log, mut questions) = (Share::default(), SlidingLog::default(), 0);
        for n in 0..200 {
            let (known, asked) = take(&mut share, &mut log, 1, START_MS + n);
            assert!(matches!(known, Known::Used { .. }));
            questions += u32::from(asked);
        }
        assert!(questions <= 9, "{questions}");
        assert_eq!(share.left(START_MS + 200).units, 200);
    }

    #[test]
    fn all_of_a_limit_can_be_used_and_then_nothing_for_a_window() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        let mut used = 0;
        while let (Known::Used { .. }, _) = take(&mut share, &mut log, 1, START_MS) {
            used += 1;
        }
        assert_eq!(used, 400);
        assert_eq!(take(&mut share, &mut log, 1, START_MS + 10), (Known::Denied { retry_after_ms: 59_990 }, false));
        assert!(matches!(take(&mut share, &mut log, 1, START_MS + 59_999), (Known::Denied { .. }, true)));
        assert!(matches!(take(&mut share, &mut log, 1, START_MS + 60_000), (Known::Used { .. }, _)));
    }

    #[test]
    fn a_cheaper_write_is_not_denied_because_a_dearer_one_was() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        take(&mut share, &mut log, 395, START_MS);
        assert!(matches!(take(&mut share, &mut log, 10, START_MS).0, Known::Denied { .. }));
        assert!(matches!(take(&mut share, &mut log, 2, START_MS).0, Known::Used { .. }));
    }

    #[test]
    fn an_idle_share_comes_back_when_it_is_over() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        take(&mut share, &mut log, 100, START_MS);
        take(&mut share, &mut log, 1, START_MS);
        let over_ms = START_MS + hold_ms(QUOTA) + 1;
        assert!(log.look(QUOTA, over_ms).units < 299, "the share holds more than what is used");
        let question = share.ask_nothing(QUOTA, over_ms).unwrap();
        assert_eq!(answer(&mut log, question, over_ms), None);
        assert_eq!(log.look(QUOTA, over_ms).units, 299);
        assert_eq!(share.ask_nothing(QUOTA, over_ms), None);
    }

    #[test]
    fn of_a_large_limit_one_question_is_enough_for_most() {
        let large = Quota { units: 30_000, window_ms: 60_000 };
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        let taken = answer(&mut log, share.ask(large, 1, 1), START_MS).unwrap();
        assert!(matches!(share.learn(taken, 1, START_MS), Known::Used { .. }));
        for _ in 1..100 {
            assert!(matches!(share.take(1, START_MS + 5_000), Known::Used { .. }));
        }
        let over_ms = START_MS + hold_ms(large) + 1;
        assert_eq!(share.ask_nothing(large, over_ms), None, "so little is not worth a question");
        let next = share.ask(large, 1, 1);
        assert_eq!(next.settled.map(|settled| settled.used), Some(100), "the next one settles it");
    }

    #[test]
    fn what_is_given_back_late_goes_with_the_next_question() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        let (Known::Used { until_ms }, _) = take(&mut share, &mut log, 400, START_MS) else { panic!() };
        share.give_back(10, Some(until_ms));
        assert!(matches!(take(&mut share, &mut log, 10, START_MS + 1), (Known::Used { .. }, false)));
        share.give_back(30, None);
        assert!(matches!(take(&mut share, &mut log, 30, START_MS + 2), (Known::Used { .. }, true)));
        assert!(matches!(take(&mut share, &mut log, 1, START_MS + 3).0, Known::Denied { .. }));
    }

    proptest! {
        #[test]
        fn three_processes_never_use_more_than_the_limit_in_any_window(
            tries in vec((0_i64..4_000, 0_usize..3, 1_u32..40), 1..300),
        ) {
            let (mut log, mut now_ms, mut uses) = (SlidingLog::default(), START_MS, Vec::<(TimeMs, u32)>::new());
            let mut shares = [Share::default(), Share::default(), Share::default()];
            for (wait_ms, node, units) in tries {
                now_ms += wait_ms;
                if let (Known::Used { .. }, _) = take(&mut shares[node], &mut log, units, now_ms) {
                    uses.push((now_ms, units));
                }
                let within = uses.iter().filter(|(at_ms, _)| *at_ms > now_ms - QUOTA.window_ms);
                prop_assert!(within.map(|(_, units)| units).sum::<u32>() <= QUOTA.units);
            }
        }
    }
}
