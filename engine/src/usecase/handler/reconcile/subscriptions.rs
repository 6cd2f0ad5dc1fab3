//! Subscriptions and invoices.

use super::super::Failure;
use super::super::invoice::{before, with_all_lines};
use super::super::price;
use super::super::stripe::Known;
use super::scope::{List, Listed};
use super::{HERE_PAGE_LEN, Page, Walk, next_of};
use crate::domain::reconcile::{Difference, invoices, subscriptions};
use crate::domain::sale::grant::grant_key;
use crate::domain::sale::{Before, PriceBook, SaleRecord};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::domain::webhook::{self, EventKind, Facts, Lookup};
use crate::ids::CustomerId;
use crate::infra::store::subscription::{self, By};
use crate::infra::store::{account, payment, reconciliation as rows};
use crate::infra::stripe::found;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// An invoice may be paid this long after it was made. Source: Stripe, "Automate payment retries": up to
/// two months.
const INVOICE_OPEN_S: i64 = 62 * 24 * 60 * 60;

impl Walk<'_> {
    /// Stripe's subscriptions, ended ones too: all, or those that were made within the window.
    pub(super) async fn subscriptions(&self) -> Result<Page, Failure> {
        let listed = match self.list_of_customer(List::Subscriptions).await? {
            Some(listed) => listed,
            None => {
                let (since_s, after) = (self.created_since_s(), self.run.cursor.as_deref());
                let list = self.deps.stripe.subscription_list_page(since_s, after).await?;
                Listed { objects: fields::rows(&list).to_vec(), cursor: next_of(&list) }
            }
        };
        let objects = self.with_awaited_invoices(listed.objects).await?;
        let differences = self.compare_subscriptions(&objects).await?;
        let seen = objects.iter().filter_map(|object| fields::id(&object["id"])).collect();
        Ok(Page { checked: objects.len(), differences, seen, cursor: listed.cursor })
    }

    /// Listed subscriptions, and those whose change waits for an invoice with that invoice, which a list does not
    /// have: nobody may pay it any more.
    async fn with_awaited_invoices(&self, mut objects: Vec<Value>) -> Result<Vec<Value>, Failure> {
        let ids: Vec<String> = objects.iter().filter_map(|object| fields::id(&object["id"])).collect();
        let stored = subscription::subscription_find_many(self.deps.db.read(), By::Id, &ids).await?;
        for waiting in stored.iter().filter(|stored| stored.unpaid_invoice().is_some()) {
            let listed = objects.iter_mut().find(|object| object["id"] == waiting.id.as_str());
            let whole = found(self.deps.stripe.subscription_retrieve(&waiting.id).await)?;
            if let Some((listed, whole)) = listed.zip(whole) {
                *listed = whole;
            }
        }
        Ok(objects)
    }

    async fn compare_subscriptions(&self, objects: &[Value]) -> Result<Vec<Difference>, Failure> {
        let looked = self.look_up(objects, subscriptions::EVENT_KIND).await?;
        let facts = looked.facts(self, objects, subscriptions::EVENT_KIND);
        let compare = |facts| subscriptions::compare(facts).into_iter().chain(subscriptions::compare_live(facts));
        Ok(facts.iter().flat_map(compare).collect())
    }

    /// Subscriptions here that Stripe did not list, asked for one by one: all that have not ended, or those of which
    /// something is new, whose period is over, or that wait for an invoice. So an end that nobody told of is found when the
    /// period ends.
    pub(super) async fn subscriptions_here(&self) -> Result<Page, Failure> {
        let after = self.run.cursor.clone().unwrap_or_default();
        let ours = rows::subscriptions_unseen(self.deps.db.read(), &self.run, &after, HERE_PAGE_LEN).await?;
        let mut differences = Vec::new();
        for subscription in &ours {
            let theirs = found(self.deps.stripe.subscription_retrieve(&subscription.id).await)?;
            match theirs {
                Some(object) => differences.extend(self.compare_subscriptions(&[object]).await?),
                None => differences.extend(subscriptions::compare_unlisted(subscription, None)),
            }
        }
        let cursor = ours.last().map(|subscription| subscription.id.clone());
        Ok(Page { checked: ours.len(), differences, seen: Vec::new(), cursor })
    }

    /// Invoices that may have been paid within the run's window.
    pub(super) async fn invoices(&self) -> Result<Page, Failure> {
        let Listed { objects: listed, cursor } = match self.list_of_customer(List::Invoices).await? {
            Some(listed) => listed,
            None => {
                let (since_s, after) = (self.since_s() - INVOICE_OPEN_S, self.run.cursor.as_deref());
                let list = self.deps.stripe.invoice_list_page(since_s, self.until_s(), after).await?;
                Listed { objects: fields::rows(&list).to_vec(), cursor: next_of(&list) }
            }
        };
        let mut objects = Vec::with_capacity(listed.len());
        for object in listed {
            objects.push(with_all_lines(self.deps, object).await?);
        }
        let objects = objects.as_slice();
        let looked = self.look_up(objects, invoices::EVENT_KIND).await?;
        let facts = looked.facts(self, objects, invoices::EVENT_KIND);
        let granted = self.granted(&facts).await?;
        let ids: HashSet<String> = granted.keys().cloned().collect();
        let record_of = |facts: &Facts<'_>| granted.get(&fields::id(&facts.object["id"])?);
        let of_lines = |facts: &Facts<'_>| invoices::compare_granted(facts, record_of(facts)?.as_ref());
        let compare = |facts| {
            let of_credits = of_lines(facts).into_iter().chain(invoices::compare_credited(facts));
            invoices::compare(facts, &ids).into_iter().chain(of_credits)
        };
        let differences = facts.iter().flat_map(compare).collect();
        let seen = ids.into_iter().collect();
        Ok(Page { checked: objects.len(), differences, seen, cursor })
    }

    /// The invoices whose credits are in the ledger, with the record of what they sold, if there is one.
    async fn granted(&self, facts: &[Facts<'_>]) -> Result<HashMap<String, Option<SaleRecord>>, Failure> {
        let named = facts.iter().filter_map(|facts| Some((facts.customer.as_ref()?, fields::id(&facts.object["id"])?)));
        let named: Vec<_> = named.map(|(customer, id)| (&customer.id, grant_key(&id), id)).collect();
        let pairs: Vec<_> = named.iter().map(|(customer, key, _)| (*customer, key.as_str())).collect();
        if pairs.is_empty() {
            return Ok(HashMap::new());
        }
        let found = account::entry_find_by_keys(self.deps.db.read(), &pairs).await?;
        let records: HashMap<&str, Option<SaleRecord>> = found
            .iter()
            .filter_map(|(_, entry)| {
                Some((entry.idempotency_key.as_deref()?, SaleRecord::read(entry.metadata.as_deref())))
            })
            .collect();
        let mut granted = HashMap::new();
        for (customer, key, id) in &named {
            match records.get(key.as_str()) {
                Some(record) => drop(granted.insert(id.clone(), record.clone())),
                None if self.is_granted_to_another(customer, id).await? => drop(granted.insert(id.clone(), None)),
                None => {}
            }
        }
        Ok(granted)
    }

    /// Whether an invoice was paid for another customer, before support unlinked that one from the Stripe customer:
    /// what that one got is not granted again.
    async fn is_granted_to_another(&self, customer: &CustomerId, invoice: &str) -> Result<bool, Failure> {
        let stored = payment::invoice_find(self.deps.db.read(), invoice).await?;
        Ok(stored.is_some_and(|stored| stored.is_paid && stored.customer_id != *customer))
    }

    pub(super) async fn look_up(&self, objects: &[Value], kind: EventKind) -> Result<Looked, Failure> {
        let lookups = objects.iter().map(|object| webhook::lookup(object, kind)).enumerate().collect::<Vec<_>>();
        let known = Known::load(self.deps.db.read(), &lookups).await?;
        let prices = price::known_of(self.deps.db.read(), objects).await?;
        let book = PriceBook::new(self.deps.catalogue.now(), prices);
        let mut book = price::learn_all(self.deps, &book, objects, self.now_ms).await?;
        let mut all_before = Vec::new();
        for (object, (_, lookup)) in objects.iter().zip(&lookups) {
            let subscription = lookup.subscription_id.as_ref().and_then(|id| known.subscriptions.get(id));
            let customer = known.customer(lookup, subscription);
            let said = InvoiceFields::read(object);
            let (before, learned) = before(self.deps, customer.as_ref(), &said, &book, self.now_ms).await?;
            book = learned;
            all_before.push(before);
        }
        Ok(Looked { lookups, known, book, before: all_before })
    }
}

/// What is known here of a page's objects.
pub(super) struct Looked {
    lookups: Vec<(usize, Lookup)>,
    known: Known,
    book: PriceBook,
    /// Of each object.
    before: Vec<Before>,
}

impl Looked {
    /// Each object with what bears on it, for the rules.
    pub(super) fn facts<'a>(&'a self, walk: &Walk<'_>, objects: &'a [Value], kind: EventKind) -> Vec<Facts<'a>> {
        let looked = objects.iter().zip(&self.lookups).zip(&self.before);
        let facts = looked.map(|((object, (_, lookup)), before)| {
            let all = || self.known.subscriptions.values();
            let subscription: Option<Subscription> =
                lookup.subscription_id.as_ref().and_then(|id| self.known.subscriptions.get(id)).cloned();
            let customer = self.known.customer(lookup, subscription.as_ref());
            let own = customer.iter().flat_map(|customer| all().filter(|row| row.customer_id == customer.id));
            Facts {
                kind,
                object,
                subscriptions_of_customer: own.cloned().collect(),
                customer: customer.clone(),
                subscription,
                book: &self.book,
                before,
                may_relink: false,
                now_ms: walk.now_ms,
            }
        });
        facts.collect()
    }
}
