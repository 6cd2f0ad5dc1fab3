//! A model of Stripe: what was sold, billed, paid and given back. It keeps facts and decides nothing about credits.

mod change;

use super::deed::{Deed, Pay, Way};
use super::fact::{Charge, Dispute, Invoice, Kind, Line, Named, Note, StripePrice, Sub};
use crate::amount::{Credits, MoneyMinor};
use crate::domain::catalogue::{Catalogue, GrantSchedule, Interval, IntervalUnit, Price};
use crate::domain::webhook::EventKind;
use chrono::{DateTime, Months};

const HOUR_S: i64 = 60 * 60;
const DAY_S: i64 = 24 * HOUR_S;
/// When every history begins.
pub(super) const BEGIN_S: i64 = 1_750_000_000;

pub(super) struct Stripe {
    pub now_s: i64,
    pub prices: Vec<StripePrice>,
    /// The present price at Stripe of each price of the catalogue.
    pub present: Vec<usize>,
    pub subs: Vec<Sub>,
    pub invoices: Vec<Invoice>,
    pub disputes: Vec<Dispute>,
    pub notes: Vec<Note>,
    /// What happened and is not told yet.
    pub news: Vec<(EventKind, Named)>,
    catalogue: Catalogue,
}

/// Prices of other business come after those that were sold at first: an add-on in each of three currencies, one that
/// is billed by use and belongs to a product of ours, and one of our product at an amount that nobody knows.
const ADD_ONS: usize = 3;
const METERED: usize = ADD_ONS;
const UNKNOWN: usize = ADD_ONS + 1;

impl Stripe {
    pub fn new(catalogue: &Catalogue) -> Self {
        let sold = catalogue.prices.iter().map(StripePrice::of);
        let other = |product: &str, amount, currency: &str, is_metered| StripePrice {
            product: product.to_owned(),
            amount,
            currency: currency.to_owned(),
            every: Interval::MONTH,
            lookup_key: Some("storage".to_owned()).filter(|_| product == "prod_other" && currency == "usd"),
            is_metered,
            promise: None,
        };
        let add_ons = ["usd", "eur", "jpy"].map(|currency| other("prod_other", 700, currency, false));
        let of_ours = format!("prod_{}", catalogue.prices[0].plan);
        let others = [other(&of_ours, 3, "usd", true), other(&of_ours, 97_531, "usd", false)];
        Self {
            now_s: BEGIN_S,
            prices: sold.chain(add_ons).chain(others).collect(),
            present: (0..catalogue.prices.len()).collect(),
            subs: Vec::new(),
            invoices: Vec::new(),
            disputes: Vec::new(),
            notes: Vec::new(),
            news: Vec::new(),
            catalogue: catalogue.clone(),
        }
    }

    /// The catalogue after a deed that changes it.
    pub fn catalogue_after(&self, deed: &Deed) -> Option<Catalogue> {
        let mut new = self.catalogue.clone();
        match *deed {
            Deed::Raise { price, amount, credits } => {
                let count = new.prices.len();
                let price = &mut new.prices[price % count];
                if price.amount == MoneyMinor(amount) {
                    return None;
                }
                (price.amount, price.credits) = (MoneyMinor(amount), Credits(credits));
            }
            Deed::Recredit { price, credits } => {
                let count = new.prices.len();
                let price = &mut new.prices[price % count];
                // Of what is granted by months, each has some.
                let least = if price.grant == GrantSchedule::Monthly { 12 } else { 0 };
                price.credits = Credits(credits.max(least));
            }
            Deed::Retire { price } => {
                let count = new.prices.len();
                new.prices[price % count].offered = false;
            }
            _ => return None,
        }
        Some(new)
    }

    /// When a deed happens.
    pub fn time_of(&self, deed: &Deed) -> i64 {
        match deed {
            Deed::Renew { pick, .. } => {
                let until_s = self.live(*pick).map_or(0, |sub| self.subs[sub].until_s);
                self.now_s.max(until_s) + HOUR_S
            }
            Deed::Wait { days } => self.now_s + days * DAY_S,
            Deed::Switch { pick, days, .. } | Deed::Restart { pick, days, .. } | Deed::Leave { pick, days } => {
                let at_s = self.now_s + days * DAY_S + HOUR_S;
                let until_s = self.live(*pick).map_or(at_s, |sub| self.subs[sub].until_s);
                if at_s < until_s { at_s } else { self.now_s + HOUR_S }
            }
            _ => self.now_s + HOUR_S,
        }
    }

    pub fn act(&mut self, deed: &Deed) {
        let new = self.catalogue_after(deed);
        self.now_s = self.time_of(deed);
        match *deed {
            Deed::Subscribe { price, seats, percent_off, has_add_on, is_tagged, pay } => {
                let price = self.present[price % self.present.len()];
                self.subscribe(price, seats, percent_off, (has_add_on, is_tagged), pay);
            }
            Deed::Trial { price, seats } => self.begin_trial(self.present[price % self.present.len()], seats),
            Deed::Renew { pick, pay } => self.renew(pick, pay),
            Deed::PayOpen { pick } => self.pay_open(pick),
            Deed::Change { pick, price, seats, at_once, pay } => self.change(pick, price, seats, at_once, pay),
            Deed::Switch { pick, price, seats, .. } => {
                let price = self.present[price % self.present.len()];
                self.with_live(pick, |stripe, sub| stripe.prorate(sub, Some((price, seats))));
            }
            Deed::Restart { pick, price, seats, .. } => {
                let price = self.present[price % self.present.len()];
                self.with_live(pick, |stripe, sub| stripe.restart(sub, price, seats));
            }
            Deed::Leave { pick, .. } => self.with_live(pick, |stripe, sub| stripe.prorate(sub, None)),
            Deed::Pause { pick } => self.with_live(pick, |stripe, sub| {
                stripe.subs[sub].is_paused = true;
                stripe.tell(EventKind::SubscriptionUpdated, Named::Sub(sub));
            }),
            Deed::Resume { pick, pay } => self.with_live(pick, |stripe, sub| {
                if std::mem::take(&mut stripe.subs[sub].is_paused) {
                    stripe.begin_period(sub, stripe.now_s, "subscription_update", pay);
                }
            }),
            Deed::End { pick } => self.with_live(pick, Self::end),
            Deed::Prorate { pick, amount } => self.with_live(pick, |stripe, sub| {
                let (price, quantity) = stripe.subs[sub].items[0];
                stripe.bill_once(Some(sub), price, quantity, amount, Kind::Proration);
            }),
            Deed::Manual { price } => {
                let price = self.present[price % self.present.len()];
                self.bill_once(None, price, 1, self.prices[price].amount, Kind::Item);
            }
            Deed::Elsewhere { kind, is_stranger } => self.elsewhere(kind, is_stranger),
            Deed::Refund { pick, percent } => self.refund(pick, percent),
            Deed::CreditNote { pick, percent, way } => self.credit(pick, percent, way),
            Deed::VoidNote { pick } => self.void_note(pick),
            Deed::Dispute { pick, percent, is_foreign } => self.dispute(pick, percent, is_foreign),
            Deed::Decide { pick, is_won } => self.decide_dispute(pick, is_won),
            Deed::Raise { price, .. } if new.is_some() => self.raise(price, new.as_ref().unwrap()),
            Deed::Recredit { price, .. } => {
                let at = price % self.present.len();
                let promise = new.as_ref().map(|new| new.prices[at].clone());
                self.prices[self.present[at]].promise = promise;
            }
            Deed::Raise { .. } | Deed::Retire { .. } | Deed::Wait { .. } => {}
        }
        if let Some(new) = new {
            self.catalogue = new;
        }
    }

    fn tell(&mut self, kind: EventKind, named: Named) {
        self.news.push((kind, named));
    }

    /// A subscription that has not ended.
    fn live(&self, pick: usize) -> Option<usize> {
        let live: Vec<usize> = (0..self.subs.len()).filter(|sub| self.subs[*sub].ended_s.is_none()).collect();
        (!live.is_empty()).then(|| live[pick % live.len()])
    }

    fn with_live(&mut self, pick: usize, act: impl FnOnce(&mut Self, usize)) {
        if let Some(sub) = self.live(pick) {
            act(self, sub);
        }
    }

    fn subscribe(&mut self, price: usize, seats: i64, percent_off: i64, (add_on, tagged): (bool, bool), pay: Pay) {
        let mut items = vec![(price, seats)];
        let sold = self.catalogue.prices.len();
        let add_ons = sold..sold + ADD_ONS;
        if add_on
            && let Some(found) = add_ons.into_iter().find(|n| self.prices[*n].currency == self.prices[price].currency)
        {
            items.push((found, 2));
        }
        let tag = self.prices[price].promise.clone().filter(|_| tagged);
        let sub = self.open(items, false, percent_off, tag);
        self.begin_period(sub, self.now_s, "subscription_create", pay);
    }

    fn open(&mut self, items: Vec<(usize, i64)>, is_stranger: bool, percent_off: i64, tag: Option<Price>) -> usize {
        self.subs.push(Sub {
            is_stranger,
            items,
            tag,
            percent_off,
            from_s: self.now_s,
            until_s: self.now_s,
            status: "active",
            is_paused: false,
            ended_s: None,
        });
        self.tell(EventKind::SubscriptionCreated, Named::Sub(self.subs.len() - 1));
        self.subs.len() - 1
    }

    fn begin_trial(&mut self, price: usize, seats: i64) {
        let sub = self.open(vec![(price, seats)], false, 0, None);
        let until_s = self.now_s + 14 * DAY_S;
        (self.subs[sub].status, self.subs[sub].until_s) = ("trialing", until_s);
        let free = Line {
            price,
            promise: self.prices[price].promise.clone(),
            quantity: seats,
            amount: 0,
            discount: 0,
            kind: Kind::Period,
            from_s: self.now_s,
            until_s,
        };
        self.bill(Some(sub), false, "subscription_create", vec![free], Pay::Card);
    }

    fn renew(&mut self, pick: usize, pay: Pay) {
        let Some(sub) = self.live(pick).filter(|sub| self.subs[*sub].status != "incomplete") else { return };
        self.begin_period(sub, self.subs[sub].until_s, "subscription_cycle", pay);
    }

    fn begin_period(&mut self, sub: usize, from_s: i64, reason: &'static str, pay: Pay) {
        self.begin_period_with(sub, from_s, reason, pay, None);
    }

    /// Begins a period; its invoice also has this line.
    fn begin_period_with(&mut self, sub: usize, from_s: i64, reason: &'static str, pay: Pay, also: Option<Line>) {
        let until_s = later(from_s, self.prices[self.subs[sub].items[0].0].every);
        let percent_off = self.subs[sub].percent_off;
        let line = |&(price, quantity): &(usize, i64)| {
            let amount = self.prices[price].amount * quantity;
            let discount = amount * percent_off / 100;
            let promise = self.prices[price].promise.clone();
            Line { price, promise, quantity, amount, discount, kind: Kind::Period, from_s, until_s }
        };
        let lines = self.subs[sub].items.iter().map(line).chain(also).collect();
        (self.subs[sub].from_s, self.subs[sub].until_s) = (from_s, until_s);
        let is_stranger = self.subs[sub].is_stranger;
        let invoice = self.bill(Some(sub), is_stranger, reason, lines, pay);
        self.subs[sub].status = match (self.invoices[invoice].status, reason) {
            ("open", "subscription_create") => "incomplete",
            ("open", _) => "past_due",
            _ => "active",
        };
        self.tell(EventKind::SubscriptionUpdated, Named::Sub(sub));
    }

    fn bill(
        &mut self,
        sub: Option<usize>,
        is_stranger: bool,
        reason: &'static str,
        lines: Vec<Line>,
        pay: Pay,
    ) -> usize {
        let total = lines.iter().map(|line| line.amount - line.discount).sum();
        let is_void = sub.is_some_and(|sub| self.subs[sub].is_paused);
        let created_s = self.now_s;
        self.invoices.push(Invoice { created_s, sub, is_stranger, reason, lines, total, status: "open", charge: None });
        let invoice = self.invoices.len() - 1;
        match pay {
            _ if is_void => self.invoices[invoice].status = "void",
            Pay::Later if total > 0 => self.tell(EventKind::InvoicePaymentFailed, Named::Invoice(invoice)),
            _ => self.pay(invoice, pay),
        }
        invoice
    }

    fn pay(&mut self, invoice: usize, pay: Pay) {
        let paid = &mut self.invoices[invoice];
        let by_card = match pay {
            Pay::Balance(percent) => paid.total - paid.total * percent / 100,
            Pay::Outside => 0,
            Pay::Card | Pay::Later => paid.total,
        };
        paid.charge = (by_card > 0).then_some(Charge { amount: by_card, refunded: 0 });
        paid.status = "paid";
        self.tell(EventKind::InvoicePaid, Named::Invoice(invoice));
        self.tell(EventKind::InvoicePaymentSucceeded, Named::Invoice(invoice));
    }

    fn pay_open(&mut self, pick: usize) {
        let open: Vec<usize> = (0..self.invoices.len()).filter(|n| self.invoices[*n].status == "open").collect();
        if open.is_empty() {
            return;
        }
        let invoice = open[pick % open.len()];
        self.pay(invoice, Pay::Card);
        if let Some(sub) = self.invoices[invoice].sub.filter(|sub| self.subs[*sub].ended_s.is_none()) {
            self.subs[sub].status = "active";
            self.tell(EventKind::SubscriptionUpdated, Named::Sub(sub));
        }
    }

    fn change(&mut self, pick: usize, price: usize, seats: i64, at_once: bool, pay: Pay) {
        let price = self.present[price % self.present.len()];
        self.with_live(pick, |stripe, sub| {
            let present = stripe.subs[sub].items[0].0;
            // A subscription has one currency.
            if stripe.prices[present].currency != stripe.prices[price].currency || stripe.subs[sub].is_stranger {
                return;
            }
            stripe.subs[sub].items[0] = (price, seats);
            if at_once && !stripe.subs[sub].is_paused {
                stripe.begin_period(sub, stripe.now_s, "subscription_update", pay);
            } else {
                stripe.tell(EventKind::SubscriptionUpdated, Named::Sub(sub));
            }
        });
    }

    /// Ends a subscription, unless credits of a paid period are still to be granted: what becomes of those is a rule of
    /// its own.
    fn end(&mut self, sub: usize) {
        let is_monthly = |line: &Line| self.is_monthly(line.price);
        let billed = self.invoices.iter().filter(|invoice| invoice.sub == Some(sub)).flat_map(|invoice| &invoice.lines);
        if billed.into_iter().any(is_monthly) {
            return;
        }
        (self.subs[sub].status, self.subs[sub].ended_s) = ("canceled", Some(self.now_s));
        self.tell(EventKind::SubscriptionDeleted, Named::Sub(sub));
    }

    pub fn is_monthly(&self, price: usize) -> bool {
        self.prices[price].promise.as_ref().is_some_and(|price| price.grant == GrantSchedule::Monthly)
    }

    fn bill_once(&mut self, sub: Option<usize>, price: usize, quantity: i64, amount: i64, kind: Kind) {
        let (from_s, until_s) = (self.now_s, self.now_s + 30 * DAY_S);
        let promise = self.prices[price].promise.clone();
        let line = Line { price, promise, quantity, amount, discount: 0, kind, from_s, until_s };
        let is_stranger = sub.is_some_and(|sub| self.subs[sub].is_stranger);
        let reason = if sub.is_some() { "subscription_update" } else { "manual" };
        self.bill(sub, is_stranger, reason, vec![line], Pay::Card);
    }

    fn elsewhere(&mut self, kind: usize, is_stranger: bool) {
        let others = self.catalogue.prices.len();
        let price = others + [0, 1, 2, METERED, UNKNOWN][kind % 5];
        let sub = self.open(vec![(price, 3)], is_stranger, 0, None);
        self.begin_period(sub, self.now_s, "subscription_create", Pay::Card);
    }

    /// A paid invoice.
    fn paid(&self, pick: usize) -> Option<usize> {
        let paid: Vec<usize> =
            (0..self.invoices.len()).filter(|n| self.invoices[*n].is_paid() && self.invoices[*n].total > 0).collect();
        (!paid.is_empty()).then(|| paid[pick % paid.len()])
    }

    fn refund(&mut self, pick: usize, percent: i64) {
        let Some(invoice) = self.paid(pick) else { return };
        // Stripe refunds nothing of what is disputed.
        if self.disputes.iter().any(|dispute| dispute.invoice == invoice) {
            return;
        }
        let Some(charge) = &mut self.invoices[invoice].charge else { return };
        let amount = (charge.amount - charge.refunded) * percent / 100;
        charge.refunded += amount;
        if amount > 0 {
            self.tell(EventKind::ChargeRefunded, Named::Charge(invoice));
        }
    }

    fn credit(&mut self, pick: usize, percent: i64, way: Way) {
        let Some(invoice) = self.paid(pick) else { return };
        let beside: i64 = self.notes.iter().filter(|note| note.invoice == invoice).map(Note::beside_refunds).sum();
        let charge = self.invoices[invoice].charge.clone().unwrap_or(Charge { amount: 0, refunded: 0 });
        let mut left = self.invoices[invoice].total - beside - charge.refunded;
        if way == Way::Refund {
            left = left.min(charge.amount - charge.refunded);
        }
        let amount = left * percent / 100;
        if amount <= 0 {
            return;
        }
        self.notes.push(Note { invoice, amount, way, is_void: false });
        self.tell(EventKind::CreditNoteCreated, Named::Note(self.notes.len() - 1));
        if way == Way::Refund {
            self.invoices[invoice].charge.as_mut().expect("there is money left in it").refunded += amount;
            self.tell(EventKind::ChargeRefunded, Named::Charge(invoice));
        }
    }

    /// Voids a note, unless parts of its invoice's credits may have been given up because of it.
    fn void_note(&mut self, pick: usize) {
        let may_be_void = |note: &Note| {
            let lines = &self.invoices[note.invoice].lines;
            !note.is_void && note.way != Way::Refund && !lines.iter().any(|line| self.is_monthly(line.price))
        };
        let some: Vec<usize> = (0..self.notes.len()).filter(|n| may_be_void(&self.notes[*n])).collect();
        if some.is_empty() {
            return;
        }
        let note = some[pick % some.len()];
        self.notes[note].is_void = true;
        self.tell(EventKind::CreditNoteVoided, Named::Note(note));
    }

    fn dispute(&mut self, pick: usize, percent: i64, is_foreign: bool) {
        let Some(invoice) = self.paid(pick) else { return };
        if self.disputes.iter().any(|dispute| dispute.invoice == invoice) {
            return;
        }
        let Some(charge) = &self.invoices[invoice].charge else { return };
        let amount = (charge.amount * percent / 100).max(1);
        self.disputes.push(Dispute { invoice, amount, is_foreign, status: "needs_response" });
        let named = Named::Dispute(self.disputes.len() - 1);
        self.tell(EventKind::DisputeCreated, named);
        self.tell(EventKind::DisputeFundsWithdrawn, named);
    }

    fn decide_dispute(&mut self, pick: usize, is_won: bool) {
        let open: Vec<usize> =
            (0..self.disputes.len()).filter(|n| self.disputes[*n].status == "needs_response").collect();
        if open.is_empty() {
            return;
        }
        let dispute = open[pick % open.len()];
        self.disputes[dispute].status = if is_won { "won" } else { "lost" };
        self.tell(EventKind::DisputeClosed, Named::Dispute(dispute));
    }

    /// A new price at Stripe takes the lookup key over, which the old one loses.
    fn raise(&mut self, price: usize, new: &Catalogue) {
        let at = price % self.present.len();
        let old = self.present[at];
        self.prices[old].lookup_key = None;
        self.prices.push(StripePrice::of(&new.prices[at]));
        self.present[at] = self.prices.len() - 1;
    }

    /// The price that the rules must leave to a person: one of our product that the catalogue does not know.
    pub fn is_unknown(&self, price: usize) -> bool {
        price == self.catalogue.prices.len() + UNKNOWN
    }
}

impl StripePrice {
    fn of(price: &Price) -> Self {
        Self {
            product: format!("prod_{}", price.plan),
            amount: price.amount.0,
            currency: price.currency.as_str().to_owned(),
            every: price.every,
            lookup_key: Some(price.lookup_key.clone()),
            is_metered: false,
            promise: Some(price.clone()),
        }
    }
}

impl Note {
    /// What it gives back otherwise than by refunds.
    pub fn beside_refunds(&self) -> i64 {
        if self.is_void || self.way == Way::Refund { 0 } else { self.amount }
    }
}

fn later(from_s: i64, every: Interval) -> i64 {
    let count = every.count;
    let months = match every.unit {
        IntervalUnit::Week => return from_s + i64::from(count) * 7 * DAY_S,
        IntervalUnit::Month => count,
        IntervalUnit::Year => 12 * count,
    };
    let from = DateTime::from_timestamp(from_s, 0).unwrap();
    from.checked_add_months(Months::new(months)).unwrap().timestamp()
}
