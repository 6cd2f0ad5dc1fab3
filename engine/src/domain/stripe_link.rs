//! Whether support may link a Stripe customer to a customer, or take the link away.
//!
//! A link decides whose account gets the credits that a Stripe customer pays for, so whatever contradicts it is refused
//! with a reason. The facts come from Stripe and from the database; the rules here only compare them.

use crate::clock::TimeMs;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::key::PlanKey;
use crate::stripe_id::is_stripe_id;
use serde_json::Value;

/// How far ahead the date may be from which payments bring credits.
const CREDITS_FROM_AHEAD_MAX_MS: i64 = 366 * 24 * 60 * 60 * 1_000;

/// Checks a Stripe customer as Stripe shows it; `None` if Stripe has no such one.
///
/// # Errors
/// `stripe_customer_not_found`, `stripe_customer_deleted`, `stripe_customer_wrong_mode`; `stripe_customer_taken` if its
/// metadata names another customer.
pub fn check_theirs(customer: &CustomerId, id: &str, theirs: Option<&Value>, livemode: bool) -> Result<()> {
    let refuse = |code, message: String| Err(Error::NotAccepted { code, message });
    let Some(theirs) = theirs.filter(|_| is_stripe_id(id)) else {
        let message = format!("Stripe has no customer {id} in this account and mode");
        return refuse("stripe_customer_not_found", message);
    };
    if theirs["deleted"] == true {
        return refuse("stripe_customer_deleted", format!("{id} was deleted at Stripe"));
    }
    if theirs["livemode"].as_bool().is_some_and(|is_live| is_live != livemode) {
        return refuse(
            "stripe_customer_wrong_mode",
            format!("{id} is of the other mode, live or test, than this server"),
        );
    }
    match fields::bursar_customer_id(&fields::metadata_of(theirs)) {
        Some(named) if named != customer.as_str() => Err(Error::conflict(
            "stripe_customer_taken",
            format!("the metadata of {id} names {named}; unlink that one first, or correct the metadata at Stripe"),
        )),
        _ => Ok(()),
    }
}

/// Checks that no subscription of ours is in force on the Stripe customer that a new link would replace. `at_stripe`
/// are that one's subscriptions, `ours` all stored ones of the customer.
///
/// # Errors
/// `customer_has_subscription`.
pub fn check_replaced(at_stripe: &[Value], ours: &[Subscription]) -> Result<()> {
    let is_ours = |id: &str| ours.iter().any(|row| row.id == id && row.is_ours());
    match live_ids(at_stripe).find(|id| is_ours(id)) {
        Some(id) => Err(Error::conflict(
            "customer_has_subscription",
            format!("the customer has the subscription {id} on its present Stripe customer; cancel it first"),
        )),
        None => Ok(()),
    }
}

/// Checks that a Stripe customer may be unlinked: a subscription that we sold names the customer, so it would be linked
/// again by the subscription's next event.
///
/// # Errors
/// `customer_has_subscription`.
pub fn check_unlinked(customer: &CustomerId, at_stripe: &[Value]) -> Result<()> {
    let sold = at_stripe.iter().filter(|object| is_live(object)).find(|object| names(object, customer));
    match sold.and_then(|object| fields::id(&object["id"])) {
        Some(id) => Err(Error::conflict(
            "customer_has_subscription",
            format!("the subscription {id} was sold to this customer; cancel it first, or correct its metadata"),
        )),
        None => Ok(()),
    }
}

/// The ids of the subscriptions that came with a customer's link, and go with it: those in force and, of a link that
/// support made, those that have ended. What was sold to this customer did not come with it.
pub fn came_with_link(customer: &CustomerId, at_stripe: &[Value], is_by_support: bool) -> Vec<String> {
    let goes = |object: &&Value| (is_by_support && !names(object, customer)) || is_live(object);
    at_stripe.iter().filter(goes).filter_map(|object| fields::id(&object["id"])).collect()
}

/// A stored subscription of a customer that came after `at_stripe` was listed, if there is one: it was not stored before
/// that (`before`), and is not in the list.
pub fn came_meanwhile<'a>(
    stored: &'a [Subscription],
    before: &[Subscription],
    at_stripe: &[Value],
) -> Option<&'a Subscription> {
    let is_listed =
        |row: &Subscription| at_stripe.iter().any(|object| fields::id(&object["id"]).as_ref() == Some(&row.id));
    stored.iter().find(|row| before.iter().all(|known| known.id != row.id) && !is_listed(row))
}

/// The plan from which a customer's plan follows once its link is gone, and the plan that it has left then.
///
/// That is the plan that it had before the link, and what came with the link counts as never there. It has left a plan
/// only if it had bought that here, by one of the subscriptions that are `left_over`. Of a link whose plan before was
/// not kept, the present plan counts as left.
pub fn plan_without_link(
    before_link: Option<PlanKey>,
    present: &PlanKey,
    left_over: &[Subscription],
) -> (PlanKey, PlanKey) {
    let Some(plan) = before_link else { return (present.clone(), present.clone()) };
    // Source: Stripe, "Subscription statuses": one that was never paid for expires.
    let was_paid = |row: &&Subscription| row.ended_at_ms.is_some() && row.status != "incomplete_expired";
    let bought_here = left_over.iter().filter(was_paid).find_map(|row| row.plan.clone());
    let left = bought_here.unwrap_or_else(|| plan.clone());
    (plan, left)
}

/// Whether a subscription's metadata names a customer: it was sold to it here.
fn names(object: &Value, customer: &CustomerId) -> bool {
    fields::bursar_customer_id(&fields::metadata_of(object)).as_deref() == Some(customer.as_str())
}

/// Checks the date from which payments bring credits: at most a year ahead. A later one is a slip, by which a customer
/// would pay for years and get nothing.
///
/// # Errors
/// `invalid_time`.
pub fn check_credits_from(from_ms: Option<TimeMs>, now_ms: TimeMs) -> Result<()> {
    match from_ms {
        Some(from_ms) if from_ms > now_ms.saturating_add(CREDITS_FROM_AHEAD_MAX_MS) => {
            Err(Error::invalid("invalid_time", "credits_from must be at most a year ahead"))
        }
        _ => Ok(()),
    }
}

/// Whether a subscription at Stripe has not ended.
pub fn is_live(object: &Value) -> bool {
    !Subscription::status_is_final(object["status"].as_str().unwrap_or_default())
}

/// The ids of the subscriptions that have not ended.
fn live_ids(at_stripe: &[Value]) -> impl Iterator<Item = String> {
    at_stripe.iter().filter(|object| is_live(object)).filter_map(|object| fields::id(&object["id"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Catalogue;
    use crate::domain::webhook::fixtures::row;
    use serde_json::json;

    fn code(result: Result<()>) -> Option<&'static str> {
        result.err().and_then(|error| error.code())
    }

    #[test]
    fn a_subscription_that_came_after_stripe_was_asked_is_found() {
        let of = |id: &str| Subscription { id: id.to_owned(), ..row("active") };
        let (old, new) = (of("sub_1"), of("sub_2"));
        let stored = [old.clone(), new];
        let listed = json!({ "id": "sub_2" });
        let found = |at_stripe: &[Value]| came_meanwhile(&stored, &stored[..1], at_stripe).map(|row| row.id.clone());
        assert_eq!(found(&[]).as_deref(), Some("sub_2"));
        assert_eq!(found(&[listed]), None, "Stripe has listed it");
        assert_eq!(came_meanwhile(&[old], &stored, &[]), None, "it was there before");
    }

    #[test]
    fn only_a_stripe_customer_of_our_mode_that_names_nobody_else_is_linked() {
        let (us, other) = (CustomerId::new(), CustomerId::new());
        let check = |theirs: Value| code(check_theirs(&us, "cus_1", Some(&theirs), false));
        let named = |id: &str| json!({ "id": "cus_1", "livemode": false, "metadata": { "bursar_customer_id": id } });
        assert_eq!(check(json!({ "id": "cus_1", "livemode": false })), None);
        assert_eq!(check(named(us.as_str())), None);
        assert_eq!(check(named("something else")), None, "no identifier of ours");
        assert_eq!(check(named(other.as_str())), Some("stripe_customer_taken"));
        assert_eq!(check(json!({ "id": "cus_1", "livemode": true })), Some("stripe_customer_wrong_mode"));
        assert_eq!(check(json!({ "id": "cus_1", "deleted": true })), Some("stripe_customer_deleted"));
        assert_eq!(code(check_theirs(&us, "cus_1", None, false)), Some("stripe_customer_not_found"));
        assert_eq!(code(check_theirs(&us, "../events", Some(&json!({})), false)), Some("stripe_customer_not_found"));
    }

    #[test]
    fn payments_bring_credits_from_a_year_ahead_at_the_latest() {
        let check = |from_ms| code(check_credits_from(from_ms, 1_000));
        assert_eq!([check(None), check(Some(0)), check(Some(1_000 + CREDITS_FROM_AHEAD_MAX_MS))], [None; 3]);
        for from_ms in [1_001 + CREDITS_FROM_AHEAD_MAX_MS, i64::MAX] {
            assert_eq!(check(Some(from_ms)), Some("invalid_time"));
        }
    }

    #[test]
    fn a_subscription_of_ours_in_force_keeps_the_link_and_others_do_not() {
        let ours = Subscription { id: "sub_1".to_owned(), ..row("active") };
        let sub = |id: &str, status: &str| json!({ "id": id, "status": status });
        let check = |at_stripe: &[Value]| code(check_replaced(at_stripe, std::slice::from_ref(&ours)));
        assert_eq!(check(&[sub("sub_2", "active")]), None, "other business");
        assert_eq!(check(&[sub("sub_1", "canceled")]), None);
        assert_eq!(check(&[sub("sub_2", "active"), sub("sub_1", "past_due")]), Some("customer_has_subscription"));
    }

    #[test]
    fn a_subscription_that_names_the_customer_keeps_the_link() {
        let us = CustomerId::new();
        let sub = |status: &str, metadata: Value| json!({ "id": "sub_1", "status": status, "metadata": metadata });
        let ours = json!({ "bursar_customer_id": us.as_str() });
        assert_eq!(code(check_unlinked(&us, &[sub("active", ours.clone())])), Some("customer_has_subscription"));
        assert_eq!(code(check_unlinked(&us, &[sub("canceled", ours), sub("active", json!({}))])), None);
    }

    #[test]
    fn what_was_sold_to_the_customer_does_not_go_with_its_link() {
        let us = CustomerId::new();
        let sub = |id: &str, status: &str, metadata: Value| json!({ "id": id, "status": status, "metadata": metadata });
        let at_stripe = [
            sub("sub_1", "active", json!({})),
            sub("sub_2", "canceled", json!({})),
            sub("sub_3", "canceled", json!({ "bursar_customer_id": us.as_str() })),
        ];
        assert_eq!(came_with_link(&us, &at_stripe, true), ["sub_1", "sub_2"]);
        assert_eq!(came_with_link(&us, &at_stripe, false), ["sub_1"], "it may have been its own from the beginning");
    }

    #[test]
    fn without_its_link_a_customer_has_the_plan_that_it_had_before() {
        let catalogue = Catalogue::built_in();
        let [trial, each, pro] = ["trial", "pay_as_you_go", "pro"].map(PlanKey::trusted);
        let [ended, declined] =
            ["canceled", "incomplete_expired"].map(|status| Subscription { ended_at_ms: Some(5), ..row(status) });
        let plan = |before: Option<&PlanKey>, present: &PlanKey, left_over: &[Subscription], given: &[PlanKey]| {
            let (plan, left) = plan_without_link(before.cloned(), present, left_over);
            catalogue.plan_now(&plan, given, Some(&left))
        };
        assert_eq!(plan(Some(&trial), &pro, &[], &[]), trial);
        assert_eq!(plan(Some(&trial), &each, &[], &[]), trial, "what came with the link has ended");
        assert_eq!(plan(Some(&each), &pro, &[], &[]), each);
        assert_eq!(plan(Some(&trial), &pro, &[], std::slice::from_ref(&pro)), pro, "something else gives it");
        assert_eq!(plan(Some(&trial), &each, &[ended], &[]), each, "it has paid here meanwhile");
        assert_eq!(plan(Some(&trial), &pro, &[declined], &[]), trial, "it has not paid here");
        assert_eq!(plan(Some(&pro), &pro, &[], &[]), each, "what gave it has ended meanwhile");
        assert_eq!(plan(None, &pro, &[], &[]), each, "nobody knows what was before");
    }
}
