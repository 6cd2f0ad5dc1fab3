//! Payment methods.

use super::{EventContext, done, found};
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::payment_method::PaymentMethod;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, PaymentMethodFields};
use crate::infra::store::{customer as customers, payment_method as rows};
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
    let method = PaymentMethod::from_stripe(fields, id, &customer.id, None, false, about.now_ms);
    Ok(done(vec![Effect::PaymentMethodPut(method)]))
}

/// Handles a detached payment method. If it was the default, the next one becomes the default at Stripe as well, so that
/// invoices can be paid.
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
