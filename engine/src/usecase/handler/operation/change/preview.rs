//! The preview of a change: what it would cost and bring.

use super::super::subscription::price_at_stripe;
use super::money::check_money;
use super::{due_of, is_by_invoice, item_of_ours};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::domain::customer::Customer;
use crate::domain::job::Outcome;
use crate::domain::operation::Problem;
use crate::domain::sale::PriceBook;
use crate::domain::sale::grant::{PartArgs, net_credits};
use crate::domain::sale::line::Sale;
use crate::domain::subscription::change::{Need, check_payer, check_size, is_dearer};
use crate::domain::subscription::discount::lasting_discount;
use crate::domain::subscription::{Change, ChangeRefusal, ChangeTime, Subscription};
use crate::domain::webhook::fields::{self, InvoiceFields, Line};
use crate::domain::webhook::{self, EventKind, Facts};
use crate::error::Error;
use crate::infra::store::subscription;
use crate::infra::stripe::StripeError;
use crate::infra::stripe::change::ItemChange;
use crate::infra::stripe::requests::SubscribedItem;
use crate::usecase::charge::read_payer;
use crate::usecase::handler::catalogue::is_changing;
use crate::usecase::handler::invoice::{before, part_job};
use crate::usecase::handler::{Deps, Failure, price};
use crate::usecase::price::check_change;
use serde_json::Value;

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
    let checked = check_change(deps.db.read(), row.as_ref(), &catalogue, change).await?;
    let price = checked.map_err(PreviewError::Refused)?;
    let row = row.ok_or(PreviewError::PriceMissing)?;
    let object = deps.stripe.subscription_retrieve(&row.id).await?;
    let present = item_of_ours(deps, &object, now_ms).await?.map_err(PreviewError::Refused)?;
    let keeps_price = present.is_kept_by(change);
    let sold = if keeps_price { None } else { price_at_stripe(deps, &catalogue, price, now_ms).await? };
    let (price_id, price) = match &sold {
        Some(sold) => (&sold.id, price),
        None if keeps_price => (&present.price_id, &present.price),
        None if is_changing(deps).await? => return Err(PreviewError::NotCharged(Problem::prices_changing())),
        None => return Err(PreviewError::PriceMissing),
    };
    present.check_present_terms(row.quantity, price_id, change).map_err(PreviewError::Refused)?;
    check_size(price, change.quantity).map_err(PreviewError::Refused)?;
    let item = SubscribedItem { price_id, price: &price.key, plan: &price.plan, quantity: change.quantity };
    let begins_period = change.when == ChangeTime::Now && object["status"] != "trialing";
    let asked = ItemChange { subscription_id: &row.id, item_id: &present.id, item, keeps_price, begins_period };
    let own = customer.stripe_customer_id.as_deref();
    let pays = fields::stripe_customer_id(&object).or_else(|| own.map(str::to_owned));
    let pays = pays.ok_or(PreviewError::PriceMissing)?;
    let invoice = deps.stripe.change_preview(&pays, &asked).await?;
    if begins_period {
        check_money(deps, &object, &asked, &invoice).await?.map_err(PreviewError::Refused)?;
    }
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
    let (before, book) = before(deps, Some(customer), &InvoiceFields::read(&paid), &book, now_ms).await?;
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
    let parts = verdict.effects.iter().filter_map(part_job).filter_map(|job| serde_json::from_str(&job.args).ok());
    Ok((now, parts.map(|part: PartArgs| part.credits).sum()))
}
