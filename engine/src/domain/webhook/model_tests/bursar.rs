//! The rules at work, without a database: prices are learned, events decided, credits granted and clawed back, as the
//! use cases do it.

mod result;

use super::fact::Named;
use super::shape::{self, STRANGER, Version};
use super::stripe::Stripe;
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::catalogue::{Catalogue, CatalogueHistory};
use crate::domain::clawback::{Lot, LotTarget, away, bought_credits, bought_of_each, step_towards, targets, withheld};
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, NewJob, Outcome};
use crate::domain::ledger::{Account, Command, Entry, EntryKind, decide};
use crate::domain::reconcile::{Class, Difference, Repair, invoices, refunds, subscriptions};
use crate::domain::refund::Gone;
use crate::domain::sale::at_stripe::{SeenPrice, StripePrices, sold, unstored};
use crate::domain::sale::grant::{PartArgs, grant_key, grant_keys, grants, invoice_of};
use crate::domain::sale::level;
use crate::domain::sale::line::{Sales, sales};
use crate::domain::sale::{Before, BroughtBefore, Decision, KnownPrice, PriceBook, SaleRecord, applied, judge};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{
    self, ChargeFields, CreditNoteFields, DisputeFields, InvoiceFields, SubscriptionFields,
};
use crate::domain::webhook::fixtures::{customer, facts};
use crate::domain::webhook::{self, EventKind, Facts};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// How often a part waits for a dispute, each time for a day: longer than any dispute lasts, which in a history may be
/// years.
const WAITS_MAX: u32 = 10_000;

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub kind: EventKind,
    pub object: Value,
}

/// A part of an invoice's credits that is still to be granted.
struct Part {
    at_ms: TimeMs,
    args: PartArgs,
    waits: u32,
}

pub(super) struct Bursar {
    catalogue: Arc<Catalogue>,
    /// All that were in force.
    versions: Vec<(TimeMs, Arc<Catalogue>)>,
    prices: BTreeMap<String, KnownPrice>,
    customer: Customer,
    subscriptions: BTreeMap<String, Subscription>,
    account: Account,
    entries: Vec<Entry>,
    parts: Vec<Part>,
    /// The unique keys of all jobs that ever were.
    jobs: BTreeSet<String>,
    retries: Vec<Event>,
    /// What became of dead events: the object and the reason.
    dead: BTreeMap<String, String>,
    now_ms: TimeMs,
}

/// The number in an id.
fn number(id: &str) -> usize {
    id.rsplit('_').next().and_then(|n| n.parse().ok()).expect("an id of the model")
}

impl Bursar {
    pub fn new(catalogue: Catalogue, stripe: &Stripe) -> Self {
        Self {
            customer: Customer { plan: catalogue.entry.clone(), ..customer("trial") },
            versions: vec![(stripe.now_s * 1_000, Arc::new(catalogue.clone()))],
            catalogue: Arc::new(catalogue),
            prices: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            account: Account::default(),
            entries: Vec::new(),
            parts: Vec::new(),
            jobs: BTreeSet::new(),
            retries: Vec::new(),
            dead: BTreeMap::new(),
            now_ms: stripe.now_s * 1_000,
        }
    }

    // --- the catalogue ---

    /// What applying another catalogue stores of the present one's prices, before Stripe changes.
    pub fn propose(&mut self, stripe: &Stripe) {
        let known: Vec<KnownPrice> = self.prices.values().cloned().collect();
        for price in unstored(&self.catalogue, &seen(stripe), &known, self.now_ms) {
            self.put_price(price);
        }
    }

    /// Puts another catalogue into force, after Stripe has its prices.
    pub fn apply(&mut self, new: Catalogue, stripe: &Stripe) {
        let seen = seen(stripe).by_lookup_key;
        let present = new.prices.iter().map(|price| (price, &seen[&price.lookup_key].said));
        let present: Vec<KnownPrice> = present.map(|(price, said)| sold(price, said, &new, self.now_ms)).collect();
        let ids = present.iter().filter_map(|row| Some((row.decision.price()?.clone(), row.id.clone()))).collect();
        for kept in applied::kept_terms(&self.catalogue, &new, &ids) {
            let is_kept = |row: &KnownPrice| {
                row.decision.price() == Some(&kept.terms.key) && Some(&row.id) != kept.present.as_ref()
            };
            for row in self.prices.values_mut().filter(|row| is_kept(row) && row.terms.is_none()) {
                row.terms = Some(kept.terms.clone());
            }
        }
        for price in present {
            self.put_price(KnownPrice { terms: None, ..price });
        }
        self.catalogue = Arc::new(new);
        self.versions.push((self.now_ms, self.catalogue.clone()));
    }

    /// What was sold as ours stays ours, with its terms.
    fn put_price(&mut self, price: KnownPrice) {
        let stored = self.prices.get(&price.id);
        let terms = stored.and_then(|stored| stored.terms.clone());
        if stored.is_none_or(|stored| !stored.is_final() || matches!(price.decision, Decision::Ours(_))) {
            self.prices.insert(price.id.clone(), KnownPrice { terms, ..price });
        }
    }

    /// Learns the prices that an object names.
    fn learn(&mut self, object: &Value, stripe: &Stripe) -> PriceBook {
        let named: Vec<fields::Price> = if object["object"] == "invoice" {
            let lines = InvoiceFields::read(object).lines;
            let sells = |line: &fields::Line| line.prorates() || (line.bills_period() && line.costs());
            lines.into_iter().filter(sells).map(|line| line.price).collect()
        } else {
            SubscriptionFields::read(object).items.into_iter().map(|item| item.price).collect()
        };
        for price in named {
            let Some(id) = price.ids.first().filter(|id| !self.prices.get(*id).is_some_and(KnownPrice::is_final))
            else {
                continue;
            };
            let asked = fields::Price::read_object(&shape::price(stripe, number(id)));
            let whole = if price.is_whole { price.clone() } else { asked };
            let of_product = self
                .prices
                .values()
                .filter(|row| row.product_id == whole.product_id && matches!(row.decision, Decision::Ours(_)));
            let of_product: Vec<KnownPrice> = of_product.cloned().collect();
            self.put_price(judge::judge(&whole, &self.catalogue, &of_product, self.now_ms));
        }
        self.book()
    }

    fn book(&self) -> PriceBook {
        let mut book = PriceBook::new(self.catalogue.clone(), self.prices.values().cloned());
        book.earlier_mut().add_history(Arc::new(CatalogueHistory::new(self.versions.clone())));
        book
    }

    // --- events ---

    pub fn take(&mut self, event: &Event, stripe: &Stripe) {
        let id = fields::id(&event.object["id"]).expect("an id");
        match event.kind {
            EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => {
                let verdict = self.decide(EventKind::InvoicePaid, &event.object, stripe);
                let lacks = |reason: &str| reason.starts_with("shape_incomplete");
                let verdict = match &verdict.outcome {
                    Outcome::Dead { reason } if lacks(reason) => {
                        let whole = shape::invoice(stripe, number(&id), Version::Basil);
                        self.decide(EventKind::InvoicePaid, &whole, stripe)
                    }
                    _ => verdict,
                };
                self.commit(&id, verdict, event);
                self.review_left(number(&id), stripe);
            }
            EventKind::InvoicePaymentFailed => self.take_failure(number(&id), event, stripe),
            EventKind::SubscriptionCreated | EventKind::SubscriptionUpdated | EventKind::SubscriptionDeleted => {
                let now = shape::subscription(stripe, number(&id), Version::Basil);
                let verdict = self.decide(EventKind::SubscriptionUpdated, &now, stripe);
                self.commit(&id, verdict, event);
            }
            _ => {
                let of = fields::id(&event.object["charge"]).or_else(|| fields::id(&event.object["invoice"]));
                self.review(number(&of.unwrap_or(id)), event, stripe);
            }
        }
    }

    /// Reviews the payments of the periods that an invoice leaves.
    fn review_left(&mut self, invoice: usize, stripe: &Stripe) {
        let said = InvoiceFields::read(&shape::invoice(stripe, invoice, Version::Basil));
        let (before, _) = self.before_of(&said, stripe);
        let left: Vec<usize> = before.left_by(&said).map(number).collect();
        for base in left {
            self.review(base, &Event { kind: EventKind::ChargeRefunded, object: Value::Null }, stripe);
        }
    }

    fn take_failure(&mut self, invoice: usize, event: &Event, stripe: &Stripe) {
        let now = shape::invoice(stripe, invoice, Version::Basil);
        let is_paid = stripe.invoices[invoice].is_paid();
        let kind = if is_paid { EventKind::InvoicePaid } else { EventKind::InvoicePaymentFailed };
        let verdict = self.decide(kind, &now, stripe);
        self.commit(&format!("in_{invoice}"), verdict, event);
    }

    fn decide(&mut self, kind: EventKind, object: &Value, stripe: &Stripe) -> Verdict {
        let (before, book) = self.before(object, stripe);
        webhook::decide(&self.facts(kind, object, &before, &book))
    }

    /// What is known of the other invoices of an invoice's subscription, if they have to be, with all their prices.
    fn before(&mut self, object: &Value, stripe: &Stripe) -> (Before, PriceBook) {
        let book = self.learn(object, stripe);
        let said = InvoiceFields::read(object);
        if !said.needs_others() {
            return (Before::default(), book);
        }
        self.before_of(&said, stripe)
    }

    fn before_of(&mut self, said: &InvoiceFields, stripe: &Stripe) -> (Before, PriceBook) {
        let of_sub = |n: &usize| {
            let invoice = &stripe.invoices[*n];
            let is_named = said.subscription_id.as_deref().map(number) == invoice.sub;
            is_named && invoice.sub.is_some() && matches!(invoice.status, "open" | "paid" | "uncollectible")
        };
        let objects: Vec<Value> =
            (0..stripe.invoices.len()).filter(of_sub).map(|n| shape::invoice(stripe, n, Version::Basil)).collect();
        let book = objects.iter().map(|object| self.learn(object, stripe)).next_back();
        let book = book.unwrap_or_else(|| self.book());
        let invoices: Vec<InvoiceFields> = objects.iter().map(InvoiceFields::read).collect();
        let brought = self.entries.iter().filter_map(|entry| {
            let id = invoice_of(entry.idempotency_key.as_deref()?)?.to_owned();
            let record = SaleRecord::read(entry.metadata.as_deref())?;
            let is_clawed_back = self.account.clawed_back(entry.seq) > Credits::ZERO;
            Some((id, BroughtBefore { record, granted: entry.amount, grants: vec![entry.seq], is_clawed_back }))
        });
        (Before { invoices, brought: brought.collect(), ..Before::default() }, book)
    }

    fn facts<'a>(&self, kind: EventKind, object: &'a Value, before: &'a Before, book: &'a PriceBook) -> Facts<'a> {
        let lookup = webhook::lookup(object, kind);
        let is_stranger = lookup.stripe_customer_id.as_deref() == Some(STRANGER);
        Facts {
            customer: Some(self.customer.clone()).filter(|_| !is_stranger),
            subscription: lookup.subscription_id.and_then(|id| self.subscriptions.get(&id).cloned()),
            subscriptions_of_customer: self.subscriptions.values().cloned().collect(),
            before,
            now_ms: self.now_ms,
            ..facts(kind, object, book, "trial")
        }
    }

    fn commit(&mut self, id: &str, verdict: Verdict, event: &Event) {
        match verdict.outcome {
            Outcome::Done => drop(self.dead.remove(id)),
            Outcome::Retry { .. } => self.retries.push(event.clone()),
            Outcome::Dead { reason } => drop(self.dead.insert(id.to_owned(), reason)),
            outcome => panic!("{id}: {outcome:?}"),
        }
        let is_granted = verdict.ledger.as_ref().is_some_and(|(_, command)| self.has(command));
        if let Some((_, command)) = &verdict.ledger {
            self.command(command);
        }
        for effect in verdict.effects {
            match effect {
                Effect::SubscriptionPut(row) => drop(self.subscriptions.insert(row.id.clone(), row)),
                Effect::PlanSet { plan, .. } => self.customer.plan = plan,
                Effect::JobInsert(job) if job.kind == JobKind::CreditsGrant && !is_granted => self.insert(&job),
                _ => {}
            }
        }
    }

    fn insert(&mut self, job: &NewJob) {
        if self.jobs.insert(job.unique_key.clone().expect("a unique key")) {
            let args = serde_json::from_str(&job.args).expect("the arguments of a part");
            self.parts.push(Part { at_ms: job.run_at_ms, args, waits: 0 });
        }
    }

    // --- the ledger ---

    fn has(&self, command: &Command) -> bool {
        let key = command.idempotency_key.as_ref();
        key.is_some() && self.entries.iter().any(|entry| entry.idempotency_key.as_ref() == key)
    }

    fn command(&mut self, command: &Command) {
        if !self.has(command) {
            let decision = decide(&self.account, command, self.now_ms).expect("internal commands are not refused");
            self.account = decision.account;
            self.entries.extend(decision.entries);
        }
    }

    /// Lets time pass: parts are granted when their time has come.
    pub fn advance(&mut self, to_s: i64, stripe: &Stripe) {
        let to_ms = to_s * 1_000;
        while let Some(next) = (0..self.parts.len()).min_by_key(|n| self.parts[*n].at_ms) {
            if self.parts[next].at_ms > to_ms {
                break;
            }
            let part = self.parts.swap_remove(next);
            self.now_ms = self.now_ms.max(part.at_ms);
            self.grant_part(part, stripe);
        }
        self.now_ms = to_ms;
    }

    fn grant_part(&mut self, part: Part, stripe: &Stripe) {
        let invoice = number(&part.args.invoice);
        let (gone, refunded, total) = money(stripe, invoice);
        let before = self.granted(&part.args.invoice).iter().map(bought_credits).sum();
        let withheld = withheld(before, part.args.credits, &all_gone(gone), total);
        if gone >= total && total > MoneyMinor::ZERO && withheld.0 >= part.args.credits {
            if refunded < total && part.waits < WAITS_MAX {
                self.parts.push(Part { at_ms: self.now_ms + DAY_MS, waits: part.waits + 1, ..part });
            }
            return;
        }
        self.command(&part.args.command(withheld));
        if gone > MoneyMinor::ZERO {
            let object = Value::Null;
            self.review(invoice, &Event { kind: EventKind::ChargeRefunded, object }, stripe);
        }
    }

    /// Brings the credits of an invoice to what its money says now.
    fn review(&mut self, invoice: usize, event: &Event, stripe: &Stripe) {
        if stripe.invoices[invoice].is_stranger {
            return;
        }
        let id = format!("in_{invoice}");
        let (gone, _, total) = money(stripe, invoice);
        let granted = self.granted(&id);
        if granted.is_empty() {
            let object = shape::invoice(stripe, invoice, Version::Basil);
            let book = self.learn(&object, stripe);
            let brings = |sold: &[_]| !grants(&id, sold, self.now_ms).is_empty();
            let is_certain = matches!(sales(&InvoiceFields::read(&object), &book), Sales::Known(sold) if brings(&sold));
            if is_certain && gone > MoneyMinor::ZERO {
                self.retries.push(event.clone());
            }
            return;
        }
        let targets = self.targets(invoice, &granted, (gone, total), stripe);
        for (grant, target) in granted.iter().zip(targets) {
            loop {
                let clawed_back = self.account.clawed_back(grant.seq);
                let away = away(grant, &self.entries, &self.entries);
                let returned = self.returned(grant.seq);
                let charge_id = format!("ch_{invoice}");
                let Some(step) = step_towards(grant, clawed_back, &target, &returned, &away, &charge_id, self.now_ms)
                else {
                    break;
                };
                self.command(&step.command);
            }
        }
    }

    /// The grants that returned credits of one.
    fn returned(&self, grant: i64) -> Vec<i64> {
        let is_one = |entry: &&Entry| entry.kind == EntryKind::Grant && entry.origin() == grant && entry.seq != grant;
        self.entries.iter().filter(is_one).map(|entry| entry.seq).collect()
    }

    /// The credits of an invoice's grants that go with its money, without those that went because its period was left.
    /// Those that expire go as well: what each invoice leaves in the end does not count that.
    fn targets(
        &mut self,
        invoice: usize,
        granted: &[Entry],
        (gone, total): (MoneyMinor, MoneyMinor),
        stripe: &Stripe,
    ) -> Vec<LotTarget> {
        let said = InvoiceFields::read(&shape::invoice(stripe, invoice, Version::Basil));
        let (before, book) = self.before_of(&said, stripe);
        let lot = |(grant, bought): (&Entry, Credits)| {
            let clawed_back = self.account.clawed_back(grant.seq);
            Lot { clawed_back, unspent_gone: Some(Credits::ZERO), ..Lot::untouched(bought) }
        };
        let lots: Vec<Lot> = granted.iter().zip(bought_of_each(granted)).map(lot).collect();
        let taken = level::taken_of(&said, &before, &book, None);
        targets(&lots, &all_gone(gone), total, taken, Credits::ZERO)
    }

    fn granted(&self, invoice: &str) -> Vec<Entry> {
        let keys: HashSet<String> = grant_keys(invoice).collect();
        let is_of = |entry: &&Entry| entry.idempotency_key.as_ref().is_some_and(|key| keys.contains(key));
        self.entries.iter().filter(is_of).cloned().collect()
    }

    /// Runs what failed before again, as its backoff or a replay does.
    pub fn retry(&mut self, stripe: &Stripe) {
        for event in std::mem::take(&mut self.retries) {
            if !event.object.is_null() {
                self.take(&event, stripe);
            }
        }
    }

    // --- comparing ---

    /// Compares all objects at Stripe with what is stored, and repairs what differs; returns what did.
    pub fn reconcile(&mut self, stripe: &Stripe) -> Vec<String> {
        let mut found = Vec::new();
        for n in 0..stripe.subs.len() {
            let object = shape::subscription(stripe, n, Version::Basil);
            let (before, book) = self.before(&object, stripe);
            let difference = subscriptions::compare(&self.facts(subscriptions::EVENT_KIND, &object, &before, &book));
            self.repair(difference, stripe, &mut found);
        }
        for n in 0..stripe.invoices.len() {
            let object = shape::invoice(stripe, n, Version::Basil);
            let (before, book) = self.before(&object, stripe);
            let id = format!("in_{n}");
            let is_granted = self.entries.iter().any(|entry| entry.idempotency_key == Some(grant_key(&id)));
            let granted = HashSet::from_iter(is_granted.then(|| id.clone()));
            let difference = invoices::compare(&self.facts(invoices::EVENT_KIND, &object, &before, &book), &granted);
            self.repair(difference, stripe, &mut found);
        }
        for n in (0..stripe.invoices.len()).filter(|n| stripe.invoices[*n].charge.is_some()) {
            let granted = self.granted(&format!("in_{n}"));
            let (gone, _, total) = money(stripe, n);
            let clawed_back = granted.iter().map(|entry| self.account.clawed_back(entry.seq)).sum();
            let target = self.targets(n, &granted, (gone, total), stripe).iter().map(|target| target.total).sum();
            let charge = shape::charge(stripe, n, Version::Basil);
            let difference = refunds::compare(&charge, &format!("ch_{n}"), &self.customer.id, clawed_back, target);
            self.repair(difference, stripe, &mut found);
        }
        found
    }

    fn repair(&mut self, difference: Option<Difference>, stripe: &Stripe, found: &mut Vec<String>) {
        let Some(difference) = difference else { return };
        let is_for_a_person = matches!(
            difference.class,
            Class::SubscriptionPriceUnknown | Class::InvoicePriceUnknown | Class::SubscriptionUnknown
        );
        if let Some(Repair::MakeEvent { kind, object }) = difference.repair.clone() {
            self.take(&Event { kind, object }, stripe);
        }
        if !is_for_a_person {
            found.push(format!("{difference:?}"));
        }
    }
}

/// Money whose credits go in any case.
fn all_gone(gone: MoneyMinor) -> Gone {
    Gone { all: gone, ..Gone::default() }
}

/// The prices at Stripe by their lookup keys.
fn seen(stripe: &Stripe) -> StripePrices {
    let prices = (0..stripe.prices.len()).map(|n| SeenPrice::read(&shape::price(stripe, n)));
    let keyed = prices.filter_map(|seen| Some((seen.said.lookup_key.clone()?, seen)));
    StripePrices { by_lookup_key: keyed.collect(), ..StripePrices::default() }
}

/// What of an invoice's money is gone, how much of that was given back, and all of it, read from Stripe's objects.
fn money(stripe: &Stripe, n: usize) -> (MoneyMinor, MoneyMinor, MoneyMinor) {
    let total = InvoiceFields::read(&shape::object(stripe, Named::Invoice(n), Version::Basil)).total;
    let mut refunded = MoneyMinor::ZERO;
    let mut gone = MoneyMinor::ZERO;
    if stripe.invoices[n].charge.is_some() {
        let charge = ChargeFields::read(&shape::object(stripe, Named::Charge(n), Version::Clover));
        refunded += charge.amount_refunded;
        for at in (0..stripe.disputes.len()).filter(|at| stripe.disputes[*at].invoice == n) {
            let dispute = DisputeFields::read(&shape::object(stripe, Named::Dispute(at), Version::Clover));
            gone += dispute.amount_gone_of(charge.amount.unwrap(), charge.currency.as_deref());
        }
    }
    for at in (0..stripe.notes.len()).filter(|at| stripe.notes[*at].invoice == n) {
        let version = if at % 2 == 0 { Version::Basil } else { Version::Y2024 };
        refunded += CreditNoteFields::read(&shape::object(stripe, Named::Note(at), version)).gone_beside_refunds();
    }
    (gone + refunded, refunded, total.unwrap())
}
