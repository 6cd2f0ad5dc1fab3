//! Compares what operations say with what Stripe took and gave back for them.

use super::stripe_objects::{is_open, operation_of};
use super::{StripeObjects, Subject, number, text};
use serde_json::Value;

/// The kinds of operations that charge a payment method for credits.
const PURCHASES: [&str; 5] = ["usage_charge", "hold_charge", "pack_purchase", "debt_payment", "auto_top_up"];
/// The problem of an operation whose credits were bought but not spent, because another request spent the customer's
/// own credits.
const SPENT_MEANWHILE: &str = "credits_spent_meanwhile";
/// The problem of an operation of a customer that owes credits. Either it found the debt before it charged anything,
/// or credits were clawed back after it was paid.
const OWED: &str = "credits_owed";

/// Returns all differences between operations and the money of Stripe's objects.
pub(super) fn differences(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let mut problems = Vec::new();
    for operation in subject.operations.iter().filter(|operation| is_purchase(operation)) {
        problems.extend(purchase(subject, objects, operation));
    }
    for operation in subject.operations.iter().filter(|operation| operation["kind"] == "payment_refund") {
        problems.extend(refund(objects, operation));
    }
    let payments = objects.unit_payments_of(&subject.me.id);
    let strange = payments.iter().filter(|intent| subject.purchase_of(intent).is_none());
    problems.extend(strange.map(|intent| format!("no purchase made this payment: {intent}")));
    problems
}

/// Whether an operation charges for credits.
pub(super) fn is_purchase(operation: &Value) -> bool {
    PURCHASES.contains(&text(operation, "kind"))
}

/// A purchase took money at most once, and succeeded if it did; one that has ended cannot take money later.
fn purchase(subject: &Subject, objects: &StripeObjects, operation: &Value) -> Vec<String> {
    let (id, state, mut problems) = (text(operation, "id"), text(operation, "state"), Vec::new());
    let mut own = objects.unit_payments_of(&subject.me.id);
    own.retain(|intent| operation_of(intent) == id);
    let paid = own.iter().filter(|intent| intent["status"] == "succeeded").count();
    if paid > 1 {
        problems.push(format!("operation {id} took money {paid} times"));
    }
    if !has_right_end(subject, operation, paid) {
        problems.push(format!("operation {id} is {state} and took money {paid} times: {operation}"));
    }
    // If credits paid for it meanwhile, its payment is cancelled when it is next checked.
    let has_ended = state == "failed" || (state == "succeeded" && paid > 0);
    if has_ended && own.iter().any(|intent| is_open(intent)) {
        problems.push(format!("operation {id} is {state} and has an open payment: {own:?}"));
    }
    problems
}

/// Whether a purchase that took money so often ended as its kind does.
fn has_right_end(subject: &Subject, operation: &Value, paid: usize) -> bool {
    let is_done = is_done(subject, operation);
    match (text(operation, "kind"), text(operation, "state")) {
        // Without a payment if the customer's own credits arrived first.
        ("usage_charge" | "hold_charge", "succeeded") => is_done,
        ("usage_charge" | "hold_charge", "failed") if operation["problem"]["code"] == SPENT_MEANWHILE => {
            paid == 1 && !is_done
        }
        ("usage_charge" | "hold_charge", "failed") if operation["problem"]["code"] == OWED => {
            !is_done && owed_before_end(subject, operation)
        }
        // Without a payment if enough credits arrived first, or the setting was changed.
        ("auto_top_up", "succeeded") => is_done == (paid == 1),
        (_, "succeeded") => paid == 1 && is_done,
        _ => paid == 0 && !is_done,
    }
}

/// Whether the customer owed credits at a time before the operation ended.
fn owed_before_end(subject: &Subject, operation: &Value) -> bool {
    let ended_at = text(operation, "updated_at");
    let owes = |entry: &Value| number(entry, "balance_after") < number(entry, "held_after");
    subject.entries.iter().any(|entry| text(entry, "created_at") <= ended_at && owes(entry))
}

/// Whether the entry that an operation names is in the ledger, and does what its kind is for.
fn is_done(subject: &Subject, operation: &Value) -> bool {
    let kind = match text(operation, "kind") {
        "usage_charge" => "debit",
        "hold_charge" => "hold",
        _ => "grant",
    };
    let named = &operation["transaction"];
    let is_it = |entry: &Value| entry["id"] == named["id"] && entry["kind"] == kind;
    !named.is_null() && subject.entries.iter().any(is_it)
}

/// Support's refund gave money back once if it succeeded, and never otherwise: the bank may have returned it since.
fn refund(objects: &StripeObjects, operation: &Value) -> Option<String> {
    let (id, state) = (text(operation, "id"), text(operation, "state"));
    let has_happened = |refund: &&Value| operation_of(refund) == id && refund["status"] != "failed";
    let times = objects.refunds.iter().filter(has_happened).count();
    (times != usize::from(state == "succeeded"))
        .then(|| format!("refund {id} is {state} and gave money back {times} times: {operation}"))
}
