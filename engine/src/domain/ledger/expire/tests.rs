//! Examples of expiry. Its properties are among the `model_tests`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use crate::amount::Credits;
use crate::domain::ledger::model_tests::example::TestAccount;
use crate::domain::ledger::{GrantKind, Op};
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

/// A hold reserves a number of credits, not particular ones: it rests on those that expire last.
#[test]
fn a_hold_does_not_keep_credits_from_ending_while_others_can_carry_it() {
    let mut test = TestAccount::default();
    test.grant(GrantKind::Included, 5, Some(1_000));
    test.grant(GrantKind::Purchased, 5, None);
    test.hold("a", 5, 5_000).unwrap();
    test.now_ms = 2_000;
    test.act(Op::Settle).unwrap();
    assert_eq!(test.numbers(), (5, 5));
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
