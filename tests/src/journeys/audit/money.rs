//! Credits against the money that bought them.

use super::books::operation_of;
use super::{Books, Subject, number, text};
use serde_json::Value;

/// Prices of a unit: pay as you go, and on Pro.
const PRICES: [i64; 2] = [2_900, 1_500];
/// Credits of a paid period of Pro.
const PERIOD: i64 = 60;
/// Why credits were bought and their units not spent: another request spent those that were to go with them, or
/// credits were taken back meanwhile.
const BOUGHT_IN_VAIN: [&str; 2] = ["credits_spent_meanwhile", "credits_owed"];
/// What a payment pays for.
const KINDS: (&str, &str) = ("purchased", "included");

/// Everything about credits and money that does not agree.
pub(super) fn agrees(subject: &Subject, books: &Books) -> Vec<String> {
    let mut problems = operations(subject, books);
    problems.extend(charged(subject, books));
    let mut known: Vec<&str> = Vec::new();
    for intent in books.unit_payments_of(&subject.me.id) {
        if intent["status"] == "succeeded" {
            known.push(text(intent, "id"));
            problems.extend(unit_payment(subject, books, intent));
        }
    }
    for invoice in books.paid_periods_of(&subject.me.id) {
        known.push(text(invoice, "id"));
        problems.extend(period(subject, books, invoice));
    }
    let is_paid_for = |entry: &&Value| known.contains(&text(entry, "reference"));
    let grants = grants(subject, KINDS.0).chain(grants(subject, KINDS.1));
    problems.extend(grants.filter(|entry| !is_paid_for(entry)).map(|entry| format!("nobody paid for this: {entry}")));
    problems.extend(bonus(subject));
    problems
}

/// Grants of a kind that a payment brought; a reinstatement is none.
fn grants<'a>(subject: &'a Subject, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let is_it = move |entry: &&Value| entry["grant_kind"] == kind && entry["source"] != "reinstatement";
    subject.entries.iter().filter(is_it)
}

/// Each operation took money at most once, and ended well if it did; none that failed can take any later.
fn operations(subject: &Subject, books: &Books) -> Vec<String> {
    let mut problems = Vec::new();
    let payments = books.unit_payments_of(&subject.me.id);
    for operation in subject.operations.iter().filter(|operation| operation["kind"] == "usage_charge") {
        let (id, state) = (text(operation, "id"), text(operation, "state"));
        let own: Vec<&&Value> = payments.iter().filter(|intent| operation_of(intent) == id).collect();
        let paid = own.iter().filter(|intent| intent["status"] == "succeeded").count();
        if paid > 1 {
            problems.push(format!("operation {id} took money {paid} times"));
        }
        let is_debited = is_debited(subject, operation);
        let is_right = match state {
            // With the customer's own credits, if they came before any money was taken.
            "succeeded" => is_debited,
            "failed" if BOUGHT_IN_VAIN.iter().any(|code| operation["problem"]["code"] == *code) => {
                paid == 1 && !is_debited
            }
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
            problems.push(format!("operation {id} is {state} and leaves an open payment: {own:?}"));
        }
    }
    let is_known = |intent: &&&Value| subject.operations.iter().any(|row| text(row, "id") == operation_of(intent));
    let strange = payments.iter().filter(|intent| !is_known(intent));
    problems.extend(strange.map(|intent| format!("no operation made this payment: {intent}")));
    problems
}

/// Whether the units of a charge are spent, by the debit that it names.
fn is_debited(subject: &Subject, operation: &Value) -> bool {
    let debit = &operation["transaction"];
    let is_it = |entry: &Value| entry["id"] == debit["id"] && entry["kind"] == "debit";
    !debit.is_null() && subject.entries.iter().any(is_it)
}

/// The customer is told that it was charged what Stripe took for its units.
fn charged(subject: &Subject, books: &Books) -> Vec<String> {
    let payments = books.unit_payments_of(&subject.me.id);
    let taken = payments.iter().filter(|intent| intent["status"] == "succeeded");
    let taken: i64 = taken.map(|intent| number(intent, "amount_received")).sum();
    let told = subject.summary["charged"].as_array().map_or(&[][..], Vec::as_slice);
    let told: i64 = told.iter().map(|row| number(row, "amount_minor")).sum();
    if told == taken {
        return Vec::new();
    }
    vec![format!("{} is told that it was charged {told}, Stripe took {taken} for units", subject.me.id)]
}

/// A payment for units brought its credits once, and those whose money is gone are gone.
fn unit_payment(subject: &Subject, books: &Books, intent: &Value) -> Vec<String> {
    let id = text(intent, "id");
    let granted: Vec<i64> = grants(subject, KINDS.0)
        .filter(|entry| text(entry, "reference") == id)
        .map(|entry| number(entry, "amount"))
        .collect();
    let amount = number(intent, "amount_received");
    let [credits] = granted[..] else {
        return vec![format!("payment {id} of {amount} brought {granted:?} credits")];
    };
    if !PRICES.iter().any(|price| price * credits == amount) {
        return vec![format!("payment {id} of {amount} brought {credits} credits")];
    }
    gone(subject, books, &books.charges_of_intent(id), credits, id)
}

/// A paid period brought its credits once, and those whose money is gone are gone.
fn period(subject: &Subject, books: &Books, invoice: &Value) -> Vec<String> {
    let id = text(invoice, "id");
    let granted: Vec<i64> = grants(subject, KINDS.1)
        .filter(|entry| text(entry, "reference") == id)
        .map(|entry| number(entry, "amount"))
        .collect();
    if granted != [PERIOD] {
        return vec![format!("invoice {id} brought {granted:?} credits")];
    }
    gone(subject, books, &books.charges_of_invoice(id), PERIOD, id)
}

/// Of credits whose money is gone as many are taken back as it bought in full.
fn gone(subject: &Subject, books: &Books, charges: &[&Value], granted: i64, what: &str) -> Vec<String> {
    let paid: i64 = charges.iter().map(|charge| number(charge, "amount")).sum();
    let gone: i64 = charges.iter().map(|charge| books.gone(text(charge, "id"))).sum();
    let expected = granted * gone.clamp(0, paid) / paid.max(1);
    let is_about = |entry: &&Value| charges.iter().any(|charge| entry["reference"] == charge["id"]);
    let taken: i64 = -subject.entries.iter().filter(is_about).map(|entry| number(entry, "amount")).sum::<i64>();
    if taken == expected {
        return Vec::new();
    }
    let ids: Vec<&str> = charges.iter().map(|charge| text(charge, "id")).collect();
    vec![format!(
        "{what}: {gone} of {paid} is gone, so {expected} of {granted} credits should be, but {taken} are ({ids:?})"
    )]
}

/// Adding a payment method brought credits once, if it ever came about.
fn bonus(subject: &Subject) -> Vec<String> {
    let times = subject.entries_of("payment_method").count();
    let added = subject.operations_of("payment_method_attach", "succeeded").count();
    if times == added.min(1) {
        return Vec::new();
    }
    vec![format!("{added} payment methods were added, and {times} times there were credits for one")]
}
