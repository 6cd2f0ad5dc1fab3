//! Changes of a subscription, and their preview.
//!
//! At once, a new period begins: its invoice credits what is left of the present period, and Stripe changes nothing if
//! that cannot be paid. With the end of the period, a schedule at Stripe has the change, where everybody sees it. Both
//! leave the mark of their operation, so that an attempt whose answer was lost is recognised.
//!
//! A change that names the price that the subscription has keeps that price at Stripe, whatever the catalogue sells
//! under the same key by now: customers keep the terms that they bought.

use super::subscription::price_at_stripe;
use super::{Deps, Run};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::catalogue::currency::Currency;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict, merge};
use crate::domain::job::{JobKind, Outcome};
use crate::domain::operation::{Payer, Problem};
use crate::domain::sale::grant::{PartArgs, net_credits};
use crate::domain::sale::line::Sale;
use crate::domain::sale::{PriceBook, Sold};
use crate::domain::subscription::change::{Need, check, check_payer, check_size, is_dearer, lasting_discount};
use crate::domain::subscription::{Change, ChangeRefusal, ChangeTime, PresentItem, Subscription};
use crate::domain::webhook::fields::{self, CHANGE_METADATA_KEY, InvoiceFields, Item, Line, SubscriptionFields};
use crate::domain::webhook::{self, EventKind, Facts};
use crate::error::Error;
use crate::infra::store::subscription;
use crate::infra::stripe::change::ItemChange;
use crate::infra::stripe::requests::SubscribedItem;
use crate::infra::stripe::{Answer, StripeError};
use crate::usecase::charge::read_payer;
use crate::usecase::handler::invoice::before;
use crate::usecase::handler::{Failure, price};
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
        let price = match check(row.as_ref(), &catalogue, change) {
            Ok(price) => price,
            Err(refusal) => return Ok(merge(known, self.failed(refusal.into()))),
        };
        let Some(present) = item_of_ours(self.deps, &object, self.now_ms).await? else {
            return Ok(merge(known, self.failed(no_item())));
        };
        let keeps_price = present.is_kept_by(change);
        let price_id =
            if keeps_price { Some(present.price_id.clone()) } else { self.price_id(&catalogue, price).await? };
        let Some(price_id) = price_id else {
            let why = format!("Stripe has no active price for {} at the catalogue's amount", price.lookup_key);
            return Ok(self.price_missing(&why));
        };
        let terms = if keeps_price { &present.price } else { price };
        if let Err(refusal) = check_size(terms, change.quantity) {
            return Ok(merge(known, self.failed(refusal.into())));
        }
        let item =
            SubscribedItem { price_id: &price_id, price: &price.key, plan: &price.plan, quantity: change.quantity };
        let begins_period = change.when == ChangeTime::Now && object["status"] != "trialing";
        let asked = ItemChange { subscription_id: id, item_id: &present.id, item, keeps_price, begins_period };
        let is_dearer = is_dearer(row.as_ref().map(|row| (&present.price, row.quantity)), terms, change.quantity);
        let pays = match self.payer_of(&object, &asked, (is_dearer, payer), &terms.currency).await? {
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
        asked: &ItemChange<'_>,
        (is_dearer, payer): (bool, Option<&Payer>),
        currency: &Currency,
    ) -> Result<Result<Option<String>, Box<Verdict>>, Failure> {
        let end = |verdict| Ok(Err(Box::new(verdict)));
        if let Some(payer) = payer {
            return Ok(Ok(Some(payer.payment_method_id.clone())));
        }
        let need = self.need(object, asked, is_dearer).await?;
        if need == Need::Nothing {
            return Ok(Ok(None));
        }
        let standing = read_payer(self.deps.db.read(), &self.customer.id, None).await?;
        if let Err(refused) = standing.check(need.of_card(is_by_invoice(object)), currency, self.now_ms) {
            return end(self.failed(self.why_not_charged(&refused)));
        }
        if let Err(refusal) = self.check_payer_of(object) {
            return end(self.failed(refusal.into()));
        }
        if is_by_invoice(object) {
            return Ok(Ok(None));
        }
        if need == Need::Charge {
            return end(self.decide_payer(None, currency).await?);
        }
        Ok(Ok(standing.method.map(|method| method.id)))
    }

    /// What a change needs of whoever pays. Time that is left may not cover a cheaper period that begins now, and a
    /// coupon or a balance may cover a dearer one.
    async fn need(&self, object: &Value, asked: &ItemChange<'_>, is_dearer: bool) -> Result<Need, Failure> {
        if !asked.begins_period {
            return Ok(Need::of(is_dearer, false));
        }
        let pays = fields::stripe_customer_id(object).unwrap_or_else(|| self.stripe_customer_id.to_owned());
        let invoice = self.deps.stripe.change_preview(&pays, asked).await?;
        Ok(Need::of(is_dearer, due_of(&invoice) > MoneyMinor::ZERO))
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
        let Some(present) = item_of_ours(self.deps, object, self.now_ms).await? else { return Ok(true) };
        let catalogue = self.deps.catalogue.now();
        let kept = present.is_kept_by(change).then_some(&present.price);
        let Some(terms) = kept.or_else(|| catalogue.price(&change.price)) else { return Ok(true) };
        Ok(is_dearer(row.as_ref().map(|row| (&present.price, row.quantity)), terms, change.quantity))
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
    async fn row_now(&self, id: &str, known: &Verdict) -> Result<Option<Subscription>, Failure> {
        let told = known.effects.iter().rev().find_map(|effect| match effect {
            Effect::SubscriptionPut(row) if row.id == id => Some(row.clone()),
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

fn no_item() -> Problem {
    let message = "Stripe does not show what the subscription sells.".to_owned();
    Problem { code: "stripe_refused".to_owned(), message, ..Problem::default() }
}

/// The item of a subscription that sells its plan.
async fn item_of_ours(deps: &Deps, object: &Value, now_ms: TimeMs) -> Result<Option<PresentItem>, Failure> {
    let catalogue = deps.catalogue.now();
    let book = price::learn(deps, &PriceBook::new(catalogue.clone(), []), object, now_ms).await?;
    let said = SubscriptionFields::read(object);
    let ours = said.items.iter().filter_map(|item| match book.item(item, &said.metadata) {
        Sold::Ours(price) => Some((item, *price)),
        Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => None,
    });
    let is_better = |one: &Price, other: &Price| *catalogue.better(&one.plan, &other.plan) == one.plan;
    let best = ours.reduce(|one, other| if is_better(&one.1, &other.1) { one } else { other });
    Ok(best.and_then(|(item, price): (&Item, Price)| {
        // What one costs is up to the price at Stripe.
        let amount = item.price.amount.unwrap_or(price.amount);
        let (id, price_id) = (item.id.clone()?, item.price.ids.first()?.clone());
        Some(PresentItem { id, price_id, price: Price { amount, ..price } })
    }))
}

/// What a change would cost and bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePreview {
    /// What is sold from then on.
    pub price: Price,
    /// How many of it.
    pub quantity: i64,
    /// When it takes effect; `None` for at once.
    pub takes_effect_at_ms: Option<TimeMs>,
    /// What is charged at once.
    pub due: MoneyMinor,
    /// The part of the invoice's total that becomes credit of the customer at Stripe, for later invoices.
    pub credited: MoneyMinor,
    /// The credits that it brings at once; negative if it takes.
    pub credits: Credits,
    /// Those that it brings later within the period that is paid at once.
    pub credits_later: Credits,
    /// When the next period begins.
    pub next_at_ms: Option<TimeMs>,
    /// What that costs, as far as can be told.
    pub next_amount: MoneyMinor,
    /// What it brings.
    pub next_credits: Credits,
}

/// Why there is no preview.
#[derive(Debug)]
pub enum PreviewError {
    /// The change is not possible.
    Refused(ChangeRefusal),
    /// The customer cannot be charged for it.
    NotCharged(Problem),
    /// Stripe has no price for it.
    PriceMissing,
    /// A person must decide what it brings.
    Undecided,
    /// Stripe cannot be asked, or refuses.
    Stripe(StripeError),
    /// An error of ours.
    Engine(Error),
}

impl From<Failure> for PreviewError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stripe(error) => Self::Stripe(error),
            Failure::Engine(error) => Self::Engine(error),
        }
    }
}

impl From<StripeError> for PreviewError {
    fn from(error: StripeError) -> Self {
        Self::Stripe(error)
    }
}

impl From<Error> for PreviewError {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Previews a change: Stripe computes the invoice that the same parameters would make, and the rules for paid invoices
/// decide on it. Nothing is stored.
///
/// # Errors
/// The change is not possible, or Stripe cannot be asked.
pub async fn preview_change(
    deps: &Deps,
    customer: &Customer,
    change: &Change,
    now_ms: TimeMs,
) -> Result<ChangePreview, PreviewError> {
    let deps = &Deps { is_dry_run: true, ..deps.clone() };
    let catalogue = deps.catalogue.now();
    let rows = subscription::subscription_list(deps.db.read(), &customer.id).await?;
    let row = Subscription::current(rows.clone(), &catalogue);
    let price = check(row.as_ref(), &catalogue, change).map_err(PreviewError::Refused)?;
    let Some(row) = row else { return Err(PreviewError::PriceMissing) };
    let object = deps.stripe.subscription_retrieve(&row.id).await?;
    let Some(present) = item_of_ours(deps, &object, now_ms).await? else { return Err(PreviewError::PriceMissing) };
    let keeps_price = present.is_kept_by(change);
    let sold = if keeps_price { None } else { price_at_stripe(deps, &catalogue, price, now_ms).await? };
    let (price_id, price) = match &sold {
        Some(sold) => (&sold.id, price),
        None if keeps_price => (&present.price_id, &present.price),
        None => return Err(PreviewError::PriceMissing),
    };
    check_size(price, change.quantity).map_err(PreviewError::Refused)?;
    let item = SubscribedItem { price_id, price: &price.key, plan: &price.plan, quantity: change.quantity };
    let begins_period = change.when == ChangeTime::Now && object["status"] != "trialing";
    let asked = ItemChange { subscription_id: &row.id, item_id: &present.id, item, keeps_price, begins_period };
    let own = customer.stripe_customer_id.as_deref();
    let pays = fields::stripe_customer_id(&object).or_else(|| own.map(str::to_owned));
    let Some(pays) = pays else { return Err(PreviewError::PriceMissing) };
    let invoice = deps.stripe.change_preview(&pays, &asked).await?;
    let is_dearer = is_dearer(Some((&present.price, row.quantity)), price, change.quantity);
    let need = Need::of(is_dearer, begins_period && due_of(&invoice) > MoneyMinor::ZERO);
    if need != Need::Nothing {
        let standing = read_payer(deps.db.read(), &customer.id, None).await?;
        if let Err(refused) = standing.check(need.of_card(is_by_invoice(&object)), &price.currency, now_ms) {
            return Err(PreviewError::NotCharged(refused.problem(customer, &deps.credits, &catalogue)));
        }
        check_payer(Some(&pays), own).map_err(PreviewError::Refused)?;
    }
    let said = InvoiceFields::read(&invoice);
    let sale = Sale { price: price.clone(), quantity: change.quantity, from_ms: None, until_ms: None };
    let total = said.total.unwrap_or_default();
    let mut lines = said.lines.iter().zip(fields::rows(&invoice["lines"]));
    let billed = lines.find(|(line, _)| line.bills_period() && line.price.ids.contains(price_id));
    // A period that discounts leave nothing of brings nothing.
    let brings = |costs: bool| if costs { sale.credits() } else { Credits::ZERO };
    let next = ChangePreview {
        price: price.clone(),
        quantity: change.quantity,
        takes_effect_at_ms: (change.when == ChangeTime::PeriodEnd).then_some(row.current_period_end_ms).flatten(),
        due: MoneyMinor::ZERO,
        credited: MoneyMinor::ZERO,
        credits: Credits::ZERO,
        credits_later: Credits::ZERO,
        next_at_ms: row.current_period_end_ms,
        next_amount: total,
        next_credits: brings(billed.is_none_or(|(line, _)| line.costs())),
    };
    if !begins_period {
        return Ok(next);
    }
    let (book, row_id) = (PriceBook::new(catalogue.clone(), sold), row.id.clone());
    let (credits, credits_later) = credits_of(deps, customer, (row, rows), &book, &invoice, now_ms).await?;
    let due = due_of(&invoice);
    let whole = said.lines.iter().filter(|line| line.bills_period()).filter_map(|line| line.period_end_ms).max();
    let full = MoneyMinor(price.amount.0.saturating_mul(change.quantity));
    let next_amount = (full - lasting_of(deps, &row_id, billed, whole).await?).max(MoneyMinor::ZERO);
    let next_credits = brings(full == MoneyMinor::ZERO || next_amount > MoneyMinor::ZERO);
    let credited = MoneyMinor(total.0.saturating_neg().max(0));
    let next = ChangePreview { next_at_ms: whole, next_amount, next_credits, ..next };
    Ok(ChangePreview { due, credited, credits, credits_later, ..next })
}

/// What the discounts of a line of an invoice take off the next period, which begins at a time.
async fn lasting_of(
    deps: &Deps,
    subscription_id: &str,
    billed: Option<(&Line, &Value)>,
    next_at_ms: Option<TimeMs>,
) -> Result<MoneyMinor, StripeError> {
    let Some((_, line)) = billed.filter(|(line, _)| line.discount > MoneyMinor::ZERO) else {
        return Ok(MoneyMinor::ZERO);
    };
    let subscription = deps.stripe.subscription_retrieve_discounts(subscription_id).await?;
    Ok(lasting_discount(line, &subscription, next_at_ms))
}

/// The credits that an invoice would bring, or take, if it were paid: at once, and later.
async fn credits_of(
    deps: &Deps,
    customer: &Customer,
    (row, rows): (Subscription, Vec<Subscription>),
    book: &PriceBook,
    preview: &Value,
    now_ms: TimeMs,
) -> Result<(Credits, Credits), PreviewError> {
    let mut paid = preview.clone();
    (paid["status"], paid["subscription"]) = ("paid".into(), row.id.clone().into());
    paid["id"] = fields::id(&preview["id"]).unwrap_or_else(|| "upcoming".to_owned()).into();
    let book = price::learn(deps, book, &paid, now_ms).await?;
    let (before, book) = before(deps, Some(customer), &paid, &book, now_ms).await?;
    let verdict = webhook::decide(&Facts {
        kind: EventKind::InvoicePaid,
        object: &paid,
        customer: Some(customer.clone()),
        subscription: Some(row),
        subscriptions_of_customer: rows,
        book: &book,
        before: &before,
        may_relink: false,
        now_ms,
    });
    if matches!(&verdict.outcome, Outcome::Dead { reason } if reason.starts_with("history_too_long")) {
        return Err(PreviewError::Undecided);
    }
    let now = verdict.ledger.map_or(Credits::ZERO, |(_, command)| net_credits(&command));
    let parts = verdict.effects.iter().filter_map(|effect| match effect {
        Effect::JobInsert(job) if job.kind == JobKind::CreditsGrant => serde_json::from_str(&job.args).ok(),
        _ => None,
    });
    Ok((now, parts.map(|part: PartArgs| part.credits).sum()))
}
