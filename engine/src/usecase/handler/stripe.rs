//! Stripe events: looks up customers and subscriptions for many events in few queries, and decides each event.
//!
//! | module | contents |
//! |---|---|
//! | `latest` | an event that failed before, decided by what Stripe has now |
//! | `present` | which object is fetched again, and the verdict on its present state |
//! | `clawback` | refunds, disputes and credit notes |
//! | `notice` | mails to customers |
//! | `customer` | Stripe customers |
//! | `payment_method` | payment methods |
//! | `thin` | thin events |

pub(super) mod clawback;
mod customer;
mod latest;
mod notice;
mod payment_method;
mod present;
mod thin;

use super::invoice::{self, Decided, Heard, PaidInvoice};
use super::{Claimed, Deps, Failure, price};
use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, Outcome, Policy};
use crate::domain::sale::grant::grant_key;
use crate::domain::sale::{Before, PriceBook};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::delivery::wrong_mode;
use crate::domain::webhook::fields::InvoiceFields;
use crate::domain::webhook::{self, Envelope, EventKind, Facts, Lookup};
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::{account, customer as customers, payment, subscription};
use crate::infra::stripe::StripeError;
use sea_orm::ConnectionTrait;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// An event with our records of its customer, read when its job was claimed. The lease of the event's stream ensures
/// that no other event of the same Stripe customer changes them meanwhile.
#[derive(Debug, Clone)]
pub struct StripeEvent {
    /// The event; an error if its bytes cannot be read.
    pub envelope: std::result::Result<Envelope, String>,
    customer: Option<Customer>,
    subscription: Option<Subscription>,
    subscriptions_of_customer: Vec<Subscription>,
    /// What was known of the prices that the events of its batch name. The catalogue is taken when it is decided.
    prices: PriceBook,
    /// What is stored of the invoice, if it tells of a paid one.
    paid_invoice: Option<PaidInvoice>,
    /// Whether it says that a payment failed, but the ledger already has the invoice's grant.
    is_paid_before: bool,
}

/// Looks up the customers and subscriptions of the Stripe events among claimed jobs.
pub async fn gather(db: &impl ConnectionTrait, claimed: &mut [Claimed]) -> Result<()> {
    let (mut lookups, mut envelopes) = (Vec::new(), Vec::new());
    for (at, claimed) in claimed.iter_mut().enumerate() {
        let Some(payload) = claimed.payload.take_if(|_| claimed.job.kind == JobKind::StripeEvent.as_str()) else {
            continue;
        };
        let envelope = webhook::envelope(&payload).map_err(|unreadable| unreadable.reason);
        lookups.push((at, envelope.as_ref().map_or_else(|_| Lookup::default(), lookup_of)));
        envelopes.push(envelope);
    }
    if lookups.is_empty() {
        return Ok(());
    }
    let known = Known::load(db, &lookups).await?;
    let objects = envelopes
        .iter()
        .filter_map(|envelope: &std::result::Result<Envelope, String>| envelope.as_ref().ok()?.object.as_ref());
    let prices = PriceBook::new(Catalogue::built_in(), price::known_of(db, objects).await?);
    for ((at, lookup), envelope) in lookups.into_iter().zip(envelopes) {
        let event = StripeEvent::with_known(db, &known, &lookup, envelope, prices.clone()).await?;
        claimed[at].event = Some(Box::new(event));
    }
    Ok(())
}

/// What to look up for an event: nothing if it carries no object or is not processed.
fn lookup_of(envelope: &Envelope) -> Lookup {
    let named = envelope.object.as_ref().zip(envelope.kind);
    named.map_or_else(Lookup::default, |(object, kind)| webhook::lookup(object, kind))
}

impl StripeEvent {
    /// Adds our records to an event.
    async fn with_known(
        db: &impl ConnectionTrait,
        known: &Known,
        lookup: &Lookup,
        envelope: std::result::Result<Envelope, String>,
        prices: PriceBook,
    ) -> Result<Self> {
        let subscription = lookup.subscription_id.as_ref().and_then(|id| known.subscriptions.get(id)).cloned();
        let customer = known.customer(lookup, subscription.as_ref());
        let (mut subscriptions_of_customer, mut is_paid_before) = (Vec::new(), false);
        if let Some(customer) = &customer {
            let all = known.subscriptions.values();
            subscriptions_of_customer = all.filter(|row| row.customer_id == customer.id).cloned().collect();
            is_paid_before = was_paid_before(db, customer, envelope.as_ref().ok()).await?;
        }
        let paid_invoice =
            lookup.paid_invoice_id.as_ref().map(|id| PaidInvoice { payer: known.invoice_payers.get(id).cloned() });
        Ok(Self { envelope, customer, subscription, subscriptions_of_customer, prices, paid_invoice, is_paid_before })
    }
}

/// Whether an event about a failed payment is out of date, because its invoice was paid.
async fn was_paid_before(db: &impl ConnectionTrait, customer: &Customer, envelope: Option<&Envelope>) -> Result<bool> {
    let failed = envelope.filter(|envelope| envelope.kind == Some(EventKind::InvoicePaymentFailed));
    let invoice = failed.and_then(|envelope| envelope.object.as_ref()).and_then(webhook::fields::id);
    let Some(invoice) = invoice else { return Ok(false) };
    Ok(account::entry_find_by_key(db, &customer.id, &grant_key(&invoice)).await?.is_some())
}

/// Customers and subscriptions that a batch of events is about.
pub(super) struct Known {
    by_id: HashMap<CustomerId, Customer>,
    by_stripe_id: HashMap<String, CustomerId>,
    /// Owners of deleted Stripe customers.
    former: HashMap<String, CustomerId>,
    pub(super) subscriptions: HashMap<String, Subscription>,
    /// Whose the paid invoices are that are stored.
    invoice_payers: HashMap<String, CustomerId>,
}

impl Known {
    /// Loads the rows for many lookups in few queries.
    pub(super) async fn load(db: &impl ConnectionTrait, lookups: &[(usize, Lookup)]) -> Result<Self> {
        let unique = |pick: fn(&Lookup) -> Option<&String>| -> Vec<String> {
            let ids: HashSet<&String> = lookups.iter().filter_map(|(_, lookup)| pick(lookup)).collect();
            ids.into_iter().cloned().collect()
        };
        let mut known = Self {
            by_id: HashMap::new(),
            by_stripe_id: HashMap::new(),
            former: HashMap::new(),
            subscriptions: HashMap::new(),
            invoice_payers: HashMap::new(),
        };
        let mut stripe_ids = unique(|lookup| lookup.stripe_customer_id.as_ref());
        known.add(customers::customer_find_many(db, customers::By::StripeId, &stripe_ids).await?);
        stripe_ids.retain(|id| !known.by_stripe_id.contains_key(id));
        if !stripe_ids.is_empty() {
            known.former.extend(customers::stripe_customer_former_find_many(db, &stripe_ids).await?);
        }
        let named = unique(|lookup| lookup.bursar_customer_id.as_ref()).into_iter();
        let former = known.former.values().map(ToString::to_string);
        known.add_missing(db, named.chain(former).collect()).await?;
        known.add_subscriptions_of(db, known.by_id.keys().map(ToString::to_string).collect()).await?;

        // A subscription whose customer is not named: its owner, with what else the owner has.
        let mut subscription_ids = unique(|lookup| lookup.subscription_id.as_ref());
        subscription_ids.retain(|id| !known.subscriptions.contains_key(id));
        let found = subscription::subscription_find_many(db, subscription::By::Id, &subscription_ids).await?;
        let owners: HashSet<String> = found.iter().map(|row| row.customer_id.to_string()).collect();
        known.add_missing(db, owners.clone()).await?;
        known.add_subscriptions_of(db, owners.into_iter().collect()).await?;

        let invoice_ids = unique(|lookup| lookup.paid_invoice_id.as_ref());
        known.invoice_payers = payment::invoice_payer_find_many(db, &invoice_ids).await?;
        Ok(known)
    }

    /// Loads those of these customers that are not there yet.
    async fn add_missing(&mut self, db: &impl ConnectionTrait, mut ids: HashSet<String>) -> Result<()> {
        ids.retain(|id| !self.by_id.contains_key(&CustomerId::trusted(id.clone())));
        let ids: Vec<String> = ids.into_iter().collect();
        self.add(customers::customer_find_many(db, customers::By::Id, &ids).await?);
        Ok(())
    }

    /// Loads all subscriptions of these customers.
    async fn add_subscriptions_of(&mut self, db: &impl ConnectionTrait, customer_ids: Vec<String>) -> Result<()> {
        let found = subscription::subscription_find_many(db, subscription::By::Customer, &customer_ids).await?;
        self.subscriptions.extend(found.into_iter().map(|row| (row.id.clone(), row)));
        Ok(())
    }

    fn add(&mut self, customers: Vec<Customer>) {
        for customer in customers {
            if let Some(stripe_id) = &customer.stripe_customer_id {
                self.by_stripe_id.insert(stripe_id.clone(), customer.id.clone());
            }
            self.by_id.insert(customer.id.clone(), customer);
        }
    }

    /// Our customer, by its id.
    pub(super) fn by_id(&self, id: &str) -> Option<&Customer> {
        self.by_id.get(&CustomerId::trusted(id.to_owned()))
    }

    /// Whether a Stripe customer is one of a customer's that is not its own: a deleted one, or one more.
    pub(super) fn is_former(&self, stripe_customer_id: &str) -> bool {
        self.former.contains_key(stripe_customer_id)
    }

    /// Our customer that is linked to a Stripe customer.
    pub(super) fn by_stripe_id(&self, id: &str) -> Option<&Customer> {
        self.by_stripe_id.get(id).and_then(|id| self.by_id.get(id))
    }

    /// Finds a customer by its Stripe customer, even a deleted one, else by the id in the metadata, else by the stored
    /// subscription.
    pub(super) fn customer(&self, lookup: &Lookup, subscription: Option<&Subscription>) -> Option<Customer> {
        let gone = lookup.stripe_customer_id.as_ref().and_then(|id| Some((id, self.former.get(id)?)));
        if let Some((stripe_id, owner)) = gone {
            let owner = self.by_id.get(owner)?;
            return Some(Customer { former_stripe_ids: vec![stripe_id.clone()], ..owner.clone() });
        }
        let linked = lookup.stripe_customer_id.as_ref().and_then(|id| self.by_stripe_id.get(id));
        let named = || lookup.bursar_customer_id.as_deref().and_then(|id| CustomerId::parse(id).ok());
        let owner = || subscription.map(|row| row.customer_id.clone());
        let of = |id: CustomerId| self.by_id.get(&id).cloned();
        linked.cloned().and_then(of).or_else(|| named().and_then(of)).or_else(|| owner().and_then(of))
    }
}

pub(super) use clawback::review_event;
pub(in crate::usecase) use clawback::{
    charges_of_payment, credited_of_invoice, credits_after_refund, money_before_refund,
};
pub(super) use notice::of_ended_subscriptions;

/// Processes one event.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let dead = |reason: String| Ok(Verdict::from(Outcome::Dead { reason }));
    let Some(event) = claimed.event.as_deref() else { return dead("the event's bytes are gone".to_owned()) };
    let envelope = match &event.envelope {
        Ok(envelope) => envelope,
        Err(reason) => return dead(format!("unreadable: {reason}")),
    };
    if let Some(reason) = wrong_mode(envelope, deps.livemode) {
        return dead(reason);
    }
    // Whoever owns a connected account can write anything into its objects.
    if envelope.account.is_some() {
        return Ok(Outcome::Done.into());
    }
    if envelope.is_thin {
        return Ok(thin::run(deps, envelope, now_ms).await);
    }
    let Some(kind) = envelope.kind.filter(|_| !event.is_paid_before) else {
        return Ok(Outcome::Done.into());
    };
    let Some(object) = &envelope.object else {
        return dead("unreadable: the event carries no object".to_owned());
    };
    let book = event.prices.with_catalogue(deps.catalogue.now());
    // The job of an event is created with it.
    let is_news = claimed.job.attempt == 0 && !envelope.is_made_here();
    let heard = if is_news { Heard::At(claimed.job.created_at_ms) } else { Heard::Before };
    let about = EventContext { deps, event, kind, object, book: &book, may_relink: true, heard, now_ms };
    let has_failed = claimed.job.attempt > 0 && JobKind::StripeEvent.policy() == Policy::RefetchLatest;
    let mut verdict = if has_failed { latest::run(&about).await } else { present::run(&about).await };
    if !has_failed && matches!(&verdict, Ok(verdict) if is_of_nobody(verdict)) {
        // What Stripe knows of the customer may name ours.
        verdict = latest::run(&about).await;
    }
    if let Ok(verdict) = &mut verdict
        && let Err(error) = payment_method::add_of_new_link(&about, verdict).await
    {
        return Ok(cannot_ask(&error));
    }
    match verdict {
        Ok(verdict) => Ok(verdict),
        Err(Failure::Engine(error)) => Err(error),
        Err(Failure::Stripe(error)) => Ok(cannot_ask(&error)),
    }
}

/// Whether what an event is about is ours, and its customer is not known.
fn is_of_nobody(verdict: &Verdict) -> bool {
    matches!(&verdict.outcome, Outcome::Retry { reason } if reason.starts_with("customer_unknown"))
}

/// Retries an event after a failed call to Stripe, whatever the reason.
fn cannot_ask(error: &StripeError) -> Verdict {
    Outcome::Retry { reason: format!("stripe_unavailable: {error}") }.into()
}

/// An event to be processed.
struct EventContext<'a> {
    deps: &'a Deps,
    event: &'a StripeEvent,
    kind: EventKind,
    /// The object as of the event.
    object: &'a Value,
    /// The catalogue, and what is known of prices.
    book: &'a PriceBook,
    /// Whether the naming of our customer is trusted so far that another Stripe customer may become its own.
    may_relink: bool,
    /// When Stripe itself told of it, if this is the first attempt at that.
    heard: Heard,
    now_ms: TimeMs,
}

impl EventContext<'_> {
    /// Applies the pure rules to an object, once all its prices are known.
    async fn decide(&self, kind: EventKind, object: &Value) -> std::result::Result<Verdict, Failure> {
        let book = price::learn(self.deps, self.book, object, self.now_ms).await?;
        let (customer, said) = (self.event.customer.as_ref(), InvoiceFields::read(object));
        let (before, book) = match kind {
            EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => {
                invoice::before(self.deps, customer, &said, &book, self.now_ms).await?
            }
            _ => (Before::default(), book),
        };
        let verdict = webhook::decide(&Facts {
            kind,
            object,
            customer: self.event.customer.clone(),
            subscription: self.event.subscription.clone(),
            subscriptions_of_customer: self.event.subscriptions_of_customer.clone(),
            book: &book,
            before: &before,
            may_relink: self.may_relink,
            now_ms: self.now_ms,
        });
        let decided = Decided {
            kind,
            said: &said,
            customer,
            before: &before,
            book: &book,
            payer: self.event.paid_invoice.as_ref(),
            heard: self.heard,
            now_ms: self.now_ms,
        };
        invoice::complete(self.deps, verdict, &decided).await
    }

    /// The event with our records of another object than its own.
    async fn event_of(&self, kind: EventKind, object: &Value) -> Result<StripeEvent> {
        let lookups = [(0, webhook::lookup(object, kind))];
        let known = Known::load(self.deps.db.read(), &lookups).await?;
        let (envelope, prices) = (self.event.envelope.clone(), self.event.prices.clone());
        StripeEvent::with_known(self.deps.db.read(), &known, &lookups[0].1, envelope, prices).await
    }

    /// The customer that another object than the event's own belongs to.
    async fn owner(&self, kind: EventKind, object: &Value) -> Result<Option<Customer>> {
        let lookups = [(0, webhook::lookup(object, kind))];
        let known = Known::load(self.deps.db.read(), &lookups).await?;
        let [(_, lookup)] = lookups;
        let subscription = lookup.subscription_id.as_ref().and_then(|id| known.subscriptions.get(id));
        Ok(known.customer(&lookup, subscription))
    }
}

fn done(effects: Vec<Effect>) -> Verdict {
    Verdict { outcome: Outcome::Done, ledger: None, effects }
}
