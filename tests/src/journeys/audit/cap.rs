//! Recomputes from Stripe's payments that no charge exceeded a cap that was in force when it was decided.
//!
//! A charge is decided between its operation's request and its end, and counts in the UTC day and month of that moment.
//! Where these do not tell one day, month or cap, whatever is possible is allowed.

use super::stripe_objects::is_open;
use super::{StripeObjects, Subject, number, text};
use crate::journeys::customer::{CapSide, Limits};
use bursar_engine::clock::{parse_rfc3339, rfc3339};
use serde_json::Value;

/// The default cap of a month in minor units: no plan of the run has its own.
const PLAN_MONTH: i64 = 100_000;
/// The length of a day and of a month in a time as text: `2026-11-29`.
const SPANS: [(&str, usize); 2] = [("day", 10), MONTH];
const MONTH: (&str, usize) = ("month", 7);
/// How far a time that this process reads may differ from the application's.
const CLOCKS_DIFFER_MS: i64 = 50;

/// A payment that took money.
struct Payment<'a> {
    id: &'a str,
    amount: i64,
    /// The earliest and the latest time at which it was decided.
    decided: (&'a str, &'a str),
    is_top_up: bool,
}

/// Returns all charges beyond a cap, and all sums that differ from Stripe's.
pub(super) fn differences(subject: &Subject, objects: &StripeObjects, limits: &Limits) -> Vec<String> {
    let payments = payments(subject, objects);
    let mut problems = Vec::new();
    for (at, payment) in payments.iter().enumerate() {
        // Stripe lists payments in the order in which they were made.
        let until_then = &payments[..=at];
        for (span, length) in SPANS {
            let charged = sum_in_span(until_then.iter(), payment, length);
            if let Some(cap) = cap_in_force(limits, span, payment.times_ms()).filter(|cap| charged > *cap) {
                problems.push(format!("{} made the charges of a {span} {charged}, beyond a cap of {cap}", payment.id));
            }
        }
        if payment.is_top_up {
            let charged = sum_in_span(until_then.iter().filter(|other| other.is_top_up), payment, MONTH.1);
            problems.extend(beyond_terms(limits, payment, charged));
        }
    }
    problems.extend(shown(subject, objects));
    problems
}

impl Payment<'_> {
    /// The earliest and the latest time at which it was decided, by any clock.
    fn times_ms(&self) -> (i64, i64) {
        let (from_ms, until_ms) = (parse_rfc3339(self.decided.0), parse_rfc3339(self.decided.1));
        (from_ms.unwrap_or(0) - CLOCKS_DIFFER_MS, until_ms.unwrap_or(i64::MAX - CLOCKS_DIFFER_MS) + CLOCKS_DIFFER_MS)
    }

    /// The span in which it was decided, as text of this length; `None` if it may be one or another.
    fn span(&self, length: usize) -> Option<&str> {
        let (from, until) = (self.decided.0.get(..length), self.decided.1.get(..length));
        from.filter(|_| from == until)
    }
}

/// The payments that took money for a customer's purchases, in the order in which they were made.
fn payments<'a>(subject: &'a Subject, objects: &'a StripeObjects) -> Vec<Payment<'a>> {
    let paid = objects.unit_payments_of(&subject.me.id).into_iter().filter(|intent| intent["status"] == "succeeded");
    let payment = |intent: &'a Value| {
        let operation = subject.purchase_of(intent)?;
        Some(Payment {
            id: text(intent, "id"),
            amount: number(intent, "amount_received"),
            decided: (text(operation, "created_at"), text(operation, "updated_at")),
            is_top_up: operation["kind"] == "auto_top_up",
        })
    };
    paid.filter_map(payment).collect()
}

/// What payments took that were decided in the same span as this one; nothing if its span is not certain.
fn sum_in_span<'a>(payments: impl Iterator<Item = &'a Payment<'a>>, this: &Payment<'_>, length: usize) -> i64 {
    let Some(span) = this.span(length) else { return 0 };
    payments.filter(|payment| payment.span(length) == Some(span)).map(|payment| payment.amount).sum()
}

/// The highest spend cap that may have been in force at a time in between; `None` if there may have been none.
fn cap_in_force(limits: &Limits, span: &str, (from_ms, until_ms): (i64, i64)) -> Option<i64> {
    let of = |side: CapSide, otherwise: Option<i64>| {
        let caps = limits.caps_between(side, from_ms, until_ms).into_iter();
        highest(caps.map(|(day, month)| if span == "day" { day } else { month }.or(otherwise)))
    };
    let of_plan = (span == "month").then_some(PLAN_MONTH);
    [of(CapSide::Own, None), of(CapSide::Support, of_plan)].into_iter().flatten().min()
}

/// Says what the terms of top-ups that may have been in force forbid about one that made a month's top-ups cost so
/// much.
fn beyond_terms(limits: &Limits, payment: &Payment<'_>, charged: i64) -> Option<String> {
    let (from_ms, until_ms) = payment.times_ms();
    let terms = limits.top_ups_between(from_ms, until_ms).into_iter().flatten();
    let caps: Vec<Option<i64>> = terms.filter(|terms| terms.is_on).map(|terms| terms.month_cap).collect();
    if caps.is_empty() {
        return Some(format!("{} is a top-up, and they were off", payment.id));
    }
    let cap = highest(caps.into_iter()).filter(|cap| charged > *cap)?;
    Some(format!("{} made a month's top-ups {charged}, beyond a cap of {cap}", payment.id))
}

/// The highest of some caps, one of which is `None` if one of them is no cap.
fn highest(caps: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    caps.collect::<Option<Vec<i64>>>()?.into_iter().max()
}

/// What the customer is shown as charged in the present day and month is what Stripe took, or may still take.
fn shown(subject: &Subject, objects: &StripeObjects) -> Vec<String> {
    let mut problems = Vec::new();
    for (span, length) in SPANS {
        let Some(sums) = sums(subject, objects, span, length) else { continue };
        let shown = number(&subject.caps[span], "charged_minor");
        if shown != sums.0 {
            problems.push(format!("the charges of this {span} are shown as {shown}, Stripe took {}", sums.0));
        }
        let shown = number(&subject.top_up, "month_charged_minor");
        if span == "month" && shown != sums.1 {
            problems.push(format!("the top-ups of this month are shown as {shown}, Stripe took {}", sums.1));
        }
    }
    problems
}

/// What Stripe took, or may still take, for all purchases of the present span, and for its top-ups; `None` if an
/// operation may have been decided in it or in another one.
fn sums(subject: &Subject, objects: &StripeObjects, span: &str, length: usize) -> Option<(i64, i64)> {
    // Caps start anew where the next span begins, so its last moment belongs to the present one.
    let next_ms = parse_rfc3339(text(&subject.caps[span], "until"))?;
    let present = rfc3339(next_ms - 1).get(..length)?.to_owned();
    let (mut all, mut top_ups) = (0, 0);
    for intent in objects.unit_payments_of(&subject.me.id) {
        if intent["status"] != "succeeded" && !is_open(intent) {
            continue;
        }
        let operation = subject.purchase_of(intent)?;
        let [from, until] = ["created_at", "updated_at"].map(|field| text(operation, field).get(..length));
        if from != until {
            return None;
        }
        if from == Some(present.as_str()) {
            let amount = number(intent, "amount");
            all += amount;
            top_ups += if operation["kind"] == "auto_top_up" { amount } else { 0 };
        }
    }
    Some((all, top_ups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::caller::DefiniteAnswer;
    use crate::journeys::customer::{Identity, TopUpTerms};
    use bursar_engine::domain::webhook::fields::{CUSTOMER_METADATA_KEY, OPERATION_METADATA_KEY};
    use serde_json::json;

    const MINUTE_MS: i64 = 60_000;

    /// What is wrong with two payments of one kind and amount, asked for at 12:00 and 12:10, each decided within a
    /// minute. Settings are made at times in minutes after 12:00.
    fn problems(kind: &str, amount: i64, set: impl Fn(&mut Limits, &dyn Fn(i64) -> (i64, i64))) -> Vec<String> {
        let noon_ms = parse_rfc3339("2026-11-29T12:00:00.000Z").expect("a time");
        let at = |minute: i64| rfc3339(noon_ms + minute * MINUTE_MS);
        let operation = |id: &str, minute: i64| json!({ "id": id, "kind": kind, "state": "succeeded", "created_at": at(minute), "updated_at": at(minute + 1) });
        let intent = |id: &str| {
            let metadata = json!({ CUSTOMER_METADATA_KEY: "cst_1", OPERATION_METADATA_KEY: id });
            json!({ "id": format!("pi_{id}"), "status": "succeeded", "amount": amount, "amount_received": amount,
                    "metadata": metadata })
        };
        let subject = Subject {
            me: Identity { id: "cst_1".to_owned(), api_key: String::new() },
            entries: Vec::new(),
            operations: vec![operation("1", 0), operation("2", 10)],
            customer: Value::Null,
            credits: Value::Null,
            subscription: Value::Null,
            methods: Vec::new(),
            summary: Value::Null,
            caps: Value::Null,
            top_up: Value::Null,
        };
        let mut limits = Limits::default();
        set(&mut limits, &|minute| (noon_ms + minute * MINUTE_MS, noon_ms + minute * MINUTE_MS + 1));
        differences(&subject, &StripeObjects::of_intents(vec![intent("1"), intent("2")]), &limits)
    }

    fn done() -> DefiniteAnswer {
        DefiniteAnswer { status: 200, body: Value::Null, in_doubt: false }
    }

    #[test]
    fn a_charge_beyond_the_cap_at_its_decision_is_found() {
        let with_caps = |amount: i64, caps: &[(i64, CapSide, Option<i64>)]| {
            let found = problems("pack_purchase", amount, |limits, at| {
                for (minute, side, day) in caps {
                    limits.add_caps(*side, (*day, None), at(*minute), Some(&done()));
                }
            });
            found.len()
        };
        assert_eq!(with_caps(50_000, &[]), 0);
        assert_eq!(with_caps(50_001, &[]), 1, "the plan's cap of the month");
        assert_eq!(with_caps(1_000, &[(-5, CapSide::Own, Some(1_999))]), 1);
        assert_eq!(with_caps(1_000, &[(-5, CapSide::Own, Some(999))]), 2);
        assert_eq!(with_caps(1_000, &[(5, CapSide::Own, Some(0))]), 1, "the first was decided before");
        assert_eq!(with_caps(1_000, &[(-5, CapSide::Own, Some(0)), (10, CapSide::Own, None)]), 1, "it may be raised");
        assert_eq!(with_caps(1_000, &[(-5, CapSide::Support, Some(0)), (-4, CapSide::Support, None)]), 0);
        assert_eq!(with_caps(1_000, &[(20, CapSide::Support, Some(0))]), 0, "it was lowered later");
    }

    #[test]
    fn top_ups_beyond_their_own_cap_or_while_they_were_off_are_found() {
        let with_terms = |settings: &[(i64, bool, Option<i64>)]| {
            let found = problems("auto_top_up", 1_000, |limits, at| {
                for (minute, is_on, month_cap) in settings {
                    let terms =
                        TopUpTerms { is_on: *is_on, threshold: 1, target: 1, pack: None, month_cap: *month_cap };
                    limits.add_top_up(terms, at(*minute), Some(&done()));
                }
            });
            found.len()
        };
        assert_eq!(with_terms(&[(-5, true, None)]), 0);
        assert_eq!(with_terms(&[(-5, true, Some(2_000))]), 0);
        assert_eq!(with_terms(&[(-5, true, Some(1_999))]), 1);
        assert_eq!(with_terms(&[(-5, true, None), (5, false, None)]), 1);
        assert_eq!(with_terms(&[]), 2);
    }
}
