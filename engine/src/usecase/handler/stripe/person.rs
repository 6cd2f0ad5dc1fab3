//! Stripe customers and payment methods.

use super::{About, Stop, found};
use crate::domain::customer::{Customer, Plan};
use crate::domain::effect::Effect;
use crate::domain::job::{Outcome, Verdict};
use crate::domain::payment_method::PaymentMethod;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::shape::{self, PaymentMethodShape};
use crate::infra::store::customer as customers;
use crate::infra::store::payment_method as rows;
use crate::usecase::handler::stripe_customer_job;

fn done(effects: Vec<Effect>) -> Verdict {
    Verdict { outcome: Outcome::Done, ledger: None, effects }
}

/// `customer.created`, `customer.updated`, `customer.deleted`. A Stripe customer that is none of ours
/// is no failure: the account may have others.
pub(super) async fn customer(about: &About<'_>) -> Result<Verdict, Stop> {
    let Some(customer) = &about.event.customer else { return Ok(Outcome::Done.into()) };
    let Some(id) = shape::id(&about.object["id"]) else { return Ok(Outcome::Done.into()) };
    let now = found(about.deps.stripe.customer_retrieve(&id).await)?;
    let object = now.as_ref().unwrap_or(about.object);
    let is_gone = object["deleted"] == true || (now.is_none() && about.event_type == "customer.deleted");
    if is_gone {
        if customer.stripe_customer_id.as_ref() != Some(&id) {
            return Ok(Outcome::Done.into());
        }
        return Ok(gone(about, customer, id));
    }
    let mut verdict = about.decide("customer.updated", object);
    if let Some(id) = shape::id(&object["invoice_settings"]["default_payment_method"]) {
        verdict.effects.push(Effect::PaymentMethodDefault { customer_id: customer.id.clone(), id });
    }
    Ok(verdict)
}

/// The Stripe customer is gone, and with it its subscriptions and what it paid with. Source: Stripe,
/// "Delete a customer". A new one is made for what comes.
fn gone(about: &About<'_>, customer: &Customer, stripe_customer_id: String) -> Verdict {
    let again = stripe_customer_job(&customer.id, &stripe_customer_id, about.now_ms);
    let unlinked = Effect::StripeUnlink { customer_id: customer.id.clone(), stripe_customer_id };
    let mut effects = vec![unlinked, Effect::JobInsert(again)];
    let open = about.event.subscriptions_of_customer.iter().filter(|row| row.ended_at_ms.is_none());
    let mut gave_pro = false;
    for row in open {
        gave_pro |= row.gives_pro();
        // Source: Stripe, "Subscription statuses": one that was never paid for expires.
        let status = if row.status == "incomplete" { "incomplete_expired" } else { "canceled" }.to_owned();
        effects.push(Effect::SubscriptionPut(Subscription { status, ended_at_ms: Some(about.now_ms), ..row.clone() }));
    }
    if gave_pro {
        effects.push(Effect::PlanSet { customer_id: customer.id.clone(), plan: Plan::PayAsYouGo });
    }
    done(effects)
}

/// `payment_method.attached`, `.automatically_updated`, `.detached`. One that came in by another way
/// than ours is shown, and charged only once the customer has consented.
pub(super) async fn payment_method(about: &About<'_>) -> Result<Verdict, Stop> {
    let Some(id) = shape::id(&about.object["id"]) else { return Ok(Outcome::Done.into()) };
    let now = found(about.deps.stripe.payment_method_retrieve(&id).await)?;
    let object = now.as_ref().unwrap_or(about.object);
    let shape = PaymentMethodShape::read(object);
    let is_detached = shape.stripe_customer_id.is_none() || (now.is_none() && about.event_type.ends_with(".detached"));
    if is_detached {
        return detached(about, id).await;
    }
    let Some(customer) = about.owner(about.event_type, object).await? else { return Ok(Outcome::Done.into()) };
    let method = PaymentMethod::seen(shape, id, &customer.id, None, false, about.now_ms);
    Ok(done(vec![Effect::PaymentMethodPut(method)]))
}

/// A payment method is gone. If it was the default, the next one becomes it at Stripe as well, or its
/// invoices would find nothing to be paid with.
async fn detached(about: &About<'_>, id: String) -> Result<Verdict, Stop> {
    let db = about.deps.db.read();
    let Some(customer_id) = rows::payment_method_owner(db, &id).await? else { return Ok(Outcome::Done.into()) };
    let known = rows::payment_method_list(db, &customer_id).await?;
    let owner = customers::customer_find(db, &customer_id).await?;
    let stripe_customer_id = owner.and_then(|owner| owner.stripe_customer_id);
    if let (Some(next), Some(stripe_customer_id)) = (PaymentMethod::next_default(&known, &id), stripe_customer_id)
        && !about.deps.is_dry_run
    {
        let key = format!("bursar:detached:{id}:{next}");
        found(about.deps.stripe.customer_set_default(&stripe_customer_id, next, &key).await)?;
    }
    Ok(done(vec![Effect::PaymentMethodDetach { customer_id, id }]))
}
