//! Support links a Stripe customer to a customer, and takes a link away.
//!
//! Stripe is asked before the transaction. Everything about the database is checked again inside it, under the
//! customer's lock. A link changes neither plan nor credits: a job in the Stripe customer's stream adopts what is
//! there, in order with Stripe's events.

use crate::clock::{TimeMs, rfc3339};
use crate::domain::audit::Audit;
use crate::domain::customer::Customer;
use crate::domain::job::Wake;
use crate::domain::stripe_link::{
    came_meanwhile, came_with_link, check_replaced, check_theirs, check_unlinked, plan_without_link,
};
use crate::domain::webhook::{fields, stripe_stream};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::customer::{self, PlanChange};
use crate::infra::store::{audit, job, payment_method, stripe_link as rows, subscription};
use crate::infra::stripe::{Gateway, StripeError, found};
use crate::key::PlanKey;
use crate::stripe_id::is_stripe_id;
use crate::usecase::handler::{Deps, stripe_adopt_job};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

/// Maximum number of pages of a Stripe customer's subscriptions that are read.
const PAGES_MAX: usize = 10;
/// How often an unlink asks Stripe anew because the customer subscribed meanwhile.
const UNLINK_ATTEMPTS_MAX: usize = 3;

/// What support asks for.
#[derive(Debug, Clone, Copy)]
pub struct LinkRequest<'a> {
    /// The Stripe customer.
    pub stripe_customer_id: &'a str,
    /// The beginning of the first period whose payment brings credits. Without one: the present moment, or the date of
    /// the same link.
    pub credits_from_ms: Option<TimeMs>,
    /// The reason, for the audit log.
    pub reason: &'a str,
    /// Who asks.
    pub actor: &'a str,
}

/// A customer after a change of its link.
#[derive(Debug)]
pub struct Linked {
    /// The customer.
    pub customer: Customer,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Links a customer to a Stripe customer, in place of its present one. A repetition changes nothing; with another date
/// it sets the date.
///
/// # Errors
/// Not found; those of [`check_theirs`] and [`check_replaced`]; `stripe_customer_taken` if it is linked to another
/// customer; `operation_under_way`; `stripe_not_configured`, `stripe_unavailable`.
pub async fn link(deps: &Deps, id: &CustomerId, asked: LinkRequest<'_>, now_ms: TimeMs) -> Result<Linked> {
    let before = find(deps.db.read(), id).await?;
    ask_of_theirs(deps, id, asked.stripe_customer_id).await?;
    let replaced = before.stripe_customer_id.clone().filter(|present| present != asked.stripe_customer_id);
    let stored_before = subscription::subscription_list(deps.db.read(), id).await?;
    let mut at_stripe = Vec::new();
    if let Some(present) = &replaced {
        at_stripe = subscriptions_of(&deps.stripe, present).await?;
        check_replaced(&at_stripe, &stored_before)?;
    }
    let is_same = replaced.is_none() && before.stripe_customer_id.is_some();
    let kept = before.credits_from_ms.filter(|_| is_same);
    if is_same && (asked.credits_from_ms.is_none() || asked.credits_from_ms == kept) {
        let wakes = wake_waiting(deps.db.write(), asked.stripe_customer_id, now_ms).await?;
        return Ok(Linked { customer: before, wakes });
    }
    let from_ms = asked.credits_from_ms.or(kept).unwrap_or(now_ms);
    let tx = deps.db.begin().await?;
    let mut wakes =
        job::job_insert_many(&tx, &[stripe_adopt_job(id, asked.stripe_customer_id, from_ms, now_ms)], now_ms).await?;
    wakes.extend(wake_waiting(&tx, asked.stripe_customer_id, now_ms).await?);
    lock_unchanged(&tx, &before).await?;
    let stored = subscription::subscription_list(&tx, id).await?;
    if replaced.is_some() && came_meanwhile(&stored, &stored_before, &at_stripe).is_some() {
        return Err(Error::Busy("the Stripe customer"));
    }
    check_unowned(&tx, id, asked.stripe_customer_id).await?;
    put_link(&tx, id, asked.stripe_customer_id, replaced.as_deref(), from_ms, now_ms).await?;
    if replaced.is_some() {
        // They belong to the Stripe customer that is replaced, and cannot be charged through the new one.
        payment_method::payment_method_detach_all(&tx, id, now_ms).await?;
    }
    let details = json!({
        "stripe_customer_id": asked.stripe_customer_id,
        "replaced": replaced,
        "credits_from": rfc3339(from_ms),
        "reason": asked.reason,
    });
    audit::audit_append(&tx, &Audit::new(asked.actor, "customer.stripe_link", id, &details), now_ms).await?;
    let customer = find(&tx, id).await?;
    tx.commit().await?;
    Ok(Linked { customer, wakes })
}

/// Takes a customer's link away, with the payment methods and subscriptions that came with it. Granted credits stay.
/// The plan becomes what it was before, unless something else gives or gave one.
///
/// # Errors
/// Not found; `stripe_customer_not_linked`; `customer_has_subscription` if one was sold to this customer;
/// `operation_under_way`; `stripe_not_configured`, `stripe_unavailable`.
pub async fn unlink(deps: &Deps, id: &CustomerId, actor: &str, reason: &str, now_ms: TimeMs) -> Result<Customer> {
    let before = find(deps.db.read(), id).await?;
    let Some(present) = before.stripe_customer_id.clone() else {
        return Err(Error::conflict("stripe_customer_not_linked", "the customer has no Stripe customer"));
    };
    let unlinking = Unlinking { deps, before: &before, stripe_customer_id: &present, actor, reason, now_ms };
    let (mut is_disowned, mut result) = (false, Ok(None));
    for _ in 0..UNLINK_ATTEMPTS_MAX {
        result = unlinking.attempt(&mut is_disowned).await;
        if !matches!(result, Ok(None)) {
            break;
        }
    }
    let unlinked = result.and_then(|unlinked| unlinked.ok_or(Error::Busy("the Stripe customer")));
    if unlinked.is_err() && is_disowned {
        own_again(&deps.stripe, id, &present, now_ms).await;
    }
    unlinked
}

/// A link that is taken away.
struct Unlinking<'a> {
    deps: &'a Deps,
    before: &'a Customer,
    stripe_customer_id: &'a str,
    actor: &'a str,
    reason: &'a str,
    now_ms: TimeMs,
}

impl Unlinking<'_> {
    /// Takes the link away with the subscriptions that Stripe lists. `None` if another one came meanwhile.
    async fn attempt(&self, is_disowned: &mut bool) -> Result<Option<Customer>> {
        let Self { deps, before, stripe_customer_id: present, now_ms, .. } = *self;
        let id = &before.id;
        let stored_before = subscription::subscription_list(deps.db.read(), id).await?;
        let at_stripe = subscriptions_of(&deps.stripe, present).await?;
        check_unlinked(id, &at_stripe)?;
        check_idle(deps.db.read(), id).await?;
        // First at Stripe: an event that is processed after this finds nobody, so it does not link again.
        *is_disowned |= disown(&deps.stripe, id, present, now_ms).await?;
        let tx = deps.db.begin().await?;
        lock_unchanged(&tx, before).await?;
        // Stripe was asked without the lock: whoever subscribed since then is not in its list.
        let stored = subscription::subscription_list(&tx, id).await?;
        if came_meanwhile(&stored, &stored_before, &at_stripe).is_some() {
            return Ok(None);
        }
        let plan_before = rows::stripe_link_plan_before(&tx, id).await?;
        let ids = came_with_link(id, &at_stripe, plan_before.is_some());
        rows::stripe_link_remove(&tx, id, now_ms).await?;
        payment_method::payment_method_detach_all(&tx, id, now_ms).await?;
        let removed = rows::stripe_link_subscriptions_remove(&tx, id, &ids).await?;
        if !removed.is_empty() {
            put_plan_back(deps, &tx, id, plan_before, now_ms).await?;
        }
        let details = json!({ "stripe_customer_id": present, "subscriptions": removed, "reason": self.reason });
        audit::audit_append(&tx, &Audit::new(self.actor, "customer.stripe_unlink", id, &details), now_ms).await?;
        let customer = find(&tx, id).await?;
        tx.commit().await?;
        Ok(Some(customer))
    }
}

/// Moves a customer to the plan that it has without what came with its link.
async fn put_plan_back(
    deps: &Deps,
    tx: &impl ConnectionTrait,
    id: &CustomerId,
    plan_before: Option<PlanKey>,
    now_ms: TimeMs,
) -> Result<()> {
    let present = find(tx, id).await?.plan;
    let left_over = subscription::subscription_list(tx, id).await?;
    let (plan, left) = plan_without_link(plan_before, &present, &left_over);
    rows::stripe_link_plan_put(tx, id, &plan, now_ms).await?;
    // Another subscription or a purchase may give a plan.
    let catalogue = deps.catalogue.now();
    let change = PlanChange { customer_id: id, plan: &plan, has_left: Some(&left), catalogue: &catalogue };
    customer::customer_set_plan_many(tx, &[change], now_ms).await
}

/// Asks Stripe for the Stripe customer and checks it.
///
/// # Errors
/// Those of [`check_theirs`]; `stripe_not_configured`, `stripe_unavailable`.
pub(super) async fn ask_of_theirs(deps: &Deps, customer: &CustomerId, stripe_customer_id: &str) -> Result<()> {
    if !is_stripe_id(stripe_customer_id) {
        return check_theirs(customer, stripe_customer_id, None, deps.livemode);
    }
    let theirs = match deps.stripe.customer_retrieve(stripe_customer_id).await {
        Ok(object) => Some(object),
        Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => None,
        Err(error) => return Err(unreachable(error)),
    };
    check_theirs(customer, stripe_customer_id, theirs.as_ref(), deps.livemode)
}

/// Checks that a Stripe customer is and was linked to no other customer.
///
/// # Errors
/// `stripe_customer_taken`.
pub(super) async fn check_unowned(db: &impl ConnectionTrait, customer: &CustomerId, id: &str) -> Result<()> {
    match rows::stripe_link_owner(db, id).await?.filter(|owner| owner != customer) {
        Some(owner) => {
            let message = format!("{id} belongs to the customer {owner}; unlink that one first");
            Err(Error::conflict("stripe_customer_taken", message))
        }
        None => Ok(()),
    }
}

/// Has the events of a Stripe customer that failed tried again now: they may have waited for its link, and what is
/// adopted comes after them.
pub(super) async fn wake_waiting(
    db: &impl ConnectionTrait,
    stripe_customer_id: &str,
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    job::job_hasten_stream(db, &stripe_stream(stripe_customer_id), now_ms).await
}

/// Stores a link.
///
/// # Errors
/// `stripe_customer_taken` if another customer is linked to it at the same moment.
pub(super) async fn put_link(
    tx: &impl ConnectionTrait,
    id: &CustomerId,
    stripe_customer_id: &str,
    replaced: Option<&str>,
    credits_from_ms: TimeMs,
    now_ms: TimeMs,
) -> Result<()> {
    match rows::stripe_link_put(tx, id, stripe_customer_id, replaced, credits_from_ms, now_ms).await {
        Err(error) if error.is_unique_violation() => {
            let message = format!("{stripe_customer_id} was linked to another customer meanwhile");
            Err(Error::conflict("stripe_customer_taken", message))
        }
        stored => stored,
    }
}

async fn find(db: &impl ConnectionTrait, id: &CustomerId) -> Result<Customer> {
    customer::customer_find(db, id).await?.ok_or(Error::NotFound("customer"))
}

/// Locks the customer, whose link must be the one that was checked.
async fn lock_unchanged(tx: &impl ConnectionTrait, before: &Customer) -> Result<()> {
    customer::customer_lock(tx, &before.id).await?;
    if find(tx, &before.id).await?.stripe_customer_id != before.stripe_customer_id {
        return Err(Error::Busy("the customer"));
    }
    check_idle(tx, &before.id).await
}

async fn check_idle(db: &impl ConnectionTrait, id: &CustomerId) -> Result<()> {
    if rows::stripe_link_is_busy(db, id).await? {
        let message = "an operation of the customer is under way at Stripe; try again when it has ended";
        return Err(Error::conflict("operation_under_way", message));
    }
    Ok(())
}

/// Removes the customer's id from the metadata of its Stripe customer. Returns whether it was there.
async fn disown(stripe: &Gateway, id: &CustomerId, stripe_customer_id: &str, now_ms: TimeMs) -> Result<bool> {
    let Some(theirs) = found(stripe.customer_retrieve(stripe_customer_id).await).map_err(unreachable)? else {
        return Ok(false);
    };
    let named = fields::bursar_customer_id(&fields::metadata_of(&theirs));
    if theirs["deleted"] == true || named.as_deref() != Some(id.as_str()) {
        return Ok(false);
    }
    let key = format!("bursar:disown:{stripe_customer_id}:{now_ms}");
    stripe.customer_set_owner(stripe_customer_id, None, &key).await.map_err(unreachable)?;
    Ok(true)
}

/// Puts the customer's id into the metadata of its Stripe customer again, because the link stays. Without it the link
/// works as well.
async fn own_again(stripe: &Gateway, id: &CustomerId, stripe_customer_id: &str, now_ms: TimeMs) {
    let key = format!("bursar:own:{stripe_customer_id}:{now_ms}");
    if let Err(error) = stripe.customer_set_owner(stripe_customer_id, Some(id.as_str()), &key).await {
        tracing::warn!(%error, customer.id = %id, "the metadata of a Stripe customer that stays linked names nobody");
    }
}

/// The subscriptions of a Stripe customer, the latest first; none if Stripe has no such customer.
async fn subscriptions_of(stripe: &Gateway, stripe_customer_id: &str) -> Result<Vec<Value>> {
    let (mut all, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = match stripe.subscription_list(Some(stripe_customer_id), after.as_deref()).await {
            Ok(page) => page,
            Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => break,
            Err(error) => return Err(unreachable(error)),
        };
        let objects = fields::rows(&page);
        after = objects.last().and_then(|row| fields::id(&row["id"])).filter(|_| page["has_more"] == true);
        all.extend_from_slice(objects);
        if after.is_none() {
            break;
        }
    }
    Ok(all)
}

/// A call to Stripe failed while somebody waits for its answer.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn unreachable(error: StripeError) -> Error {
    if error == StripeError::NotConfigured {
        let message = "This server has no Stripe key: it charges nobody.";
        return Error::SwitchedOff { code: "stripe_not_configured", message };
    }
    tracing::warn!(%error, "a call to Stripe failed");
    let message = "Stripe cannot be reached just now. Try again shortly.";
    Error::SwitchedOff { code: "stripe_unavailable", message }
}
