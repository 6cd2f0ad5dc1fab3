//! Makes the products and prices that a catalogue lacks at Stripe.

use super::proposal::Proposal;
use crate::domain::catalogue::Price;
use crate::domain::sale::at_stripe::AtStripe;
use crate::domain::webhook::fields;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::price::price_put_many;
use crate::infra::stripe::{Gateway, StripeError};
use crate::key::{PlanKey, PriceKey};
use serde_json::Value;
use std::collections::BTreeMap;

/// Maximum number of prices that one attempt makes, so that it is short.
const MADE_MAX: usize = 40;

/// What an attempt has made.
#[derive(Debug)]
pub enum Made {
    /// More is to be made.
    Part,
    /// Nothing is missing any longer.
    All {
        /// The present price at Stripe of each price that has one.
        present: BTreeMap<PriceKey, fields::Price>,
        /// The number of prices that this attempt made.
        made: usize,
    },
}

/// Makes prices for one application of a catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The database.
    pub db: &'a Db,
    /// The client of Stripe.
    pub stripe: &'a Gateway,
    /// The number of the version that is to be applied.
    pub version: i64,
    /// The application: the same for all its attempts, and never used by another one.
    pub run: &'a str,
    /// Attempts before this one.
    pub attempt: i64,
}

impl Maker<'_> {
    /// Makes what is missing, unless there is no Stripe key. The inner error is Stripe's.
    pub async fn make(&self, proposal: &Proposal) -> Result<std::result::Result<Made, StripeError>> {
        // Before a lookup key moves on: afterwards nothing at Stripe tells what the price that had it sells.
        price_put_many(self.db.write(), &proposal.unstored).await?;
        let at = match &proposal.at_stripe {
            Ok(Some(at)) => at,
            Ok(None) => return Ok(Ok(Made::All { present: BTreeMap::new(), made: 0 })),
            Err(error) => return Ok(Err(error.clone())),
        };
        Ok(self.make_missing(proposal, at).await)
    }

    async fn make_missing(&self, proposal: &Proposal, at: &AtStripe) -> std::result::Result<Made, StripeError> {
        let (mut present, mut products, mut made) = (at.present.clone(), at.products.clone(), 0);
        for price in at.missing.iter().filter_map(|key| proposal.new.price(key)) {
            if made == MADE_MAX {
                return Ok(Made::Part);
            }
            let product = match products.get(&price.plan) {
                Some(id) => id.clone(),
                None => self.product(&price.plan, proposal.new.plan_name(&price.plan)).await?,
            };
            let object = self.price(price, &product).await?;
            products.insert(price.plan.clone(), product);
            present.insert(price.key.clone(), fields::Price::read_object(&object));
            made += 1;
        }
        Ok(Made::All { present, made })
    }

    /// The id of a plan's own product, which is made unless it exists.
    async fn product(&self, plan: &PlanKey, name: &str) -> std::result::Result<String, StripeError> {
        let id = format!("bursar_{plan}");
        let keys = self.keys(&format!("product:{plan}"));
        let mut made = self.stripe.product_create(&id, plan, name, &keys[0]).await;
        if self.needs_other_key(&made) {
            made = self.stripe.product_create(&id, plan, name, &keys[1]).await;
        }
        match made {
            Ok(_) => Ok(id),
            Err(StripeError::Invalid { code, .. }) if code == "resource_already_exists" => Ok(id),
            Err(error) => Err(error),
        }
    }

    async fn price(&self, price: &Price, product: &str) -> std::result::Result<Value, StripeError> {
        let keys = self.keys(&format!("price:{}", price.key));
        let made = self.stripe.price_create(price, product, &keys[0]).await;
        if self.needs_other_key(&made) { self.stripe.price_create(price, product, &keys[1]).await } else { made }
    }

    /// The idempotency key of an object, and another one for this attempt.
    fn keys(&self, what: &str) -> [String; 2] {
        let key = format!("bursar:catalogue:{}:{what}:{}", self.version, self.run);
        [key.clone(), format!("{key}:{}", self.attempt)]
    }

    /// Whether Stripe repeats a stored failure under the key, as it does for hours. An attempt before this one met it,
    /// and this one has found no such object.
    fn needs_other_key(&self, made: &std::result::Result<Value, StripeError>) -> bool {
        self.attempt > 0 && matches!(made, Err(StripeError::Unknown { is_stored: true, .. }))
    }
}
