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

/// A customer's caps in one currency, and what was charged in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapStanding {
    /// The currency of all amounts.
    pub currency: Currency,
    /// The caps.
    pub caps: SpendCaps,
    /// What was charged in the present day and month, with what charges under way may still take.
    pub charged: PerSpan<MoneyMinor>,
}

/// A customer's caps, which hold in each currency by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapStandings {
    /// In the catalogue's currency.
    pub main: CapStanding,
    /// In each other currency in which something was charged in the present month.
    pub others: Vec<CapStanding>,
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
) -> Result<CapStandings> {
    let customer = customer::customer_find(db, customer_id).await?.ok_or(Error::NotFound("customer"))?;
    let set = charge::spend_caps_find(db, customer_id).await?;
    let standing = |currency: Currency, charged: PerSpan<MoneyMinor>| {
        let caps = SpendCaps::of(&customer.plan, set.as_ref(), catalogue, &currency);
        CapStanding { currency, caps, charged }
    };
    let charged = charge::charged_by_currency(db, customer_id, now_ms).await?;
    let (main, others): (Vec<_>, Vec<_>) =
        charged.into_iter().partition(|(currency, _)| *currency == catalogue.currency);
    let in_main = main.first().map(|(_, charged)| *charged).unwrap_or_default();
    // A declined charge leaves nothing of its currency.
    let others = others.into_iter().filter(|(_, charged)| charged.get(Span::Month) > MoneyMinor::ZERO);
    Ok(CapStandings {
        main: standing(catalogue.currency.clone(), in_main),
        others: others.map(|(currency, charged)| standing(currency, charged)).collect(),
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
) -> Result<CapStandings> {
    check_range(new)?;
    let tx = db.begin().await?;
    let present = read(&tx, customer_id, catalogue, now_ms).await?.main;
    for span in [Span::Day, Span::Month] {
        if let (Some(wanted), Some(highest)) = (new.get(span), present.caps.highest(span))
            && wanted > highest
        {
            let highest = money(highest, present.currency.as_str());
            let message = format!("the cap of a {} may be at most {highest}; ask support to raise it", span.as_str());
            return Err(Error::invalid("invalid_spend_cap", message));
        }
    }
    let (currency, new) = to_store(&tx, customer_id, new, catalogue).await?;
    charge::spend_caps_put_own(&tx, customer_id, &currency, new, now_ms).await?;
    top_up::top_up_wake(&tx, customer_id).await?;
    let after = read(&tx, customer_id, catalogue, now_ms).await?;
    tx.commit().await?;
    Ok(after)
}

/// Sets the highest caps of a customer, in the catalogue's currency and in place of the plan's; `None` returns to the
/// plan's.
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
) -> Result<CapStandings> {
    check_range(new)?;
    let tx = db.begin().await?;
    let before = read(&tx, customer_id, catalogue, now_ms).await?;
    let (currency, new) = to_store(&tx, customer_id, new, catalogue).await?;
    charge::spend_caps_put_staff(&tx, customer_id, &currency, new, now_ms).await?;
    top_up::top_up_wake(&tx, customer_id).await?;
    let after = read(&tx, customer_id, catalogue, now_ms).await?;
    let said = |caps: &SpendCaps| json!({ "day": caps.highest(Span::Day), "month": caps.highest(Span::Month) });
    let details = json!({
        "from": said(&before.main.caps), "to": said(&after.main.caps), "currency": after.main.currency, "reason": reason
    });
    audit::audit_append(&tx, &Audit::new(actor, "customer.spend_caps", customer_id, &details), now_ms).await?;
    tx.commit().await?;
    Ok(after)
}

/// The caps as they are stored: in the currency of those that were set before, so that these keep their numbers.
async fn to_store(
    db: &impl ConnectionTrait,
    customer_id: &CustomerId,
    new: NewCaps,
    catalogue: &Catalogue,
) -> Result<(Currency, NewCaps)> {
    let set = charge::spend_caps_find(db, customer_id).await?;
    let currency = set.map_or_else(|| catalogue.currency.clone(), |set| set.currency);
    let new = new.same_numbers(&catalogue.currency, &currency);
    Ok((currency, new))
}

fn check_range(new: NewCaps) -> Result<()> {
    let is_valid = |cap: Option<MoneyMinor>| cap.is_none_or(|cap| (MoneyMinor::ZERO..=SPEND_CAP_MAX).contains(&cap));
    if is_valid(new.day) && is_valid(new.month) {
        return Ok(());
    }
    Err(Error::invalid("invalid_spend_cap", format!("a cap must be from 0 to {SPEND_CAP_MAX} minor units")))
}
