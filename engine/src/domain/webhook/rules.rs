//! What a Stripe event changes here: pure rules, `event + known facts → verdict`.
//!
//! Stripe delivers at least once and in any order, so credits and plans must end up the same whichever event comes
//! first or twice:
//!
//! * What was bought is read from the invoice's lines, by price ([`crate::domain::sale`]). What is not ours is done.
//! * Credits are granted under a key made of the invoice, so one payment grants once, whichever
//!   event types announce it and however often.
//! * The plan follows the subscriptions: the best that one of them gives.
//! * An ended subscription never comes back.
//! * A late event changes nothing, but a payment it reports still brings its credits.
//!
//! An object that lacks what a rule needs is never skipped: its event is dead with a reason that begins with a stable
//! word (`shape_incomplete`, `price_unknown`, `history_too_long`, `customer_…`), which support can search for.

mod invoice;
mod subscription;

use super::fields::{self, InvoiceFields, SubscriptionFields};
use super::kind::EventKind;
use crate::clock::{TimeMs, rfc3339};
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::sale::level::Unclear;
use crate::domain::sale::{Before, PriceBook};
use crate::domain::subscription::Subscription;
use crate::key::PlanKey;
use serde_json::Value;

/// An event, and everything known here that matters to it.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Its type.
    pub kind: EventKind,
    /// The object that it is about.
    pub object: &'a Value,
    /// The customer: the one linked to [`Lookup::stripe_customer_id`], else the one that
    /// [`Lookup::bursar_customer_id`] names.
    pub customer: Option<Customer>,
    /// The stored row of [`Lookup::subscription_id`].
    pub subscription: Option<Subscription>,
    /// All stored rows of that customer.
    pub subscriptions_of_customer: Vec<Subscription>,
    /// The catalogue, and what is known of the prices that the object names.
    pub book: &'a PriceBook,
    /// What is known of the other invoices of the object's subscription, if it is an invoice that credits time that was
    /// left.
    pub before: &'a Before,
    /// Whether whoever named our customer is trusted so far that another Stripe customer may become its own.
    pub may_relink: bool,
    /// Now.
    pub now_ms: TimeMs,
}

/// What the caller looks up to gather the [`Facts`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// The Stripe customer that the object belongs to.
    pub stripe_customer_id: Option<String>,
    /// Our customer, as named in metadata of the object or its subscription; a valid identifier.
    pub bursar_customer_id: Option<String>,
    /// The subscription that the object is or belongs to.
    pub subscription_id: Option<String>,
    /// The invoice, if the object is a paid one.
    pub paid_invoice_id: Option<String>,
}

/// What a rule returns. `Err` ends it early, also with the normal `Outcome::Done` when there is nothing to do.
type RuleResult = Result<Verdict, Outcome>;

/// What to look up before [`decide`].
pub fn lookup(object: &Value, kind: EventKind) -> Lookup {
    let (metadata, subscription_id) = match kind {
        EventKind::SubscriptionCreated
        | EventKind::SubscriptionUpdated
        | EventKind::SubscriptionDeleted
        | EventKind::SubscriptionPaused
        | EventKind::SubscriptionResumed
        | EventKind::SubscriptionTrialWillEnd => {
            let subscription = SubscriptionFields::read(object);
            (subscription.metadata, subscription.id)
        }
        EventKind::InvoicePaid
        | EventKind::InvoicePaymentSucceeded
        | EventKind::InvoicePaymentFailed
        | EventKind::InvoicePaymentActionRequired
        | EventKind::InvoiceVoided => {
            let invoice = InvoiceFields::read(object);
            (invoice.metadata, invoice.subscription_id)
        }
        EventKind::InvoicePaymentPaid
        | EventKind::CustomerCreated
        | EventKind::CustomerUpdated
        | EventKind::CustomerDeleted
        | EventKind::PaymentIntentSucceeded
        | EventKind::PaymentIntentFailed
        | EventKind::PaymentIntentRequiresAction
        | EventKind::PaymentMethodAttached
        | EventKind::PaymentMethodDetached
        | EventKind::PaymentMethodUpdated
        | EventKind::ChargeRefunded
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
        | EventKind::CreditNoteVoided
        | EventKind::CheckoutCompleted => {
            let mut metadata = fields::metadata_of(object);
            if let Some(id) = object["client_reference_id"].as_str() {
                // Of a Checkout session. Source: Stripe, "The Session object".
                metadata.entry(fields::CUSTOMER_METADATA_KEY.to_owned()).or_insert_with(|| id.to_owned());
            }
            (metadata, None)
        }
    };
    let is_paid_invoice = matches!(kind, EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded);
    Lookup {
        paid_invoice_id: fields::id(object).filter(|_| is_paid_invoice),
        stripe_customer_id: fields::stripe_customer_id(object),
        bursar_customer_id: fields::bursar_customer_id(&metadata),
        subscription_id,
    }
}

/// Decides what the event changes.
pub fn decide(facts: &Facts<'_>) -> Verdict {
    let verdict = match facts.kind {
        EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => invoice::paid(facts),
        EventKind::InvoicePaymentFailed | EventKind::InvoicePaymentActionRequired => invoice::payment_failed(facts),
        EventKind::InvoiceVoided => invoice::voided(facts),
        EventKind::SubscriptionCreated => subscription::created(facts),
        EventKind::SubscriptionUpdated
        | EventKind::SubscriptionPaused
        | EventKind::SubscriptionResumed
        | EventKind::SubscriptionTrialWillEnd => subscription::updated(facts),
        EventKind::SubscriptionDeleted => subscription::deleted(facts),
        EventKind::CustomerCreated | EventKind::CustomerUpdated => linked(facts),
        // These need answers from Stripe: `usecase::handler::stripe` decides them.
        EventKind::InvoicePaymentPaid
        | EventKind::CustomerDeleted
        | EventKind::PaymentIntentSucceeded
        | EventKind::PaymentIntentFailed
        | EventKind::PaymentIntentRequiresAction
        | EventKind::PaymentMethodAttached
        | EventKind::PaymentMethodDetached
        | EventKind::PaymentMethodUpdated
        | EventKind::ChargeRefunded
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
        | EventKind::CreditNoteVoided
        | EventKind::CheckoutCompleted => Err(Outcome::Done),
    };
    verdict.unwrap_or_else(Verdict::from)
}

/// Links a Stripe customer to our customer that its metadata names, unless they are linked.
fn linked(facts: &Facts<'_>) -> RuleResult {
    if facts.customer.is_none() {
        // Not everything in the Stripe account is ours.
        return Err(Outcome::Done);
    }
    let owner = facts.owner(fields::stripe_customer_id(facts.object).as_ref())?;
    Ok(owner.verdict(facts, None, None))
}

/// The customer that the event concerns, with the link to its Stripe customer if that is new.
struct Owner<'a> {
    customer: &'a Customer,
    link: Option<Effect>,
}

impl<'a> Facts<'a> {
    /// The customer that the object belongs to. The link to a Stripe customer outweighs metadata: it is in our
    /// database, where support can correct it, while a stored event never changes.
    fn owner(&self, stripe_customer_id: Option<&String>) -> Result<Owner<'_>, Outcome> {
        let Some(customer) = &self.customer else {
            return Err(match (stripe_customer_id, lookup(self.object, self.kind).bursar_customer_id) {
                (Some(id), _) => retry(format!("customer_unknown: no customer for Stripe customer {id} yet")),
                (None, Some(id)) => retry(format!("customer_unknown: no customer {id} yet")),
                (None, None) => dead("customer_missing: the object names no Stripe customer".to_owned()),
            });
        };
        if let Some(subscription) = self.stored().filter(|stored| stored.customer_id != customer.id) {
            return Err(dead(format!(
                "customer_mismatch: subscription {} belongs to customer {}, not to {}",
                subscription.id, subscription.customer_id, customer.id
            )));
        }
        let link = stripe_customer_id.and_then(|named| self.link(customer, named));
        Ok(Owner { customer, link })
    }

    /// The link to a Stripe customer, if it is new.
    ///
    /// Checkout without `customer`, Payment Links and pricing tables make a Stripe customer of their own. What names
    /// our customer there is ours all the same. The Stripe customer becomes the customer's own if the one that it had
    /// is not used for anything; else it is one more.
    fn link(&self, customer: &Customer, named: &str) -> Option<Effect> {
        let (customer_id, stripe_customer_id) = (customer.id.clone(), named.to_owned());
        match &customer.stripe_customer_id {
            // Events of a former Stripe customer still count, but it is not linked again.
            _ if customer.former_stripe_ids.iter().any(|former| former == named) => None,
            None if self.may_relink => Some(Effect::StripeLink { customer_id, stripe_customer_id }),
            None => Some(Effect::StripeAdopt { customer_id, stripe_customer_id, replaces: None }),
            Some(linked) if linked == named => None,
            Some(linked) => {
                let is_used = customer.has_payment_method
                    || self.subscriptions_of_customer.iter().any(|row| row.ended_at_ms.is_none());
                let replaces = (self.may_relink && !is_used).then(|| linked.clone());
                Some(Effect::StripeAdopt { customer_id, stripe_customer_id, replaces })
            }
        }
    }

    /// Why the object's subscription is ours although no price says so: an earlier release sold it, and which price it
    /// was sold at is not known.
    fn sold_before(&self) -> Option<String> {
        let plan = self.stored().filter(|stored| stored.price.is_none())?.plan.as_ref()?;
        Some(format!(
            "the subscription was sold as {plan} before there was a catalogue, at a price that the catalogue does not \
             name; name it there: stripe = [\"price_…\"] under its price"
        ))
    }

    fn stored(&self) -> Option<&Subscription> {
        self.subscription.as_ref()
    }

    /// The plans that the customer's subscriptions give it, with `row` as it is after the event.
    fn plans_given(&self, row: Option<&Subscription>) -> Vec<PlanKey> {
        let others = self.subscriptions_of_customer.iter().filter(|other| row.is_none_or(|row| other.id != row.id));
        others.chain(row).filter_map(Subscription::gives_plan).cloned().collect()
    }

    /// The change of plan that follows from a subscription; `None` if nothing follows.
    ///
    /// It is also made for a customer who has the plan already, as long as the subscription is news: what gave the plan
    /// until now may end before this commits.
    fn plan_set(&self, customer: &Customer, row: &Subscription, has_left: Option<&PlanKey>) -> Option<Effect> {
        let catalogue = self.book.catalogue();
        let (gave, gives) = (self.stored().and_then(Subscription::gives_plan), row.gives_plan());
        let is_better =
            gives.is_some_and(|plan| *plan != customer.plan && catalogue.better(&customer.plan, plan) == plan);
        if gave == gives && !is_better && has_left.is_none() {
            return None;
        }
        let has_left = has_left.or(gave).cloned();
        let plan = catalogue.plan_now(&customer.plan, &self.plans_given(Some(row)), has_left.as_ref());
        let is_news = plan != customer.plan || gave != gives;
        let (customer_id, catalogue) = (customer.id.clone(), catalogue.clone());
        is_news.then_some(Effect::PlanSet { customer_id, plan, has_left, catalogue })
    }
}

impl Owner<'_> {
    /// The verdict `Done`, with those of the changes that change something.
    fn verdict(self, facts: &Facts<'_>, row: Option<Subscription>, plan: Option<Effect>) -> Verdict {
        let row = row.filter(|row| facts.stored() != Some(row)).map(Effect::SubscriptionPut);
        let effects = [self.link, row, plan].into_iter().flatten().collect();
        Verdict { outcome: Outcome::Done, ledger: None, effects }
    }
}

fn retry(reason: String) -> Outcome {
    Outcome::Retry { reason }
}

fn dead(reason: String) -> Outcome {
    Outcome::Dead { reason }
}

/// The outcome for an object with a price that may be ours. A person decides, and a replay then settles it.
fn price_unknown(object: &str, id: Option<&str>, why: &str) -> Outcome {
    dead(format!("price_unknown: {object} {}: {why}", id.unwrap_or("(without id)")))
}

/// The outcome for an invoice of which only a person can say what it takes back.
fn unclear(invoice: Option<&str>, why: &Unclear) -> Outcome {
    match why {
        Unclear::Price(why) => price_unknown("invoice", invoice, why),
        Unclear::Period(end_ms) => {
            let period = format!("the period that it leaves and that ends at {}", rfc3339(*end_ms));
            dead(history_too_long(invoice.unwrap_or("(without id)"), &period))
        }
    }
}

/// Why a person must decide about an invoice: what it takes to decide is older than the invoices that are asked for.
pub fn history_too_long(invoice: &str, what: &str) -> String {
    format!(
        "history_too_long: invoice {invoice}: the subscription has more invoices than are looked at, and not {what}"
    )
}

/// The outcome for an object that lacks what a rule needs.
fn incomplete(object: &str, id: Option<&str>, what: &str) -> Outcome {
    dead(format!("shape_incomplete: {object} {} carries no readable {what}", id.unwrap_or("(without id)")))
}

#[cfg(test)]
mod tests;
