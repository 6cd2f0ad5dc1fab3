//! Invoices: paid periods of prices of ours without credits.

use super::{Class, Difference};
use crate::amount::MoneyMinor;
use crate::domain::job::Outcome;
use crate::domain::sale::line::{Sales, sales};
use crate::domain::sale::since::since;
use crate::domain::sale::{LineCounts, SaleRecord};
use crate::domain::webhook::fields::{InvoiceFields, Line};
use crate::domain::webhook::{self, EventKind, Facts};
use crate::key::PriceKey;
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
    // Drafts and open invoices are not paid, even if the rules refuse them for other reasons.
    if said.is_paid != Some(true) {
        return None;
    }
    let is_ours = || matches!(sales(&said, facts.book), Sales::Known(sold) if !sold.is_empty());
    let verdict = webhook::decide(facts);
    let difference = match verdict.outcome {
        Outcome::Done if verdict.ledger.is_none() => None,
        Outcome::Done => {
            found(Class::InvoiceNotGranted, "no credits").map(|found| found.repaired_by_event(EVENT_KIND, facts.object))
        }
        Outcome::Dead { reason } if reason.starts_with("price_unknown") => found(Class::InvoicePriceUnknown, &reason),
        Outcome::Dead { reason } if facts.customer.is_some() => found(Class::InvoiceRefused, &reason),
        _ if is_ours() => found(Class::InvoiceUnknown, "no such customer"),
        _ => None,
    };
    match &facts.customer {
        Some(customer) => difference.map(|difference| difference.for_customer(&customer.id)),
        None => difference,
    }
}

/// Compares an invoice whose credits are in the ledger with what was sold when they were granted. Grants of releases
/// that kept no record of that are compared only with whether the invoice sells anything.
pub fn compare_granted(facts: &Facts<'_>, record: Option<&SaleRecord>) -> Option<Difference> {
    let said = InvoiceFields::read(facts.object);
    let id = said.id.as_deref()?;
    let Sales::Known(sold) = sales(&said, facts.book) else { return None };
    // What is paid by the credit for time that was left is not free.
    let is_free =
        said.total.is_some_and(|total| total <= MoneyMinor::ZERO) && !said.lines.iter().any(Line::credits_time);
    let is_paid = said.is_paid == Some(true) && !is_free;
    let sold = if is_paid { sold } else { Vec::new() };
    // What was granted before support set a date stays, and what is older than it need not be granted.
    let from_ms = facts.customer.as_ref().and_then(|customer| customer.credits_from_ms);
    let compare = |record: &SaleRecord| {
        let LineCounts { unsold, .. } = record.compare(&sold);
        LineCounts { unsold, ..record.compare(&since(&sold, from_ms)) }
    };
    let class = match record.map(compare) {
        Some(LineCounts { ungranted: 0, unsold: 0 }) => return None,
        Some(LineCounts { unsold: 0, .. }) => Class::InvoiceLineNotGranted,
        Some(_) => Class::GrantWithoutLine,
        None if sold.is_empty() => Class::GrantWithoutLine,
        None => return None,
    };
    let ours = match record {
        Some(record) => format!("credits for {}", named(record.sold.iter().map(|line| (&line.price, line.quantity)))),
        None => "credits".to_owned(),
    };
    let theirs = format!("{} paid", named(sold.iter().map(|sale| (&sale.price.key, sale.quantity))));
    let found = Difference::new(class, id, ours, theirs);
    Some(match &facts.customer {
        Some(customer) => found.for_customer(&customer.id),
        None => found,
    })
}

/// Finds that a paid invoice of a customer credits time that nobody paid for: what it gives to the customer's balance at
/// Stripe pays for later invoices, which bring credits.
pub fn compare_credited(facts: &Facts<'_>) -> Option<Difference> {
    let customer = facts.customer.as_ref()?;
    let said = InvoiceFields::read(facts.object);
    let id = said.id.as_deref().filter(|_| said.is_paid == Some(true))?;
    let (unpaid, credited) = facts.before.unpaid_credited_by(&said);
    if unpaid.is_empty() {
        return None;
    }
    let theirs = format!("credited {credited} {}", said.currency.as_deref().unwrap_or("of an unknown currency"));
    let is = if unpaid.len() == 1 { "is" } else { "are" };
    let unpaid: Vec<&str> = unpaid.into_iter().collect();
    let ours = format!("{} {is} not paid", unpaid.join(", "));
    Some(Difference::new(Class::InvoiceCreditUnpaid, id, ours, theirs).for_customer(&customer.id))
}

/// Lines by their prices, as `2 × pro_monthly`.
fn named<'a>(lines: impl Iterator<Item = (&'a PriceKey, i64)>) -> String {
    let names: Vec<String> = lines.map(|(price, quantity)| format!("{quantity} × {price}")).collect();
    if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::customer::Customer;
    use crate::domain::reconcile::example::{ada, book};
    use crate::domain::sale::record::SoldLine;
    use crate::domain::subscription::Subscription;
    use crate::domain::webhook::fixtures::row;
    use crate::ids::CustomerId;
    use serde_json::{Value, json};

    fn invoice() -> Value {
        json!({
            "id": "in_1", "object": "invoice", "customer": "cus_1", "billing_reason": "subscription_cycle",
            "subscription": "sub_1", "status": "paid", "total": 59_900, "amount_paid": 59_900, "currency": "usd",
            "lines": { "data": [{ "amount": 59_900, "price": { "id": "price_pro" }, "period": { "end": 2_000 } }] },
        })
    }

    fn of_ada() -> Option<Customer> {
        Some(ada("pro", Some("cus_1")))
    }

    fn found(object: &Value, customer: Option<Customer>, granted: &[&str]) -> Option<Difference> {
        found_with(object, customer, None, granted)
    }

    fn found_with(
        object: &Value,
        customer: Option<Customer>,
        subscription: Option<Subscription>,
        granted: &[&str],
    ) -> Option<Difference> {
        let facts = Facts {
            kind: EVENT_KIND,
            object,
            customer,
            subscription,
            subscriptions_of_customer: Vec::new(),
            book: &book(),
            before: crate::domain::sale::Before::NONE,
            may_relink: false,
            now_ms: 1_000,
        };
        compare(&facts, &granted.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_paid_period_without_credits_is_told_again_and_one_with_credits_is_not() {
        for reason in ["subscription_create", "subscription_cycle", "subscription_update", "manual"] {
            let mut paid = invoice();
            paid["billing_reason"] = reason.into();
            let missing = found(&paid, of_ada(), &[]).expect("a difference");
            assert_eq!((missing.class, &missing.customer_id), (Class::InvoiceNotGranted, &of_ada().map(|ada| ada.id)));
            assert!(missing.repair.is_some());
            assert_eq!(found(&paid, of_ada(), &["in_1"]), None);
        }
    }

    #[test]
    fn a_credit_for_time_that_nobody_paid_is_reported() {
        let line = |amount: i64| json!({ "amount": amount, "price": { "id": "price_team" }, "proration": true, "period": { "start": 1, "end": 2_000 } });
        let mut up = invoice();
        (up["id"], up["status"], up["lines"]["data"]) = (json!("in_2"), json!("open"), json!([line(199_900)]));
        let mut down = invoice();
        (down["id"], down["lines"]["data"]) = (json!("in_3"), json!([line(-199_900)]));
        let reported = |up: &Value| {
            let before = crate::domain::sale::Before::of(vec![InvoiceFields::read(up)]);
            let book = book();
            let facts = Facts {
                kind: EVENT_KIND,
                object: &down,
                customer: of_ada(),
                subscription: None,
                subscriptions_of_customer: Vec::new(),
                book: &book,
                before: &before,
                may_relink: false,
                now_ms: 1_000,
            };
            compare_credited(&facts).map(|found| (found.class, found.object_id, found.ours, found.theirs))
        };
        let expected = (
            Class::InvoiceCreditUnpaid,
            "in_3".to_owned(),
            "in_2 is not paid".to_owned(),
            "credited 199900 usd".to_owned(),
        );
        assert_eq!(reported(&up), Some(expected));
        up["status"] = json!("paid");
        assert_eq!(reported(&up), None);
    }

    #[test]
    fn what_brings_no_credits_is_not_missed() {
        let changes: [(&str, Value); 6] = [
            ("/status", json!("open")),
            ("/total", json!(0)),
            ("/lines/data/0/amount", json!(0)),
            ("/lines/data/0/type", json!("invoiceitem")),
            ("/lines/data/0/proration", json!(true)),
            ("/lines/data/0/price/id", json!("price_other")),
        ];
        for (path, value) in changes {
            let mut object = invoice();
            for (flag, unset) in [("type", json!("subscription")), ("proration", json!(false))] {
                object["lines"]["data"][0][flag] = unset;
            }
            *object.pointer_mut(path).expect("a place") = value;
            assert_eq!(found(&object, of_ada(), &[]), None, "{path}");
        }
    }

    #[test]
    fn money_for_a_plan_from_nobody_known_is_reported_and_not_touched() {
        let unknown = found(&invoice(), None, &[]).expect("a difference");
        assert_eq!((unknown.class, unknown.repair), (Class::InvoiceUnknown, None));
    }

    #[test]
    fn a_payment_by_another_stripe_customer_of_the_customer_is_told_again() {
        let mut paid = invoice();
        paid["customer"] = "cus_2".into();
        let missing = found(&paid, of_ada(), &[]).expect("a difference");
        assert_eq!((missing.class, missing.repair.is_some()), (Class::InvoiceNotGranted, true));
    }

    #[test]
    fn a_payment_for_another_customers_subscription_is_left_to_a_person() {
        let of_eve = Subscription { customer_id: CustomerId::trusted("cst_eve".to_owned()), ..row("active") };
        let refused = found_with(&invoice(), of_ada(), Some(of_eve), &[]).expect("a difference");
        assert_eq!((refused.class, refused.repair), (Class::InvoiceRefused, None));
        assert!(refused.ours.starts_with("customer_mismatch"), "{}", refused.ours);
    }

    #[test]
    fn a_paid_invoice_at_an_undecided_price_is_left_to_a_person() {
        let mut paid = invoice();
        paid["lines"]["data"][0]["price"] = json!("price_unheard_of");
        for customer in [of_ada(), None] {
            let unknown = found(&paid, customer, &[]).expect("a difference");
            assert_eq!((unknown.class, unknown.repair), (Class::InvoicePriceUnknown, None));
            assert!(unknown.ours.contains("price_unheard_of"), "{}", unknown.ours);
        }
        paid["status"] = "open".into();
        assert_eq!(found(&paid, of_ada(), &[]), None);
    }

    #[test]
    fn other_business_and_unreadable_ones_of_nobody_are_no_difference() {
        let mut other = invoice();
        other["lines"]["data"][0]["price"] = json!({ "id": "price_unheard_of", "lookup_key": "other" });
        for customer in [of_ada(), None] {
            assert_eq!(found(&other, customer, &[]), None);
        }
        let mut unreadable = invoice();
        unreadable["lines"] = Value::Null;
        assert_eq!(found(&unreadable, None, &[]), None);
        let known = found(&unreadable, of_ada(), &[]).expect("a difference");
        assert_eq!((known.class, known.repair), (Class::InvoiceRefused, None));
    }

    #[test]
    fn credits_are_compared_with_the_lines_that_brought_them() {
        let recorded = |lines: usize| {
            let line = SoldLine {
                price: PriceKey::trusted("pro_monthly"),
                quantity: 1,
                credits: Credits(60),
                from_ms: None,
                until_ms: None,
                months: Some(1),
            };
            SaleRecord { sold: vec![line; lines], ..SaleRecord::default() }
        };
        let class_from = |credits_from_ms, object: &Value, record: Option<SaleRecord>| {
            let facts = Facts {
                kind: EVENT_KIND,
                object,
                customer: of_ada().map(|ada| Customer { credits_from_ms, ..ada }),
                subscription: None,
                subscriptions_of_customer: Vec::new(),
                book: &book(),
                before: crate::domain::sale::Before::NONE,
                may_relink: false,
                now_ms: 1_000,
            };
            compare_granted(&facts, record.as_ref()).map(|found| found.class)
        };
        let class = |object: &Value, record: Option<SaleRecord>| class_from(None, object, record);
        // The period ends before the date: nothing is missing, and what was granted earlier stays.
        for lines in [0, 1] {
            assert_eq!(class_from(Some(3_000_000), &invoice(), Some(recorded(lines))), None);
        }
        assert_eq!(class(&invoice(), Some(recorded(1))), None);
        assert_eq!(class(&invoice(), None), None);
        assert_eq!(class(&invoice(), Some(recorded(0))), Some(Class::InvoiceLineNotGranted));
        assert_eq!(class(&invoice(), Some(recorded(2))), Some(Class::GrantWithoutLine));
        for (field, value) in [
            ("status", json!("open")),
            ("total", json!(0)),
            (
                "lines",
                json!({"data": [{
                    "amount": 500, "price": { "id": "price_other" }
                }]}),
            ),
        ] {
            let mut other = invoice();
            other[field] = value;
            for record in [Some(recorded(1)), None] {
                assert_eq!(class(&other, record), Some(Class::GrantWithoutLine), "{field}");
            }
        }
    }
}
