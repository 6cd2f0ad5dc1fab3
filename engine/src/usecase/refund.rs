//! Support gives money back. The refund is an operation: it is recorded before Stripe is called, carried out by a job
//! under a key, and repeated safely. What becomes of the credits stands in the refund's metadata at Stripe, and the
//! rules for refunds ([`crate::domain::refund`]) read it there.

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::catalogue::currency::money;
use crate::domain::customer::Customer;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::Wake;
use crate::domain::operation::{Operation, Request};
use crate::domain::payment::Payment;
use crate::domain::refund::CreditsChoice;
use crate::error::{Error, Result};
use crate::ids::HoldId;
use crate::infra::store::{account, audit, customer, job, operation};
use crate::usecase::handler::{
    Deps, Failure, charges_of_payment, credits_after_refund, money_before_refund, operation_job,
};
use crate::usecase::stripe_link::unreachable;
use sea_orm::ConnectionTrait;
use serde_json::json;

/// Maximum number of holds that a plan names.
const HOLDS_NAMED_MAX: usize = 20;

/// A refund that support asks for.
#[derive(Debug, Clone, Copy)]
pub struct RefundRequest<'a> {
    /// The payment.
    pub payment: &'a Payment,
    /// How much; if not given, all that is left of the charge and was not credited.
    pub amount: Option<MoneyMinor>,
    /// Whether the amount may have been credited to the customer already.
    pub beyond_credited: bool,
    /// What becomes of the credits.
    pub credits: CreditsChoice,
}

impl RefundRequest<'_> {
    /// The amount, if that much is given back whatever was credited: it has to be named.
    fn beyond_credited(&self) -> Option<MoneyMinor> {
        self.amount.filter(|_| self.beyond_credited)
    }
}

/// Who asks for a refund, and how a repetition is recognised.
#[derive(Debug, Clone, Copy)]
pub struct RefundDeed<'a> {
    /// Who asks.
    pub actor: &'a str,
    /// The reason, for the audit log.
    pub reason: &'a str,
    /// The request's idempotency key.
    pub idempotency_key: &'a str,
    /// Distinguishes the request from others under its key.
    pub request_hash: &'a str,
}

/// What a refund does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundPlan {
    /// The charge at Stripe that it is taken from.
    pub charge_id: String,
    /// How much is given back.
    pub amount: MoneyMinor,
    /// ISO currency, in lower case.
    pub currency: String,
    /// The most that could be given back without giving anything twice; `None` if that is not known.
    pub refundable: Option<MoneyMinor>,
    /// What of the same money later changes of the subscription have credited to the customer already, for time that
    /// was left; `None` if that is not known.
    pub credited: Option<MoneyMinor>,
    /// Credits that go.
    pub credits: Credits,
    /// Credits of this money that stay only because open holds reserve them.
    pub reserved: Credits,
    /// The open holds, if they reserve some of them.
    pub reserved_by: Vec<HoldId>,
    /// Credits that are still to come, and go then, at most: with all the money of the payment that is gone by then.
    pub credits_later: Credits,
    /// The balance before.
    pub balance: Credits,
    /// The balance afterwards.
    pub balance_after: Credits,
}

/// A refund that was asked for now, or by an earlier request with the same key.
#[derive(Debug)]
pub struct AskedRefund {
    /// The operation.
    pub operation: Operation,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Says what a refund would do. Changes nothing.
///
/// # Errors
/// `payment_not_refundable` if no card paid, or nothing is left; `refund_too_large`; `refund_credited`,
/// `refund_unclear`; `payment_disputed`; `invalid_amount`; `stripe_not_configured`, `stripe_unavailable`.
pub async fn plan(deps: &Deps, asked: RefundRequest<'_>, now_ms: TimeMs) -> Result<RefundPlan> {
    let customer = owner(deps, asked.payment).await?;
    let charges = charges_of_payment(deps, asked.payment).await.map_err(failed)?;
    let refuse = |code, message: String| Error::NotAccepted { code, message };
    let Some(charge) = charges.into_iter().next().filter(|_| asked.payment.is_paid()) else {
        let message = "no card paid this, so there is nothing to refund; an invoice that was paid from the balance or \
                       elsewhere needs a credit note at Stripe";
        return Err(refuse("payment_not_refundable", message.to_owned()));
    };
    if charge.left <= MoneyMinor::ZERO {
        return Err(refuse("payment_not_refundable", "all of it was given back before".to_owned()));
    }
    let currency = charge.charge.currency.as_deref().unwrap_or_default();
    if charge.is_contested {
        let message = format!("the charge {} was disputed: Stripe decides about its money", charge.id);
        return Err(Error::conflict("payment_disputed", message));
    }
    if asked.amount.is_some_and(|amount| amount <= MoneyMinor::ZERO) {
        return Err(Error::invalid("invalid_amount", "amount_minor must be at least 1"));
    }
    if let Some(amount) = asked.amount.filter(|amount| *amount > charge.left) {
        let (amount, left) = (money(amount, currency), money(charge.left, currency));
        let message = format!("{amount} is more than the {left} that are left of the charge {}", charge.id);
        return Err(refuse("refund_too_large", message));
    }
    let before = money_before_refund(deps, asked.payment, &charge).await.map_err(failed)?;
    let amount = match asked.beyond_credited() {
        Some(amount) => amount,
        None => before.amount(asked.amount, currency).map_err(|refusal| refuse(refusal.code, refusal.message))?,
    };
    let after = credits_after_refund(deps, &customer, &charge.charge, amount, asked.credits, now_ms).await;
    let Some(after) = after.map_err(failed)? else {
        let message = "the subscription has more invoices than are looked at, so nobody can tell how many credits would \
                       go: give the money back with the credits none, and adjust the credits by hand";
        return Err(refuse("refund_unclear", message.to_owned()));
    };
    let reserved_by = match after.reserved > Credits::ZERO {
        true => holds_of(deps, &customer, now_ms).await?,
        false => Vec::new(),
    };
    Ok(RefundPlan {
        charge_id: charge.id,
        amount,
        currency: charge.charge.currency.unwrap_or_default(),
        refundable: before.refundable(),
        credited: before.credited,
        credits: after.going,
        reserved: after.reserved,
        reserved_by,
        credits_later: after.going_later,
        balance: after.balance,
        balance_after: after.balance - after.going,
    })
}

/// The open holds of a customer, those of its purchases included.
async fn holds_of(deps: &Deps, customer: &Customer, now_ms: TimeMs) -> Result<Vec<HoldId>> {
    let account = account::account_find(deps.db.read(), &customer.id).await?.unwrap_or_default().settled(now_ms);
    Ok(account.open.holds.into_iter().map(|hold| hold.id).take(HOLDS_NAMED_MAX).collect())
}

/// Finds the refund of an earlier request with the same key.
///
/// # Errors
/// `KeyReused` if the request was another one.
pub async fn find_earlier(deps: &Deps, payment: &Payment, deed: RefundDeed<'_>) -> Result<Option<AskedRefund>> {
    earlier(deps.db.read(), payment, deed).await
}

/// The same in a transaction: of the payment, whoever's it was then, or another request of its customer.
async fn earlier(db: &impl ConnectionTrait, payment: &Payment, deed: RefundDeed<'_>) -> Result<Option<AskedRefund>> {
    let known = match operation::operation_find_refund(db, &payment.id, deed.idempotency_key).await? {
        Some(refund) => Some(refund),
        None => operation::operation_find_by_key(db, &payment.customer_id, deed.idempotency_key).await?,
    };
    let Some(known) = known else { return Ok(None) };
    check_same_request(Some(&known.request_hash), Some(deed.request_hash))?;
    Ok(Some(AskedRefund { operation: known, wakes: Vec::new() }))
}

/// Records a planned refund with its job and its line in the audit log.
///
/// # Errors
/// `refund_under_way` if another refund of the same payment is; `KeyReused`.
pub async fn ask(
    deps: &Deps,
    asked: RefundRequest<'_>,
    plan: &RefundPlan,
    deed: RefundDeed<'_>,
    now_ms: TimeMs,
) -> Result<AskedRefund> {
    let customer = owner(deps, asked.payment).await?;
    let request = Request::PaymentRefund {
        payment_id: asked.payment.id.clone(),
        charge_id: plan.charge_id.clone(),
        amount_minor: plan.amount,
        currency: plan.currency.clone(),
        credits: asked.credits,
        beyond_credited: asked.beyond_credited().is_some(),
    };
    let (key, hash) = (deed.idempotency_key.to_owned(), deed.request_hash.to_owned());
    let new = Operation::new(&customer.id, request, key, hash, now_ms);
    let tx = deps.db.begin().await?;
    let wakes = job::job_insert_many(&tx, &[operation_job(&new, &customer, now_ms)], now_ms).await?;
    // The lock makes requests for one payment follow each other.
    customer::customer_lock(&tx, &customer.id).await?;
    if let Some(earlier) = earlier(&tx, asked.payment, deed).await? {
        tx.rollback().await?;
        return Ok(earlier);
    }
    let under_way = operation::operation_list_refunding(&tx, std::slice::from_ref(&asked.payment.id)).await?;
    if let Some(other) = under_way.first() {
        let message = format!("the refund {} of this payment is under way; look again when it has ended", other.id);
        return Err(Error::conflict("refund_under_way", message));
    }
    if !operation::operation_insert(&tx, &new).await? {
        return Err(Error::Busy("the customer"));
    }
    let details = json!({
        "payment": asked.payment.id,
        "charge": plan.charge_id,
        "amount_minor": plan.amount,
        "currency": plan.currency,
        "credits": asked.credits.as_str(),
        "credits_expected": plan.credits,
        "credits_reserved": plan.reserved,
        "beyond_credited": asked.beyond_credited,
        "operation": new.id.as_str(),
        "reason": deed.reason,
    });
    audit::audit_append(&tx, &Audit::new(deed.actor, "payment.refund", &customer.id, &details), now_ms).await?;
    tx.commit().await?;
    Ok(AskedRefund { operation: new, wakes })
}

async fn owner(deps: &Deps, payment: &Payment) -> Result<Customer> {
    customer::customer_find(deps.db.read(), &payment.customer_id).await?.ok_or(Error::NotFound("customer"))
}

fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Engine(error) => error,
        Failure::Stripe(error) => unreachable(error),
    }
}
