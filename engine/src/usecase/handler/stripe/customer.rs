//! Stripe customers.

use super::{EventContext, done};
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::{EventKind, fields};
use crate::infra::stripe::found;
use crate::usecase::handler::{Failure, stripe_customer_job};

/// `customer.created`, `customer.updated`, `customer.deleted`. An unknown Stripe customer is no
/// failure, because the Stripe account may have customers of other systems.
pub(super) async fn run(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(customer) = &about.event.customer else { return Ok(Outcome::Done.into()) };
    let Some(id) = fields::id(&about.object["id"]) else { return Ok(Outcome::Done.into()) };
    let now = found(about.deps.stripe.customer_retrieve(&id).await)?;
    let object = now.as_ref().unwrap_or(about.object);
    let is_gone = object["deleted"] == true || (now.is_none() && about.kind == EventKind::CustomerDeleted);
    if is_gone {
        if customer.stripe_customer_id.as_ref() != Some(&id) {
            return Ok(Outcome::Done.into());
        }
        return gone(about, customer, id).await;
    }
    let mut verdict = about.decide(EventKind::CustomerUpdated, object).await?;
    if let Some(id) = fields::id(&object["invoice_settings"]["default_payment_method"]) {
        verdict.effects.push(Effect::PaymentMethodDefault { customer_id: customer.id.clone(), id });
    }
    Ok(verdict)
}

/// Handles a deleted Stripe customer: its subscriptions and payment methods are gone too, and a new one is created for
/// future payments. Source: Stripe, "Delete a customer".
///
/// Subscriptions of the customer's other Stripe customers go on.
async fn gone(about: &EventContext<'_>, customer: &Customer, stripe_customer_id: String) -> Result<Verdict, Failure> {
    let new_customer = stripe_customer_job(&customer.id, &stripe_customer_id, about.now_ms);
    let deleted = stripe_customer_id.clone();
    let unlinked = Effect::StripeUnlink { customer_id: customer.id.clone(), stripe_customer_id };
    let mut effects = vec![unlinked, Effect::JobInsert(new_customer)];
    let open = about.event.subscriptions_of_customer.iter().filter(|row| row.ended_at_ms.is_none());
    let mut left = None;
    for row in open {
        let now = found(about.deps.stripe.subscription_retrieve(&row.id).await)?;
        let is_of_another = now.is_some_and(|object| {
            let status = object["status"].as_str().unwrap_or_default();
            !Subscription::status_is_final(status) && fields::id(&object["customer"]).is_some_and(|id| id != deleted)
        });
        if is_of_another {
            continue;
        }
        left = left.or_else(|| row.gives_plan().cloned());
        // Source: Stripe, "Subscription statuses": one that was never paid for expires.
        let status = if row.status == "incomplete" { "incomplete_expired" } else { "canceled" }.to_owned();
        effects.push(Effect::SubscriptionPut(Subscription { status, ended_at_ms: Some(about.now_ms), ..row.clone() }));
    }
    if left.is_some() {
        let catalogue = about.book.catalogue().clone();
        let plan = catalogue.plan_now(&customer.plan, &[], left.as_ref());
        effects.push(Effect::PlanSet { customer_id: customer.id.clone(), plan, has_left: left, catalogue });
    }
    Ok(done(effects))
}
