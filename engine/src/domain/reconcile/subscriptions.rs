//! Subscriptions: the webhook rules show what an event would change.

use super::{Class, Difference};
use crate::clock::rfc3339;
use crate::domain::effect::Effect;
use crate::domain::job::Outcome;
use crate::domain::sale::Sold;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{self, SubscriptionFields};
use crate::domain::webhook::{self, EventKind, Facts};
use serde_json::Value;

/// The type of the event that reports a subscription's present state.
pub const EVENT_KIND: EventKind = EventKind::SubscriptionUpdated;

/// Compares one of Stripe's subscriptions with Bursar's records.
///
/// A Stripe account may serve other business: a subscription of an unknown customer matters only if it sells a plan of
/// ours or was made by Bursar.
pub fn compare(facts: &Facts<'_>) -> Option<Difference> {
    let said = SubscriptionFields::read(facts.object);
    let id = said.id.as_deref()?;
    let is_sold =
        || said.items.iter().any(|item| matches!(facts.book.item(item, &said.items, &said.metadata), Sold::Ours(_)));
    let is_ours = || is_sold() || fields::bursar_customer_id(&said.metadata).is_some();
    let theirs = describe_theirs(&said);
    let found = |class, ours: String| Some(Difference::new(class, id, ours, theirs.clone()));
    let verdict = webhook::decide(facts);
    let difference = match verdict.outcome {
        Outcome::Done if verdict.effects.is_empty() => {
            contradiction(facts, &said).and_then(|why| found(Class::SubscriptionPriceUnknown, why))
        }
        Outcome::Done => {
            let ours = facts.subscription.as_ref().map_or_else(|| "not known".to_owned(), describe_ours);
            let (here, there) = details(facts, &verdict.effects);
            let (ours, theirs) = (with_details(ours, &here), with_details(theirs, &there));
            let found = Difference::new(Class::SubscriptionDiffers, id, ours, theirs);
            Some(found.repaired_by_event(EVENT_KIND, facts.object))
        }
        Outcome::Dead { reason } if reason.starts_with("price_unknown") => {
            found(Class::SubscriptionPriceUnknown, reason)
        }
        Outcome::Dead { reason } if facts.customer.is_some() || is_ours() => found(Class::SubscriptionRefused, reason),
        _ if is_ours() => found(Class::SubscriptionUnknown, "no such customer".to_owned()),
        _ => None,
    };
    match &facts.customer {
        Some(customer) => difference.map(|difference| difference.for_customer(&customer.id)),
        None => difference,
    }
}

/// What differs beside status and period: what is stored here, and what follows from Stripe's state.
fn details(facts: &Facts<'_>, effects: &[Effect]) -> (Vec<String>, Vec<String>) {
    let mut differing: Vec<(String, String)> = Vec::new();
    for effect in effects {
        match effect {
            Effect::SubscriptionPut(new) => {
                let Some(old) = &facts.subscription else { continue };
                let pairs = fields_of(old).into_iter().zip(fields_of(new));
                differing.extend(pairs.filter(|(old, new)| old != new).map(|(old, new)| {
                    let named = |(name, value): (&str, Option<String>)| {
                        format!("{name} {}", value.unwrap_or_else(|| "none".to_owned()))
                    };
                    (named(old), named(new))
                }));
            }
            Effect::PlanSet { plan, .. } => {
                let present = facts.customer.as_ref().map(|customer| &customer.plan);
                if let Some(present) = present.filter(|present| *present != plan) {
                    differing.push((format!("customer on {present}"), format!("customer on {plan}")));
                }
            }
            _ => {}
        }
    }
    differing.into_iter().unzip()
}

/// What a subscription has beside its status and period.
fn fields_of(row: &Subscription) -> [(&'static str, Option<String>); 7] {
    let change = row.pending_change.as_ref();
    [
        ("plan", row.plan.as_ref().map(ToString::to_string)),
        ("price", row.price.as_ref().map(ToString::to_string)),
        ("quantity", Some(row.quantity.to_string())),
        ("past due since", row.past_due_since_ms.map(rfc3339)),
        ("paused collection", row.paused_collection.as_ref().map(|paused| paused.behavior.clone())),
        ("unpaid invoice", row.unpaid_invoice().map(str::to_owned)),
        ("pending change", change.map(|to| format!("to {} × {} at {}", to.quantity, to.price, rfc3339(to.at_ms)))),
    ]
}

fn with_details(state: String, details: &[String]) -> String {
    if details.is_empty() { state } else { format!("{state}; {}", details.join(", ")) }
}

/// What Stripe says against a stored subscription of ours that keeps its plan meanwhile.
fn contradiction(facts: &Facts<'_>, said: &SubscriptionFields) -> Option<String> {
    let stored = facts.subscription.as_ref().filter(|stored| stored.ended_at_ms.is_none())?;
    let plan = stored.plan.as_ref()?;
    let sold: Vec<Sold> = said.items.iter().map(|item| facts.book.item(item, &said.items, &said.metadata)).collect();
    let is_explained = sold.iter().any(|sold| matches!(sold, Sold::Ours(_)));
    let why = sold.into_iter().find_map(|sold| match sold {
        Sold::Undecided(why) => Some(why),
        Sold::Ours(_) | Sold::NotOurs | Sold::Unnamed => None,
    });
    (!is_explained && !said.items.is_empty())
        .then(|| format!("sold as {plan}; {}", why.as_deref().unwrap_or("Stripe has a price that is not ours")))
}

/// Finds a live subscription of ours beside another one of the same customer, which then pays twice. Each of them is a
/// difference: a run may compare only one.
pub fn compare_live(facts: &Facts<'_>) -> Option<Difference> {
    let is_live = |row: &Subscription| row.is_ours() && row.ended_at_ms.is_none() && row.status != "incomplete";
    let this = facts.subscription.as_ref().filter(|row| is_live(row))?;
    let mut others = facts.subscriptions_of_customer.iter().filter(|row| is_live(row) && row.id != this.id);
    let other = others.next()?;
    let plan = |row: &Subscription| row.plan.as_ref().map_or_else(String::new, ToString::to_string);
    let ours = format!("{} to {}, {}", this.id, plan(this), this.status);
    let theirs = format!("{} to {}, {}", other.id, plan(other), other.status);
    let found = Difference::new(Class::SubscriptionDuplicate, &this.id, ours, format!("also {theirs}"));
    Some(found.for_customer(&this.customer_id))
}

/// Compares a subscription that Stripe did not list. `theirs` is the object, fetched by id.
pub fn compare_unlisted(ours: &Subscription, theirs: Option<&Value>) -> Option<Difference> {
    if theirs.is_some() {
        return None;
    }
    let found = Difference::new(Class::SubscriptionGone, &ours.id, describe_ours(ours), "no such subscription");
    Some(found.for_customer(&ours.customer_id))
}

fn describe_ours(ours: &Subscription) -> String {
    describe(&ours.status, ours.cancel_at_period_end, ours.current_period_end_ms)
}

fn describe_theirs(said: &SubscriptionFields) -> String {
    let ends_ms =
        said.current_period_end_ms.or_else(|| said.items.iter().filter_map(|i| i.current_period_end_ms).max());
    describe(said.status.as_deref().unwrap_or("no status"), said.cancel_at_period_end, ends_ms)
}

fn describe(status: &str, is_ending: bool, period_end_ms: Option<i64>) -> String {
    let until = period_end_ms.map_or_else(String::new, |at_ms| format!(" until {}", rfc3339(at_ms)));
    let ending = if is_ending { ", ends then" } else { "" };
    format!("{status}{until}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::customer::Customer;
    use crate::domain::reconcile::example::{ada, book};
    use crate::domain::webhook::fixtures::row;
    use crate::ids::CustomerId;
    use serde_json::json;

    fn theirs(status: &str, price: &str) -> Value {
        json!({
            "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": status, "metadata": {},
            "items": { "data": [{ "current_period_end": 2_000, "price": { "id": price } }] },
        })
    }

    fn stored(status: &str) -> Subscription {
        let customer_id = ada("pro", Some("cus_1")).id;
        Subscription { customer_id, current_period_end_ms: Some(2_000_000), ..row(status) }
    }

    fn of_ada(plan: &str) -> Option<Customer> {
        Some(ada(plan, Some("cus_1")))
    }

    fn found(object: &Value, customer: Option<Customer>, stored: Option<Subscription>) -> Option<Difference> {
        compare(&Facts {
            kind: EVENT_KIND,
            object,
            customer,
            subscriptions_of_customer: stored.iter().cloned().collect(),
            subscription: stored,
            book: &book(),
            before: crate::domain::sale::Before::NONE,
            may_relink: false,
            now_ms: 1_000_000,
        })
    }

    #[test]
    fn what_both_sides_know_alike_is_no_difference() {
        assert_eq!(found(&theirs("active", "price_pro"), of_ada("pro"), Some(stored("active"))), None);
    }

    #[test]
    fn a_customer_that_lacks_the_plan_of_its_subscription_is_a_difference() {
        let difference = found(&theirs("active", "price_pro"), of_ada("pay_as_you_go"), Some(stored("active")));
        assert_eq!(difference.expect("a difference").class, Class::SubscriptionDiffers);
    }

    #[test]
    fn an_end_that_nobody_told_of_is_told_now() {
        let difference = found(&theirs("canceled", "price_pro"), of_ada("pro"), Some(stored("active")));
        let difference = difference.expect("a difference");
        assert_eq!(difference.class, Class::SubscriptionDiffers);
        assert!(difference.repair.is_some());
        assert!(difference.ours.starts_with("active"), "{}", difference.ours);
        assert!(difference.theirs.starts_with("canceled"), "{}", difference.theirs);
    }

    #[test]
    fn a_switch_to_another_price_that_nobody_told_of_is_told_now() {
        let switched = found(&theirs("active", "price_other"), of_ada("pro"), Some(stored("active")));
        let switched = switched.expect("a difference");
        assert_eq!((switched.class, switched.repair.is_some()), (Class::SubscriptionDiffers, true));
    }

    #[test]
    fn a_difference_names_what_differs_beside_status_and_period() {
        let fewer = Subscription { quantity: 7, ..stored("active") };
        let difference = found(&theirs("active", "price_pro"), of_ada("pro"), Some(fewer)).expect("a difference");
        let said = (difference.ours.as_str(), difference.theirs.as_str());
        assert!(said.0.ends_with("quantity 7") && said.1.ends_with("quantity 1"), "{said:?}");
        let difference = found(&theirs("active", "price_pro"), of_ada("pay_as_you_go"), Some(stored("active")));
        let difference = difference.expect("a difference");
        assert!(difference.ours.contains("customer on pay_as_you_go"), "{}", difference.ours);
        assert!(difference.theirs.contains("customer on pro"), "{}", difference.theirs);
    }

    #[test]
    fn an_ended_subscription_here_is_not_revived_by_what_stripe_says_later() {
        let ended = Subscription { ended_at_ms: Some(1), ..stored("canceled") };
        assert_eq!(found(&theirs("active", "price_pro"), of_ada("pay_as_you_go"), Some(ended)), None);
    }

    #[test]
    fn a_plan_of_nobody_known_is_reported_and_other_business_is_not() {
        let unknown = found(&theirs("active", "price_pro"), None, None).expect("a difference");
        assert_eq!((unknown.class, unknown.repair), (Class::SubscriptionUnknown, None));
        for customer in [None, of_ada("pro")] {
            assert_eq!(found(&theirs("active", "price_other"), customer, None), None);
        }
    }

    #[test]
    fn an_undecided_price_is_left_to_a_person() {
        let bare = theirs("active", "price_unheard_of");
        for customer in [None, of_ada("pro")] {
            let unknown = found(&bare, customer, None).expect("a difference");
            assert_eq!((unknown.class, unknown.repair), (Class::SubscriptionPriceUnknown, None));
        }
        let known = found(&bare, of_ada("pro"), Some(stored("active"))).expect("a difference");
        assert_eq!((known.class, known.repair), (Class::SubscriptionPriceUnknown, None));
        assert!(known.ours.starts_with("sold as pro; "), "{}", known.ours);
    }

    #[test]
    fn a_subscription_of_another_customer_is_left_to_a_person() {
        let of_eve = Subscription { customer_id: CustomerId::trusted("cst_eve".to_owned()), ..stored("active") };
        let refused = found(&theirs("canceled", "price_pro"), of_ada("pro"), Some(of_eve)).expect("a difference");
        assert_eq!((refused.class, refused.repair), (Class::SubscriptionRefused, None));
        assert!(refused.ours.starts_with("customer_mismatch"), "{}", refused.ours);
    }

    #[test]
    fn what_stripe_does_not_have_is_reported_and_never_ended_from_here() {
        let gone = compare_unlisted(&stored("active"), None).expect("a difference");
        assert_eq!((gone.class, gone.repair), (Class::SubscriptionGone, None));
        assert_eq!(compare_unlisted(&stored("active"), Some(&theirs("active", "price_pro"))), None);
    }

    #[test]
    fn one_that_cannot_be_read_is_reported_if_it_is_ours_and_let_be_if_it_is_nobodys() {
        let mut unreadable = theirs("active", "price_pro");
        unreadable["status"] = Value::Null;
        let refused = found(&unreadable, of_ada("pro"), None).expect("a difference");
        assert_eq!((refused.class, refused.repair), (Class::SubscriptionRefused, None));
        let ours = found(&unreadable, None, None).expect("a difference");
        assert_eq!(ours.class, Class::SubscriptionRefused);
        unreadable["items"]["data"][0]["price"] = json!({ "id": "price_other", "lookup_key": "other" });
        assert_eq!(found(&unreadable, None, None), None);
    }

    #[test]
    fn two_live_subscriptions_of_one_customer_are_both_found() {
        let book = book();
        let one = stored("active");
        let two = Subscription { id: "sub_2".to_owned(), ..stored("past_due") };
        let class = |this: &Subscription, others: &[&Subscription]| {
            let object = theirs("active", "price_pro");
            let facts = Facts {
                kind: EVENT_KIND,
                object: &object,
                customer: of_ada("pro"),
                subscription: Some(this.clone()),
                subscriptions_of_customer: others.iter().map(|row| (*row).clone()).collect(),
                book: &book,
                before: crate::domain::sale::Before::NONE,
                may_relink: false,
                now_ms: 1_000,
            };
            compare_live(&facts).map(|found| found.class)
        };
        assert_eq!(class(&two, &[&one, &two]), Some(Class::SubscriptionDuplicate));
        assert_eq!(class(&one, &[&one, &two]), Some(Class::SubscriptionDuplicate));
        let ended = Subscription { ended_at_ms: Some(1), ..stored("canceled") };
        let other_business = Subscription { plan: None, ..stored("active") };
        for beside in [ended, other_business, stored("incomplete")] {
            assert_eq!(class(&two, &[&beside, &two]), None, "{beside:?}");
        }
    }
}
