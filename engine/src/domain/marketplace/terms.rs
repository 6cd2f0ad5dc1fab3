//! What a purchase brings on the present terms: those of the catalogue, and of the setting that says what the plans of
//! the listing are.
//!
//! A month brings the credits of a price: the one that `marketplace.plans` names for the listing's plan, else the first
//! monthly one of the plan. Credits of a price for several months are divided by their number and rounded down; then
//! those of a price for each seat are multiplied by the units. Rollover and lifetime are the price's, too.

use super::ListingPlan;
use super::period::Period;
use crate::amount::{Credits, UNITS_MAX};
use crate::clock::TimeMs;
use crate::config::{ListingOffer, MarketplaceConfig};
use crate::domain::catalogue::{Catalogue, Price, Rollover};
use crate::domain::ledger::{GrantKind, Op};
use crate::key::PlanKey;
use std::sync::Arc;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The terms on which a purchase is settled.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The catalogue.
    pub catalogue: &'a Arc<Catalogue>,
    /// What the plans of the listing are, and the grace of a renewal.
    pub config: &'a MarketplaceConfig,
}

impl<'a> Terms<'a> {
    /// The plan that a plan of the listing stands for.
    pub fn plan_of(&self, id: i64, name: &str) -> Option<PlanKey> {
        self.config.offer_of(self.catalogue, id, name).map(|offer| offer.plan.clone())
    }

    /// How long a renewal must last to count.
    pub fn grace_ms(&self) -> TimeMs {
        self.config.renewal_grace_ms()
    }

    /// The grant for a paid period; `None` if it brings no credits. It is at most [`UNITS_MAX`].
    pub fn grant(&self, period: &Period<'_>, now_ms: TimeMs) -> Option<Op> {
        let price = self.price_of(&period.news.plan)?;
        let each = price.credits.0 / i64::from(price.every.months().max(1));
        let times = if price.per_seat { period.news.unit_count.max(0) } else { 1 };
        let amount = Credits(each.saturating_mul(times)).min(UNITS_MAX);
        let expires_at_ms = self.expiry(price, period, now_ms);
        (amount > Credits::ZERO).then_some(Op::Grant { kind: GrantKind::Included, amount, expires_at_ms })
    }

    /// The price that counts for a plan of the listing. What `marketplace.plans` says now counts only for the plan that
    /// was bought: the setting may have changed since.
    fn price_of(&self, listing: &ListingPlan) -> Option<&'a Price> {
        let plan = listing.plan.as_ref()?;
        let offer = self.config.offer_of(self.catalogue, listing.id, &listing.name).filter(|offer| offer.plan == plan);
        offer.or_else(|| ListingOffer::of_plan(self.catalogue, plan))?.price
    }

    /// When credits expire that are granted now. Those that end with their period last until the grant of the next
    /// period is due. A buyer who is granted a period after its end has the credits for as long as the period was.
    fn expiry(&self, price: &Price, period: &Period<'_>, now_ms: TimeMs) -> Option<TimeMs> {
        match price.rollover {
            Rollover::Reset => {
                let length_ms = period.until_ms.saturating_sub(period.from_ms);
                let ends_ms = if period.until_ms > now_ms { period.until_ms } else { now_ms.saturating_add(length_ms) };
                Some(ends_ms.saturating_add(self.grace_ms()))
            }
            Rollover::Keep => price.lifetime_days.map(|days| now_ms.saturating_add(i64::from(days) * DAY_MS)),
        }
    }
}
