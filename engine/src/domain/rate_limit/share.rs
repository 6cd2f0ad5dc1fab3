//! A process's share of a limit: units that it may use without asking the database.
//!
//! Beside the share that it asked for, a process may use [`Quota::own_units`] of each key in a window: most keys need no
//! more, and are never asked about. The log keeps that part of the limit for all processes ([`Quota::logged`]).

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

/// Units that a process used without asking, in windows that begin with a use: in any window, at most those of two.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    from_ms: TimeMs,
    used: u32,
    /// Whether the process forgot what it used before, and so may use nothing.
    is_shut: bool,
}

/// How long a share of the limit may be used, in milliseconds.
pub fn hold_ms(quota: Quota) -> i64 {
    (quota.window_ms / HOLD_DIVISOR).clamp(0, HOLD_MAX_MS)
}

/// What a process knows of one key of a limit.
#[derive(Debug, Clone, Default)]
pub struct Share {
    own: Own,
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

/// Where used units came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedOf {
    /// The share that ends then.
    Share {
        /// Its end.
        until_ms: TimeMs,
    },
    /// What is used without asking, in the window that began then.
    Own {
        /// The window's beginning.
        from_ms: TimeMs,
    },
}

/// What a process can say without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The units are used.
    Used(UsedOf),
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
    /// The share of a process that may have forgotten what it used of the key before, so that it asks for all.
    pub fn forgotten() -> Self {
        Self { own: Own { is_shut: true, ..Own::default() }, ..Self::default() }
    }

    /// Uses units, or denies them, as far as it is known. `has_place`: whether the process is one of those that may use
    /// some without asking.
    pub fn take(&mut self, quota: Quota, units: u32, has_place: bool, now_ms: TimeMs) -> Known {
        if let Some(held) = &mut self.held
            && held.is_current(now_ms)
            && held.units - held.used >= units
        {
            held.used += units;
            held.last_used_ms = held.last_used_ms.max(now_ms);
            return Known::Used(UsedOf::Share { until_ms: held.until_ms });
        }
        if has_place && self.own.take(quota, units, now_ms) {
            return Known::Used(UsedOf::Own { from_ms: self.own.from_ms });
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
        let quota = quota.logged();
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
                Known::Used(UsedOf::Share { until_ms })
            }
            Taken::Denied { retry_after_ms, left } => {
                let until_ms = now_ms + retry_after_ms.min(DENIAL_MS);
                self.denied = Some(Denied { units, until_ms, free_at_ms: now_ms + retry_after_ms });
                self.left = left;
                Known::Denied { retry_after_ms }
            }
        }
    }

    /// Takes back units that were used: to the share if it is still this one, to what is used without asking if its
    /// window still lasts, else with the next question. Nobody counts units of a window of its own that is over, so those
    /// are gone. Returns whether these are the first that wait for a question.
    pub fn give_back(&mut self, units: u32, of: Option<UsedOf>) -> bool {
        self.denied = None;
        if let Some(held) = &mut self.held
            && of == Some(UsedOf::Share { until_ms: held.until_ms })
            && held.used >= units
        {
            held.used -= units;
            return false;
        }
        let is_own = match of {
            Some(UsedOf::Own { from_ms }) if from_ms != self.own.from_ms => return false,
            Some(UsedOf::Own { .. }) => true,
            Some(UsedOf::Share { .. }) => false,
            // Nobody knows any more where they came from.
            None => self.own.used >= units,
        };
        if is_own {
            self.own.used = self.own.used.saturating_sub(units);
            return false;
        }
        let is_first = self.given_back == 0;
        self.given_back = self.given_back.saturating_add(units);
        is_first
    }

    /// What is left, as far as this process knows.
    pub fn left(&self, quota: Quota, now_ms: TimeMs) -> Left {
        let own_used = if self.own.is_current(quota, now_ms) { self.own.used } else { 0 };
        let own_full_ms = if own_used > 0 { self.own.from_ms + quota.window_ms - now_ms } else { 0 };
        let passed_ms = now_ms.saturating_sub(self.left_at_ms).max(0);
        if passed_ms >= quota.window_ms {
            // What the log said is of no use any more.
            return Left { units: quota.units.saturating_sub(own_used), full_after_ms: own_full_ms };
        }
        let held = self.held.filter(|held| held.is_current(now_ms)).map_or(0, |held| held.units - held.used);
        let asked = self.left.units.saturating_add(held);
        // What is kept for all processes counts as left while there is more.
        let kept = if asked > 0 { quota.units - quota.logged().units } else { quota.own_units() };
        Left {
            units: asked.saturating_add(kept.saturating_sub(own_used)),
            full_after_ms: self.left.full_after_ms.saturating_sub(passed_ms).max(own_full_ms).max(0),
        }
    }

    fn settle(&mut self) -> Option<Settlement> {
        let Held { until_ms, units, used, last_used_ms, .. } = self.held.take()?;
        self.used_before = used;
        Some(Settlement { until_ms, units, used, last_used_ms })
    }
}

impl Own {
    fn take(&mut self, quota: Quota, units: u32, now_ms: TimeMs) -> bool {
        let is_new = self.used == 0 || now_ms >= self.from_ms.saturating_add(quota.window_ms);
        let used = if is_new { 0 } else { self.used };
        if self.is_shut || used.saturating_add(units) > quota.own_units() {
            return false;
        }
        let from_ms = if is_new { now_ms } else { self.from_ms };
        *self = Self { from_ms, used: used + units, ..*self };
        true
    }

    fn is_current(&self, quota: Quota, now_ms: TimeMs) -> bool {
        now_ms < self.from_ms.saturating_add(quota.window_ms)
    }
}

impl Held {
    fn is_current(&self, now_ms: TimeMs) -> bool {
        (self.from_ms..=self.until_ms).contains(&now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::super::PROCESSES_MAX;
    use super::super::log::SlidingLog;
    use super::*;
    use proptest::collection::vec;
    use proptest::{prop_assert, proptest};

    const QUOTA: Quota = Quota { units: 400, window_ms: 60_000 };
    const LARGE: Quota = Quota { units: 30_000, window_ms: 60_000 };
    const START_MS: i64 = 1_795_000_000_000;

    fn used_own(from_ms: TimeMs) -> Known {
        Known::Used(UsedOf::Own { from_ms })
    }

    /// Takes as a process does; returns whether the log was asked.
    fn take(share: &mut Share, log: &mut SlidingLog, units: u32, now_ms: TimeMs) -> (Known, bool) {
        take_of(QUOTA, share, log, units, now_ms)
    }

    fn take_of(quota: Quota, share: &mut Share, log: &mut SlidingLog, units: u32, now_ms: TimeMs) -> (Known, bool) {
        let known = share.take(quota, units, true, now_ms);
        if known != Known::Unknown {
            return (known, false);
        }
        let taken = answer_of(quota, log, share.ask(quota, units, units), now_ms).unwrap();
        (share.learn(taken, units, now_ms), true)
    }

    fn answer(log: &mut SlidingLog, question: Question, now_ms: TimeMs) -> Option<Taken> {
        answer_of(QUOTA, log, question, now_ms)
    }

    fn answer_of(quota: Quota, log: &mut SlidingLog, question: Question, now_ms: TimeMs) -> Option<Taken> {
        question.settled.into_iter().for_each(|share| log.settle(quota.logged(), share));
        log.give_back(question.given_back);
        question.asked.map(|asked| log.take(quota.logged(), asked, now_ms))
    }

    #[test]
    fn a_busy_key_asks_a_few_times_for_hundreds_of_requests() {
        let (mut share, mut log, mut questions) = (Share::default(), SlidingLog::default(), 0);
        for n in 0..200 {
            let (known, asked) = take(&mut share, &mut log, 1, START_MS + n);
            assert!(matches!(known, Known::Used(_)));
            questions += u32::from(asked);
        }
        assert!(questions <= 9, "{questions}");
        assert_eq!(share.left(QUOTA, START_MS + 200).units, 200);
    }

    #[test]
    fn all_of_a_limit_can_be_used_and_then_nothing_for_a_window() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        let mut used = 0;
        while let (Known::Used(_), _) = take(&mut share, &mut log, 1, START_MS) {
            used += 1;
        }
        assert_eq!(used, 400);
        assert_eq!(take(&mut share, &mut log, 1, START_MS + 10), (Known::Denied { retry_after_ms: 59_990 }, false));
        assert!(matches!(take(&mut share, &mut log, 1, START_MS + 59_999), (Known::Denied { .. }, true)));
        assert!(matches!(take(&mut share, &mut log, 1, START_MS + 60_000), (Known::Used(_), _)));
    }

    #[test]
    fn a_cheaper_write_is_not_denied_because_a_dearer_one_was() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        take(&mut share, &mut log, 395, START_MS);
        assert!(matches!(take(&mut share, &mut log, 10, START_MS).0, Known::Denied { .. }));
        assert!(matches!(take(&mut share, &mut log, 2, START_MS).0, Known::Used(_)));
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
        let large = LARGE;
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        let taken = answer_of(large, &mut log, share.ask(large, 1, 1), START_MS).unwrap();
        assert!(matches!(share.learn(taken, 1, START_MS), Known::Used(_)));
        for _ in 1..100 {
            assert!(matches!(share.take(large, 1, true, START_MS + 5_000), Known::Used(_)));
        }
        let over_ms = START_MS + hold_ms(large) + 1;
        assert_eq!(share.ask_nothing(large, over_ms), None, "so little is not worth a question");
        let next = share.ask(large, 1, 1);
        assert_eq!(next.settled.map(|settled| settled.used), Some(100), "the next one settles it");
    }

    #[test]
    fn what_is_given_back_late_goes_with_the_next_question() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        let (Known::Used(of), _) = take(&mut share, &mut log, 400, START_MS) else { panic!() };
        share.give_back(10, Some(of));
        assert!(matches!(take(&mut share, &mut log, 10, START_MS + 1), (Known::Used(_), false)));
        share.give_back(30, None);
        assert!(matches!(take(&mut share, &mut log, 30, START_MS + 2), (Known::Used(_), true)));
        assert!(matches!(take(&mut share, &mut log, 1, START_MS + 3).0, Known::Denied { .. }));
    }

    #[test]
    fn a_process_uses_some_units_of_a_large_limit_without_asking_and_asks_for_the_next() {
        let (mut share, mut log) = (Share::default(), SlidingLog::default());
        assert_eq!(LARGE.own_units(), 29);
        for n in 0..29 {
            assert_eq!(take_of(LARGE, &mut share, &mut log, 1, START_MS + n), (used_own(START_MS), false));
        }
        assert_eq!(share.left(LARGE, START_MS + 30), Left { units: 29_971, full_after_ms: 59_970 });
        assert!(take_of(LARGE, &mut share, &mut log, 1, START_MS + 30).1);
        assert_eq!(share.left(LARGE, START_MS + 30).units, 29_970);
        let next_ms = START_MS + LARGE.window_ms;
        assert_eq!(take_of(LARGE, &mut share, &mut log, 29, next_ms), (used_own(next_ms), false));
        assert!(take_of(LARGE, &mut share, &mut log, 1, next_ms).1, "the share of before is over");
    }

    #[test]
    fn a_small_limit_and_one_of_a_long_window_are_asked_for_everything() {
        let hour = Quota { units: 30_000, window_ms: 60 * 60 * 1_000 };
        assert_eq!([QUOTA.own_units(), hour.own_units()], [0, 0]);
        assert_eq!([QUOTA.logged(), hour.logged()], [QUOTA, hour]);
        assert!(take(&mut Share::default(), &mut SlidingLog::default(), 1, START_MS).1);
    }

    #[test]
    fn a_process_without_a_place_asks_for_everything() {
        assert_eq!(Share::default().take(LARGE, 1, false, START_MS), Known::Unknown);
    }

    #[test]
    fn a_process_that_may_have_forgotten_a_key_asks_for_everything() {
        assert!(take_of(LARGE, &mut Share::forgotten(), &mut SlidingLog::default(), 1, START_MS).1);
    }

    #[test]
    fn what_was_used_without_asking_can_be_given_back() {
        let mut share = Share::default();
        let own = Some(UsedOf::Own { from_ms: START_MS });
        for of in [own, None] {
            assert_eq!(share.take(LARGE, if of == own { 29 } else { 4 }, true, START_MS), used_own(START_MS));
            assert!(!share.give_back(4, of), "no question is needed");
        }
        assert_eq!(share.take(LARGE, 4, true, START_MS), used_own(START_MS));
        assert_eq!(share.take(LARGE, 1, true, START_MS), Known::Unknown);
    }

    #[test]
    fn units_of_a_window_that_is_over_are_not_given_back_to_another() {
        let (mut share, next_ms) = (Share::default(), START_MS + LARGE.window_ms);
        assert_eq!(share.take(LARGE, 29, true, START_MS), used_own(START_MS));
        assert_eq!(share.take(LARGE, 29, true, next_ms), used_own(next_ms));
        assert!(!share.give_back(29, Some(UsedOf::Own { from_ms: START_MS })));
        assert_eq!(share.take(LARGE, 1, true, next_ms), Known::Unknown, "all of the present one is used");
        assert_eq!(share.ask(LARGE, 1, 1).given_back, 0, "and the log never counted them");
    }

    #[test]
    fn one_process_alone_gets_all_but_a_32nd_of_a_large_limit() {
        let (mut share, mut log, mut used) = (Share::default(), SlidingLog::default(), 0);
        while let (Known::Used(_), _) = take_of(LARGE, &mut share, &mut log, 1, START_MS) {
            used += 1;
        }
        assert_eq!(used, 30_000 - 29 * 32 + 29);
    }

    proptest! {
        #[test]
        fn as_many_processes_as_there_may_be_never_use_more_than_a_large_limit_in_any_window(
            tries in vec((0_i64..6_000, 0_usize..16, 1_u32..200), 1..400),
        ) {
            let quota = Quota { units: 4_096, window_ms: 60_000 };
            let (mut log, mut now_ms, mut uses) = (SlidingLog::default(), START_MS, Vec::<(TimeMs, u32)>::new());
            let mut shares: Vec<Share> = (0..PROCESSES_MAX).map(|_| Share::default()).collect();
            for (wait_ms, node, units) in tries {
                now_ms += wait_ms;
                for units in [units, quota.own_units().min(units)] {
                    if let (Known::Used(_), _) = take_of(quota, &mut shares[node], &mut log, units, now_ms) {
                        uses.push((now_ms, units));
                    }
                }
                let within = uses.iter().filter(|(at_ms, _)| *at_ms > now_ms - quota.window_ms);
                prop_assert!(within.map(|(_, units)| units).sum::<u32>() <= quota.units);
            }
        }

        #[test]
        fn three_processes_never_use_more_than_the_limit_in_any_window(
            tries in vec((0_i64..4_000, 0_usize..3, 1_u32..40), 1..300),
        ) {
            let (mut log, mut now_ms, mut uses) = (SlidingLog::default(), START_MS, Vec::<(TimeMs, u32)>::new());
            let mut shares = [Share::default(), Share::default(), Share::default()];
            for (wait_ms, node, units) in tries {
                now_ms += wait_ms;
                if let (Known::Used(_), _) = take(&mut shares[node], &mut log, units, now_ms) {
                    uses.push((now_ms, units));
                }
                let within = uses.iter().filter(|(at_ms, _)| *at_ms > now_ms - QUOTA.window_ms);
                prop_assert!(within.map(|(_, units)| units).sum::<u32>() <= QUOTA.units);
            }
        }
    }
}
