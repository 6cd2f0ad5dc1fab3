//! Credits that are away: clawed back of a grant and not returned since. When they come back, and when they end then.

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Entry, EntryKind, GrantKind};

/// Credits that one claw back took from one grant, and that have not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// Their number.
    credits: Credits,
    /// Their kind.
    kind: GrantKind,
    /// The grant that they are of, if it is another than the one whose payment took them.
    of: Option<i64>,
    /// Whether they had been spent before, and are a debt that nothing has paid.
    is_owed: bool,
    /// When they were taken.
    taken_at_ms: TimeMs,
    /// When their grant was made.
    granted_at_ms: TimeMs,
    /// When they would have ended.
    ended_at_ms: Option<TimeMs>,
}

impl Away {
    /// Credits that were taken from one grant (`from`) for the payment of a grant.
    fn new(credits: Credits, taken_at_ms: TimeMs, from: &Entry, grant: &Entry) -> Self {
        Self {
            credits,
            kind: from.detail.grant_kind.unwrap_or(GrantKind::Purchased),
            of: Some(from.origin()).filter(|origin| *origin != grant.seq),
            is_owed: false,
            taken_at_ms,
            granted_at_ms: from.created_at_ms,
            ended_at_ms: from.detail.expires_at_ms,
        }
    }

    /// When the credits end if they come back now.
    ///
    /// That is when they would have ended anyway. If this time is past, they get the time that they lacked: from the
    /// moment when they were taken to their end, because nobody could use them meanwhile. If their grant was over
    /// before that moment, nothing was left of it, and other credits have made up for it since, whose entries may not say
    /// so because they are of an earlier release: they get the time of the whole grant.
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

/// The credits of a grant that are away, in the order in which they come back: its own before those of others, and of
/// these, those that were taken first come first.
///
/// A claw back takes what is left of the grant, then credits of others, then it makes a debt. Credits of others return
/// as what they were: of their own grant, with its end. Those that became a debt had been spent before, and return with
/// the end of the grant, unless the debt was written off: then they do not return. If credits of another grant paid the
/// debt since, those return. Credits that were withheld from the grant were never there, and come first.
///
/// `moved` are the entries that took credits of the grant back, paid the debt that this made, or returned credits, in
/// their order. `burned` are the entries of the other grants that the claw backs burned; one that is missing counts as
/// the grant itself.
pub fn away(grant: &Entry, moved: &[Entry], burned: &[Entry]) -> Vec<Away> {
    let mut away = vec![Away::new(grant.detail.withheld, grant.created_at_ms, grant, grant)];
    for entry in moved {
        let is_own = entry.detail.grant == Some(grant.seq);
        match entry.kind {
            EntryKind::ClawBack if is_own => away.extend(taken(grant, entry, burned)),
            EntryKind::Grant if is_own => {
                give_back(&mut away, entry.amount, |_| true);
            }
            EntryKind::Grant => {
                let paid = give_back(&mut away, entry.paid_for(grant.seq), |part| part.is_owed);
                away.push(Away::new(paid, entry.created_at_ms, entry, grant));
            }
            EntryKind::Terms if is_own => {
                let forgiven = entry.detail.forgiven.iter().map(|burn| burn.credits).sum();
                let owed = give_back(&mut away, forgiven, |part| part.is_owed);
                give_back(&mut away, forgiven - owed, |_| true);
            }
            _ => {}
        }
        away.retain(|part| part.credits > Credits::ZERO);
        away.sort_by_key(|part| part.of.is_some());
    }
    away.retain(|part| part.credits > Credits::ZERO);
    away
}

/// What one claw back took.
fn taken(grant: &Entry, claw_back: &Entry, burned: &[Entry]) -> Vec<Away> {
    let part = |credits, from| Away::new(credits, claw_back.created_at_ms, from, grant);
    let burned_all: Credits = claw_back.detail.burned.iter().map(|burn| burn.credits).sum();
    let mut parts: Vec<Away> = claw_back
        .detail
        .burned
        .iter()
        .map(|burn| part(burn.credits, burned.iter().find(|entry| entry.seq == burn.grant).unwrap_or(grant)))
        .collect();
    parts.push(Away { is_owed: true, ..part(-claw_back.amount - burned_all, grant) });
    parts
}

/// Lessens parts that are away by so many credits, if they are of these. Returns by how many.
fn give_back(away: &mut [Away], credits: Credits, is_one: impl Fn(&Away) -> bool) -> Credits {
    let mut left = credits;
    for part in away.iter_mut().filter(|part| is_one(part)) {
        let returned = part.credits.min(left);
        part.credits -= returned;
        left -= returned;
    }
    credits - left
}

/// Credits that come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Back {
    /// Their number.
    pub credits: Credits,
    /// Their kind.
    pub kind: GrantKind,
    /// The grant that they are of, if it is another than the one whose payment took them.
    pub of: Option<i64>,
    /// When they end.
    pub ends_at_ms: Option<TimeMs>,
}

/// The credits that come back next, at most this many. Of a grant whose claw backs are not known, all come back as if
/// they had just been taken.
pub(super) fn next_back(grant: &Entry, away: &[Away], at_most: Credits, now_ms: TimeMs) -> Back {
    let unknown = [Away::new(at_most, now_ms, grant, grant)];
    let away = if away.is_empty() { &unknown[..] } else { away };
    let Away { kind, of, .. } = away[0];
    let ends_at_ms = away[0].ends_at_ms(now_ms);
    let alike = away.iter().take_while(|part| part.of == of && part.ends_at_ms(now_ms) == ends_at_ms);
    let credits: Credits = alike.map(|part| part.credits).sum();
    Back { credits: credits.min(at_most), kind, of, ends_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clawback::{LotTarget, step_towards};
    use crate::domain::ledger::{Account, Burn, Command, GrantKind, Op, PartGrant, decide};
    use proptest::prelude::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

    /// An account with its entries.
    #[derive(Default)]
    struct Ledger {
        account: Account,
        entries: Vec<Entry>,
    }

    impl Ledger {
        /// The grants that returned credits of one.
        fn returned(&self, grant: &Entry) -> Vec<i64> {
            let grants = self.entries.iter().filter(|entry| entry.kind == EntryKind::Grant);
            grants
                .filter(|entry| entry.origin() == grant.seq && entry.seq != grant.seq)
                .map(|entry| entry.seq)
                .collect()
        }

        /// What is left of a grant, whichever grants have it.
        fn left_of(&self, grant: &Entry) -> i64 {
            let grants = [self.returned(grant), vec![grant.seq]].concat();
            self.account.remaining_of(&grants).0
        }

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
                let Some(step) = step_towards(grant, clawed_back, &target, &[], &away, "ch_1", day * DAY_MS) else {
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
    fn credits_of_other_grants_come_back_as_theirs() {
        let mut ledger = Ledger::default();
        let (month, pack) = (ledger.grant(15, 0, Some(30)), ledger.grant(10, 0, None));
        ledger.debit(8, 1);
        ledger.bring(&month, 15, 2);
        assert_eq!((ledger.left_of(&month), ledger.left_of(&pack)), (0, 2));
        ledger.bring(&month, 0, 3);
        assert_eq!((ledger.left_of(&month), ledger.left_of(&pack)), (7, 10));
        // What returned is taken before what others have.
        let returned = ledger.returned(&pack);
        let op = Op::ClawBack {
            grant: pack.seq,
            granted: pack.granted(),
            returned,
            total: Credits(10),
            unspent: Credits(10),
            unspent_before: Credits::ZERO,
        };
        ledger.act(&Command { op, ..Command::settle() }, 4);
        assert_eq!((ledger.left_of(&month), ledger.left_of(&pack)), (7, 0));
    }

    #[test]
    fn credits_that_paid_a_debt_come_back_as_theirs() {
        let mut ledger = Ledger::default();
        let month = ledger.grant(15, 0, Some(30));
        ledger.debit(15, 1);
        ledger.bring(&month, 15, 2);
        let pack = ledger.grant(10, 3, None);
        assert_eq!((ledger.account.balance, ledger.left_of(&pack)), (Credits(-5), 0));
        assert_eq!(pack.detail.pays, [Burn { grant: month.seq, credits: Credits(10) }]);
        assert_eq!(ledger.bring(&month, 0, 4), [(5, Some(30)), (10, None)]);
        assert_eq!((ledger.left_of(&month), ledger.left_of(&pack)), (0, 10));
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
    fn where_it_was_not_kept_who_paid_a_debt_credits_of_a_grant_that_was_over_get_the_time_of_the_whole_grant() {
        let mut ledger = Ledger::default();
        let week = ledger.grant(10, 0, Some(7));
        ledger.debit(10, 1);
        ledger.bring(&week, 10, 30);
        ledger.grant(12, 31, None);
        ledger.entries.iter_mut().for_each(|entry| entry.detail.pays.clear());
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
        let back = |day: i64| {
            let back = next_back(&pack, &[], Credits(4), day * DAY_MS);
            (back.credits.0, back.of, back.ends_at_ms.map(|at_ms| at_ms / DAY_MS))
        };
        assert_eq!((back(1), back(95)), ((4, None, Some(90)), (4, None, Some(185))));
    }

    proptest! {
        #[test]
        fn a_claw_back_that_is_taken_back_leaves_each_grant_what_it_had(
            amounts in proptest::collection::vec((1..20_i64, proptest::option::of(100..120_i64)), 1..5),
            spent in 0..60_i64,
            later in proptest::collection::vec((1..20_i64, proptest::option::of(100..120_i64)), 0..4),
            disputed in proptest::collection::vec((any::<proptest::sample::Index>(), 1..20_i64), 1..4),
            is_first_back_first: bool,
        ) {
            let mut ledger = Ledger::default();
            let mut grants: Vec<Entry> =
                amounts.into_iter().map(|(amount, last_day)| ledger.grant(amount, 0, last_day)).collect();
            let spent = spent.min(ledger.account.balance.0);
            if spent > 0 {
                ledger.debit(spent, 1);
            }
            let mut had: Vec<i64> = grants.iter().map(|grant| ledger.left_of(grant)).collect();
            let mut taken: Vec<Entry> = Vec::new();
            for (pick, total) in disputed {
                let grant = pick.get(&grants).clone();
                if !taken.contains(&grant) {
                    ledger.bring(&grant, total.min(grant.amount.0), 2);
                    taken.push(grant);
                }
            }
            for (amount, last_day) in later {
                grants.push(ledger.grant(amount, 3, last_day));
                had.push(amount);
            }
            if !is_first_back_first {
                taken.reverse();
            }
            for grant in taken {
                ledger.bring(&grant, 0, 4);
            }
            let left: Vec<i64> = grants.iter().map(|grant| ledger.left_of(grant)).collect();
            prop_assert_eq!(left, had);
        }

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
