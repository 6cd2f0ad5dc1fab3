//! The calls that make products and prices of the catalogue.

use super::error::StripeError;
use super::gateway::Gateway;
use crate::domain::catalogue::Price;
use crate::domain::webhook::fields::{PLAN_METADATA_KEY, PRICE_METADATA_KEY};
use crate::key::PlanKey;
use serde_json::{Value, json};
use stripe_client_core::{RequestBuilder, StripeMethod};

/// Maximum number of lookup keys in one call. Source: Stripe, "List all prices".
pub const LOOKUP_KEYS_MAX: usize = 10;

impl Gateway {
    /// Lists the active prices with these lookup keys, at most [`LOOKUP_KEYS_MAX`]. Each has at most one.
    pub async fn price_list_by_keys(&self, lookup_keys: &[&str]) -> Result<Value, StripeError> {
        let query = json!({ "active": "true", "limit": "100", "lookup_keys": lookup_keys });
        let request = RequestBuilder::new(StripeMethod::Get, "/prices").query(&query);
        Ok(self.get("price_list", request).await?.body)
    }

    /// Creates the product of a plan under an id that follows from the plan's key, so that there is only one.
    pub async fn product_create(&self, id: &str, plan: &PlanKey, name: &str, key: &str) -> Result<Value, StripeError> {
        let form = json!({ "id": id, "name": name, "metadata": { PLAN_METADATA_KEY: plan.as_str() } });
        let request = RequestBuilder::new(StripeMethod::Post, "/products").form(&form);
        Ok(self.change("product_create", request, key).await?.body)
    }

    /// Creates the price at Stripe of a price of the catalogue. It takes the lookup key from the price that has it.
    pub async fn price_create(&self, price: &Price, product_id: &str, key: &str) -> Result<Value, StripeError> {
        let form = json!({
            "currency": price.currency.as_str(),
            "unit_amount": price.amount.0.to_string(),
            "recurring": { "interval": price.every.unit.as_str(), "interval_count": price.every.count.to_string() },
            "product": product_id,
            "lookup_key": price.lookup_key,
            "transfer_lookup_key": "true",
            "metadata": { PRICE_METADATA_KEY: price.key.as_str(), PLAN_METADATA_KEY: price.plan.as_str() },
        });
        let request = RequestBuilder::new(StripeMethod::Post, "/prices").form(&form);
        Ok(self.change("price_create", request, key).await?.body)
    }
}
