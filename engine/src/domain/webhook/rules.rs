//! What a Stripe event changes here: pure rules, `event + known facts → verdict`.
//!
//! Stripe delivers at least once and in any order, so credits and Pro must end up the same whichever event comes first
//! or twice:
//!
//! * Credits are granted under a key made of the invoice, so one payment grants once, whichever
//!   event types announce it and however often.
//! * The plan follows the subscriptions: Pro while one of them gives it.
//! * An ended subscription never comes back.
//! * A late event changes nothing, but a payment it reports still brings its credits.
//!
//! An object that lacks what a rule needs is never skipped: its event is dead with a reason that begins with a stable
//! word (`shape_incomplete`, `pro_undecidable`, `customer_…`), which support can search for.

mod invoice;
mod subscription;

use super::fields::{self, InvoiceFields, ProPrice, SubscriptionFields};
use super::kind::EventKind;
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::subscription::Subscription;
use crate::plan::Plan;
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
    /// Which price is Pro's.
    pub pro: &'a ProPrice,
    /// Credits of one paid period of Pro; none are granted if it is not positive.
    pub pro_credits: Credits,
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
        | EventKind::InvoicePaymentActionRequired => {
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
        | EventKind::CheckoutCompleted => {
            let mut metadata = fields::metadata_of(object);
            if let Some(id) = object["client_reference_id"].as_str() {
                // Of a Checkout session. Source: Stripe, "The Session object".
                metadata.entry(fields::CUSTOMER_METADATA_KEY.to_owned()).or_insert_with(|| id.to_owned());
            }
            (metadata, None)
        }
    };
    Lookup {
        stripe_customer_id: fields::stripe_customer_id(object),
        bursar_customer_id: fields::bursar_customer_id(&metadata),
        subscription_id,
    }
}

/// The idempotency key under which an invoice's credits are granted.
///
/// A caller with access to the ledger may use it to drop a late `invoice.payment_failed`: an invoice whose credits
/// were granted has been paid since. The event alone cannot tell.
pub fn grant_key(invoice_id: &str) -> String {
    format!("stripe:invoice:{invoice_id}")
}

/// Decides what the event changes.
pub fn decide(facts: &Facts<'_>) -> Verdict {
    let verdict = match facts.kind {
        EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => invoice::paid(facts),
        EventKind::InvoicePaymentFailed | EventKind::InvoicePaymentActionRequired => invoice::payment_failed(facts),
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
        let is_former = stripe_customer_id.is_some_and(|named| customer.former_stripe_ids.contains(named));
        if let (Some(linked), Some(named)) = (&customer.stripe_customer_id, stripe_customer_id)
            && linked != named
            && !is_former
        {
            // Found by metadata. Somebody else's payment must not give this account credits.
            return Err(dead(format!(
                "customer_mismatch: the object belongs to Stripe customer {named}, but customer {} is linked to {linked}",
                customer.id
            )));
        }
        if let Some(subscription) = self.stored().filter(|stored| stored.customer_id != customer.id) {
            return Err(dead(format!(
                "customer_mismatch: subscription {} belongs to customer {}, not to {}",
                subscription.id, subscription.customer_id, customer.id
            )));
        }
        let link = match (&customer.stripe_customer_id, stripe_customer_id) {
            // Events of a former (deleted) Stripe customer still count, but it is not linked again.
            (None, Some(id)) if !is_former => {
                Some(Effect::StripeLink { customer_id: customer.id.clone(), stripe_customer_id: id.clone() })
            }
            _ => None,
        };
        Ok(Owner { customer, link })
    }

    fn stored(&self) -> Option<&Subscription> {
        self.subscription.as_ref()
    }

    /// Whether a subscription of the customer other than this one gives Pro.
    fn another_gives_pro(&self, subscription_id: &str) -> bool {
        self.subscriptions_of_customer.iter().any(|other| other.id != subscription_id && other.gives_pro())
    }
}

impl Owner<'_> {
    /// The verdict `Done` with those of `row` and `plan` that change something. Pro is written even if the customer has
    /// it, because its other source of Pro may end before this commits.
    fn verdict(self, facts: &Facts<'_>, row: Option<Subscription>, plan: Option<Plan>) -> Verdict {
        let row = row.filter(|row| facts.stored() != Some(row)).map(Effect::SubscriptionPut);
        let plan = plan.filter(|plan| *plan == Plan::Pro || *plan != self.customer.plan);
        let plan = plan.map(|plan| Effect::PlanSet { customer_id: self.customer.id.clone(), plan });
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

/// The outcome for an object that lacks what a rule needs.
fn incomplete(object: &str, id: Option<&str>, what: &str) -> Outcome {
    dead(format!("shape_incomplete: {object} {} carries no readable {what}", id.unwrap_or("(without id)")))
}

#[cfg(test)]
mod tests;
