//! Refunds and disputes: credits that were clawed back against credits that should have been.

use super::{Class, Difference};
use crate::amount::Credits;
use crate::count::counted;
use crate::domain::webhook::EventKind;
use crate::ids::CustomerId;
use serde_json::Value;

/// Compares a charge that bought credits: the number clawed back, and the number that should have been.
pub fn compare(
    charge: &Value,
    charge_id: &str,
    customer: &CustomerId,
    clawed_back: Credits,
    target: Credits,
) -> Option<Difference> {
    if clawed_back == target {
        return None;
    }
    let (ours, theirs) =
        (format!("{} taken back", counted(clawed_back.0, "credit")), format!("money for {target} is gone"));
    let found = Difference::new(Class::RefundNotApplied, charge_id, ours, theirs);
    Some(found.for_customer(customer).repaired_by_event(EventKind::ChargeRefunded, charge))
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
