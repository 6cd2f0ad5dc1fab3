//! The policy `refetch latest`: an event that failed before is retried with its object and its customer as Stripe has
//! them now. A fact that was added at Stripe meanwhile, such as our customer's id in metadata, thus lets it succeed.

use super::{EventContext, Known, StripeEvent, found, present};
use crate::domain::effect::Verdict;
use crate::domain::webhook::{self, EventKind, fields};
use crate::usecase::handler::Failure;

/// Processes an event that failed before.
pub(super) async fn run(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let stripe = &about.deps.stripe;
    // Whatever else carries state is asked for at every attempt.
    let invoice = match fields::id(&about.object["id"]).filter(|_| about.object["object"] == "invoice") {
        Some(id) => found(stripe.invoice_retrieve(&id).await)?,
        None => None,
    };
    let object = invoice.as_ref().unwrap_or(about.object);
    let mut event = about.event.clone();
    if event.customer.is_none() {
        let mut lookup = webhook::lookup(object, about.kind);
        if let (Some(id), None) = (&lookup.stripe_customer_id, &lookup.bursar_customer_id)
            && let Some(person) = found(stripe.customer_retrieve(id).await)?
        {
            lookup.bursar_customer_id = webhook::lookup(&person, EventKind::CustomerUpdated).bursar_customer_id;
        }
        let lookups = [(0, lookup)];
        let known = Known::load(about.deps.db.read(), &lookups).await?;
        event = StripeEvent::with_known(about.deps.db.read(), &known, &lookups[0].1, event.envelope).await?;
    }
    present::run(&EventContext { event: &event, object, ..*about }).await
}
