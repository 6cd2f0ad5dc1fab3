//! Refunds, disputes and credit notes: credits that were clawed back against credits that should have been, and refunds
//! by support against what became of them.

use super::{Class, Difference};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::count::counted;
use crate::domain::operation::Operation;
use crate::domain::refund::FailedRefund;
use crate::domain::webhook::EventKind;
use crate::ids::CustomerId;
use serde_json::Value;

/// Compares a payment that bought credits: the number clawed back, and the number that should have been. `paid` is the
/// charge, or the invoice if no charge paid it; `id` is what the difference is about: one of both.
pub fn compare(
    paid: &Value,
    id: &str,
    customer: &CustomerId,
    clawed_back: Credits,
    target: Credits,
) -> Option<Difference> {
    if clawed_back == target {
        return None;
    }
    let (ours, theirs) =
        (format!("{} taken back", counted(clawed_back.0, "credit")), format!("money for {target} is gone"));
    let found = Difference::new(Class::RefundNotApplied, id, ours, theirs);
    Some(found.for_customer(customer).repaired_by_event(EventKind::ChargeRefunded, paid))
}

/// Compares a refund by support with a refund that failed at Stripe; `None` unless that one made it and it still counts as
/// made. The review of the charge ends it.
pub fn compare_made(
    operation: &Operation,
    failed: &FailedRefund,
    (charge, charge_id): (&Value, &str),
    now_ms: TimeMs,
) -> Option<Difference> {
    operation.after_failed_refund(failed, now_ms)?;
    let ours = format!("refund {} of {} succeeded", failed.id, operation.id);
    let theirs = format!("it failed: {}", failed.reason.as_deref().unwrap_or("no reason"));
    let found = Difference::new(Class::RefundNotApplied, charge_id, ours, theirs);
    Some(found.for_customer(&operation.customer_id).repaired_by_event(EventKind::ChargeRefunded, charge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::domain::operation::{Request, State};
    use crate::domain::refund::CreditsChoice;
    use serde_json::json;

    #[test]
    fn credits_follow_the_money_in_both_directions() {
        let charge = json!({ "id": "ch_1", "object": "charge" });
        let customer = CustomerId::new();
        assert_eq!(compare(&charge, "ch_1", &customer, Credits(1), Credits(1)), None);
        for (clawed_back, target) in [(Credits(0), Credits(1)), (Credits(1), Credits(0))] {
            let found = compare(&charge, "ch_1", &customer, clawed_back, target).expect("a difference");
            assert_eq!((found.class, found.customer_id.as_ref()), (Class::RefundNotApplied, Some(&customer)));
            assert!(found.repair.is_some());
        }
    }

    #[test]
    fn a_refund_that_failed_at_stripe_is_found_until_it_has_failed_here() {
        let request = Request::PaymentRefund {
            payment_id: "in_1".to_owned(),
            charge_id: "ch_1".to_owned(),
            amount_minor: MoneyMinor(700),
            currency: "usd".to_owned(),
            credits: CreditsChoice::None,
            beyond_credited: false,
        };
        let made = Operation::new(&CustomerId::new(), request, "admin:k".to_owned(), "h".to_owned(), 1)
            .succeeded(Some("re_1".to_owned()), 2);
        let charge = json!({ "id": "ch_1", "object": "charge" });
        let failed = |id: &str| FailedRefund { id: id.to_owned(), reason: Some("unknown".to_owned()) };
        let found = compare_made(&made, &failed("re_1"), (&charge, "ch_1"), 3).expect("a difference");
        assert_eq!((found.class, found.object_id.as_str()), (Class::RefundNotApplied, "ch_1"));
        assert!(found.repair.is_some() && found.theirs.contains("unknown"), "{found:?}");
        assert_eq!(compare_made(&made, &failed("re_2"), (&charge, "ch_1"), 3), None);
        let ended = Operation { state: State::Failed, ..made };
        assert_eq!(compare_made(&ended, &failed("re_1"), (&charge, "ch_1"), 3), None);
    }
}
