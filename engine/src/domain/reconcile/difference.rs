//! One difference, its repair, and the filter for events that are still on their way.

use super::Class;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::ids::{CustomerId, JobId};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The longest description of a side, in characters.
const TEXT_LEN_MAX: usize = 300;

/// A difference between Stripe's records and Bursar's.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its class.
    pub class: Class,
    /// The object's id at Stripe, or Bursar's if Stripe has none.
    pub object_id: String,
    /// Its customer, if known.
    pub customer_id: Option<CustomerId>,
    /// Bursar's record, in words.
    pub ours: String,
    /// Stripe's record, in words.
    pub theirs: String,
    /// Its repair; `None` if a person must decide.
    pub repair: Option<Repair>,
}

/// The repair of a difference. Each is a no-op the second time.
#[derive(Debug, Clone, PartialEq)]
pub enum Repair {
    /// Stores an event of Stripe's as if it had been delivered.
    StoreEvent(Value),
    /// Makes an event with the object's present state at Stripe, in the stream that would process Stripe's own.
    MakeEvent {
        /// Its type.
        kind: EventKind,
        /// Its object.
        object: Value,
    },
    /// Creates the job that makes a customer's Stripe customer.
    CreateStripeCustomer(CustomerId),
    /// Makes a dead job run again.
    Requeue(JobId),
}

impl Difference {
    /// A difference that a person must check.
    pub fn new(class: Class, object_id: &str, ours: impl Into<String>, theirs: impl Into<String>) -> Self {
        let cut = |text: String| text.chars().filter(|c| !c.is_control()).take(TEXT_LEN_MAX).collect();
        Self {
            class,
            object_id: object_id.to_owned(),
            customer_id: None,
            ours: cut(ours.into()),
            theirs: cut(theirs.into()),
            repair: None,
        }
    }

    /// Sets the customer.
    #[must_use]
    pub fn for_customer(self, customer_id: &CustomerId) -> Self {
        Self { customer_id: Some(customer_id.clone()), ..self }
    }

    /// Sets the repair.
    #[must_use]
    pub fn with_repair(self, repair: Repair) -> Self {
        Self { repair: Some(repair), ..self }
    }

    /// Sets an event about the object as the repair.
    #[must_use]
    pub fn repaired_by_event(self, kind: EventKind, object: &Value) -> Self {
        self.with_repair(Repair::MakeEvent { kind, object: object.clone() })
    }

    /// The event of a [`Repair::MakeEvent`]. Stripe never uses such an id, and within one run it is unique.
    pub fn event(&self, run_id: &str, kind: EventKind, object: &Value, livemode: bool) -> Value {
        json!({
            "id": format!("reconcile:{run_id}:{}:{}", self.class.as_str(), self.object_id),
            "object": "event",
            "type": kind.as_str(),
            "livemode": livemode,
            "data": { "object": object },
        })
    }
}

/// The ids of the objects that an event affects: its own, and those that change with it.
pub fn affected_objects(event: &Value) -> impl Iterator<Item = String> {
    let object = &event["data"]["object"];
    let direct = [&object["id"], &object["charge"], &object["payment_intent"], &object["invoice"]];
    let direct: Vec<String> = direct.into_iter().filter_map(fields::id).collect();
    direct.into_iter().chain(InvoiceFields::read(object).subscription_id)
}

/// Drops differences in objects that a recent event affects. The event is still on its way, or happened between the
/// reads of both sides.
pub fn drop_recent(differences: Vec<Difference>, affected: &HashSet<String>) -> Vec<Difference> {
    differences.into_iter().filter(|difference| !affected.contains(&difference.object_id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::webhook;

    #[test]
    fn what_stripe_told_of_a_moment_ago_is_no_difference_yet() {
        let found = |id: &str| Difference::new(Class::SubscriptionDiffers, id, "", "");
        let event = json!({ "data": { "object": { "id": "in_1", "object": "invoice", "subscription": "sub_1",
                                                  "charge": "ch_1" } } });
        let told: HashSet<String> = affected_objects(&event).collect();
        let left = drop_recent(vec![found("sub_1"), found("ch_1"), found("sub_2")], &told);
        assert_eq!(left.iter().map(|difference| difference.object_id.as_str()).collect::<Vec<_>>(), ["sub_2"]);
    }

    #[test]
    fn an_event_of_our_own_making_is_read_like_stripes_and_goes_into_the_same_stream() {
        let object = json!({ "id": "sub_1", "object": "subscription", "customer": "cus_1" });
        let difference = Difference::new(Class::SubscriptionDiffers, "sub_1", "", "");
        let event = difference.event("rec_1", EventKind::SubscriptionUpdated, &object, true);
        let envelope = webhook::envelope(event.to_string().as_bytes()).expect("readable");
        assert_eq!(webhook::stream_key(&envelope), "stripe:cus_1");
        assert_eq!(envelope.livemode, Some(true));
        assert_eq!(envelope.external_id, "reconcile:rec_1:subscription_differs:sub_1");
    }

    #[test]
    fn words_of_either_side_are_bounded_and_clean() {
        let long = "é\u{7}".repeat(TEXT_LEN_MAX + 1);
        let difference = Difference::new(Class::EventMissing, "evt_1", long.clone(), long);
        assert_eq!(difference.ours.chars().count(), TEXT_LEN_MAX);
        assert!(!difference.theirs.contains('\u{7}'));
    }
}
