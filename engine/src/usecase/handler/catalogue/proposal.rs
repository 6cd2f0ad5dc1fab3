//! What another catalogue would change, here and at Stripe. Nothing here writes.

use crate::clock::TimeMs;
use crate::config::MarketplaceConfig;
use crate::domain::catalogue::difference::{Difference, Subject, differences};
use crate::domain::catalogue::refusal::{InUse, Refusal, refusals};
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::sale::KnownPrice;
use crate::domain::sale::at_stripe::{AtStripe, SeenPrice, StripePrices, at_stripe, unstored};
use crate::domain::webhook::fields;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::catalogue::catalogue_in_use;
use crate::infra::store::price::price_find_many;
use crate::infra::stripe::catalogue::LOOKUP_KEYS_MAX;
use crate::infra::stripe::{Gateway, StripeError};
use crate::key::PriceKey;
use std::collections::BTreeSet;

/// What another catalogue would change.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The catalogue in force.
    pub old: Catalogue,
    /// The other one.
    pub new: Catalogue,
    /// What differs.
    pub differences: Vec<Difference>,
    /// Why it cannot be applied.
    pub refusals: Vec<Refusal>,
    /// What customers have.
    pub in_use: InUse,
    /// What Stripe has of the new prices; `None` without a Stripe key.
    pub at_stripe: std::result::Result<Option<AtStripe>, StripeError>,
    /// Prices at Stripe that the catalogue in force sells and that are not stored yet.
    pub unstored: Vec<KnownPrice>,
}

impl Proposal {
    /// Refuses a catalogue that lacks what the listing on GitHub Marketplace sells.
    pub fn refuse_for_marketplace(&mut self, marketplace: &MarketplaceConfig) {
        let problems = marketplace.plan_problems(&self.new).into_iter();
        self.refusals.extend(problems.map(|message| Refusal { subject: Subject::Catalogue, message }));
    }
}

/// Compares a catalogue with the one in force, with what customers have and with what Stripe has.
pub async fn propose(db: &Db, stripe: &Gateway, old: Catalogue, new: Catalogue, now_ms: TimeMs) -> Result<Proposal> {
    let named = |of: &Catalogue| of.prices.iter().flat_map(|price| price.stripe.clone()).collect::<Vec<_>>();
    let in_use = catalogue_in_use(db.read(), &named(&new)).await?;
    let mut refusals = refusals(&old, &new, &in_use);
    let (mut unstored_prices, mut found) = (Vec::new(), Ok(None));
    match fetch(stripe, [&old, &new]).await {
        Ok(seen) => {
            let seen_or_none = seen.clone().unwrap_or_default();
            let ids: BTreeSet<String> = seen_or_none.ids().into_iter().chain(named(&old)).collect();
            let known = price_find_many(db.read(), &ids.into_iter().collect::<Vec<_>>()).await?;
            unstored_prices = unstored(&old, &seen_or_none, &known, now_ms);
            if let Some(seen) = seen {
                let mut at = at_stripe(&new, &seen, &known);
                // A price that moves on belongs to the product of the one that it follows.
                for (plan, product) in at_stripe(&old, &seen, &known).products {
                    at.products.entry(plan).or_insert(product);
                }
                refusals.append(&mut at.refusals);
                found = Ok(Some(at));
            }
        }
        Err(error) => found = Err(error),
    }
    let differences = differences(&old, &new);
    Ok(Proposal { old, new, differences, refusals, in_use, at_stripe: found, unstored: unstored_prices })
}

/// The prices of a catalogue that are offered and that Stripe does not have. None without a Stripe key.
pub async fn missing_at_stripe(
    db: &Db,
    stripe: &Gateway,
    catalogue: &Catalogue,
) -> Result<std::result::Result<Vec<PriceKey>, StripeError>> {
    let seen = match fetch(stripe, [catalogue, catalogue]).await {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(Ok(Vec::new())),
        Err(error) => return Ok(Err(error)),
    };
    let known = price_find_many(db.read(), &seen.ids()).await?;
    Ok(Ok(at_stripe(catalogue, &seen, &known).missing))
}

/// Asks Stripe for the present prices that these catalogues name. `None` without a Stripe key.
async fn fetch(
    stripe: &Gateway,
    catalogues: [&Catalogue; 2],
) -> std::result::Result<Option<StripePrices>, StripeError> {
    let prices = || catalogues.into_iter().flat_map(|catalogue| &catalogue.prices);
    let ids: BTreeSet<&str> = prices().filter_map(|price: &Price| price.stripe.first()).map(String::as_str).collect();
    let keys: BTreeSet<&str> = prices().map(|price| price.lookup_key.as_str()).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    let mut seen = StripePrices::default();
    for id in ids {
        let found = match stripe.price_retrieve(id).await {
            Ok(object) => Some(SeenPrice::read(&object)),
            // For an id of another form Stripe says that the request is invalid.
            Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => None,
            Err(StripeError::NotConfigured) => return Ok(None),
            Err(error) => return Err(error),
        };
        seen.by_id.insert(id.to_owned(), found);
    }
    for keys in keys.chunks(LOOKUP_KEYS_MAX) {
        let page = match stripe.price_list_by_keys(keys).await {
            Ok(page) => page,
            Err(StripeError::NotConfigured) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = fields::rows(&page).iter().map(SeenPrice::read);
        seen.by_lookup_key.extend(found.filter_map(|found| Some((found.said.lookup_key.clone()?, found))));
    }
    Ok(Some(seen))
}
