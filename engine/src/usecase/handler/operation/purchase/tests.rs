//! What goes with the end of a purchase.

use super::*;
use crate::amount::{Credits, MoneyMinor};
use crate::domain::charge::record::ChargeState;
use crate::domain::operation::{Problem, Request, UsageCharge};
use crate::ids::CustomerId;

fn reserving() -> Operation {
    let usage = UsageCharge { units: Credits(5), reference: None, metadata: None, charge: None };
    let request = Request::UsageCharge(usage);
    let new = Operation::new(&CustomerId::new(), request, "api:k".to_owned(), "h".to_owned(), 1);
    let hold = HoldId::of_charge(&new.id, 1);
    let charge = Charge {
        credits: Credits(2),
        amount_minor: MoneyMinor(5_800),
        currency: "usd".to_owned(),
        payment_method_id: "pm_1".to_owned(),
        card: "pm_1::".to_owned(),
        description: "2 fix credits".to_owned(),
        reserved: Some(Reservation { hold, credits: Credits(3) }),
        lifetime_days: None,
    };
    Operation { request: new.request.with_charge(charge), ..new }
}

fn completed(operation: &Operation, task: Task, after: Operation, outcome: Outcome) -> Verdict {
    let mut verdict = Verdict { outcome, ledger: None, effects: vec![Effect::operation(after)] };
    complete(operation, task, &mut verdict);
    verdict
}

fn charge_states(verdict: &Verdict) -> Vec<ChargeState> {
    let state = |effect: &Effect| if let Effect::ChargePut(charge) = effect { Some(charge.state) } else { None };
    verdict.effects.iter().filter_map(state).collect()
}

#[test]
fn a_purchase_that_ends_without_a_payment_returns_what_was_reserved() {
    let open = reserving();
    for after in [open.failed(Problem::default(), 2), open.succeeded(None, 2)] {
        let verdict = completed(&open, Task::CarryOut, after, Outcome::Done);
        let (_, command) = verdict.ledger.expect("a command");
        let hold = open.reservation().expect("a reservation").hold.clone();
        assert_eq!(command.op, Op::Unreserve { id: hold });
    }
    let going_on = completed(&open, Task::CarryOut, open.clone(), Outcome::Snooze { until_ms: 9 });
    assert!(going_on.ledger.is_none());
    assert_eq!(charge_states(&going_on), [ChargeState::Open]);
    assert!(matches!(going_on.outcome, Outcome::Snooze { until_ms: 9 }), "the bank is still at it");
}

#[test]
fn a_purchase_that_begins_anew_returns_what_was_reserved_and_no_longer_counts_as_a_charge() {
    let open = reserving();
    let waiting = open.waits_for_customer(Problem::default(), Some("pi_1".to_owned()), 2);
    let verdict =
        completed(&waiting, Task::Replace, waiting.next_round(waiting.request.without_charge(), 3), Outcome::Done);
    let (_, command) = verdict.ledger.clone().expect("a command");
    assert_eq!(command.op, Op::Unreserve { id: open.reservation().expect("a reservation").hold.clone() });
    assert_eq!(charge_states(&verdict), [ChargeState::Replaced]);
    // A round under a new key charges the same, with the same reservation.
    let same = completed(&open, Task::CarryOut, open.next_round(open.request.clone(), 3), Outcome::Done);
    assert!(same.ledger.is_none());
}

#[test]
fn the_end_of_another_purchase_is_not_taken_for_its_own() {
    let (own, other) = (reserving(), reserving());
    let verdict = completed(&own, Task::CarryOut, other.failed(Problem::default(), 2), Outcome::Done);
    assert!(verdict.ledger.is_none() && charge_states(&verdict).is_empty());
}

#[test]
fn a_purchase_that_waits_for_long_leaves_the_stream_and_keeps_its_credits() {
    let open = reserving();
    let waiting = open.waits_for_customer(Problem::default(), Some("pi_1".to_owned()), 2);
    let snooze = || Outcome::Snooze { until_ms: 9 };
    let verdict = completed(&open, Task::CarryOut, waiting.clone(), snooze());
    assert_eq!((&verdict.outcome, verdict.ledger.is_none()), (&Outcome::Done, true));
    let job = |effect: &Effect| if let Effect::JobInsert(job) = effect { Some(job.clone()) } else { None };
    let own = verdict.effects.iter().find_map(job).expect("a job");
    assert_eq!((own.unique_key, own.stream_key, own.run_at_ms), (Some(waiting.check_key()), None, 9));
    let at_bank = Operation { stripe_id: Some("pi_1".to_owned()), ..open.clone() };
    assert_eq!(completed(&open, Task::CarryOut, at_bank.clone(), snooze()).outcome, snooze(), "most banks are quick");
    let slow = completed(&at_bank, Task::CarryOut, at_bank.clone(), snooze());
    assert_eq!((&slow.outcome, slow.ledger.is_none()), (&Outcome::Done, true));
    assert!(slow.effects.iter().filter_map(job).any(|job| job.unique_key == Some(at_bank.check_key())));
    let checked = completed(&waiting, Task::Check, waiting.clone(), snooze());
    assert_eq!(checked.outcome, snooze(), "it is checked again");
}
