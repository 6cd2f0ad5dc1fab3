//! State comes from Stripe as it is now, not from the order in which events arrive.
//!
//! An event says that something happened to an object; its present state is fetched from Stripe. A paid invoice is
//! the exception, because it stays paid: it is fetched only if the event lacks what the rules need. If Stripe no
//! longer has the object, the event's copy counts.

use super::{EventContext, clawback, customer, found, notice, payment_method};
use crate::domain::effect::Verdict;
use crate::domain::job::Outcome;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::usecase::handler::{Failure, operation, subscription};
use serde_json::Value;

/// Decides an event by the present state of its object.
pub(super) async fn run(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    match about.kind {
        EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => paid_invoice(about).await,
        EventKind::InvoicePaymentFailed | EventKind::InvoicePaymentActionRequired => failed_invoice(about).await,
        EventKind::InvoicePaymentPaid => invoice_payment(about).await,
        EventKind::CheckoutCompleted => checkout(about).await,
        EventKind::SubscriptionCreated
        | EventKind::SubscriptionUpdated
        | EventKind::SubscriptionDeleted
        | EventKind::SubscriptionPaused
        | EventKind::SubscriptionResumed
        | EventKind::SubscriptionTrialWillEnd => changed_subscription(about).await,
        EventKind::CustomerCreated | EventKind::CustomerUpdated | EventKind::CustomerDeleted => {
            customer::run(about).await
        }
        EventKind::PaymentMethodAttached | EventKind::PaymentMethodDetached | EventKind::PaymentMethodUpdated => {
            payment_method::run(about).await
        }
        EventKind::PaymentIntentSucceeded | EventKind::PaymentIntentFailed | EventKind::PaymentIntentRequiresAction => {
            payment_intent(about).await
        }
        EventKind::ChargeRefunded
        | EventKind::ChargeRefundUpdated
        | EventKind::RefundCreated
        | EventKind::RefundUpdated
        | EventKind::RefundFailed
        | EventKind::DisputeCreated
        | EventKind::DisputeUpdated
        | EventKind::DisputeClosed
        | EventKind::DisputeFundsWithdrawn
        | EventKind::DisputeFundsReinstated => clawback::review(about).await,
    }
}

async fn paid_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let verdict = about.decide(EventKind::InvoicePaid, about.object);
    let Some(id) = fields::id(&about.object["id"]).filter(|_| lacks_facts(&verdict)) else { return Ok(verdict) };
    match found(about.deps.stripe.invoice_retrieve(&id).await)? {
        Some(invoice) => by_paid_invoice(about, invoice).await,
        None => Ok(verdict),
    }
}

/// Whether the rules could not decide because the object lacks facts that Stripe has.
fn lacks_facts(verdict: &Verdict) -> bool {
    let words = ["shape_incomplete", "pro_undecidable"];
    matches!(&verdict.outcome, Outcome::Dead { reason } if words.iter().any(|word| reason.starts_with(word)))
}

/// Decides a paid invoice as Stripe has it now. If the invoice does not tell whether it bills Pro, its subscription
/// does.
async fn by_paid_invoice(about: &EventContext<'_>, invoice: Value) -> Result<Verdict, Failure> {
    let verdict = about.decide(EventKind::InvoicePaid, &invoice);
    let subscription_id = InvoiceFields::read(&invoice).subscription_id;
    let Some(id) = subscription_id.filter(|_| lacks_facts(&verdict)) else { return Ok(verdict) };
    let Some(mut object) = found(about.deps.stripe.subscription_retrieve(&id).await)? else { return Ok(verdict) };
    // This invoice is to be judged, not the latest.
    object["latest_invoice"] = invoice;
    Ok(subscription::apply_rules(about.deps, about.event.customer.clone(), &object, about.now_ms).await?)
}

/// Decides a failed payment, which may be old news: the invoice may be paid by now, or its subscription may have
/// moved on. Otherwise the customer gets a mail that says what to do.
async fn failed_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let stripe = &about.deps.stripe;
    let now = match fields::id(&about.object["id"]) {
        Some(id) => found(stripe.invoice_retrieve(&id).await)?,
        None => None,
    };
    let Some(invoice) = now else {
        let verdict = about.decide(EventKind::InvoicePaymentFailed, about.object);
        return Ok(notice::of_failed_payment(about, about.object, verdict));
    };
    let said = InvoiceFields::read(&invoice);
    if said.is_paid == Some(true) {
        return by_paid_invoice(about, invoice).await;
    }
    if let Some(id) = said.subscription_id
        && let Some(object) = found(stripe.subscription_retrieve(&id).await)?
        && matches!(object["status"].as_str(), Some("active" | "trialing" | "canceled" | "incomplete_expired"))
    {
        return Ok(subscription::apply_rules(about.deps, about.event.customer.clone(), &object, about.now_ms).await?);
    }
    let verdict = about.decide(EventKind::InvoicePaymentFailed, &invoice);
    Ok(notice::of_failed_payment(about, &invoice, verdict))
}

/// Decides `invoice_payment.paid`, which names an invoice and no customer. Only the credits are granted here, under the
/// invoice's own key: all other changes belong into the Stripe customer's stream.
async fn invoice_payment(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(id) = fields::id(&about.object["invoice"]) else { return Ok(Outcome::Done.into()) };
    let Some(invoice) = found(about.deps.stripe.invoice_retrieve(&id).await)? else { return Ok(Outcome::Done.into()) };
    let customer = about.owner(EventKind::InvoicePaid, &invoice).await?;
    let subscription = match InvoiceFields::read(&invoice).subscription_id {
        Some(id) => found(about.deps.stripe.subscription_retrieve(&id).await)?,
        None => None,
    };
    let verdict = match subscription {
        Some(mut object) => {
            object["latest_invoice"] = invoice;
            subscription::apply_rules(about.deps, customer, &object, about.now_ms).await?
        }
        None => return Ok(Outcome::Done.into()),
    };
    Ok(Verdict { effects: Vec::new(), ..verdict })
}

async fn changed_subscription(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let id = fields::id(&about.object["id"]);
    let now = match &id {
        Some(id) => found(about.deps.stripe.subscription_retrieve(id).await)?,
        None => None,
    };
    match now {
        Some(object) => {
            Ok(subscription::apply_rules(about.deps, about.event.customer.clone(), &object, about.now_ms).await?)
        }
        None => Ok(about.decide(about.kind, about.object)),
    }
}

async fn payment_intent(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let id = fields::id(&about.object["id"]);
    let now = match &id {
        Some(id) => found(about.deps.stripe.payment_retrieve(id).await)?,
        None => None,
    };
    let object: &Value = now.as_ref().unwrap_or(about.object);
    let verdict = operation::settle_payment(about.deps, object, about.now_ms).await?;
    Ok(verdict.unwrap_or_else(|| Outcome::Done.into()))
}

/// Decides a completed Checkout session: its subscription is learned like any other. The payment method is announced
/// by events of its own.
async fn checkout(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(id) = fields::id(&about.object["subscription"]) else {
        return Ok(about.decide(EventKind::CustomerUpdated, about.object));
    };
    let Some(object) = found(about.deps.stripe.subscription_retrieve(&id).await)? else {
        return Ok(Outcome::Done.into());
    };
    let customer = match &about.event.customer {
        Some(customer) => Some(customer.clone()),
        None => about.owner(EventKind::SubscriptionUpdated, &object).await?,
    };
    Ok(subscription::apply_rules(about.deps, customer, &object, about.now_ms).await?)
}
