//! Tests that the comparison detects each kind of damage.

use super::*;
use crate::chaos::record::Kind;
use std::sync::Arc;

fn customer() -> Customer {
    let text = |text: &str| text.to_owned();
    Customer { n: 0, id: text("cst_1"), api_key: text("k"), email: text("e"), stripe_id: text("cus_1") }
}

fn done(key: &str, change: CreditChange, transaction: &str) -> Operation {
    let outcome = Outcome::Acknowledged { transaction: transaction.to_owned() };
    Operation { customer: 0, key: key.to_owned(), change, outcome }
}

fn entry(id: &str, source: &str, kind: &str, amount: i64, held_change: i64) -> Entry {
    Entry {
        id: id.to_owned(),
        kind: kind.to_owned(),
        amount,
        held_change,
        balance_after: 0,
        held_after: 0,
        source: source.to_owned(),
        reference: None,
        hold_id: None,
        reason: None,
        expires_at: None,
        created_at: "2026-01-01T12:00:00.000Z".to_owned(),
    }
}

/// The time of the run.
fn day() -> Span {
    Span { began: "2026-01-01T00:00:00.000Z".to_owned(), ended: "2026-01-02T00:00:00.000Z".to_owned() }
}

/// Signup, a debit of 2, a hold of 3 of which 2 are captured, an adjustment of 7, a paid invoice.
fn whole() -> (Known, Vec<Entry>) {
    let hold = || "hld_1".to_owned();
    let known = Known {
        customers: vec![Arc::new(customer())],
        operations: vec![
            done("a", CreditChange::Debit { units: 2 }, "t2"),
            done("b", CreditChange::Hold { units: 3 }, "t3"),
            done("c", CreditChange::Capture { hold: hold(), units: 2 }, "t4"),
            done("d", CreditChange::Adjust { amount: 7 }, "t5"),
        ],
        invoices: vec![Invoice { id: "in_1".to_owned(), customer: 0, brings_credits: true }],
        ..Known::default()
    };
    let mut entries = vec![
        entry("t1", "signup", "grant", 5, 0),
        Entry { reference: Some("a".to_owned()), ..entry("t2", "usage", "debit", -2, 0) },
        Entry {
            reference: Some("b".to_owned()),
            hold_id: Some(hold()),
            expires_at: Some("2999-01-01T00:00:00.000Z".to_owned()),
            ..entry("t3", "hold", "hold", 0, 3)
        },
        Entry { hold_id: Some(hold()), ..entry("t4", "hold", "capture", -2, -3) },
        Entry { reason: Some("d".to_owned()), ..entry("t5", "support", "grant", 7, 0) },
        Entry { reference: Some("in_1".to_owned()), ..entry("t6", "stripe", "grant", 60, 0) },
    ];
    add_up(&mut entries);
    (known, entries)
}

fn add_up(entries: &mut [Entry]) {
    let (mut balance, mut held) = (0, 0);
    for entry in entries {
        balance += entry.amount;
        held += entry.held_change;
        (entry.balance_after, entry.held_after) = (balance, held);
    }
}

/// The kinds of discrepancies found after the damaged entries were summed up again.
fn kinds(known: &Known, entries: &[Entry]) -> Vec<Kind> {
    let mut entries = entries.to_vec();
    add_up(&mut entries);
    let (balance, held) = entries.last().map_or((0, 0), |entry| (entry.balance_after, entry.held_after));
    entries.reverse();
    let account = StoredAccount { plan: "pro".to_owned(), balance, held, entries };
    compare(&customer(), &by_customer(known)[0], &account, &day()).iter().map(|found| found.kind).collect()
}

#[test]
fn a_matching_ledger_has_no_discrepancies() {
    let (known, entries) = whole();
    assert_eq!(kinds(&known, &entries), []);
}

#[test]
fn any_entry_dated_outside_the_run_is_detected() {
    let (known, entries) = whole();
    for at in 0..entries.len() {
        for date in ["2025-12-31T23:59:59.999Z", "2026-01-02T00:00:00.001Z"] {
            let mut damaged = entries.clone();
            date.clone_into(&mut damaged[at].created_at);
            assert!(kinds(&known, &damaged).contains(&Kind::Wrong), "{:?}", damaged[at]);
        }
    }
}

#[test]
fn decreasing_dates_are_detected() {
    let (known, mut entries) = whole();
    "2026-01-01T12:00:00.001Z".clone_into(&mut entries[2].created_at);
    assert_eq!(kinds(&known, &entries), [Kind::Wrong]);
}

#[test]
fn a_hold_that_expired_too_early_is_detected() {
    let (mut known, mut entries) = whole();
    known.operations.remove(2);
    entries[3] = Entry { hold_id: Some("hld_1".to_owned()), ..entry("t4", "system", "release", 0, -3) };
    assert_eq!(kinds(&known, &entries), [Kind::Wrong]);
    "2026-01-01T12:00:00.000Z".clone_into(entries[2].expires_at.as_mut().unwrap());
    assert_eq!(kinds(&known, &entries), []);
}

#[test]
fn any_missing_entry_is_detected() {
    let (known, entries) = whole();
    for at in 0..entries.len() {
        let mut damaged = entries.clone();
        let gone = damaged.remove(at);
        let found = kinds(&known, &damaged);
        // Without the capture the balance is wrong as well; the signup entry has no acknowledged request.
        let expected = if gone.source == "signup" { Kind::Wrong } else { Kind::Lost };
        assert!(found.contains(&expected), "{gone:?}: {found:?}");
    }
}

#[test]
fn any_duplicate_entry_is_detected() {
    let (known, entries) = whole();
    for twice in &entries {
        let mut damaged = entries.clone();
        damaged.push(Entry { id: "t9".to_owned(), ..twice.clone() });
        let found = kinds(&known, &damaged);
        assert!(!found.is_empty(), "{twice:?}");
        assert!(twice.source == "signup" || found.contains(&Kind::Doubled), "{twice:?}: {found:?}");
    }
}

#[test]
fn an_entry_without_a_request_is_detected() {
    let (known, mut entries) = whole();
    entries.push(Entry { reference: Some("x".to_owned()), ..entry("t9", "usage", "debit", -1, 0) });
    assert!(kinds(&known, &entries).contains(&Kind::Doubled));
}

#[test]
fn a_refused_request_has_no_entry_unless_an_earlier_try_is_in_doubt() {
    let (mut known, entries) = whole();
    known.operations[0].outcome = Outcome::Refused { in_doubt: false };
    assert!(kinds(&known, &entries).contains(&Kind::Doubled));
    known.operations[0].outcome = Outcome::Refused { in_doubt: true };
    assert_eq!(kinds(&known, &entries), []);
    known.operations[0].outcome = Outcome::Unknown;
    assert_eq!(kinds(&known, &entries), []);
}

#[test]
fn a_wrong_amount_a_wrong_id_and_a_grant_for_an_unpaid_invoice_are_detected() {
    let (mut known, entries) = whole();
    let mut damaged = entries.clone();
    damaged[1].amount = -3;
    assert!(kinds(&known, &damaged).contains(&Kind::Wrong));
    damaged = entries.clone();
    damaged[1].id = "t9".to_owned();
    assert_eq!(kinds(&known, &damaged), [Kind::Wrong]);
    known.invoices[0].brings_credits = false;
    assert!(kinds(&known, &entries).contains(&Kind::Doubled));
}

#[test]
fn a_hold_that_ended_twice_or_too_late_is_detected() {
    let (mut known, entries) = whole();
    let mut damaged = entries.clone();
    damaged.push(Entry { hold_id: Some("hld_1".to_owned()), ..entry("t9", "hold", "release", 0, 0) });
    assert!(kinds(&known, &damaged).contains(&Kind::Doubled));
    known.operations.remove(2);
    damaged = entries.clone();
    damaged.remove(3);
    damaged[2].expires_at = Some("2000-01-01T00:00:00.000Z".to_owned());
    assert_eq!(kinds(&known, &damaged), [Kind::Wrong]);
}

#[test]
fn a_wrong_plan_and_a_wrong_balance_are_detected() {
    let (known, mut entries) = whole();
    entries.reverse();
    let requests = by_customer(&known);
    let account = StoredAccount { plan: "trial".to_owned(), balance: 68, held: 0, entries };
    let found = |account: &StoredAccount| compare(&customer(), &requests[0], account, &day()).len();
    assert_eq!(found(&account), 1);
    assert_eq!(found(&StoredAccount { balance: 69, ..account.clone() }), 2);
    assert_eq!(found(&StoredAccount { plan: "pro".to_owned(), held: 1, ..account }), 1);
}
