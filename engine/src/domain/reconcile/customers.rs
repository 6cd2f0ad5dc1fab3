//! Customers: the links between Bursar's and Stripe's.
//!
//! Only the link is compared. The payer may change name and address at Stripe, and nothing depends on them.

use super::{Class, Difference, Repair};
use crate::domain::customer::Customer;
use crate::domain::webhook::{EventKind, fields};
use serde_json::{Value, json};

/// Compares one of Stripe's customers. `linked` is the customer linked to it, `named` the one in its metadata. With
/// neither, it is unrelated to Bursar.
pub fn compare(object: &Value, linked: Option<&Customer>, named: Option<&Customer>) -> Option<Difference> {
    let id = fields::id(&object["id"])?;
    let name = fields::bursar_customer_id(&fields::metadata_of(object));
    let difference = |class, ours: String, theirs: &str| Some(Difference::new(class, &id, ours, theirs));
    match (linked, name, named) {
        (Some(linked), Some(name), _) if linked.id.as_str() != name => {
            let ours = format!("linked to {}", linked.id);
            Some(difference(Class::CustomerMismatch, ours, &format!("names {name}"))?.for_customer(&linked.id))
        }
        (Some(_), ..) | (None, None, _) => None,
        (None, Some(name), None) => {
            difference(Class::CustomerUnknown, "no such customer".to_owned(), &format!("names {name}"))
        }
        (None, Some(name), Some(named)) => match &named.stripe_customer_id {
            Some(other) => {
                let ours = format!("{} is linked to {other}", named.id);
                Some(difference(Class::CustomerMismatch, ours, &format!("names {name}"))?.for_customer(&named.id))
            }
            None => {
                let found = difference(Class::CustomerUnlinked, "not linked".to_owned(), &format!("names {name}"))?;
                Some(found.for_customer(&named.id).repaired_by_event(EventKind::CustomerUpdated, object))
            }
        },
    }
}

/// Compares a customer that Stripe did not list. `theirs` is its Stripe customer, fetched by id. A deleted one is
/// replaced by a new one; an unknown one is not, because the key may belong to another account.
pub fn compare_unlisted(customer: &Customer, theirs: Option<&Value>) -> Option<Difference> {
    let Some(id) = &customer.stripe_customer_id else {
        let found = Difference::new(Class::CustomerMissing, customer.id.as_str(), "no Stripe customer", "none");
        return Some(found.for_customer(&customer.id).with_repair(Repair::CreateStripeCustomer(customer.id.clone())));
    };
    let linked = || format!("{} is linked to it", customer.id);
    match theirs {
        None => Some(Difference::new(Class::CustomerGone, id, linked(), "no such customer").for_customer(&customer.id)),
        Some(object) if object["deleted"] == true => {
            let gone = json!({ "id": id, "object": "customer", "deleted": true });
            let found = Difference::new(Class::CustomerDeleted, id, linked(), "deleted");
            Some(found.for_customer(&customer.id).repaired_by_event(EventKind::CustomerDeleted, &gone))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reconcile::example::ada;
    use crate::ids::CustomerId;

    fn customer(stripe_customer_id: Option<&str>) -> Customer {
        Customer { id: CustomerId::new(), ..ada("trial", stripe_customer_id) }
    }

    fn theirs(id: &str, names: Option<&Customer>) -> Value {
        let metadata = names.map_or_else(|| json!({}), |named| json!({ "bursar_customer_id": named.id.as_str() }));
        json!({ "id": id, "object": "customer", "email": "someone@else.example", "metadata": metadata })
    }

    fn class(found: Option<&Difference>) -> Option<Class> {
        found.map(|difference| difference.class)
    }

    #[test]
    fn a_link_that_both_sides_agree_on_is_no_difference_and_neither_is_a_stranger() {
        let ours = customer(Some("cus_1"));
        assert_eq!(compare(&theirs("cus_1", Some(&ours)), Some(&ours), Some(&ours)), None);
        assert_eq!(compare(&theirs("cus_1", None), Some(&ours), None), None);
        assert_eq!(compare(&theirs("cus_9", None), None, None), None);
    }

    #[test]
    fn a_lost_link_is_made_again() {
        let ours = customer(None);
        let found = compare(&theirs("cus_1", Some(&ours)), None, Some(&ours)).expect("a difference");
        assert_eq!((found.class, found.customer_id), (Class::CustomerUnlinked, Some(ours.id)));
        assert!(matches!(found.repair, Some(Repair::MakeEvent { kind: EventKind::CustomerUpdated, .. })));
    }

    #[test]
    fn a_link_that_contradicts_another_is_left_to_a_person() {
        let (ours, other) = (customer(Some("cus_1")), customer(Some("cus_2")));
        let found = [
            compare(&theirs("cus_1", Some(&other)), Some(&ours), Some(&other)),
            compare(&theirs("cus_3", Some(&ours)), None, Some(&ours)),
        ];
        for found in found {
            assert_eq!(class(found.as_ref()), Some(Class::CustomerMismatch));
            assert_eq!(found.and_then(|found| found.repair), None);
        }
    }

    #[test]
    fn a_customer_that_names_nobody_known_is_left_to_a_person() {
        let found = compare(&theirs("cus_1", Some(&customer(None))), None, None).expect("a difference");
        assert_eq!((found.class, found.repair), (Class::CustomerUnknown, None));
    }

    #[test]
    fn a_deleted_stripe_customer_is_given_up_and_one_that_never_was_is_not() {
        let ours = customer(Some("cus_1"));
        let deleted = compare_unlisted(&ours, Some(&json!({ "id": "cus_1", "deleted": true }))).expect("a difference");
        assert_eq!(deleted.class, Class::CustomerDeleted);
        assert!(deleted.repair.is_some());
        let never = compare_unlisted(&ours, None).expect("a difference");
        assert_eq!((never.class, never.repair), (Class::CustomerGone, None));
        assert_eq!(compare_unlisted(&ours, Some(&json!({ "id": "cus_1" }))), None);
    }

    #[test]
    fn a_customer_without_a_stripe_customer_gets_one() {
        let ours = customer(None);
        let found = compare_unlisted(&ours, None).expect("a difference");
        assert_eq!(found.repair, Some(Repair::CreateStripeCustomer(ours.id)));
    }
}
