//! State comes from Stripe as it is now, not from the order in which events arrive.
//!
//! An event says that something happened to an object; what the object is now, Stripe is asked. Only
//! a paid invoice is taken at its word, because it stays paid for ever; it is asked for too when the
//! event does not carry what the rules need. An object that Stripe no longer has is taken as the event
//! has it.

use super::{About, Stop, found, money, person};
use crate::handler::{operation, subscription};
use crate::job::{Outcome, Verdict};
use crate::webhook::shape::{self, InvoiceShape};
use serde_json::Value;

/// What an event's present state means here.
pub(super) async fn run(about: &About<'_>) -> Result<Verdict, Stop> {
    match about.event_type {
        "invoice.paid" | "invoice.payment_succeeded" => paid_invoice(about).await,
        "invoice.payment_failed" | "invoice.payment_action_required" => failed_invoice(about).await,
        "invoice_payment.paid" => invoice_payment(about).await,
        "checkout.session.completed" => checkout(about).await,
        kind if kind.starts_with("customer.subscription.") => changed_subscription(about).await,
        kind if kind.starts_with("customer.") => person::customer(about).await,
        kind if kind.starts_with("payment_method.") => person::payment_method(about).await,
        kind if kind.starts_with("payment_intent.") => payment_intent(about).await,
        _ => money::review(about).await,
    }
}

async fn paid_invoice(about: &About<'_>) -> Result<Verdict, Stop> {
    let verdict = about.decide(about.event_type, about.object);
    let lacks = |reason: &str| ["shape_incomplete", "pro_undecidable"].iter().any(|word| reason.starts_with(word));
    if !matches!(&verdict.outcome, Outcome::Dead { reason } if lacks(reason)) {
        return Ok(verdict);
    }
    let Some(id) = shape::id(&about.object["id"]) else { return Ok(verdict) };
    let stripe = &about.deps.stripe;
    let Some(invoice) = found(stripe.invoice_retrieve(&id).await)? else { return Ok(verdict) };
    let again = about.decide(about.event_type, &invoice);
    if !matches!(&again.outcome, Outcome::Dead { reason } if lacks(reason)) {
        return Ok(again);
    }
    // Only its subscription tells whether it bills Pro.
    let Some(id) = InvoiceShape::read(&invoice).subscription_id else { return Ok(again) };
    let Some(object) = found(stripe.subscription_retrieve(&id).await)? else { return Ok(again) };
    Ok(subscription::learn(about.deps, about.event.customer.clone(), &object, about.now_ms).await?)
}

/// A failure may be old news: an invoice that is paid by now is a paid one.
async fn failed_invoice(about: &About<'_>) -> Result<Verdict, Stop> {
    let id = shape::id(&about.object["id"]);
    let now = match &id {
        Some(id) => found(about.deps.stripe.invoice_retrieve(id).await)?,
        None => None,
    };
    let Some(invoice) = now else { return Ok(about.decide(about.event_type, about.object)) };
    if InvoiceShape::read(&invoice).is_paid == Some(true) {
        return Ok(about.decide("invoice.paid", &invoice));
    }
    Ok(about.decide("invoice.payment_failed", &invoice))
}

/// Says which invoice was paid, and nothing of whose it is. Only the credits are taken from here, under
/// the invoice's own key: the rest belongs into the stream of the Stripe customer.
async fn invoice_payment(about: &About<'_>) -> Result<Verdict, Stop> {
    let Some(id) = shape::id(&about.object["invoice"]) else { return Ok(Outcome::Done.into()) };
    let Some(invoice) = found(about.deps.stripe.invoice_retrieve(&id).await)? else { return Ok(Outcome::Done.into()) };
    let customer = about.owner("invoice.paid", &invoice).await?;
    let subscription = match InvoiceShape::read(&invoice).subscription_id {
        Some(id) => found(about.deps.stripe.subscription_retrieve(&id).await)?,
        None => None,
    };
    let verdict = match subscription {
        Some(mut object) => {
            object["latest_invoice"] = invoice;
            subscription::learn(about.deps, customer, &object, about.now_ms).await?
        }
        None => return Ok(Outcome::Done.into()),
    };
    Ok(Verdict { effects: Vec::new(), ..verdict })
}

async fn changed_subscription(about: &About<'_>) -> Result<Verdict, Stop> {
    let id = shape::id(&about.object["id"]);
    let now = match &id {
        Some(id) => found(about.deps.stripe.subscription_retrieve(id).await)?,
        None => None,
    };
    match now {
        Some(object) => Ok(subscription::learn(about.deps, about.event.customer.clone(), &object, about.now_ms).await?),
        None => Ok(about.decide(about.event_type, about.object)),
    }
}

async fn payment_intent(about: &About<'_>) -> Result<Verdict, Stop> {
    let id = shape::id(&about.object["id"]);
    let now = match &id {
        Some(id) => found(about.deps.stripe.payment_retrieve(id).await)?,
        None => None,
    };
    let object: &Value = now.as_ref().unwrap_or(about.object);
    let verdict = operation::settle_payment(about.deps, object, about.now_ms).await?;
    Ok(verdict.unwrap_or_else(|| Outcome::Done.into()))
}

/// A customer that came through Stripe's own page: its subscription is learned as any other. What it
/// paid with is announced by events of its own.
async fn checkout(about: &About<'_>) -> Result<Verdict, Stop> {
    let Some(id) = shape::id(&about.object["subscription"]) else {
        return Ok(about.decide("customer.updated", about.object));
    };
    let Some(object) = found(about.deps.stripe.subscription_retrieve(&id).await)? else {
        return Ok(Outcome::Done.into());
    };
    let customer = match &about.event.customer {
        Some(customer) => Some(customer.clone()),
        None => about.owner("customer.subscription.updated", &object).await?,
    };
    Ok(subscription::learn(about.deps, customer, &object, about.now_ms).await?)
}
