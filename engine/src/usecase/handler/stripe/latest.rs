//! The policy `refetch latest`: an event that failed before is retried with its object and its customer as Stripe has
//! them now. A fact that was added at Stripe meanwhile, such as our customer's id in metadata, thus lets it succeed.

use super::{EventContext, Known, StripeEvent, present};
use crate::domain::effect::Verdict;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::domain::webhook::{self, EventKind, Lookup};
use crate::infra::stripe::found;
use crate::usecase::handler::Failure;
use crate::usecase::handler::invoice::whole_invoice;
use serde_json::Value;

/// Processes an event that failed before.
pub(super) async fn run(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    // Whatever else carries state is asked for at every attempt.
    let invoice = match fields::id(&about.object["id"]).filter(|_| about.object["object"] == "invoice") {
        Some(id) => whole_invoice(about.deps, &id).await?,
        None => None,
    };
    let object = invoice.as_ref().unwrap_or(about.object);
    let mut event = about.event.clone();
    let mut may_relink = about.may_relink;
    if event.customer.is_none() {
        let (lookup, is_trusted) = identify(about, object).await?;
        may_relink = is_trusted;
        let lookups = [(0, lookup)];
        let db = about.deps.db.read();
        let known = Known::load(db, &lookups).await?;
        event = StripeEvent::with_known(db, &known, &lookups[0].1, event.envelope, event.prices).await?;
    }
    present::run(&EventContext { event: &event, object, may_relink, ..*about }).await
}

/// What to look up for an object whose customer is not known: our customer as the Stripe customer names it, else as the
/// Checkout session that made the subscription does. With it, whether the naming may relink ([`present::is_trusted`]).
async fn identify(about: &EventContext<'_>, object: &Value) -> Result<(Lookup, bool), Failure> {
    let stripe = &about.deps.stripe;
    let mut lookup = webhook::lookup(object, about.kind);
    if let (Some(id), None) = (&lookup.stripe_customer_id, &lookup.bursar_customer_id)
        && let Some(customer) = found(stripe.customer_retrieve(id).await)?
    {
        lookup.bursar_customer_id = webhook::lookup(&customer, EventKind::CustomerUpdated).bursar_customer_id;
    }
    let is_named = lookup.bursar_customer_id.is_some();
    let subscription = lookup.subscription_id.clone().or_else(|| InvoiceFields::read(object).subscription_id);
    let Some(subscription) = subscription.filter(|_| !is_named) else { return Ok((lookup, true)) };
    let Some(sessions) = found(stripe.checkout_session_list(&subscription).await)? else { return Ok((lookup, true)) };
    let Some(session) = fields::rows(&sessions).first() else { return Ok((lookup, true)) };
    lookup.bursar_customer_id = webhook::lookup(session, EventKind::CheckoutCompleted).bursar_customer_id;
    Ok((lookup, present::is_trusted(session)))
}
