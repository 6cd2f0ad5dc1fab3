//! Refuses decisions by which somebody would be charged for what brings nothing, or get what nobody sells.

use super::find;
use crate::domain::sale::at_stripe::SeenPrice;
use crate::domain::sale::decision::{
    check_not_on_sale, check_same_period, has_subscriptions, is_sold_by, taken_from_subscribers,
};
use crate::domain::sale::{Decision, PriceBook};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{self, SubscriptionFields};
use crate::error::Result;
use crate::infra::store::price::price_find_many;
use crate::infra::store::subscription::{By, subscription_count_at_price, subscription_find_many};
use crate::infra::stripe::StripeError;
use crate::key::PriceKey;
use crate::usecase::handler::Deps;
use crate::usecase::stripe_link::unreachable;
use crate::usecase::version;
use std::collections::BTreeSet;

/// Maximum number of pages of a price's subscriptions that are read. A price with more of them, none of which is ours,
/// is other business.
const PAGES_MAX: usize = 10;

/// Checks that nobody would be charged in vain after a decision: the catalogue does not sell by the price, and it sells
/// no open subscription of ours what that has. What it is to sell must be sold for as long and in the same currency.
///
/// # Errors
/// `price_in_use`; `stripe_price_differs`; `stripe_unavailable`; the database cannot be reached.
pub async fn check_decision(deps: &Deps, id: &str, decision: &Decision) -> Result<()> {
    // The catalogue that counts may have come with a version that another node has applied just now.
    version::refresh(deps.db.read(), &deps.catalogue).await?;
    let known = find(deps.db.read(), id).await?;
    let seen = if *decision == Decision::Undecided { None } else { see(deps, id).await? };
    let catalogue = deps.catalogue.now();
    check_not_on_sale(id, decision, known.as_ref(), seen.as_ref(), &catalogue)?;
    check_same_period(id, decision, known.as_ref(), seen.as_ref(), &catalogue)?;
    match taken_from_subscribers(decision, known.as_ref()) {
        Some(key) => check_subscriptions(deps, id, key, &PriceBook::new(catalogue, known.clone())).await,
        None => Ok(()),
    }
}

/// The price as Stripe has it; `None` if Stripe lacks it, or without a Stripe key.
async fn see(deps: &Deps, id: &str) -> Result<Option<SeenPrice>> {
    match deps.stripe.price_retrieve(id).await {
        Ok(object) => Ok(Some(SeenPrice::read(&object))),
        Err(StripeError::NotFound { .. } | StripeError::Invalid { .. } | StripeError::NotConfigured) => Ok(None),
        Err(error) => Err(unreachable(error)),
    }
}

/// Checks that a price at Stripe sells no open subscription of ours anything. Without a Stripe key, none may have the
/// price of the catalogue: only Stripe knows by which of its prices.
async fn check_subscriptions(deps: &Deps, id: &str, key: &PriceKey, book: &PriceBook) -> Result<()> {
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = match deps.stripe.subscription_list_at_price(id, after.as_deref()).await {
            Ok(page) => page,
            Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => return Ok(()),
            Err(StripeError::NotConfigured) => {
                return match subscription_count_at_price(deps.db.read(), key).await? {
                    0 => Ok(()),
                    _ => Err(has_subscriptions(id, key, None)),
                };
            }
            Err(error) => return Err(unreachable(error)),
        };
        let ids: Vec<String> = fields::rows(&page).iter().filter_map(|row| fields::id(&row["id"])).collect();
        let stored = subscription_find_many(deps.db.read(), By::Id, &ids).await?;
        let sold: Vec<SubscriptionFields> = fields::rows(&page).iter().map(SubscriptionFields::read).collect();
        // What else a subscription has tells whether the price is an add-on.
        let prices: BTreeSet<String> =
            sold.iter().flat_map(|said| &said.items).flat_map(|item| item.price.ids.iter().cloned()).collect();
        let prices: Vec<String> = prices.into_iter().collect();
        let mut book = book.clone();
        book.add(price_find_many(deps.db.read(), &prices).await?);
        let is_sold =
            |open: &str| sold.iter().any(|said| said.id.as_deref() == Some(open) && is_sold_by(said, id, &book));
        let is_open = |row: &&Subscription| row.is_ours() && row.ended_at_ms.is_none();
        if let Some(open) = stored.iter().filter(is_open).find(|row| is_sold(&row.id)) {
            return Err(has_subscriptions(id, key, Some(&open.id)));
        }
        after = ids.last().cloned().filter(|_| page["has_more"] == true);
        if after.is_none() {
            break;
        }
    }
    Ok(())
}
