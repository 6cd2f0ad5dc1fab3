//! Changes of a subscription, and their preview.
//!
//! At once, a new period begins: its invoice credits what is left of the present period, and Stripe changes nothing if
//! that cannot be paid. With the end of the period, a schedule at Stripe has the change, where everybody sees it. Both
//! leave the mark of their operation, so that an attempt whose answer was lost is recognised.
//!
//! A change that names the price that the subscription has keeps that price at Stripe, whatever the catalogue sells
//! under the same key by now: customers keep the terms that they bought, unless they ask for the present ones.

mod money;
mod preview;

pub use preview::{ChangePreview, PreviewError, preview_change};

use super::{Deps, Run};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::catalogue::currency::Currency;
use crate::domain::effect::{Effect, Verdict, merge};
use crate::domain::operation::{Payer, Problem};
use crate::domain::sale::{PriceBook, Sold};
use crate::domain::subscription::change::{Need, check_size, is_dearer, nothing_of_ours};
use crate::domain::subscription::{Change, ChangeRefusal, ChangeTime, PresentItem, Subscription};
use crate::domain::webhook::fields::{self, CHANGE_METADATA_KEY, InvoiceFields, Item, SubscriptionFields};
use crate::infra::store::subscription;
use crate::infra::stripe::change::ItemChange;
use crate::infra::stripe::requests::SubscribedItem;
use crate::infra::stripe::{Answer, StripeError};
use crate::usecase::charge::read_payer;
use crate::usecase::handler::{Failure, price};
use crate::usecase::price::check_change;
use money::check_money;
use serde_json::Value;

impl Run<'_> {
    pub(super) async fn change(&self, id: &str, change: &Change, payer: Option<&Payer>) -> Result<Verdict, Failure> {
        let object = self.deps.stripe.subscription_retrieve(id).await?;
        if self.has_changed(&object) {
            return self.finish_change(id, change, object).await;
        }
        if self.operation.key_is_closing(self.deps.doubt_ms, self.now_ms) {
            return Ok(self.new_key_when_safe("the subscription is unchanged"));
        }
        let known = self.apply_rules(&object).await?;
        let row = self.row_now(id, &known).await?;
        let catalogue = self.deps.catalogue.now();
        let price = match check_change(self.deps.db.read(), row.as_ref(), &catalogue, change).await? {
            Ok(price) => price,
            Err(refusal) => return Ok(merge(known, self.failed_unless_in_doubt(refusal.into()))),
        };
        let present = match item_of_ours(self.deps, &object, self.now_ms).await? {
            Ok(present) => present,
            Err(refusal) => return Ok(merge(known, self.failed_unless_in_doubt(refusal.into()))),
        };
        let keeps_price = present.is_kept_by(change);
        let price_id =
            if keeps_price { Some(present.price_id.clone()) } else { self.price_id(&catalogue, price).await? };
        let Some(price_id) = price_id else {
            let why = format!("Stripe has no active price for {} at the catalogue's amount", price.lookup_key);
            return Ok(self.unless_in_doubt(self.price_missing(&why).await?, "its price is missing"));
        };
        let terms = if keeps_price { &present.price } else { price };
        let quantity = row.as_ref().map_or(0, |row| row.quantity);
        let checked = present.check_present_terms(quantity, &price_id, change);
        if let Err(refusal) = checked.and_then(|()| check_size(terms, change.quantity)) {
            return Ok(merge(known, self.failed_unless_in_doubt(refusal.into())));
        }
        let item =
            SubscribedItem { price_id: &price_id, price: &price.key, plan: &price.plan, quantity: change.quantity };
        let begins_period = change.when == ChangeTime::Now && object["status"] != "trialing";
        let asked = ItemChange { subscription_id: id, item_id: &present.id, item, keeps_price, begins_period };
        let is_charged = match self.is_charged_now(&object, &asked).await? {
            Ok(is_charged) => is_charged,
            Err(refusal) => return Ok(merge(known, self.failed_unless_in_doubt(refusal.into()))),
        };
        let is_dearer = is_dearer(row.as_ref().map(|_| (&present.price, quantity)), terms, change.quantity);
        let need = Need::of(is_dearer, is_charged);
        let pays = match self.payer_of(&object, need, payer, &terms.currency).await? {
            Ok(pays) => pays,
            Err(verdict) => return Ok(*verdict),
        };
        match change.when {
            ChangeTime::Now => self.change_now(&object, &asked, pays.as_deref()).await,
            ChangeTime::PeriodEnd => self.change_at_end(&object, (id, item), pays.as_deref()).await,
        }
    }

    /// The payment method that a change is charged to; `None` if it charges no more than before, or if invoices are
    /// sent. Otherwise the verdict with which this attempt ends: nothing may be charged, or what pays is stored first.
    async fn payer_of(
        &self,
        object: &Value,
        need: Need,
        payer: Option<&Payer>,
        currency: &Currency,
    ) -> Result<Result<Option<String>, Box<Verdict>>, Failure> {
        let end = |verdict| Ok(Err(Box::new(verdict)));
        if let Some(payer) = payer {
            return Ok(Ok(Some(payer.payment_method_id.clone())));
        }
        if need == Need::Nothing {
            return Ok(Ok(None));
        }
        let standing = read_payer(self.deps.db.read(), &self.customer.id, None).await?;
        if let Err(refused) = standing.check(need.of_card(is_by_invoice(object)), currency, self.now_ms) {
            return end(self.failed_unless_in_doubt(self.why_not_charged(&refused)));
        }
        if let Err(refusal) = self.check_payer_of(object) {
            return end(self.failed_unless_in_doubt(refusal.into()));
        }
        if is_by_invoice(object) {
            return Ok(Ok(None));
        }
        if need == Need::Charge {
            let decided = self.payer_decided(None, currency).await?;
            return end(decided.unwrap_or_else(|problem| self.failed_unless_in_doubt(problem)));
        }
        Ok(Ok(standing.method.map(|method| method.id)))
    }

    /// Whether a change charges something at once. Time that is left may not cover a cheaper period that begins now, and
    /// a coupon or a balance may cover a dearer one. Refused if it would credit money that was given back, which every
    /// attempt looks at.
    async fn is_charged_now(
        &self,
        object: &Value,
        asked: &ItemChange<'_>,
    ) -> Result<Result<bool, ChangeRefusal>, Failure> {
        if !asked.begins_period {
            return Ok(Ok(false));
        }
        let pays = fields::stripe_customer_id(object).unwrap_or_else(|| self.stripe_customer_id.to_owned());
        let invoice = self.deps.stripe.change_preview(&pays, asked).await?;
        let checked = check_money(self.deps, object, asked, &invoice).await?;
        Ok(checked.map(|()| due_of(&invoice) > MoneyMinor::ZERO))
    }

    /// Whether this operation has changed the subscription already.
    fn has_changed(&self, object: &Value) -> bool {
        let own = format!("{}:", self.operation.id);
        let is_own =
            |place: &Value| place["metadata"][CHANGE_METADATA_KEY].as_str().is_some_and(|mark| mark.starts_with(&own));
        is_own(object) || is_own(&object["schedule"])
    }

    /// Finishes what an attempt before has begun: with the end of the period, the change is made before what pays for
    /// it is set. That is done now, with the payment method of now.
    async fn finish_change(&self, id: &str, change: &Change, object: Value) -> Result<Verdict, Failure> {
        if change.when == ChangeTime::Now || is_by_invoice(&object) || self.check_payer_of(&object).is_err() {
            return self.changed(id, &object).await;
        }
        let standing = read_payer(self.deps.db.read(), &self.customer.id, None).await?;
        let Some(method) = standing.method.filter(|method| method.consent_at_ms.is_some()) else {
            return self.changed(id, &object).await;
        };
        if !self.is_dearer_later(id, change, &object).await? {
            return self.changed(id, &object).await;
        }
        self.pay_later_with(&object, &method.id).await?;
        self.changed(id, &self.deps.stripe.subscription_retrieve(id).await?).await
    }

    /// Whether a change that is to come charges more than what the subscription has now, or nobody can tell.
    async fn is_dearer_later(&self, id: &str, change: &Change, object: &Value) -> Result<bool, Failure> {
        let row = self.row_now(id, &self.apply_rules(object).await?).await?;
        let catalogue = self.deps.catalogue.now();
        let present = item_of_ours(self.deps, object, self.now_ms).await?;
        Ok(present.ok().is_none_or(|present| {
            let kept = present.is_kept_by(change).then_some(&present.price);
            let terms = kept.or_else(|| catalogue.price(&change.price));
            let before = row.as_ref().map(|row| (&present.price, row.quantity));
            terms.is_none_or(|terms| is_dearer(before, terms, change.quantity))
        }))
    }

    /// Has Stripe charge this payment method for a change that is to come, whatever is charged for it then.
    async fn pay_later_with(&self, object: &Value, payment_method_id: &str) -> Result<(), Failure> {
        match self.pay_with(object, payment_method_id).await {
            Err(Failure::Stripe(StripeError::Invalid { .. } | StripeError::NotFound { .. })) => Ok(()),
            set => set,
        }
    }

    async fn changed(&self, id: &str, object: &Value) -> Result<Verdict, Failure> {
        Ok(merge(self.apply_rules(object).await?, self.done(id, Vec::new())))
    }

    /// The subscription after what Stripe has just said of it.
    pub(super) async fn row_now(&self, id: &str, known: &Verdict) -> Result<Option<Subscription>, Failure> {
        let told = known.effects.iter().rev().find_map(|effect| match effect {
            Effect::SubscriptionPut(row) => Some(row).filter(|row| row.id == id).cloned(),
            _ => None,
        });
        if told.is_some() {
            return Ok(told);
        }
        let rows = subscription::subscription_list(self.deps.db.read(), &self.customer.id).await?;
        Ok(rows.into_iter().find(|row| row.id == id))
    }

    /// The payment method is set with the change, so that one that is declined leaves the one before.
    async fn change_now(
        &self,
        object: &Value,
        change: &ItemChange<'_>,
        pays: Option<&str>,
    ) -> Result<Verdict, Failure> {
        let id = change.subscription_id;
        let other_payer = match pays {
            Some(pays) => self.other_payer(object, pays).await?,
            None => None,
        };
        // What is left of an earlier schedule would undo the change.
        self.let_go(object).await?;
        let made: Result<Answer, StripeError> =
            self.deps.stripe.subscription_change(change, other_payer, self.mark(), &self.key("change")).await;
        match made {
            Ok(answer) => {
                let object = self.refetch_if_replayed(answer).await?;
                self.changed(id, &object).await
            }
            Err(StripeError::Unknown { is_stored: true, reason: why } | StripeError::KeyReused { message: why }) => {
                let object = self.deps.stripe.subscription_retrieve(id).await?;
                if self.has_changed(&object) { self.changed(id, &object).await } else { Ok(self.nothing_found(&why)) }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn change_at_end(
        &self,
        object: &Value,
        (id, item): (&str, SubscribedItem<'_>),
        pays: Option<&str>,
    ) -> Result<Verdict, Failure> {
        let stripe = &self.deps.stripe;
        let present = &object["schedule"];
        // One of a single phase may be of an attempt before. One of more phases has done its work.
        let is_bare = present["phases"].as_array().is_some_and(|phases| phases.len() == 1);
        let schedule = if is_bare {
            present.clone()
        } else {
            self.let_go(object).await?;
            stripe.schedule_create(id, &self.key("schedule")).await?
        };
        match stripe.schedule_add_phase(&schedule, &item, self.mark(), &self.key("phases")).await {
            Ok(_) => {}
            Err(StripeError::Invalid { message, .. }) => {
                self.let_go(&stripe.subscription_retrieve(id).await?).await?;
                let code = "stripe_refused".to_owned();
                return Ok(self.failed(Problem { code, message, ..Problem::default() }));
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(pays) = pays {
            self.pay_later_with(object, pays).await?;
        }
        self.changed(id, &stripe.subscription_retrieve(id).await?).await
    }

    /// Has the subscription's schedule let go of it. Whether there was one.
    pub(super) async fn let_go(&self, object: &Value) -> Result<bool, Failure> {
        let Some(id) = fields::id(&object["schedule"]) else { return Ok(false) };
        match self.deps.stripe.schedule_release(&id, &self.key(&format!("release:{id}"))).await {
            // It is released already, or has ended.
            Ok(_) | Err(StripeError::Invalid { .. } | StripeError::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a subscription's invoices are sent to be paid, and charged to nothing.
fn is_by_invoice(object: &Value) -> bool {
    object["collection_method"] == "send_invoice"
}

/// What an invoice charges.
fn due_of(invoice: &Value) -> MoneyMinor {
    let total = || InvoiceFields::read(invoice).total.unwrap_or_default().max(MoneyMinor::ZERO);
    invoice["amount_due"].as_i64().map_or_else(total, MoneyMinor)
}

/// The item of a subscription that sells its plan. An inner error says that none does, or is known to.
async fn item_of_ours(
    deps: &Deps,
    object: &Value,
    now_ms: TimeMs,
) -> Result<Result<PresentItem, ChangeRefusal>, Failure> {
    let catalogue = deps.catalogue.now();
    let book = price::learn(deps, &PriceBook::new(catalogue.clone(), []), object, now_ms).await?;
    let said = SubscriptionFields::read(object);
    let mut is_undecided = false;
    let ours = said.items.iter().filter_map(|item| match book.item(item, &said.items, &said.metadata) {
        Sold::Ours(price) => Some((item, *price)),
        Sold::Undecided(_) => {
            is_undecided = true;
            None
        }
        Sold::NotOurs | Sold::Unnamed => None,
    });
    let is_better = |one: &Price, other: &Price| *catalogue.better(&one.plan, &other.plan) == one.plan;
    let best = ours.reduce(|one, other| if is_better(&one.1, &other.1) { one } else { other });
    let present = best.and_then(|(item, price): (&Item, Price)| {
        // What one costs is up to the price at Stripe.
        let amount = item.price.amount.unwrap_or(price.amount);
        let (id, price_id) = (item.id.clone()?, item.price.ids.first()?.clone());
        Some(PresentItem { id, price_id, price: Price { amount, ..price } })
    });
    Ok(present.ok_or_else(|| nothing_of_ours(is_undecided)))
}
