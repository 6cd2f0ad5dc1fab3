//! Invoices: paid periods of Pro without credits.

use super::{Class, Difference};
use crate::domain::job::Outcome;
use crate::domain::webhook::fields::{InvoiceFields, IsPro};
use crate::domain::webhook::{self, EventKind, Facts};
use std::collections::HashSet;

/// The type of the event that reports a paid invoice.
pub const EVENT_KIND: EventKind = EventKind::InvoicePaid;

/// Compares one of Stripe's invoices with Bursar's records. `granted` holds the invoices with credits in the
/// ledger.
pub fn compare(facts: &Facts<'_>, granted: &HashSet<String>) -> Option<Difference> {
    let said = InvoiceFields::read(facts.object);
    let id = said.id.as_deref().filter(|id| !granted.contains(*id))?;
    let money = format!(
        "paid {} {}",
        said.amount_paid.unwrap_or_default(),
        said.currency.as_deref().unwrap_or("of an unknown currency")
    );
    let found = |class, ours: &str| Some(Difference::new(class, id, ours, money.clone()));
    let is_pro = said.is_pro(facts.pro) == IsPro::Yes;
    // Drafts and open invoices are not paid, even if the rules refuse them for other reasons.
    if said.is_paid != Some(true) {
        return None;
    }
    let verdict = webhook::decide(facts);
    let difference = match verdict.outcome {
        Outcome::Done if verdict.ledger.is_none() => None,
        Outcome::Done => {
            found(Class::InvoiceNotGranted, "no credits").map(|found| found.repaired_by_event(EVENT_KIND, facts.object))
        }
        Outcome::Dead { reason } if facts.customer.is_some() => found(Class::InvoiceRefused, &reason),
        _ if is_pro => found(Class::InvoiceUnknown, "no such customer"),
        _ => None,
    };
    match &facts.customer {
        Some(customer) => difference.map(|difference| difference.for_customer(&customer.id)),
        None => difference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::customer::Customer;
    use crate::domain::reconcile::example::{ada, pro};
    use crate::plan::Plan;
    use serde_json::{Value, json};

    fn invoice(reason: &str, status: &str) -> Value {
        json!({
            "id": "in_1", "object": "invoice", "customer": "cus_1", "billing_reason": reason, "status": status,
            "amount_paid": 59_900, "currency": "usd",
            "lines": { "data": [{ "amount": 59_900, "price": { "id": "price_pro" }, "period": { "end": 2_000 } }] },
        })
    }

    fn found(object: &Value, customer: Option<Customer>, granted: &[&str]) -> Option<Difference> {
        let pro = pro();
        let facts = Facts {
            kind: EVENT_KIND,
            object,
            customer,
            subscription: None,
            subscriptions_of_customer: Vec::new(),
            pro: &pro,
            pro_credits: Credits(60),
            now_ms: 1_000,
        };
        compare(&facts, &granted.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_paid_period_without_credits_is_told_again_and_one_with_credits_is_not() {
        let paid = invoice("subscription_cycle", "paid");
        let missing = found(&paid, Some(ada(Plan::Pro, Some("cus_1"))), &[]).expect("a difference");
        assert_eq!(
            (missing.class, missing.customer_id.clone()),
            (Class::InvoiceNotGranted, Some(ada(Plan::Pro, Some("cus_1")).id))
        );
        assert!(missing.repair.is_some());
        assert_eq!(found(&paid, Some(ada(Plan::Pro, Some("cus_1"))), &["in_1"]), None);
    }

    #[test]
    fn what_brings_no_credits_is_not_missed() {
        for (reason, status) in [("manual", "paid"), ("subscription_update", "paid"), ("subscription_cycle", "open")] {
            assert_eq!(
                found(&invoice(reason, status), Some(ada(Plan::Pro, Some("cus_1"))), &[]),
                None,
                "{reason} {status}"
            );
        }
    }

    #[test]
    fn money_for_pro_from_nobody_known_is_reported_and_not_touched() {
        let unknown = found(&invoice("subscription_cycle", "paid"), None, &[]).expect("a difference");
        assert_eq!((unknown.class, unknown.repair), (Class::InvoiceUnknown, None));
    }

    #[test]
    fn a_payment_by_another_stripe_customer_is_left_to_a_person() {
        let mut paid = invoice("subscription_cycle", "paid");
        paid["customer"] = "cus_2".into();
        let refused = found(&paid, Some(ada(Plan::Pro, Some("cus_1"))), &[]).expect("a difference");
        assert_eq!((refused.class, refused.repair), (Class::InvoiceRefused, None));
    }

    #[test]
    fn other_business_of_nobody_known_and_what_cannot_be_read_is_no_difference() {
        let mut other = invoice("subscription_cycle", "paid");
        other["lines"]["data"][0]["price"] = json!({ "id": "price_other", "lookup_key": "other" });
        assert_eq!(found(&other, None, &[]), None);
        let mut unreadable = invoice("subscription_cycle", "paid");
        unreadable["lines"] = Value::Null;
        assert_eq!(found(&unreadable, None, &[]), None);
        let known = found(&unreadable, Some(ada(Plan::Pro, Some("cus_1"))), &[]).expect("a difference");
        assert_eq!((known.class, known.repair), (Class::InvoiceRefused, None));
    }
}
