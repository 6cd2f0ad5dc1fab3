//! Tests that the comparison detects each kind of damage.

use super::*;
use crate::chaos::record::Kind;
use std::sync::Arc;

fn customer() -> Customer {
    let text = |text: &str| text.to_owned();
    Customer { n: 0, id: text("cst_1"), api_key: text("k"), email: text("e"), stripe_id: text("cus_1") }
}

fn done(key: &str, act: Act, transaction: &str) -> Operation {
    let fate = Fate::Acknowledged { transaction: transaction.to_owned() };
    Operation { customer: 0, key: key.to_owned(), act, fate }
}

fn line(id: &str, source: &str, kind: &str, amount: i64, held_change: i64) -> Line {
    Line {
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
fn whole() -> (Known, Vec<Line>) {
    let hold = || "hld_1".to_owned();
    let known = Known {
        customers: vec![Arc::new(customer())],
        operations: vec![
            done("a", Act::Debit { units: 2 }, "t2"),
            done("b", Act::Hold { units: 3 }, "t3"),
            done("c", Act::Capture { hold: hold(), units: 2 }, "t4"),
            done("d", Act::Adjust { amount: 7 }, "t5"),
        ],
        invoices: vec![Invoice { id: "in_1".to_owned(), customer: 0, brings_credits: true }],
        ..Known::default()
    };
    let mut lines = vec![
        line("t1", "signup", "grant", 5, 0),
        Line { reference: Some("a".to_owned()), ..line("t2", "usage", "debit", -2, 0) },
        Line {
            reference: Some("b".to_owned()),
            hold_id: Some(hold()),
            expires_at: Some("2999-01-01T00:00:00.000Z".to_owned()),
            ..line("t3", "hold", "hold", 0, 3)
        },
        Line { hold_id: Some(hold()), ..line("t4", "hold", "capture", -2, -3) },
        Line { reason: Some("d".to_owned()), ..line("t5", "support", "grant", 7, 0) },
        Line { reference: Some("in_1".to_owned()), ..line("t6", "stripe", "grant", 60, 0) },
    ];
    add_up(&mut lines);
    (known, lines)
}

fn add_up(lines: &mut [Line]) {
    let (mut balance, mut held) = (0, 0);
    for line in lines {
        balance += line.amount;
        held += line.held_change;
        (line.balance_after, line.held_after) = (balance, held);
    }
}

/// The kinds of discrepancies found after the damaged entries were summed up again.
fn kinds(known: &Known, lines: &[Line]) -> Vec<Kind> {
    let mut lines = lines.to_vec();
    add_up(&mut lines);
    let (balance, held) = lines.last().map_or((0, 0), |line| (line.balance_after, line.held_after));
    lines.reverse();
    let books = Books { plan: "pro".to_owned(), balance, held, lines };
    compare(&customer(), &by_customer(known)[0], &books, &day()).iter().map(|found| found.kind).collect()
}

#[test]
fn books_that_fit_are_fine() {
    let (known, lines) = whole();
    assert_eq!(kinds(&known, &lines), []);
}

#[test]
fn any_line_that_is_dated_outside_of_the_run_is_seen() {
    let (known, lines) = whole();
    for at in 0..lines.len() {
        for date in ["2025-12-31T23:59:59.999Z", "2026-01-02T00:00:00.001Z"] {
            let mut damaged = lines.clone();
            date.clone_into(&mut damaged[at].created_at);
            assert!(kinds(&known, &damaged).contains(&Kind::Wrong), "{:?}", damaged[at]);
        }
    }
}

#[test]
fn dates_that_go_back_are_seen() {
    let (known, mut lines) = whole();
    "2026-01-01T12:00:00.001Z".clone_into(&mut lines[2].created_at);
    assert_eq!(kinds(&known, &lines), [Kind::Wrong]);
}

#[test]
fn a_hold_that_ran_out_before_its_time_is_seen() {
    let (mut known, mut lines) = whole();
    known.operations.remove(2);
    lines[3] = Line { hold_id: Some("hld_1".to_owned()), ..line("t4", "system", "release", 0, -3) };
    assert_eq!(kinds(&known, &lines), [Kind::Wrong]);
    "2026-01-01T12:00:00.000Z".clone_into(lines[2].expires_at.as_mut().unwrap());
    assert_eq!(kinds(&known, &lines), []);
}

#[test]
fn any_line_that_is_missing_is_seen() {
    let (known, lines) = whole();
    for at in 0..lines.len() {
        let mut damaged = lines.clone();
        let gone = damaged.remove(at);
        let found = kinds(&known, &damaged);
        // Without the capture the balance is wrong as well; the signup entry has no acknowledged request.
        let expected = if gone.source == "signup" { Kind::Wrong } else { Kind::Lost };
        assert!(found.contains(&expected), "{gone:?}: {found:?}");
    }
}

#[test]
fn any_line_that_is_there_twice_is_seen() {
    let (known, lines) = whole();
    for twice in &lines {
        let mut damaged = lines.clone();
        damaged.push(Line { id: "t9".to_owned(), ..twice.clone() });
        let found = kinds(&known, &damaged);
        assert!(!found.is_empty(), "{twice:?}");
        assert!(twice.source == "signup" || found.contains(&Kind::Doubled), "{twice:?}: {found:?}");
    }
}

#[test]
fn a_line_that_nobody_asked_for_is_seen() {
    let (known, mut lines) = whole();
    lines.push(Line { reference: Some("x".to_owned()), ..line("t9", "usage", "debit", -1, 0) });
    assert!(kinds(&known, &lines).contains(&Kind::Doubled));
}

#[test]
fn what_was_refused_must_not_be_there_unless_an_earlier_try_is_in_doubt() {
    let (mut known, lines) = whole();
    known.operations[0].fate = Fate::Refused { doubt: false };
    assert!(kinds(&known, &lines).contains(&Kind::Doubled));
    known.operations[0].fate = Fate::Refused { doubt: true };
    assert_eq!(kinds(&known, &lines), []);
    known.operations[0].fate = Fate::Unknown;
    assert_eq!(kinds(&known, &lines), []);
}

#[test]
fn another_amount_another_id_and_an_unpaid_invoice_that_brought_credits_are_seen() {
    let (mut known, lines) = whole();
    let mut damaged = lines.clone();
    damaged[1].amount = -3;
    assert!(kinds(&known, &damaged).contains(&Kind::Wrong));
    damaged = lines.clone();
    damaged[1].id = "t9".to_owned();
    assert_eq!(kinds(&known, &damaged), [Kind::Wrong]);
    known.invoices[0].brings_credits = false;
    assert!(kinds(&known, &lines).contains(&Kind::Doubled));
}

#[test]
fn a_hold_that_ended_twice_or_outlived_its_time_is_seen() {
    let (mut known, lines) = whole();
    let mut damaged = lines.clone();
    damaged.push(Line { hold_id: Some("hld_1".to_owned()), ..line("t9", "hold", "release", 0, 0) });
    assert!(kinds(&known, &damaged).contains(&Kind::Doubled));
    known.operations.remove(2);
    damaged = lines.clone();
    damaged.remove(3);
    damaged[2].expires_at = Some("2000-01-01T00:00:00.000Z".to_owned());
    assert_eq!(kinds(&known, &damaged), [Kind::Wrong]);
}

#[test]
fn a_wrong_plan_and_a_balance_that_does_not_follow_are_seen() {
    let (known, mut lines) = whole();
    lines.reverse();
    let asked = by_customer(&known);
    let books = Books { plan: "trial".to_owned(), balance: 68, held: 0, lines };
    let found = |books: &Books| compare(&customer(), &asked[0], books, &day()).len();
    assert_eq!(found(&books), 1);
    assert_eq!(found(&Books { balance: 69, ..books.clone() }), 2);
    assert_eq!(found(&Books { plan: "pro".to_owned(), held: 1, ..books }), 1);
}
