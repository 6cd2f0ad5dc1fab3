//! What a refund would do, by the same rules that decide once it is made.

use super::holder::paid_for;
use super::money::{Money, money_of};
use super::{GrantStanding, Standing, bought_with, compare_by};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::clawback::{bought_credits, withheld};
use crate::domain::customer::Customer;
use crate::domain::ledger::Account;
use crate::domain::payment::Payment;
use crate::domain::refund::{CreditsChoice, MoneyBefore};
use crate::domain::sale::SaleRecord;
use crate::domain::sale::grant::{PartArgs, part_job_key};
use crate::domain::webhook::fields::{self, ChargeFields, DisputeFields, InvoiceFields, PaymentIntentFields};
use crate::infra::store::account;
use crate::infra::store::payment::part_job_list;
use crate::infra::stripe::found;
use crate::usecase::handler::invoice::{self, whole_invoice};
use crate::usecase::handler::{Deps, Failure};
use serde_json::Value;

/// A charge at Stripe that money can be given back of.
#[derive(Debug, Clone)]
pub(in crate::usecase) struct RefundableCharge {
    /// The charge.
    pub charge: ChargeFields,
    /// Its id.
    pub id: String,
    /// What of it was not given back yet.
    pub left: MoneyMinor,
    /// Whether Stripe decides about its money, because it was disputed.
    pub is_contested: bool,
}

/// What would become of the credits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::usecase) struct CreditsAfter {
    /// Credits that would go.
    pub going: Credits,
    /// Credits that would go besides if no hold reserved them.
    pub reserved: Credits,
    /// Credits that are still to come, and would go then, at most: whoever spends them at once keeps those that go only
    /// as far as they are unspent.
    pub going_later: Credits,
    /// The balance now.
    pub balance: Credits,
}

/// The charges that took a payment's money, the one with the most left first; none if no card paid it.
pub(in crate::usecase) async fn charges_of_payment(
    deps: &Deps,
    payment: &Payment,
) -> Result<Vec<RefundableCharge>, Failure> {
    let ids: Vec<String> = match (&payment.invoice_id, &payment.payment_intent_id) {
        (Some(id), _) => match whole_invoice(deps, id).await? {
            Some(invoice) => super::Payment::of_invoice(&invoice).charge_ids.into_iter().collect(),
            None => Vec::new(),
        },
        (None, Some(id)) => {
            let intent = found(deps.stripe.payment_retrieve(id).await)?;
            intent.and_then(|intent| PaymentIntentFields::read(&intent).charge_id).into_iter().collect()
        }
        (None, None) => Vec::new(),
    };
    let mut charges = Vec::new();
    for id in ids {
        let Some(object) = found(deps.stripe.charge_retrieve(&id).await)? else { continue };
        let charge = ChargeFields::read(&object);
        if charge.is_paid {
            let left = left_of(&charge);
            let is_contested = charge.is_disputed && is_contested(deps, &id).await?;
            charges.push(RefundableCharge { charge, id, left, is_contested });
        }
    }
    charges.sort_by_key(|charge| std::cmp::Reverse(charge.left));
    Ok(charges)
}

/// Whether a charge has a dispute that allows no refund.
async fn is_contested(deps: &Deps, charge_id: &str) -> Result<bool, Failure> {
    let disputes = deps.stripe.dispute_list(charge_id).await?;
    Ok(fields::rows(&disputes).iter().map(DisputeFields::read).any(|dispute| !dispute.allows_refund()))
}

/// What is known of a payment's money before more of this charge of it is given back: also what other invoices of the
/// subscription credit to the customer.
pub(in crate::usecase) async fn money_before_refund(
    deps: &Deps,
    payment: &Payment,
    charge: &RefundableCharge,
) -> Result<MoneyBefore, Failure> {
    let invoice = match &payment.invoice_id {
        Some(id) => whole_invoice(deps, id).await?,
        None => None,
    };
    let charge = &charge.charge;
    match invoice {
        Some(invoice) => money_of_invoice_before_refund(deps, &invoice, charge).await,
        None => Ok(MoneyBefore {
            left: left_of(charge),
            paid: charge.amount.unwrap_or_default(),
            refunded: charge.amount_refunded,
            credited: Some(MoneyMinor::ZERO),
        }),
    }
}

/// The same of an invoice, with all its lines. What other invoices credit is asked for now.
pub(in crate::usecase::handler) async fn money_of_invoice_before_refund(
    deps: &Deps,
    invoice: &Value,
    charge: &ChargeFields,
) -> Result<MoneyBefore, Failure> {
    let credited = invoice::credited_of_invoice(deps, &InvoiceFields::read(invoice)).await?;
    let money = money_of(deps, &super::Payment::of_invoice(invoice), Some(charge)).await?;
    let (refunded, credited) = (money.refunded - money.noted, credited.map(|credited| credited + money.noted));
    Ok(MoneyBefore { left: left_of(charge), paid: money.total, refunded, credited })
}

fn left_of(charge: &ChargeFields) -> MoneyMinor {
    charge.amount.unwrap_or_default() - charge.amount_refunded
}

/// What other invoices of its subscription credit of an invoice's money; `None` if not all of them are known, or Stripe
/// lacks the invoice.
pub(in crate::usecase) async fn credited_of_invoice(deps: &Deps, id: &str) -> Result<Option<MoneyMinor>, Failure> {
    match whole_invoice(deps, id).await? {
        Some(invoice) => invoice::credited_of_invoice(deps, &InvoiceFields::read(&invoice)).await,
        None => Ok(None),
    }
}

/// What would become of the credits if this much of a charge were given back; `None` if a person would have to decide.
pub(in crate::usecase) async fn credits_after_refund(
    deps: &Deps,
    customer: &Customer,
    charge: &ChargeFields,
    amount: MoneyMinor,
    choice: CreditsChoice,
    now_ms: TimeMs,
) -> Result<Option<CreditsAfter>, Failure> {
    let account = account::account_find(deps.db.read(), &customer.id).await?.unwrap_or_default().settled(now_ms);
    let mut after = CreditsAfter { balance: account.balance, ..CreditsAfter::default() };
    let paid = paid_for(deps, charge).await?;
    let Some(bought) = bought_with(deps, customer, Some(charge), &paid, now_ms).await? else { return Ok(Some(after)) };
    let mut money = money_of(deps, &bought.payment, Some(charge)).await?;
    money.gone.add(amount, choice);
    match compare_by(deps, customer, &bought, &money, Account::available, now_ms).await? {
        Standing::Granted { grants } => {
            after.going = going_now(&grants);
            after.going_later = going_later(deps, &grants, &money).await?;
        }
        Standing::NotGranted { .. } => {}
        Standing::Unclear { .. } => return Ok(None),
    }
    if account.held > Credits::ZERO
        && let Standing::Granted { grants } =
            compare_by(deps, customer, &bought, &money, |account| account.balance, now_ms).await?
    {
        after.reserved = (going_now(&grants) - after.going).max(Credits::ZERO);
    }
    Ok(Some(after))
}

/// The credits of the later parts of a period that go with its money.
async fn going_later(deps: &Deps, grants: &[GrantStanding], money: &Money) -> Result<Credits, Failure> {
    let has_come = |key: &str| grants.iter().any(|one| one.grant.idempotency_key.as_deref() == Some(key));
    let records = grants.iter().filter_map(|one| SaleRecord::read(one.grant.metadata.as_deref()));
    let later = records.flat_map(|record| record.later).filter(|later| !has_come(&later.key));
    let jobs: Vec<String> = later.map(|later| part_job_key(&later.key)).collect();
    let parts = part_job_list(deps.db.read(), &jobs).await?;
    let parts = parts.iter().filter_map(|args| serde_json::from_str::<PartArgs>(args).ok());
    let to_come: Credits = parts.map(|part| part.expected()).sum();
    let granted = grants.iter().map(|one| bought_credits(&one.grant)).sum();
    Ok(withheld(granted, to_come, &money.gone, money.total).0)
}

/// The credits that go at once.
fn going_now(grants: &[GrantStanding]) -> Credits {
    grants.iter().map(|one| one.target.total - one.clawed_back).sum()
}
