//! Compares the credits of plans with the paid invoices of subscriptions.

use super::money::{clawback, grants};
use super::stripe_objects::{bills_period, credits_time, lines, sold_at};
use super::{StripeObjects, Subject, number, text};
use chrono::{DateTime, Datelike, Days, Utc};
use serde_json::Value;

/// The kind of grants of a paid period.
const PERIOD_KIND: &str = "included";

/// Returns all differences between credits and paid periods.
pub(super) fn differences(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let paid = objects.paid_periods_of(&subject.me.id);
    let mut problems: Vec<String> = paid.iter().flat_map(|invoice| period(subject, objects, invoice)).collect();
    let is_of_invoice = |entry: &&Value| text(entry, "reference").starts_with("in_");
    let is_paid_for = |entry: &&Value| paid.iter().any(|invoice| invoice["id"] == entry["reference"]);
    let unknown = subject.entries.iter().filter(is_of_invoice).chain(grants(subject, PERIOD_KIND));
    let unknown = unknown.filter(|entry| !is_paid_for(entry));
    problems.extend(unknown.map(|entry| format!("no paid period explains this entry: {entry}")));
    problems
}

/// A paid period granted its credits once, and those of the time that a change of plan left were taken once. Refunds
/// claw back of the difference.
fn period(subject: &Subject, objects: &StripeObjects, invoice: &Value) -> Vec<String> {
    let id = text(invoice, "id");
    let brings: i64 = objects.periods_of(invoice).map(|sold| sold.credits).sum();
    let left = match credits_left(objects, invoice) {
        Ok(left) => left,
        Err(problem) => return vec![problem],
    };
    let net = brings - left;
    let mut found: Vec<i64> = grants(subject, PERIOD_KIND)
        .filter(|entry| text(entry, "reference") == id)
        .map(|entry| number(entry, "amount"))
        .collect();
    let is_taken = |entry: &&Value| entry["kind"] == "claw_back" && text(entry, "reference") == id;
    found.extend(subject.entries.iter().filter(is_taken).map(|entry| number(entry, "amount")));
    let expected: Vec<i64> = [brings, -left].into_iter().filter(|amount| *amount != 0).collect();
    if found != expected {
        return vec![format!("invoice {id} brings {brings} and takes {left} credits, but changed {found:?}")];
    }
    let (granted, charges) = (net.max(0), objects.charges_of_invoice(id));
    let at_most = (granted - credits_left_of(subject, objects, invoice)).max(0);
    clawback(subject, objects, (id, charges.as_slice()), (granted, number(invoice, "total")), at_most)
}

/// The credits of an invoice's periods that later ones took, because a change of plan left these periods. They cannot
/// be clawed back once more.
fn credits_left_of(subject: &Subject, objects: &StripeObjects, invoice: &Value) -> i64 {
    let ends: Vec<i64> = lines(invoice).filter(|line| bills_period(line)).map(|line| span(line).1).collect();
    let leaves = |other: &&&Value| {
        subscription_of(other) == subscription_of(invoice)
            && other["id"] != invoice["id"]
            && lines(other).any(|line| credits_time(line) && ends.contains(&span(line).1))
    };
    let later = objects.paid_periods_of(&subject.me.id);
    later.iter().filter(leaves).map(|other| credits_left(objects, other).unwrap_or(0)).sum()
}

/// The credits of the time that an invoice credits, by the part of the period that was left; parts of a credit count as
/// one.
fn credits_left(objects: &StripeObjects, invoice: &Value) -> Result<i64, String> {
    let mut left = 0;
    for credit in lines(invoice).filter(|line| credits_time(line)) {
        let price = objects.price_of(credit).and_then(|price| sold_at(number(price, "unit_amount")));
        let (from_s, end_s) = span(credit);
        let Some((sold, start_s)) = price.zip(period_start_s(objects, invoice, end_s)) else {
            return Err(format!("nobody knows which period this credits: {credit}"));
        };
        let length_s = (end_s - start_s).max(1);
        let left_s = (end_s - from_s).clamp(0, length_s);
        left += (sold.credits * left_s + length_s - 1) / length_s;
    }
    Ok(left)
}

/// When the period of the invoice's subscription that ends then began. One that ends with a month counts as the
/// shortest that does: as begun with the last day of the month before.
fn period_start_s(objects: &StripeObjects, invoice: &Value, end_s: i64) -> Option<i64> {
    let end = DateTime::<Utc>::from_timestamp(end_s, 0)?;
    if end.checked_add_days(Days::new(1))?.day() == 1 {
        return Some(end.with_day(1)?.checked_sub_days(Days::new(1))?.timestamp());
    }
    let of_it = |row: &&Value| subscription_of(row) == subscription_of(invoice);
    let billed = objects.invoices.iter().filter(of_it).flat_map(lines).filter(|line| bills_period(line));
    billed.map(span).find(|(_, until_s)| *until_s == end_s).map(|(from_s, _)| from_s)
}

/// The subscription that an invoice bills.
fn subscription_of(invoice: &Value) -> &str {
    text(&invoice["parent"]["subscription_details"], "subscription")
}

/// When what a line bills begins and ends.
fn span(line: &Value) -> (i64, i64) {
    (number(&line["period"], "start"), number(&line["period"], "end"))
}
