//! Credits that are away: clawed back of a grant and not returned since. When they come back, and when they end then.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Entry, EntryKind};

/// Credits that one claw back took from one grant, and that have not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// Their number.
    credits: Credits,
    /// When they were taken.
    taken_at_ms: TimeMs,
    /// When their grant was made.
    granted_at_ms: TimeMs,
    /// When they would have ended.
    ended_at_ms: Option<TimeMs>,
}

impl Away {
    fn new(credits: Credits, taken_at_ms: TimeMs, grant: &Entry) -> Self {
        Self { credits, taken_at_ms, granted_at_ms: grant.created_at_ms, ended_at_ms: grant.detail.expires_at_ms }
    }

    /// When the credits end if they come back now.
    ///
    /// That is when they would have ended anyway. If this time is past, they get the time that they lacked: from the
    /// moment when they were taken to their end, because nobody could use them meanwhile. If their grant was over
    /// before that moment, nothing was left of it, and other credits have made up for it since: they get the time of
    /// the whole grant.
    fn ends_at_ms(&self, now_ms: TimeMs) -> Option<TimeMs> {
        let ended_at_ms = self.ended_at_ms?;
        if ended_at_ms > now_ms {
            return Some(ended_at_ms);
        }
        let from_ms = if self.taken_at_ms < ended_at_ms { self.taken_at_ms } else { self.granted_at_ms };
        let lacked_ms = ended_at_ms.saturating_sub(from_ms);
        (lacked_ms > 0).then(|| now_ms.saturating_add(lacked_ms))
    }
}

/// The credits of a grant that are away, in the order in which they come back: those that were taken first come first.
///
/// A claw back takes what is left of the grant, then credits of others, then it makes a debt. Credits of others return
/// with their own end. Those that became a debt had been spent before, and return with the end of the grant, unless the
/// debt was written off: then they do not return. Credits that were withheld from the grant were never there, and come
/// first.
///
/// `moved` are the entries that took credits of the grant back or returned them, in their order. `burned` are the
/// entries of the other grants that the claw backs burned; one that is missing counts as the grant itself.
pub fn away(grant: &Entry, moved: &[Entry], burned: &[Entry]) -> Vec<Away> {
    let withheld = Away::new(grant.detail.withheld, grant.created_at_ms, grant);
    let mut away: Vec<Away> = Some(withheld).filter(|part| part.credits > Credits::ZERO).into_iter().collect();
    for entry in moved.iter().filter(|entry| entry.detail.grant == Some(grant.seq)) {
        match entry.kind {
            EntryKind::ClawBack => away.extend(taken(grant, entry, burned)),
            EntryKind::Grant => give_back(&mut away, entry.amount),
            EntryKind::Terms => give_back(&mut away, entry.detail.forgiven.iter().map(|burn| burn.credits).sum()),
            _ => {}
        }
    }
    away
}

/// What one claw back took.
fn taken(grant: &Entry, claw_back: &Entry, burned: &[Entry]) -> Vec<Away> {
    let others = claw_back.detail.burned.iter().filter(|burn| burn.grant != grant.seq);
    let of_others: Credits = others.clone().map(|burn| burn.credits).sum();
    let own = Away::new(-claw_back.amount - of_others, claw_back.created_at_ms, grant);
    let others = others.map(|burn| {
        let from = burned.iter().find(|entry| entry.seq == burn.grant).unwrap_or(grant);
        Away::new(burn.credits, claw_back.created_at_ms, from)
    });
    std::iter::once(own).chain(others).filter(|part| part.credits > Credits::ZERO).collect()
}

fn give_back(away: &mut Vec<Away>, mut credits: Credits) {
    for part in &mut *away {
        let returned = part.credits.min(credits);
        part.credits -= returned;
        credits -= returned;
    }
    away.retain(|part| part.credits > Credits::ZERO);
}

/// The credits that come back next, at most this many, and when they end. Of a grant whose claw backs are not known,
/// all come back as if they had just been taken.
pub(super) fn next_back(grant: &Entry, away: &[Away], at_most: Credits, now_ms: TimeMs) -> (Credits, Option<TimeMs>) {
    let Some(first) = away.first() else {
        return (at_most, Away::new(at_most, now_ms, grant).ends_at_ms(now_ms));
    };
    let ends_at_ms = first.ends_at_ms(now_ms);
    let alike = away.iter().take_while(|part| part.ends_at_ms(now_ms) == ends_at_ms);
    let credits: Credits = alike.map(|part| part.credits).sum();
    (credits.min(at_most), ends_at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clawback::{LotTarget, step_towards};
    use crate::domain::ledger::{Account, Command, GrantKind, Op, PartGrant, decide};
    use proptest::prelude::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    /// An account with its entries.
    #[derive(Default)]
    struct Ledger {
        account: Account,
        entries: Vec<Entry>,
    }

    impl Ledger {
        fn act(&mut self, command: &Command, day: i64) -> Entry {
            let decision = decide(&self.account, command, day * DAY_MS).expect("it is not refused");
            self.account = decision.account;
            self.entries.extend(decision.entries);
            self.entries.last().expect("an entry").clone()
        }

        fn grant(&mut self, amount: i64, day: i64, last_day: Option<i64>) -> Entry {
            let expires_at_ms = last_day.map(|day| day * DAY_MS);
            let op = Op::Grant { kind: GrantKind::Purchased, amount: Credits(amount), expires_at_ms };
            self.act(&Command { op, ..Command::settle() }, day)
        }

        fn debit(&mut self, amount: i64, day: i64) {
            self.act(&Command { op: Op::Debit { amount: Credits(amount) }, ..Command::settle() }, day);
        }

        /// Brings what is clawed back of a grant to a total. Returns the credits that came back, each with their last
        /// day.
        fn bring(&mut self, grant: &Entry, total: i64, day: i64) -> Vec<(i64, Option<i64>)> {
            let mut returned = Vec::new();
            loop {
                let away = away(grant, &self.entries, &self.entries);
                let clawed_back = self.account.clawed_back(grant.seq);
                let target = LotTarget { total: Credits(total), ..LotTarget::default() };
                let Some(step) = step_towards(grant, clawed_back, &target, &away, "ch_1", day * DAY_MS) else {
                    return returned;
                };
                let entry = self.act(&step.command, day);
                if entry.kind == EntryKind::Grant {
                    returned.push((entry.amount.0, entry.detail.expires_at_ms.map(|at_ms| at_ms / DAY_MS)));
                }
                assert_eq!(step.is_last, self.account.clawed_back(grant.seq) == Credits(total));
            }
        }
    }

    #[test]
    fn credits_that_come_back_end_when_they_would_have_ended() {
        for last_day in [Some(90), None] {
            let mut ledger = Ledger::default();
            let pack = ledger.grant(10, 0, last_day);
            ledger.debit(4, 1);
            assert!(ledger.bring(&pack, 10, 2).is_empty(), "they go");
            assert_eq!(ledger.bring(&pack, 0, 60), [(10, last_day)]);
            assert_eq!(ledger.account.balance, Credits(6));
        }
    }

    #[test]
    fn credits_whose_end_is_past_get_the_time_that_they_lacked() {
        let mut ledger = Ledger::default();
        let week = ledger.grant(10, 0, Some(7));
        ledger.bring(&week, 10, 2);
        assert_eq!(ledger.bring(&week, 0, 60), [(10, Some(65))], "five days were left");
    }

    #[test]
    fn credits_of_other_grants_come_back_with_their_own_end() {
        let mut ledger = Ledger::default();
        let pack = ledger.grant(10, 0, Some(90));
        ledger.grant(3, 0, None);
        ledger.grant(2, 0, Some(100));
        ledger.debit(6, 1);
        ledger.bring(&pack, 10, 2);
        assert_eq!(ledger.account.balance, Credits(-1));
        // Four were left of the pack, and one became a debt.
        assert_eq!(ledger.bring(&pack, 0, 95), [(5, Some(183)), (2, Some(100)), (3, None)]);
        assert_eq!(ledger.account.balance, Credits(9));
    }

    #[test]
    fn what_was_owed_and_written_off_does_not_come_back() {
        let mut ledger = Ledger::default();
        let pack = ledger.grant(10, 0, Some(90));
        ledger.grant(3, 0, None);
        ledger.debit(6, 1);
        ledger.bring(&pack, 10, 2);
        assert_eq!(ledger.account.balance, Credits(-3));
        ledger.act(&Command { op: Op::WriteOff { reason: "because".to_owned() }, ..Command::settle() }, 3);
        assert_eq!(ledger.bring(&pack, 0, 60), [(4, Some(90)), (3, None)]);
        assert_eq!((ledger.account.balance, ledger.account.forgiven(pack.seq)), (Credits(7), Credits::ZERO));
        ledger.bring(&pack, 10, 61);
        assert_eq!(ledger.account.balance, Credits(-3), "it may go once more");
    }

    #[test]
    fn credits_of_a_grant_that_was_over_before_get_the_time_of_the_whole_grant() {
        let mut ledger = Ledger::default();
        let week = ledger.grant(10, 0, Some(7));
        ledger.debit(10, 1);
        ledger.bring(&week, 10, 30);
        ledger.grant(12, 31, None);
        assert_eq!(ledger.bring(&week, 0, 40), [(10, Some(47))]);
        assert_eq!(ledger.account.balance, Credits(12));
    }

    #[test]
    fn each_absence_counts_by_itself() {
        let mut ledger = Ledger::default();
        let week = ledger.grant(10, 0, Some(7));
        ledger.bring(&week, 4, 1);
        ledger.bring(&week, 10, 3);
        assert_eq!(ledger.bring(&week, 8, 20), [(2, Some(26))], "what was taken first comes first");
        assert_eq!(ledger.bring(&week, 0, 30), [(2, Some(36)), (6, Some(34))]);
        ledger.bring(&week, 10, 31);
        assert_eq!(ledger.bring(&week, 0, 32).iter().map(|(credits, _)| credits).sum::<i64>(), 10);
    }

    #[test]
    fn credits_that_were_withheld_come_with_the_end_of_their_grant() {
        for (day, last_day) in [(20, 30), (50, 80)] {
            let mut ledger = Ledger::default();
            let part = PartGrant {
                amount: Credits(6),
                withheld: Credits(4),
                unspent: Credits::ZERO,
                expires_at_ms: Some(30 * DAY_MS),
            };
            let month = ledger.act(&Command { op: Op::GrantPart(part), ..Command::settle() }, 0);
            assert_eq!((ledger.account.balance, ledger.account.clawed_back(month.seq)), (Credits(6), Credits(4)));
            assert_eq!(ledger.bring(&month, 0, day), [(4, Some(last_day))]);
            assert_eq!(ledger.account.clawed_back(month.seq), Credits::ZERO);
        }
    }

    #[test]
    fn of_unknown_claw_backs_all_come_back_at_once() {
        let mut ledger = Ledger::default();
        let pack = ledger.grant(10, 0, Some(90));
        assert_eq!(next_back(&pack, &[], Credits(4), DAY_MS), (Credits(4), Some(90 * DAY_MS)));
        assert_eq!(next_back(&pack, &[], Credits(4), 95 * DAY_MS), (Credits(4), Some(185 * DAY_MS)));
    }

    proptest! {
        #[test]
        fn what_is_away_is_what_is_clawed_back(
            totals in proptest::collection::vec((0..=10_i64, 0..20_i64), 1..20),
            others in proptest::collection::vec((1..5_i64, proptest::option::of(1..200_i64)), 0..4),
            spent in 0..=10_i64,
            forgiving in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let mut ledger = Ledger::default();
            let grant = ledger.grant(10, 0, Some(30));
            if spent > 0 {
                ledger.debit(spent, 0);
            }
            for (amount, last_day) in others {
                ledger.grant(amount, 0, last_day);
            }
            let mut day = 0;
            for ((total, days), is_forgiving) in totals.into_iter().zip(forgiving) {
                day += days;
                if is_forgiving && ledger.account.balance < Credits::ZERO {
                    ledger.act(&Command { op: Op::WriteOff { reason: "because".to_owned() }, ..Command::settle() }, day);
                }
                for (_, last_day) in ledger.bring(&grant, total, day) {
                    prop_assert!(last_day.is_none_or(|last_day| last_day > day), "they can be used");
                }
                let away = away(&grant, &ledger.entries, &ledger.entries);
                prop_assert_eq!(away.iter().map(|part| part.credits).sum::<Credits>(), Credits(total));
            }
        }
    }
}
