//! Payment methods.

use super::{EventContext, done};
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::payment_method::PaymentMethod;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, PaymentMethodFields};
use crate::infra::store::{customer as customers, payment_method as rows};
use crate::infra::stripe::{StripeError, found};
use crate::usecase::handler::Failure;

/// `payment_method.attached`, `.automatically_updated`, `.detached`. A method that was not
/// attached through our API is shown, but charged only once the customer has consented.
pub(super) async fn run(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(id) = fields::id(&about.object["id"]) else { return Ok(Outcome::Done.into()) };
    let now = found(about.deps.stripe.payment_method_retrieve(&id).await)?;
    let object = now.as_ref().unwrap_or(about.object);
    let fields = PaymentMethodFields::read(object);
    let is_detached =
        fields.stripe_customer_id.is_none() || (now.is_none() && about.kind == EventKind::PaymentMethodDetached);
    if is_detached {
        return detached(about, id).await;
    }
    let Some(customer) = about.owner(about.kind, object).await? else { return Ok(Outcome::Done.into()) };
    // Only those of its own Stripe customer can be charged, and one more may belong to somebody else who paid.
    if fields.stripe_customer_id.as_ref().is_some_and(|id| customer.former_stripe_ids.contains(id)) {
        return Ok(Outcome::Done.into());
    }
    let method = PaymentMethod::from_stripe(fields, id, &customer.id, None, false, about.now_ms);
    Ok(done(vec![Effect::PaymentMethodPut(method)]))
}

/// Adds to a verdict that links a Stripe customer, made by a Checkout of its own, that one's payment methods: the
/// events about them found nobody. Nobody has consented to their being charged yet.
pub(super) async fn add_of_new_link(about: &EventContext<'_>, verdict: &mut Verdict) -> Result<(), StripeError> {
    let is_about_customer = about.object["object"] == "customer";
    let linked = verdict.effects.iter().find_map(|effect| match effect {
        Effect::StripeAdopt { customer_id, stripe_customer_id, replaces: Some(_) } => {
            Some((customer_id.clone(), stripe_customer_id.clone()))
        }
        // Of one that we made there are none yet.
        Effect::StripeLink { customer_id, stripe_customer_id } if !is_about_customer => {
            Some((customer_id.clone(), stripe_customer_id.clone()))
        }
        _ => None,
    });
    let Some((customer_id, stripe_customer_id)) = linked else { return Ok(()) };
    let Some(methods) = found(about.deps.stripe.payment_method_list(&stripe_customer_id).await)? else {
        return Ok(());
    };
    verdict.effects.extend(fields::rows(&methods).iter().filter_map(|method| {
        let id = fields::id(&method["id"])?;
        let said = PaymentMethodFields::read(method);
        let method = PaymentMethod::from_stripe(said, id, &customer_id, None, false, about.now_ms);
        Some(Effect::PaymentMethodPut(method))
    }));
    Ok(())
}

/// Handles a detached payment method. If it was the default, the next one becomes the default at Stripe as well, so
/// that invoices can be paid.
async fn detached(about: &EventContext<'_>, id: String) -> Result<Verdict, Failure> {
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
