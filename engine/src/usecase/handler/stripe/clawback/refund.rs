//! What a refund would do, by the same rules that decide once it is made.

use super::money::money_of;
use super::{Standing, bought_with, compare};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::payment::Payment;
use crate::domain::refund::CreditsChoice;
use crate::domain::webhook::fields::{ChargeFields, InvoiceFields, PaymentIntentFields};
use crate::infra::store::account;
use crate::infra::stripe::found;
use crate::usecase::handler::invoice::{invoices_before, whole_invoice};
use crate::usecase::handler::{Deps, Failure};

/// A charge at Stripe that money can be given back of.
#[derive(Debug, Clone)]
pub(in crate::usecase) struct RefundableCharge {
    /// The charge.
    pub charge: ChargeFields,
    /// Its id.
    pub id: String,
    /// What of it was not given back yet.
    pub left: MoneyMinor,
}

/// What would become of the credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usecase) struct CreditsAfter {
    /// Credits that would go.
    pub going: Credits,
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
            let left = charge.amount.unwrap_or_default() - charge.amount_refunded;
            charges.push(RefundableCharge { charge, id, left });
        }
    }
    charges.sort_by_key(|charge| std::cmp::Reverse(charge.left));
    Ok(charges)
}

/// The money of an invoice that later invoices of its subscription credited to the customer, for time that it left.
pub(in crate::usecase) async fn credited_of_payment(
    deps: &Deps,
    customer: &Customer,
    payment: &Payment,
) -> Result<MoneyMinor, Failure> {
    let Some(id) = &payment.invoice_id else { return Ok(MoneyMinor::ZERO) };
    let Some(invoice) = whole_invoice(deps, id).await? else { return Ok(MoneyMinor::ZERO) };
    let said = InvoiceFields::read(&invoice);
    Ok(invoices_before(deps, customer, &said).await?.credited_of(&said))
}

/// What would become of the credits if this much of a charge were given back.
pub(in crate::usecase) async fn credits_after_refund(
    deps: &Deps,
    customer: &Customer,
    charge: &ChargeFields,
    amount: MoneyMinor,
    choice: CreditsChoice,
    now_ms: TimeMs,
) -> Result<CreditsAfter, Failure> {
    let account = account::account_find(deps.db.read(), &customer.id).await?.unwrap_or_default().settled(now_ms);
    let mut after = CreditsAfter { going: Credits::ZERO, balance: account.balance };
    let Some(bought) = bought_with(deps, customer, charge, now_ms).await? else { return Ok(after) };
    let mut money = money_of(deps, &bought.payment, Some(charge)).await?;
    money.gone.add(amount, choice);
    if let Standing::Granted { grants } = compare(deps, customer, &bought, &money, now_ms).await? {
        after.going = grants.iter().map(|grant| grant.target - grant.clawed_back).sum();
    }
    Ok(after)
}
