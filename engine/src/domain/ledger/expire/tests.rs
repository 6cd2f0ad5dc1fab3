//! Examples of expiry. Its properties are among the `model_tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use crate::amount::Credits;
use crate::domain::ledger::model_tests::example::TestAccount;
use crate::domain::ledger::{Burn, GrantKind, Op};
use crate::error::Refusal;

#[test]
fn a_hold_whose_time_ran_out_is_released_by_the_next_command_and_cannot_be_captured() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Purchased, 10, None);
    let id = test.hold("a", 6, 1_000).unwrap();
    test.now_ms = 1_000;
    assert_eq!(test.act(Op::Capture { id: id.clone(), amount: None }), Err(Refusal::HoldNotFound(id)));
    test.debit(10).unwrap();
    assert_eq!(test.numbers(), (0, 0));
}

#[test]
fn credits_that_ended_cannot_be_spent() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Included, 10, Some(1_000));
    test.grant(GrantKind::Purchased, 3, None);
    test.now_ms = 1_000;
    assert_eq!(test.debit(4), Err(Refusal::InsufficientCredits { requested: Credits(4), available: Credits(3) }));
    test.debit(3).unwrap();
    assert_eq!(test.numbers(), (0, 0));
}

#[test]
fn held_credits_outlive_their_end_until_the_hold_is_captured() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Included, 10, Some(1_000));
    let id = test.hold("a", 6, 5_000).unwrap();
    test.now_ms = 2_000;
    test.act(Op::Settle).unwrap();
    assert_eq!(test.numbers(), (6, 6));
    let entry = test.act(Op::Capture { id, amount: None }).unwrap();
    assert_eq!((entry.amount.0, entry.detail.burned.len()), (-6, 1));
    assert_eq!(test.numbers(), (0, 0));
}

#[test]
fn held_credits_that_ended_go_when_the_hold_is_released() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Included, 10, Some(1_000));
    let id = test.hold("a", 6, 5_000).unwrap();
    test.now_ms = 2_000;
    test.act(Op::Release { id }).unwrap();
    test.act(Op::Settle).unwrap();
    assert_eq!(test.numbers(), (0, 0));
}

#[test]
fn a_hold_is_paid_with_the_credits_that_it_reserved_and_not_with_those_of_the_next_period() {
    let mut test = TestAccount::default();
    let old = test.grant(GrantKind::Included, 45, Some(1_000));
    let id = test.hold("a", 40, 5_000).unwrap();
    test.now_ms = 900;
    test.grant(GrantKind::Included, 60, Some(9_000));
    test.now_ms = 2_000;
    test.act(Op::Settle).unwrap();
    assert_eq!((test.numbers(), test.account.next_settle_at_ms()), ((100, 40), Some(5_000)));
    // The others can be spent, and no more.
    assert!(matches!(test.debit(61), Err(Refusal::InsufficientCredits { .. })));
    let entry = test.act(Op::Capture { id, amount: None }).unwrap();
    assert_eq!(entry.detail.burned, [Burn { grant: old, credits: Credits(40) }]);
    assert_eq!(test.numbers(), (60, 0));
}

#[test]
fn what_a_hold_frees_of_expired_credits_goes_at_once() {
    for amount in [None, Some(10)] {
        let mut test = TestAccount::default();
        test.grant(GrantKind::Included, 40, Some(1_000));
        let id = test.hold("a", 40, 5_000).unwrap();
        test.grant(GrantKind::Included, 60, Some(9_000));
        test.now_ms = 2_000;
        match amount {
            None => test.act(Op::Release { id }).unwrap(),
            amount => test.act(Op::Capture { id, amount: amount.map(Credits) }).unwrap(),
        };
        assert_eq!(test.account.next_settle_at_ms(), Some(1_000), "it is due");
        test.debit(60).unwrap();
        assert_eq!(test.numbers(), (0, 0), "{amount:?}");
    }
}

#[test]
fn a_hold_rests_on_nothing_that_expired_before_it_was_opened() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Included, 10, Some(1_000));
    let first = test.hold("a", 10, 5_000).unwrap();
    let new = test.grant(GrantKind::Purchased, 10, None);
    test.now_ms = 2_000;
    let second = test.hold("b", 10, 5_000).unwrap();
    // It keeps none of them alive, and does not spend those of the first.
    let entry = test.act(Op::Capture { id: second, amount: Some(Credits(4)) }).unwrap();
    assert_eq!(entry.detail.burned, [Burn { grant: new, credits: Credits(4) }]);
    test.act(Op::Release { id: first }).unwrap();
    test.act(Op::Settle).unwrap();
    assert_eq!(test.numbers(), (6, 0));
}

#[test]
fn what_support_gives_for_a_while_ends_and_a_look_sees_it_before_anything_is_decided() {
    let mut test = TestAccount { now_ms: 1_000, ..TestAccount::default() };
    let adjust = |at_ms| Op::Adjust { amount: Credits(3), reason: "because".to_owned(), expires_at_ms: Some(at_ms) };
    assert_eq!(test.act(adjust(1_000)), Err(Refusal::GrantAlreadyOver));
    test.act(adjust(2_000)).unwrap();
    test.grant(GrantKind::Purchased, 2, None);
    test.hold("a", 1, 1_500).unwrap();
    let seen = |now_ms| {
        let account = test.account.settled(now_ms);
        (account.balance.0, account.held.0, account.open.grants.len(), account.open.holds.len())
    };
    assert_eq!(seen(1_499), (5, 1, 2, 1));
    assert_eq!(seen(1_500), (5, 0, 2, 0));
    assert_eq!(seen(2_000), (2, 0, 1, 0));
    assert_eq!(test.numbers(), (5, 1), "looking changes nothing");
}
