//! State comes from Stripe as it is now, not from the order in which events arrive.
//!
//! An event says that something happened to an object; its present state is fetched from Stripe. A paid invoice is
//! the exception, because it stays paid: it is fetched only if the event lacks what the rules need. If Stripe no
//! longer has the object, the event's copy counts.

use super::{EventContext, clawback, customer, notice, payment_method};
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::infra::store::payment;
use crate::infra::stripe::found;
use crate::usecase::handler::invoice::{self, whole_invoice};
use crate::usecase::handler::{Failure, operation, subscription};
use serde_json::Value;

/// Decides an event by the present state of its object.
pub(super) async fn run(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    match about.kind {
        EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => paid_invoice(about).await,
        EventKind::InvoicePaymentFailed | EventKind::InvoicePaymentActionRequired => failed_invoice(about).await,
        EventKind::InvoiceVoided => voided_invoice(about).await,
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
        | EventKind::DisputeFundsReinstated
        | EventKind::CreditNoteCreated
        | EventKind::CreditNoteUpdated
        | EventKind::CreditNoteVoided => clawback::review(about).await,
    }
}

async fn paid_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let verdict = about.decide(EventKind::InvoicePaid, about.object).await?;
    let Some(id) = fields::id(&about.object["id"]).filter(|_| lacks_facts(&verdict)) else { return Ok(verdict) };
    match whole_invoice(about.deps, &id).await? {
        Some(invoice) => about.decide(EventKind::InvoicePaid, &invoice).await,
        None => Ok(verdict),
    }
}

/// Whether the rules could not decide because the object lacks facts that Stripe has.
fn lacks_facts(verdict: &Verdict) -> bool {
    matches!(&verdict.outcome, Outcome::Dead { reason } if reason.starts_with("shape_incomplete"))
}

/// Decides a failed payment, which may be old news: the invoice may be paid by now, or its subscription may have
/// moved on. Otherwise the customer gets a mail that says what to do.
async fn failed_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let stripe = &about.deps.stripe;
    let now = match fields::id(&about.object["id"]) {
        Some(id) => whole_invoice(about.deps, &id).await?,
        None => None,
    };
    let Some(invoice) = now else {
        let verdict = about.decide(EventKind::InvoicePaymentFailed, about.object).await?;
        return Ok(notice::of_failed_payment(about, about.object, verdict));
    };
    let said = InvoiceFields::read(&invoice);
    if said.is_paid == Some(true) {
        return about.decide(EventKind::InvoicePaid, &invoice).await;
    }
    if let Some(id) = said.subscription_id
        && let Some(object) = found(stripe.subscription_retrieve(&id).await)?
        && matches!(object["status"].as_str(), Some("active" | "trialing" | "canceled" | "incomplete_expired"))
    {
        let customer = about.event.customer.clone();
        let mut verdict =
            subscription::apply_rules(about.deps, customer, &object, about.may_relink, about.heard, about.now_ms)
                .await?;
        let has_ended = matches!(object["status"].as_str(), Some("canceled" | "incomplete_expired"));
        // Its payment failed all the same, and support sees why.
        let payer = about.event.customer.as_ref();
        if let Some(customer) = payer.filter(|_| has_ended && matches!(verdict.outcome, Outcome::Done)) {
            verdict.effects.extend(invoice::failed_invoice(about.deps, customer, &invoice, None, about.now_ms).await?);
        }
        return Ok(verdict);
    }
    let verdict = about.decide(EventKind::InvoicePaymentFailed, &invoice).await?;
    Ok(notice::of_failed_payment(about, &invoice, verdict))
}

/// Decides a voided invoice, for which nobody waits any more: its subscription is looked at as Stripe has it now, and
/// support sees of a failed one that nothing is due. One that is not stored stays so: no payment of it was made or
/// failed.
async fn voided_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let deps = about.deps;
    let Some(id) = fields::id(&about.object["id"]) else { return about.decide(about.kind, about.object).await };
    let now = whole_invoice(deps, &id).await?;
    let invoice = now.as_ref().unwrap_or(about.object);
    let subscription = match InvoiceFields::read(invoice).subscription_id {
        Some(id) => found(deps.stripe.subscription_retrieve(&id).await)?,
        None => None,
    };
    let customer = about.event.customer.clone();
    let mut verdict = match subscription {
        Some(object) => {
            let customer = customer.clone();
            subscription::apply_rules(deps, customer, &object, about.may_relink, about.heard, about.now_ms).await?
        }
        None => Outcome::Done.into(),
    };
    if let Some(customer) = customer.filter(|_| matches!(verdict.outcome, Outcome::Done))
        && payment::invoice_find(deps.db.read(), &id).await?.is_some_and(|stored| !stored.is_paid)
    {
        verdict.effects.extend(invoice::failed_invoice(deps, &customer, invoice, None, about.now_ms).await?);
    }
    Ok(verdict)
}

/// Decides `invoice_payment.paid`, which names an invoice and no customer. Only the credits are granted here, under the
/// invoice's own key: all other changes belong into the Stripe customer's stream.
async fn invoice_payment(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(id) = fields::id(&about.object["invoice"]) else { return Ok(Outcome::Done.into()) };
    let Some(invoice) = whole_invoice(about.deps, &id).await? else { return Ok(Outcome::Done.into()) };
    let event = about.event_of(EventKind::InvoicePaid, &invoice).await?;
    let mut verdict = EventContext { event: &event, ..*about }.decide(EventKind::InvoicePaid, &invoice).await?;
    // A review is an event of its own, in another stream.
    let is_of_others =
        |effect: &Effect| matches!(effect, Effect::JobInsert(_) | Effect::EventTake(_) | Effect::StreamHasten { .. });
    verdict.effects.retain(is_of_others);
    Ok(verdict)
}

async fn changed_subscription(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let id = fields::id(&about.object["id"]);
    let now = match &id {
        Some(id) => found(about.deps.stripe.subscription_retrieve(id).await)?,
        None => None,
    };
    match now {
        Some(object) => {
            let customer = about.event.customer.clone();
            subscription::apply_rules(about.deps, customer, &object, about.may_relink, about.heard, about.now_ms).await
        }
        None => about.decide(about.kind, about.object).await,
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

/// Decides a completed Checkout session: its subscription is learned like any other.
async fn checkout(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let session = about.object;
    let id = fields::id(&session["subscription"]);
    let object = match &id {
        Some(id) => found(about.deps.stripe.subscription_retrieve(id).await)?,
        None => None,
    };
    let may_relink = is_trusted(session) || object.as_ref().is_some_and(is_trusted);
    let about = &EventContext { may_relink, ..*about };
    let Some(object) = object else {
        // The link is all that can be learned; without an API key the events about the subscription need it.
        return about.decide(EventKind::CustomerUpdated, session).await;
    };
    let customer = match &about.event.customer {
        Some(customer) => Some(customer.clone()),
        None => about.owner(EventKind::SubscriptionUpdated, &object).await?,
    };
    subscription::apply_rules(about.deps, customer, &object, about.may_relink, about.heard, about.now_ms).await
}

/// Whether a Checkout session or its subscription names our customer in its metadata, which the company writes.
///
/// Whoever pays by a Payment Link can put any `client_reference_id` into its address: that makes a Stripe customer one
/// more of the customer's, and never its own, so that nobody's cards get under another's account.
pub(super) fn is_trusted(object: &Value) -> bool {
    fields::bursar_customer_id(&fields::metadata_of(object)).is_some()
}
