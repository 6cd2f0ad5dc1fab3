//! Compares credits with the money that paid for them.

use super::{StripeObjects, Subject, number, text};
use crate::journeys::sold::{PACKS, SOLD};
use serde_json::Value;

/// The price of a unit without a plan that is paid.
const UNIT_AMOUNT: i64 = 2_900;
/// The kind of grants of credits that were charged.
const BOUGHT_KIND: &str = "purchased";

/// Returns all differences between credits and money.
pub(super) fn differences(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let mut problems = charged(subject, objects);
    let mut known: Vec<&str> = Vec::new();
    for intent in objects.unit_payments_of(&subject.me.id) {
        if intent["status"] == "succeeded" {
            known.push(text(intent, "id"));
            problems.extend(payment(subject, objects, intent));
        }
    }
    let is_paid_for = |entry: &&Value| known.contains(&text(entry, "reference"));
    let unpaid = grants(subject, BOUGHT_KIND).filter(|entry| !is_paid_for(entry));
    problems.extend(unpaid.map(|entry| format!("no payment explains this grant: {entry}")));
    problems.extend(bonus(subject));
    problems
}

/// Grants of this kind that a payment brought; a reinstatement is not one.
pub(super) fn grants<'a>(subject: &'a Subject, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let is_it = move |entry: &&Value| entry["grant_kind"] == kind && entry["source"] != "reinstatement";
    subject.entries.iter().filter(is_it)
}

/// The usage summary shows what Stripe took for the customer's credits.
fn charged(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let payments = objects.unit_payments_of(&subject.me.id);
    let taken = payments.iter().filter(|intent| intent["status"] == "succeeded");
    let taken: i64 = taken.map(|intent| number(intent, "amount_received")).sum();
    let shown = subject.summary["charged"].as_array().map_or(&[][..], Vec::as_slice);
    let shown: i64 = shown.iter().map(|row| number(row, "amount_minor")).sum();
    if shown == taken {
        return Vec::new();
    }
    vec![format!("the summary of {} shows charges of {shown}, Stripe took {taken} for credits", subject.me.id)]
}

/// A payment granted the credits that it bought once, at a price of the catalogue, less those clawed back.
fn payment(subject: &Subject, objects: &StripeObjects, intent: &Value) -> Vec<String> {
    let id = text(intent, "id");
    let granted: Vec<i64> = grants(subject, BOUGHT_KIND)
        .filter(|entry| text(entry, "reference") == id)
        .map(|entry| number(entry, "amount"))
        .collect();
    let amount = number(intent, "amount_received");
    let [credits] = granted[..] else {
        return vec![format!("payment {id} of {amount} granted {granted:?} credits")];
    };
    let kind = subject.purchase_of(intent).map_or("", |operation| text(operation, "kind"));
    if !is_price(kind, credits, amount) {
        return vec![format!("payment {id} of {amount} for a {kind} granted {credits} credits")];
    }
    let charges = objects.charges_of_intent(id);
    clawback(subject, objects, (id, charges.as_slice()), (credits, amount), credits)
}

/// Whether a purchase of this kind costs so much for so many credits.
fn is_price(kind: &str, credits: i64, amount: i64) -> bool {
    let by_unit = || SOLD.iter().map(|sold| sold.unit_amount).chain([UNIT_AMOUNT]).any(|unit| unit * credits == amount);
    let packs = |most: i64| {
        let times = |pack: i64| (pack > 0 && credits % pack == 0).then_some(credits / pack);
        PACKS.iter().any(|pack| times(pack.credits).is_some_and(|n| n <= most && n * pack.amount == amount))
    };
    match kind {
        "usage_charge" | "hold_charge" | "debt_payment" => by_unit(),
        "pack_purchase" => packs(1),
        "auto_top_up" => by_unit() || packs(i64::MAX),
        _ => false,
    }
}

/// The credits clawed back are those that the lost money had paid for in full. Where support took only credits that
/// were not spent, they may be fewer. Of `granted` credits that cost `paid`, no more than `at_most` can go.
pub(super) fn clawback(
    subject: &Subject,
    objects: &StripeObjects,
    (what, charges): (&str, &[&Value]),
    (granted, paid): (i64, i64),
    at_most: i64,
) -> Vec<String> {
    let is_about = |entry: &&Value| charges.iter().any(|charge| entry["reference"] == charge["id"]);
    let taken: i64 = -subject.entries.iter().filter(is_about).map(|entry| number(entry, "amount")).sum::<i64>();
    let lost = objects.lost_money(charges);
    let counts = lost.all - lost.kept.min(lost.all);
    let credits_of = |money: i64| (granted * money.clamp(0, paid.max(0)) / paid.max(1)).min(at_most);
    let (least, most) = (credits_of(counts - lost.unspent.min(counts)), credits_of(counts));
    if (least..=most).contains(&taken) {
        return Vec::new();
    }
    let ids: Vec<&str> = charges.iter().map(|charge| text(charge, "id")).collect();
    vec![format!(
        "{what}: {lost:?} of {paid} was lost, so {least} to {most} of {granted} credits should be clawed back, but \
         {taken} are ({ids:?})"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_purchase_costs_what_the_catalogue_says() {
        for (kind, credits, amount, expected) in [
            ("usage_charge", 3, 3 * 2_900, true),
            ("hold_charge", 3, 3 * 1_200, true),
            ("debt_payment", 3, 3 * 1_500, true),
            ("usage_charge", 3, 3 * 1_501, false),
            ("usage_charge", 10, 21_000, false),
            ("pack_purchase", 10, 21_000, true),
            ("pack_purchase", 10, 29_000, false),
            ("pack_purchase", 20, 42_000, false),
            ("auto_top_up", 20, 42_000, true),
            ("auto_top_up", 2, 5_800, true),
            ("auto_top_up", 15, 31_500, false),
            ("subscription_create", 1, 2_900, false),
        ] {
            assert_eq!(is_price(kind, credits, amount), expected, "{kind} {credits} {amount}");
        }
    }
}
