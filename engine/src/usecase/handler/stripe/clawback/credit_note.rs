//! Credit notes: what they are about is handed over to where the invoice's other money is reviewed.
//!
//! An event of a credit note is in the stream of its Stripe customer, and the refunds of the same invoice are in that
//! of their charge. If both decided, one might undo what the other did with a newer answer of Stripe. So a credit note
//! decides nothing: it makes an event of our own about the charge, in the charge's stream.

use super::holder::holder_of_invoice;
use super::money::{Payment, reviewed};
use super::of_nobody;
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::delivery::{Delivery, delivery};
use crate::domain::webhook::fields::{self, InvoiceFields, PaymentIntentFields};
use crate::infra::stripe::found;
use crate::usecase::handler::stripe::{EventContext, done};
use crate::usecase::handler::{Deps, Failure};
use serde_json::{Value, json};

/// Decides the event of a credit note: its invoice is reviewed.
pub(super) async fn hand_over(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let stripe = &about.deps.stripe;
    let Some(id) = fields::id(&about.object["invoice"]) else { return Ok(Outcome::Done.into()) };
    let Some(invoice) = found(stripe.invoice_retrieve(&id).await)? else { return Ok(Outcome::Done.into()) };
    let is_of_nobody = about.event.customer.is_none()
        && about.owner(EventKind::InvoicePaid, &invoice).await?.is_none()
        && holder_of_invoice(about.deps, &id).await?.is_none();
    if is_of_nobody {
        return Ok(of_nobody(&InvoiceFields::read(&invoice).metadata, &format!("invoice {id}")));
    }
    let object = reviewed(charge_of(about.deps, &invoice).await?, &id);
    let named = about.event.envelope.as_ref().map_or(id.as_str(), |envelope| envelope.external_id.as_str());
    Ok(done(vec![review(about.deps, &format!("{named}:review"), about.kind, object, about.now_ms)]))
}

/// A charge that paid an invoice.
async fn charge_of(deps: &Deps, invoice: &Value) -> Result<Option<Value>, Failure> {
    for id in &Payment::of_invoice(invoice).charge_ids {
        if let Some(charge) = found(deps.stripe.charge_retrieve(id).await)? {
            return Ok(Some(charge));
        }
    }
    Ok(None)
}

/// The object that reviews a payment, by the reference of the credits that it bought: the charge of a PaymentIntent or
/// of an invoice, or the invoice if no charge paid it. `None` if Stripe does not have it.
pub(in crate::usecase::handler) async fn paid_by(deps: &Deps, reference: &str) -> Result<Option<Value>, Failure> {
    if reference.starts_with("pi_") {
        let Some(intent) = found(deps.stripe.payment_retrieve(reference).await)? else { return Ok(None) };
        let Some(charge) = PaymentIntentFields::read(&intent).charge_id else { return Ok(None) };
        return Ok(found(deps.stripe.charge_retrieve(&charge).await)?);
    }
    let Some(invoice) = found(deps.stripe.invoice_retrieve(reference).await)? else { return Ok(None) };
    Ok(Some(reviewed(charge_of(deps, &invoice).await?, reference)))
}

/// An event of our own making, with this id, that has the credits of its object reviewed.
pub(in crate::usecase::handler) fn review(
    deps: &Deps,
    id: &str,
    kind: EventKind,
    object: Value,
    now_ms: TimeMs,
) -> Effect {
    Effect::EventTake(Box::new(review_delivery(deps, id, kind, object, now_ms)))
}

/// The delivery of that event.
pub(super) fn review_delivery(deps: &Deps, id: &str, kind: EventKind, object: Value, now_ms: TimeMs) -> Delivery {
    let event = json!({
        "id": id,
        "object": "event",
        "type": kind.as_str(),
        "livemode": deps.livemode,
        "data": { "object": object },
    });
    delivery(event.to_string().as_bytes(), deps.livemode, now_ms)
}
