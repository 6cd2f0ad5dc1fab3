//! Examples of the most important rules and of their limits.

use super::*;
use crate::amount::Credits;
use crate::ids::HoldId;

/// An account under test.
#[derive(Default)]
pub(in crate::domain::ledger) struct TestAccount {
    pub(in crate::domain::ledger) account: Account,
    pub(in crate::domain::ledger) now_ms: TimeMs,
}

impl TestAccount {
    pub(in crate::domain::ledger) fn act(&mut self, op: Op) -> Result<Entry, Refusal> {
        let mut decision = decide(&self.account, &command(op), self.now_ms)?;
        self.account = decision.account;
        Ok(decision.entries.pop().unwrap())
    }

    pub(in crate::domain::ledger) fn grant(
        &mut self,
        kind: GrantKind,
        amount: i64,
        expires_at_ms: Option<TimeMs>,
    ) -> i64 {
        self.act(Op::Grant { kind, amount: Credits(amount), expires_at_ms }).unwrap().seq
    }

    pub(in crate::domain::ledger) fn debit(&mut self, amount: i64) -> Result<Entry, Refusal> {
        self.act(Op::Debit { amount: Credits(amount) })
    }

    pub(in crate::domain::ledger) fn hold(
        &mut self,
        name: &str,
        amount: i64,
        expires_at_ms: TimeMs,
    ) -> Result<HoldId, Refusal> {
        let id = HoldId::trusted(name.to_owned());
        self.act(Op::Hold { id: id.clone(), amount: Credits(amount), expires_at_ms }).map(|_| id)
    }

    pub(in crate::domain::ledger) fn numbers(&self) -> (i64, i64) {
        (self.account.balance.0, self.account.held.0)
    }
}

#[test]
fn a_debit_burns_what_ends_soonest_then_promotional_then_paid() {
    let mut test = TestAccount::default();
    let bought = test.grant(GrantKind::Purchased, 2, None);
    let free = test.grant(GrantKind::Promotional, 2, None);
    let monthly = test.grant(GrantKind::Included, 2, Some(1_000));
    let entry = test.debit(5).unwrap();
    let burned: Vec<(i64, i64)> = entry.detail.burned.iter().map(|burn| (burn.grant, burn.credits.0)).collect();
    assert_eq!(burned, [(monthly, 2), (free, 2), (bought, 1)]);
}

#[test]
fn a_partial_capture_takes_its_part_and_frees_the_rest() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Purchased, 10, None);
    let hold = test.hold("a", 6, 1_000).unwrap();
    assert_eq!(test.numbers(), (10, 6));
    assert_eq!(test.debit(5), Err(Refusal::InsufficientCredits { requested: Credits(5), available: Credits(4) }));
    test.act(Op::Capture { id: hold.clone(), amount: Some(Credits(4)) }).unwrap();
    assert_eq!(test.numbers(), (6, 0));
    assert_eq!(test.act(Op::Capture { id: hold.clone(), amount: None }), Err(Refusal::HoldNotFound(hold)));
}

#[test]
fn a_capture_of_more_than_the_hold_is_refused() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Purchased, 10, None);
    let id = test.hold("a", 6, 1_000).unwrap();
    let refused = test.act(Op::Capture { id, amount: Some(Credits(7)) });
    assert_eq!(refused, Err(Refusal::CaptureExceedsHold { requested: Credits(7), held: Credits(6) }));
    assert_eq!(test.numbers(), (10, 6));
}

#[test]
fn a_claw_back_beyond_the_balance_is_debt_and_the_next_grant_pays_it_first() {
    let mut test = TestAccount::default();
    let grant = test.grant(GrantKind::Purchased, 10, None);
    test.debit(8).unwrap();
    test.act(Op::ClawBack {
        grant,
        granted: Credits(10),
        returned: Vec::new(),
        total: Credits(10),
        unspent: Credits::ZERO,
        unspent_before: Credits::ZERO,
    })
    .unwrap();
    assert_eq!(test.numbers(), (-8, 0));
    assert_eq!(test.debit(1), Err(Refusal::InsufficientCredits { requested: Credits(1), available: Credits(0) }));
    test.grant(GrantKind::Purchased, 10, None);
    assert_eq!((test.numbers(), left(&test.account)), ((2, 0), Credits(2)));
}

#[test]
fn refunds_are_cumulative_and_claw_back_only_what_is_new() {
    let mut test = TestAccount::default();
    let grant = test.grant(GrantKind::Purchased, 10, None);
    let mut claw_back = |total| {
        let op = Op::ClawBack {
            grant,
            granted: Credits(10),
            returned: Vec::new(),
            total: Credits(total),
            unspent: Credits::ZERO,
            unspent_before: Credits::ZERO,
        };
        test.act(op).map(|entry| entry.amount.0)
    };
    assert_eq!(claw_back(4), Ok(-4));
    assert_eq!(claw_back(4), Err(Refusal::NothingToDo));
    assert_eq!(claw_back(7), Ok(-3));
    assert_eq!(claw_back(5), Err(Refusal::NothingToDo));
    assert_eq!(claw_back(99), Ok(-3));
    assert_eq!(claw_back(99), Err(Refusal::NothingToDo));
}

#[test]
fn what_goes_only_if_unspent_makes_no_debt_and_the_rest_does() {
    let claw_back = |unspent: i64| {
        let mut test = TestAccount::default();
        let grant = test.grant(GrantKind::Purchased, 10, None);
        test.debit(8).unwrap();
        let op = Op::ClawBack {
            grant,
            granted: Credits(10),
            returned: Vec::new(),
            total: Credits(10),
            unspent: Credits(unspent),
            unspent_before: Credits::ZERO,
        };
        (test.act(op).map(|entry| entry.amount.0), test.numbers().0)
    };
    assert_eq!(claw_back(0), (Ok(-10), -8));
    assert_eq!(claw_back(5), (Ok(-5), -3));
    assert_eq!(claw_back(10), (Ok(-2), 0));
}

#[test]
fn a_hold_can_be_captured_after_a_claw_back_took_its_credits() {
    let mut test = TestAccount::default();
    let grant = test.grant(GrantKind::Purchased, 10, None);
    let id = test.hold("a", 6, 1_000).unwrap();
    test.act(Op::ClawBack {
        grant,
        granted: Credits(10),
        returned: Vec::new(),
        total: Credits(10),
        unspent: Credits::ZERO,
        unspent_before: Credits::ZERO,
    })
    .unwrap();
    assert_eq!(test.numbers(), (0, 6));
    test.act(Op::Capture { id, amount: None }).unwrap();
    assert_eq!(test.numbers(), (-6, 0));
}

#[test]
fn amounts_are_from_one_to_the_limit() {
    let mut test = TestAccount::default();
    let grant = |amount| Op::Grant { kind: GrantKind::Purchased, amount: Credits(amount), expires_at_ms: None };
    for amount in [i64::MIN, -1, 0, UNITS_MAX.0 + 1, i64::MAX] {
        assert_eq!(test.act(grant(amount)), Err(Refusal::InvalidAmount), "{amount}");
        assert_eq!(test.debit(amount), Err(Refusal::InvalidAmount), "{amount}");
        assert_eq!(test.hold("a", amount, 1_000), Err(Refusal::InvalidAmount), "{amount}");
    }
    for amount in [i64::MIN, -UNITS_MAX.0 - 1, 0, UNITS_MAX.0 + 1, i64::MAX] {
        let adjust = Op::Adjust { amount: Credits(amount), reason: "because".to_owned(), expires_at_ms: None };
        assert_eq!(test.act(adjust), Err(Refusal::InvalidAmount), "{amount}");
    }
    test.act(grant(UNITS_MAX.0)).unwrap();
    test.debit(UNITS_MAX.0).unwrap();
    test.act(grant(1)).unwrap();
}

#[test]
fn support_takes_no_more_than_is_available_and_gives_without_an_end() {
    let mut test = TestAccount::default();
    let adjust = |amount| Op::Adjust { amount: Credits(amount), reason: "because".to_owned(), expires_at_ms: None };
    assert!(matches!(test.act(adjust(-1)), Err(Refusal::InsufficientCredits { .. })));
    let given = test.act(adjust(3)).unwrap();
    assert_eq!((given.kind, given.detail.grant_kind), (EntryKind::Grant, Some(GrantKind::Adjustment)));
    let taken = test.act(adjust(-2)).unwrap();
    assert_eq!((taken.kind, taken.amount.0, taken.detail.reason.as_deref()), (EntryKind::Adjust, -2, Some("because")));
}

#[test]
fn a_debt_is_written_off_to_zero_and_nothing_else_is() {
    let mut test = TestAccount::default();
    let write_off = || Op::WriteOff { reason: "because".to_owned() };
    assert_eq!(test.act(write_off()), Err(Refusal::NothingToDo));
    let grant = test.grant(GrantKind::Purchased, 3, None);
    test.debit(3).unwrap();
    test.act(Op::ClawBack {
        grant,
        granted: Credits(3),
        returned: Vec::new(),
        total: Credits(3),
        unspent: Credits::ZERO,
        unspent_before: Credits::ZERO,
    })
    .unwrap();
    let entry = test.act(write_off()).unwrap();
    assert_eq!((entry.amount, entry.balance_after), (Credits(3), Credits::ZERO));
    assert_eq!((entry.detail.reason.as_deref(), test.account.open.grants.len()), (Some("because"), 0));
    assert_eq!(test.act(write_off()), Err(Refusal::NothingToDo));
    // The payment turns out to be good: its credits were used, and nothing is owed for them.
    let note = test
        .act(Op::Reinstate {
            grant,
            kind: GrantKind::Purchased,
            total: Credits::ZERO,
            unspent: Credits::ZERO,
            of: None,
            expires_at_ms: None,
        })
        .unwrap();
    assert_eq!((note.kind, note.amount, test.account.balance), (EntryKind::Terms, Credits::ZERO, Credits::ZERO));
    assert!(note.detail.reason.is_some_and(|reason| reason.starts_with("3 credits do not come back: ")));
    assert_eq!(test.account.open.clawed, []);
}

#[test]
fn a_debt_that_is_paid_is_not_forgiven_and_its_credits_come_back() {
    let mut test = TestAccount::default();
    let grant = test.grant(GrantKind::Purchased, 5, None);
    test.debit(5).unwrap();
    test.act(Op::ClawBack {
        grant,
        granted: Credits(5),
        returned: Vec::new(),
        total: Credits(5),
        unspent: Credits::ZERO,
        unspent_before: Credits::ZERO,
    })
    .unwrap();
    test.grant(GrantKind::Purchased, 2, None);
    let entry = test.act(Op::WriteOff { reason: "because".to_owned() }).unwrap();
    assert_eq!(entry.detail.forgiven, [Burn { grant, credits: Credits(3) }]);
    let back = Op::Reinstate {
        grant,
        kind: GrantKind::Purchased,
        total: Credits::ZERO,
        unspent: Credits::ZERO,
        of: None,
        expires_at_ms: None,
    };
    let entry = test.act(back).unwrap();
    assert_eq!((entry.kind, entry.amount, entry.balance_after), (EntryKind::Grant, Credits(2), Credits(2)));
}

#[test]
fn a_credit_limit_moves_the_floor_and_a_lower_one_takes_nothing_back() {
    let mut test = TestAccount::default();
    let limit = |credits| Op::SetLimit { limit: Credits(credits), reason: "because".to_owned() };
    assert_eq!(test.act(limit(0)), Err(Refusal::NothingToDo));
    for credits in [-1, UNITS_MAX.0 + 1] {
        assert_eq!(test.act(limit(credits)), Err(Refusal::InvalidAmount));
    }
    let entry = test.act(limit(5)).unwrap();
    assert_eq!((entry.kind, entry.amount, entry.detail.floor), (EntryKind::Terms, Credits::ZERO, Some(Credits(-5))));
    test.debit(5).unwrap();
    assert!(test.debit(1).is_err());
    test.act(limit(2)).unwrap();
    assert_eq!((test.account.balance, test.account.floor), (Credits(-5), Credits(-2)));
    assert!(test.debit(1).is_err());
}

#[test]
fn a_suspended_account_spends_and_reserves_nothing_and_still_gets_and_captures() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Purchased, 10, None);
    let hold = test.hold("a", 2, 1_000).unwrap();
    let suspend = |suspended| Op::SetSuspended { suspended, reason: "because".to_owned() };
    assert_eq!(test.act(suspend(false)), Err(Refusal::NothingToDo));
    test.act(suspend(true)).unwrap();
    assert_eq!(test.act(suspend(true)), Err(Refusal::NothingToDo));
    assert_eq!(test.debit(1), Err(Refusal::Suspended));
    assert_eq!(test.hold("b", 1, 1_000), Err(Refusal::Suspended));
    test.grant(GrantKind::Included, 5, None);
    test.act(Op::Capture { id: hold, amount: None }).unwrap();
    // What was charged before the suspension is settled.
    let spend = Spend {
        amount: Credits(1),
        hold: None,
        source: "usage".to_owned(),
        reference: None,
        idempotency_key: "api:key".to_owned(),
        request_hash: None,
        metadata: None,
    };
    let spend = Some(Box::new(spend));
    test.act(Op::Purchase { amount: Credits(1), expires_at_ms: None, reserved: None, spend }).unwrap();
    assert_eq!(test.account.balance, Credits(13));
    test.act(suspend(false)).unwrap();
    test.debit(13).unwrap();
    let text = serde_json::to_string(&test.account.open).unwrap();
    assert!(!text.contains("suspended"), "{text}");
}

#[test]
fn a_hold_must_end_in_the_future() {
    let mut test = TestAccount { now_ms: 1_000, ..TestAccount::default() };
    test.grant(GrantKind::Purchased, 10, None);
    assert_eq!(test.hold("a", 1, 1_000), Err(Refusal::HoldAlreadyOver));
    assert!(test.hold("a", 1, 1_001).is_ok());
}

#[test]
fn one_more_open_grant_or_hold_than_the_limit_is_refused() {
    let mut test = TestAccount::default();
    for _ in 0..GRANTS_OPEN_MAX {
        test.grant(GrantKind::Promotional, 1, None);
    }
    let grant = Op::Grant { kind: GrantKind::Promotional, amount: Credits(1), expires_at_ms: None };
    assert_eq!(test.act(grant), Err(Refusal::TooManyOpen { what: "grants", max: GRANTS_OPEN_MAX }));
    for at in 0..HOLDS_OPEN_MAX - 1 {
        test.hold(&format!("hold-{at}"), 1, 1_000).unwrap();
    }
    test.debit(1).unwrap();
    test.grant(GrantKind::Promotional, 2, None);
    test.hold("last", 1, 1_000).unwrap();
    let refused = test.hold("one more", 1, 1_000);
    assert_eq!(refused, Err(Refusal::TooManyOpen { what: "holds", max: HOLDS_OPEN_MAX }));
}

#[test]
fn entries_that_name_no_grant_or_one_that_is_gone_move_the_balance_and_nothing_else() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Purchased, 5, None);
    let entry = Entry { kind: EntryKind::ClawBack, detail: Detail::default(), ..test.debit(1).unwrap() };
    let mut account = test.account.clone();
    account.apply(&entry);
    assert_eq!(account, test.account);
    let burned = vec![Burn { grant: 99, credits: Credits(3) }];
    account.apply(&Entry { kind: EntryKind::Debit, detail: Detail { burned, ..Detail::default() }, ..entry });
    assert_eq!(account, test.account);
}

#[test]
fn a_purchase_leaves_out_only_the_debit_that_was_made_before() {
    let bought = |spend| Op::Purchase { amount: Credits(1), expires_at_ms: None, reserved: None, spend };
    let spend = |key: &str| Spend {
        amount: Credits(1),
        hold: None,
        source: "usage".to_owned(),
        reference: None,
        idempotency_key: key.to_owned(),
        request_hash: None,
        metadata: None,
    };
    let purchase = |key: &str| command(bought(Some(Box::new(spend(key)))));
    let mut other = purchase("api:other");
    other.drop_spend("api:used");
    assert_eq!(other, purchase("api:other"));
    let mut used = purchase("api:used");
    used.drop_spend("api:used");
    assert_eq!(used, command(bought(None)));
    let mut grant = command(Op::Grant { kind: GrantKind::Purchased, amount: Credits(1), expires_at_ms: None });
    grant.drop_spend("api:used");
    assert_eq!(grant, command(Op::Grant { kind: GrantKind::Purchased, amount: Credits(1), expires_at_ms: None }));
}

#[test]
fn every_refusal_is_counted_under_a_name_of_its_own() {
    let all = [
        Refusal::InsufficientCredits { requested: Credits(1), available: Credits(0) },
        Refusal::InvalidAmount,
        Refusal::HoldNotFound(HoldId::trusted("a".to_owned())),
        Refusal::CaptureExceedsHold { requested: Credits(2), held: Credits(1) },
        Refusal::HoldAlreadyOver,
        Refusal::GrantAlreadyOver,
        Refusal::TooManyOpen { what: "holds", max: 1 },
        Refusal::Suspended,
        Refusal::KeyReused,
        Refusal::NothingToDo,
    ];
    let names: std::collections::BTreeSet<_> = all.iter().map(Refusal::name).collect();
    assert_eq!(names.len(), all.len(), "{names:?}");
}

#[test]
fn an_exchange_takes_credits_of_the_time_that_is_replaced_and_the_new_ones_keep_their_end() {
    let mut test = TestAccount::default();
    let left = test.grant(GrantKind::Included, 10, Some(5_000));
    let other = test.grant(GrantKind::Included, 3, Some(2_000));
    let exchange = Op::Exchange { amount: Credits(10), expires_at_ms: None, taken: Credits(10), of: Some(vec![left]) };
    let taken = test.act(exchange).unwrap();
    assert_eq!((taken.kind, taken.amount, taken.balance_after), (EntryKind::ClawBack, Credits(-10), Credits(13)));
    assert_eq!(taken.detail.burned, [Burn { grant: left, credits: Credits(10) }]);
    let ends: Vec<_> = test.account.open.grants.iter().map(|open| (open.seq, open.expires_at_ms)).collect();
    assert_eq!(ends, [(other, Some(2_000)), (taken.seq - 1, None)]);
}

#[test]
fn what_an_exchange_takes_beyond_the_replaced_time_comes_out_of_the_new_credits() {
    let mut test = TestAccount::default();
    let left = test.grant(GrantKind::Included, 10, None);
    test.debit(8).unwrap();
    let pack = test.grant(GrantKind::Purchased, 4, Some(2_000));
    let exchange = Op::Exchange { amount: Credits(6), expires_at_ms: None, taken: Credits(5), of: Some(vec![left]) };
    let taken = test.act(exchange).unwrap();
    let burned = [(left, 2), (taken.seq - 1, 3)].map(|(grant, credits)| Burn { grant, credits: Credits(credits) });
    assert_eq!(taken.detail.burned, burned);
    assert!(test.account.open.grants.iter().any(|open| open.seq == pack && open.remaining == Credits(4)));
}
