//! Spend caps: a customer reads and lowers its own, staff changes how high they may be.

use crate::amount::{MoneyMinor, SPEND_CAP_MAX};
use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::currency::{Currency, money};
use crate::domain::charge::cap::{PerSpan, Span, SpendCaps};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::{Db, audit, charge, customer, top_up};
use sea_orm::ConnectionTrait;
use serde_json::json;

/// The caps to set; `None` removes one.
pub type NewCaps = PerSpan<Option<MoneyMinor>>;

/// A customer's caps, and what was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapStanding {
    /// The currency of all amounts.
    pub currency: Currency,
    /// The caps.
    pub caps: SpendCaps,
    /// What was charged in the present day and month, with what charges under way may still take.
    pub charged: PerSpan<MoneyMinor>,
}

/// Reads a customer's caps.
///
/// # Errors
/// `NotFound` without the customer.
pub async fn read(
    db: &impl ConnectionTrait,
    customer_id: &CustomerId,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<CapStanding> {
    let customer = customer::customer_find(db, customer_id).await?.ok_or(Error::NotFound("customer"))?;
    let set = charge::spend_caps_find(db, customer_id).await?;
    Ok(CapStanding {
        currency: catalogue.currency.clone(),
        caps: SpendCaps::of(&customer.plan, set.as_ref(), catalogue, &catalogue.currency),
        charged: charge::charged_in_spans(db, customer_id, &catalogue.currency, now_ms).await?,
    })
}

/// Sets a customer's own caps, in the catalogue's currency. They hold for the next charge that is decided.
///
/// # Errors
/// `Invalid` `invalid_spend_cap` if one is negative, or higher than staff or the plan allow.
pub async fn set_own(
    db: &Db,
    customer_id: &CustomerId,
    new: NewCaps,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<CapStanding> {
    check_range(new)?;
    let tx = db.begin().await?;
    let present = read(&tx, customer_id, catalogue, now_ms).await?;
    for span in [Span::Day, Span::Month] {
        if let (Some(wanted), Some(highest)) = (new.get(span), present.caps.highest(span))
            && wanted > highest
        {
            let highest = money(highest, present.currency.as_str());
            let message = format!("the cap of a {} may be at most {highest}; ask support to raise it", span.as_str());
            return Err(Error::invalid("invalid_spend_cap", message));
        }
    }
    charge::spend_caps_put_own(&tx, customer_id, &present.currency, new, now_ms).await?;
    top_up::top_up_wake(&tx, customer_id).await?;
    let after = read(&tx, customer_id, catalogue, now_ms).await?;
    tx.commit().await?;
    Ok(after)
}

/// Sets the highest caps of a customer, in place of the plan's; `None` returns to the plan's.
///
/// # Errors
/// `Invalid` `invalid_spend_cap` if one is negative or too high; `NotFound` without the customer.
pub async fn set_highest(
    db: &Db,
    customer_id: &CustomerId,
    new: NewCaps,
    (actor, reason): (&str, &str),
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<CapStanding> {
    check_range(new)?;
    let tx = db.begin().await?;
    let before = read(&tx, customer_id, catalogue, now_ms).await?;
    charge::spend_caps_put_staff(&tx, customer_id, &before.currency, new, now_ms).await?;
    top_up::top_up_wake(&tx, customer_id).await?;
    let after = read(&tx, customer_id, catalogue, now_ms).await?;
    let said = |caps: &SpendCaps| json!({ "day": caps.highest(Span::Day), "month": caps.highest(Span::Month) });
    let details = json!({
        "from": said(&before.caps), "to": said(&after.caps), "currency": after.currency, "reason": reason
    });
    audit::audit_append(&tx, &Audit::new(actor, "customer.spend_caps", customer_id, &details), now_ms).await?;
    tx.commit().await?;
    Ok(after)
}

fn check_range(new: NewCaps) -> Result<()> {
    let is_valid = |cap: Option<MoneyMinor>| cap.is_none_or(|cap| (MoneyMinor::ZERO..=SPEND_CAP_MAX).contains(&cap));
    if is_valid(new.day) && is_valid(new.month) {
        return Ok(());
    }
    Err(Error::invalid("invalid_spend_cap", format!("a cap must be from 0 to {SPEND_CAP_MAX} minor units")))
}
