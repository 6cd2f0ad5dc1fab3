//! Compares a customer's plan, subscription and payment methods with Stripe's.

use super::stripe_objects::sold_at;
use super::{StripeObjects, Subject, number, text};
use bursar_engine::clock::parse_rfc3339;
use serde_json::Value;
use std::collections::BTreeSet;

/// Returns all differences.
pub(super) fn differences(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let mut problems = plan(subject, objects);
    problems.extend(subscription(subject, objects));
    problems.extend(methods(subject, objects));
    problems
}

fn gives_plan(subscription: &Value) -> bool {
    matches!(text(subscription, "status"), "active" | "trialing" | "past_due")
}

fn is_over(subscription: &Value) -> bool {
    matches!(text(subscription, "status"), "canceled" | "incomplete_expired")
}

/// The plan is the one that a subscription gives, and at most one subscription is open.
fn plan(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let own = objects.subscriptions_of(&subject.me.id);
    let mut problems = Vec::new();
    let open = own.iter().filter(|row| !is_over(row)).count();
    if open > 1 {
        problems.push(format!("{open} subscriptions are open at Stripe"));
    }
    let had_plan = !objects.paid_periods_of(&subject.me.id).is_empty();
    let given = own.iter().find(|row| gives_plan(row)).map(|row| &row["items"]["data"][0]["price"]);
    let plan = text(&subject.customer, "plan");
    let expected = match (given.map(|price| sold_at(number(price, "unit_amount"))), had_plan) {
        (Some(Some(sold)), _) => sold.plan,
        (Some(None), _) => "one that is sold",
        (None, true) => "pay_as_you_go",
        (None, false) => "trial",
    };
    if plan != expected {
        let known: Vec<_> = own.iter().map(|row| (text(row, "id"), text(row, "status"))).collect();
        problems.push(format!("the plan is {plan}, by Stripe it should be {expected}: {known:?}"));
    }
    problems
}

/// The subscription shown is the one at Stripe, with the same state.
fn subscription(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let own = objects.subscriptions_of(&subject.me.id);
    let shown = &subject.subscription;
    if shown.is_null() {
        let open = own.iter().filter(|row| !is_over(row));
        return open.map(|row| format!("a subscription is not known here: {} {}", row["id"], row["status"])).collect();
    }
    let Some(row) = own.iter().find(|row| row["id"] == shown["id"]) else {
        return vec![format!("Stripe has no such subscription: {shown}")];
    };
    let mut problems = Vec::new();
    if shown["status"] != row["status"] {
        problems
            .push(format!("subscription {} is {} here and {} at Stripe", row["id"], shown["status"], row["status"]));
    }
    if is_over(row) {
        let open = own.iter().filter(|row| !is_over(row));
        problems.extend(open.map(|row| format!("an ended subscription is shown instead of {}", row["id"])));
        return problems;
    }
    let shown_end = text(shown, "current_period_end");
    let end_s = number(&row["items"]["data"][0], "current_period_end");
    if parse_rfc3339(shown_end) != Some(end_s * 1_000) {
        problems.push(format!("subscription {} ends {shown_end} here and at {end_s} at Stripe", row["id"]));
    }
    if shown["cancel_at_period_end"] != row["cancel_at_period_end"] {
        let (here, there) = (&shown["cancel_at_period_end"], &row["cancel_at_period_end"]);
        problems.push(format!("subscription {} ends with its period: {here} here, {there} at Stripe", row["id"]));
    }
    problems.extend(prices(shown, row, objects));
    problems
}

/// The price shown is the one at Stripe, and so is the one after a change that comes with the end of the period.
fn prices(shown: &Value, row: &Value, objects: &StripeObjects) -> Vec<String> {
    let present = sold_at(number(&row["items"]["data"][0]["price"], "unit_amount"));
    let to_come = objects.price_to_come(row);
    let expected = [present, to_come].map(|sold| sold.map(|sold| sold.key));
    let found = [&shown["price"], &shown["pending_change"]["price"]].map(Value::as_str);
    if found == expected {
        return Vec::new();
    }
    vec![format!("subscription {} has the prices {found:?} here and {expected:?} at Stripe, now and later", row["id"])]
}

/// The payment methods are those attached at Stripe, with the same default.
fn methods(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let customers = objects.customers_of(&subject.me.id);
    let linked = customers.iter().find(|row| row["id"] == subject.customer["stripe_customer_id"]);
    let Some(linked) = linked else {
        return vec![format!("the Stripe customer {} is not there", subject.customer["stripe_customer_id"])];
    };
    let attached: BTreeSet<&str> =
        objects.methods.iter().filter(|row| row["customer"] == linked["id"]).map(|row| text(row, "id")).collect();
    let known: BTreeSet<&str> = subject.methods.iter().map(|row| text(row, "id")).collect();
    let mut problems = Vec::new();
    if attached != known {
        problems.push(format!("payment methods are {known:?} here and {attached:?} at Stripe"));
    }
    let default = subject.methods.iter().find(|row| row["is_default"] == true).map_or("", |row| text(row, "id"));
    let at_stripe = text(&linked["invoice_settings"], "default_payment_method");
    if default != at_stripe {
        problems.push(format!("the default payment method is {default:?} here and {at_stripe:?} at Stripe"));
    }
    let can_be_charged = subject.methods.iter().any(|row| !row["consent_at"].is_null());
    if subject.customer["has_payment_method"] != can_be_charged {
        problems.push(format!(
            "has_payment_method is {}, with the payment methods {known:?}",
            subject.customer["has_payment_method"]
        ));
    }
    problems
}
