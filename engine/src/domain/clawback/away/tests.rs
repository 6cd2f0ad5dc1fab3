use super::*;
use crate::amount::MoneyMinor;
use crate::domain::clawback::{Lot, LotTarget, step_towards, targets};
use crate::domain::ledger::{Account, Burn, Command, GrantKind, Op, PartGrant, decide};
use crate::domain::refund::{CreditsChoice, Gone};
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
        grants.filter(|entry| entry.origin() == grant.seq && entry.seq != grant.seq).map(|entry| entry.seq).collect()
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

/// The money of a payment, in percent of it.
#[derive(Debug, Clone, Copy, Default)]
struct Money {
    /// What was given back with the credits that were unspent.
    unspent: i64,
    /// What is disputed.
    disputed: i64,
}

impl Ledger {
    /// Brings each grant to what the money says of its payment, until nothing changes any longer.
    fn review(&mut self, payments: &[(Entry, Money)], day: i64) {
        while payments.iter().any(|(grant, money)| self.step(grant, *money, day)) {}
    }

    fn step(&mut self, grant: &Entry, money: Money, day: i64) -> bool {
        let mut gone = Gone::default();
        gone.add(MoneyMinor(money.disputed), CreditsChoice::All);
        gone.add(MoneyMinor(money.unspent), CreditsChoice::Unspent);
        let returned = self.returned(grant);
        let kept = self.entries.iter().filter(|entry| entry.detail.grant == Some(grant.seq));
        let lot = Lot {
            granted: grant.granted(),
            clawed_back: self.account.clawed_back(grant.seq),
            unspent_gone: kept.filter_map(|entry| entry.detail.unspent).next_back().or(Some(Credits::ZERO)),
            remaining: Credits(self.left_of(grant)),
            ..Lot::default()
        };
        let target = targets(&[lot], &gone, MoneyMinor(100), Credits::ZERO, self.account.available()).remove(0);
        let away = away(grant, &self.entries, &self.entries);
        let step = step_towards(grant, lot.clawed_back, &target, &returned, &away, "ch_1", day * DAY_MS);
        let decision = step.and_then(|step| decide(&self.account, &step.command, day * DAY_MS).ok());
        let Some(decision) = decision else { return false };
        self.account = decision.account;
        self.entries.extend(decision.entries);
        true
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
    // One became a debt, and four were left of the pack.
    assert_eq!(ledger.bring(&pack, 0, 95), [(1, Some(183)), (2, Some(100)), (3, None), (4, Some(183))]);
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
    assert_eq!(ledger.bring(&month, 0, 4), [(5, Some(30)), (10, None)], "what is still owed comes first");
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
    assert_eq!(ledger.bring(&pack, 0, 60), [(3, None), (4, Some(90))]);
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
    fn disputes_that_are_won_leave_of_refunds_what_these_leave_without_them(
        amounts in proptest::collection::vec(1..20_i64, 2..4),
        spent in 0..60_i64,
        events in proptest::collection::vec((any::<proptest::sample::Index>(), any::<bool>(), 1..5_i64), 1..7),
        won in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        let histories = [true, false].map(|has_disputes| {
            let mut ledger = Ledger::default();
            let mut payments: Vec<(Entry, Money)> =
                amounts.iter().map(|amount| (ledger.grant(*amount, 0, None), Money::default())).collect();
            let spent = spent.min(ledger.account.balance.0);
            if spent > 0 {
                ledger.debit(spent, 1);
            }
            for (pick, is_dispute, parts) in &events {
                let money = &mut payments[pick.index(amounts.len())].1;
                let left = if *is_dispute { 100 - money.unspent - money.disputed } else { 100 - money.unspent };
                let part = (parts * 25).min(left);
                match *is_dispute {
                    true if has_disputes => money.disputed += part,
                    true => {}
                    // What is disputed is not given back.
                    false => money.unspent += part.min(100 - money.unspent - money.disputed),
                }
                ledger.review(&payments, 2);
            }
            for pick in &won {
                payments[pick.index(amounts.len())].1.disputed = 0;
                ledger.review(&payments, 3);
            }
            payments.iter_mut().for_each(|(_, money)| money.disputed = 0);
            ledger.review(&payments, 4);
            let left: Vec<i64> = payments.iter().map(|(grant, _)| ledger.left_of(grant)).collect();
            (ledger.account.balance, left, payments.iter().map(|(_, money)| money.unspent).collect::<Vec<_>>())
        });
        // A dispute that leaves less to give back makes another history.
        if histories[0].2 == histories[1].2 {
            prop_assert_eq!(&histories[0], &histories[1]);
        }
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
