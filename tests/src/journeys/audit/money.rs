//! Compares credits with the money that paid for them.

use super::stripe_objects::operation_of;
use super::{StripeObjects, Subject, number, text};
use crate::journeys::sold::SOLD;
use serde_json::Value;

/// The price of a unit without a plan that is paid.
const UNIT_AMOUNT: i64 = 2_900;
/// The problem of an operation whose credits were bought but not spent, because another request spent the customer's
/// own credits.
const SPENT_MEANWHILE: &str = "credits_spent_meanwhile";
/// The problem of an operation of a customer that owes credits. Either it found the debt before it charged anything,
/// or credits were clawed back after it was paid.
const OWED: &str = "credits_owed";
/// The kind of grants of units that were charged.
const UNITS_KIND: &str = "purchased";
/// The kind of grants of a paid period.
const PERIOD_KIND: &str = "included";

/// Returns all differences between credits and money.
pub(super) fn differences(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let mut problems = operations(subject, objects);
    problems.extend(charged(subject, objects));
    let mut known: Vec<&str> = Vec::new();
    for intent in objects.unit_payments_of(&subject.me.id) {
        if intent["status"] == "succeeded" {
            known.push(text(intent, "id"));
            problems.extend(unit_payment(subject, objects, intent));
        }
    }
    for invoice in objects.paid_periods_of(&subject.me.id) {
        known.push(text(invoice, "id"));
        problems.extend(period(subject, objects, invoice));
    }
    let is_paid_for = |entry: &&Value| known.contains(&text(entry, "reference"));
    let grants = grants(subject, UNITS_KIND).chain(grants(subject, PERIOD_KIND));
    problems.extend(
        grants.filter(|entry| !is_paid_for(entry)).map(|entry| format!("no payment explains this grant: {entry}")),
    );
    problems.extend(bonus(subject));
    problems
}

/// Grants of this kind that a payment brought; a reinstatement is not one.
fn grants<'a>(subject: &'a Subject, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let is_it = move |entry: &&Value| entry["grant_kind"] == kind && entry["source"] != "reinstatement";
    subject.entries.iter().filter(is_it)
}

/// Each operation took money at most once, and succeeded if it did; a failed one cannot take money later.
fn operations(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let mut problems = Vec::new();
    let payments = objects.unit_payments_of(&subject.me.id);
    for operation in subject.operations.iter().filter(|operation| operation["kind"] == "usage_charge") {
        let (id, state) = (text(operation, "id"), text(operation, "state"));
        let own: Vec<&&Value> = payments.iter().filter(|intent| operation_of(intent) == id).collect();
        let paid = own.iter().filter(|intent| intent["status"] == "succeeded").count();
        if paid > 1 {
            problems.push(format!("operation {id} took money {paid} times"));
        }
        let is_debited = is_debited(subject, operation);
        let is_right = match state {
            // Without a payment if the customer's own credits arrived first.
            "succeeded" => is_debited,
            "failed" if operation["problem"]["code"] == SPENT_MEANWHILE => paid == 1 && !is_debited,
            "failed" if operation["problem"]["code"] == OWED => !is_debited && owed_before_end(subject, operation),
            _ => paid == 0 && !is_debited,
        };
        if !is_right {
            problems.push(format!("operation {id} is {state} and took money {paid} times: {operation}"));
        }
        let is_open = |intent: &&&Value| {
            matches!(
                text(intent, "status"),
                "requires_action" | "processing" | "requires_capture" | "requires_confirmation"
            )
        };
        if matches!(state, "failed" | "succeeded") && own.iter().any(is_open) {
            problems.push(format!("operation {id} is {state} and has an open payment: {own:?}"));
        }
    }
    let is_known = |intent: &&&Value| subject.operations.iter().any(|row| text(row, "id") == operation_of(intent));
    let strange = payments.iter().filter(|intent| !is_known(intent));
    problems.extend(strange.map(|intent| format!("no operation made this payment: {intent}")));
    problems
}

/// Whether the customer owed credits at a time before the operation ended.
fn owed_before_end(subject: &Subject, operation: &Value) -> bool {
    let ended_at = text(operation, "updated_at");
    let owes = |entry: &Value| number(entry, "balance_after") < number(entry, "held_after");
    subject.entries.iter().any(|entry| text(entry, "created_at") <= ended_at && owes(entry))
}

/// Whether the units of an operation were debited by the entry it names.
fn is_debited(subject: &Subject, operation: &Value) -> bool {
    let debit = &operation["transaction"];
    let is_it = |entry: &Value| entry["id"] == debit["id"] && entry["kind"] == "debit";
    !debit.is_null() && subject.entries.iter().any(is_it)
}

/// The usage summary shows what Stripe took for the customer's units.
fn charged(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let payments = objects.unit_payments_of(&subject.me.id);
    let taken = payments.iter().filter(|intent| intent["status"] == "succeeded");
    let taken: i64 = taken.map(|intent| number(intent, "amount_received")).sum();
    let shown = subject.summary["charged"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: i64 = shown.iter().map(|row| number(row, "amount_minor")).sum();
    if shown == taken {
        return Vec::new();
    }
    vec![format!("the summary of {} shows charges of {shown}, Stripe took {taken} for units", subject.me.id)]
}

/// A payment for units granted its credits once, less those clawed back.
fn unit_payment(subject: &Subject, objects: &StripeObjects, intent: &Value) -> Vec<String> {
    let id = text(intent, "id");
    let granted: Vec<i64> = grants(subject, UNITS_KIND)
        .filter(|entry| text(entry, "reference") == id)
        .map(|entry| number(entry, "amount"))
        .collect();
    let amount = number(intent, "amount_received");
    let [credits] = granted[..] else {
        return vec![format!("payment {id} of {amount} granted {granted:?} credits")];
    };
    let mut unit_amounts = SOLD.iter().map(|sold| sold.unit_amount).chain([UNIT_AMOUNT]);
    if !unit_amounts.any(|unit_amount| unit_amount * credits == amount) {
        return vec![format!("payment {id} of {amount} granted {credits} credits")];
    }
    clawback(subject, objects, &objects.charges_of_intent(id), credits, id)
}

/// A paid period granted its credits once, less those clawed back.
fn period(subject: &Subject, objects: &StripeObjects, invoice: &Value) -> Vec<String> {
    let id = text(invoice, "id");
    let granted: Vec<i64> = grants(subject, PERIOD_KIND)
        .filter(|entry| text(entry, "reference") == id)
        .map(|entry| number(entry, "amount"))
        .collect();
    let credits: i64 = objects.periods_of(invoice).map(|sold| sold.credits).sum();
    if granted != [credits] {
        return vec![format!("invoice {id} granted {granted:?} credits instead of {credits}")];
    }
    clawback(subject, objects, &objects.charges_of_invoice(id), credits, id)
}

/// The credits clawed back are those that the lost money had paid for in full.
fn clawback(subject: &Subject, objects: &StripeObjects, charges: &[&Value], granted: i64, what: &str) -> Vec<String> {
    let paid: i64 = charges.iter().map(|charge| number(charge, "amount")).sum();
    let gone: i64 = charges.iter().map(|charge| objects.lost_money(text(charge, "id"))).sum();
    let expected = granted * gone.clamp(0, paid) / paid.max(1);
    let is_about = |entry: &&Value| charges.iter().any(|charge| entry["reference"] == charge["id"]);
    let taken: i64 = -subject.entries.iter().filter(is_about).map(|entry| number(entry, "amount")).sum::<i64>();
    if taken == expected {
        return Vec::new();
    }
    let ids: Vec<&str> = charges.iter().map(|charge| text(charge, "id")).collect();
    vec![format!(
        "{what}: {gone} of {paid} was lost, so {expected} of {granted} credits should be clawed back, but {taken} are ({ids:?})"
    )]
}

/// The first payment method granted credits once.
fn bonus(subject: &Subject) -> Vec<String> {
    let times = subject.entries_of("payment_method").count();
    let added = subject.operations_of("payment_method_attach", "succeeded").count();
    if times == added.min(1) {
        return Vec::new();
    }
    vec![format!("{added} payment methods were added, and credits for one were granted {times} times")]
}
