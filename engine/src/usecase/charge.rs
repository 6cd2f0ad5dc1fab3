//! Decides whether a customer is charged for what it lacks, by what is stored now.
//!
//! A request is checked before it is stored, so that a refusal leaves nothing behind. What counts is the decision when
//! the purchase's turn comes: a customer's purchases run one after another, so no other charge is decided meanwhile.

use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::domain::charge::PaymentStanding;
use crate::domain::charge::cap::SpendCaps;
use crate::domain::charge::payer::PayerStanding;
use crate::domain::charge::top_up::TopUpStanding;
use crate::domain::operation::Request;
use crate::domain::payment_method::PaymentMethod;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::{account, charge, customer, payment_method, top_up};
use sea_orm::ConnectionTrait;

/// Reads what a customer's subscription may be charged to: the payment method with this id, or else the default.
///
/// # Errors
/// Errors of the database.
pub async fn read_payer(
    db: &impl ConnectionTrait,
    customer_id: &CustomerId,
    payment_method_id: Option<&str>,
) -> Result<PayerStanding> {
    let methods = payment_method::payment_method_list(db, customer_id).await?;
    let is_wanted = |method: &PaymentMethod| match payment_method_id {
        Some(id) => method.id == id,
        None => method.is_default,
    };
    let method = methods.into_iter().find(|method| method.consent_at_ms.is_some() && is_wanted(method));
    let past = match &method {
        Some(method) => charge::charge_past(db, customer_id, &method.card()).await?,
        None => Vec::new(),
    };
    Ok(PayerStanding { method, past })
}

/// Reads everything that decides about a purchase.
///
/// # Errors
/// `NotFound` without the customer or its account; errors of the database.
pub async fn read_standing(
    db: &impl ConnectionTrait,
    customer_id: &CustomerId,
    request: &Request,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<PaymentStanding> {
    let currency = request.currency(catalogue);
    let customer = customer::customer_find(db, customer_id).await?.ok_or(Error::NotFound("customer"))?;
    let account = account::account_find(db, customer_id).await?.ok_or(Error::NotFound("account"))?;
    let account = account.settled(now_ms);
    let is_charged = |method: &PaymentMethod| method.is_default && method.consent_at_ms.is_some();
    let methods = payment_method::payment_method_list(db, customer_id).await?;
    let method = methods.into_iter().next().filter(is_charged);
    let past = match &method {
        Some(method) => charge::charge_past(db, customer_id, &method.card()).await?,
        None => Vec::new(),
    };
    let set = charge::spend_caps_find(db, customer_id).await?;
    let top_up = match request {
        Request::AutoTopUp(_) => Some(TopUpStanding {
            setting: top_up::top_up_find(db, customer_id).await?,
            charged: top_up::top_up_charged(db, customer_id, currency, now_ms).await?,
            is_called_for: top_up::top_up_is_called_for(db, customer_id).await?,
        }),
        _ => None,
    };
    Ok(PaymentStanding {
        available: account.available(),
        spendable: account.available() - account.floor,
        is_suspended: account.open.suspended,
        holds_open: account.open.holds.len(),
        charged: charge::charged_in_spans(db, customer_id, currency, now_ms).await?,
        caps: SpendCaps::of(&customer.plan, set.as_ref(), catalogue, currency),
        customer,
        method,
        past,
        top_up,
    })
}
