//! Prices: what an object says of the price of a line or an item.

use super::{Metadata, add_metadata, id, money, push_new, short_text};
use crate::amount::MoneyMinor;
use serde_json::Value;

/// The metadata key under which a price, or a subscription that we made, names the catalogue's price.
pub const PRICE_METADATA_KEY: &str = "bursar_price";
/// The metadata key under which it names the catalogue's plan.
pub const PLAN_METADATA_KEY: &str = "bursar_plan";
/// The key that the releases before the catalogue told companies to use.
const OLD_PLAN_METADATA_KEY: &str = "plan";

/// The fields of the price of an invoice line or a subscription item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Price {
    /// Its ids; more than one only where price and plan differ.
    pub ids: Vec<String>,
    /// Its lookup key.
    pub lookup_key: Option<String>,
    /// Its product.
    pub product_id: Option<String>,
    /// Its metadata.
    pub metadata: Metadata,
    /// What one costs for an interval; `None` also where Stripe has tiers or parts of a minor unit.
    pub amount: Option<MoneyMinor>,
    /// ISO currency, in lower case.
    pub currency: Option<String>,
    /// How long a period is, such as `month` or `2 weeks`.
    pub every: Option<String>,
    /// Whether it bills what was used instead of a fixed quantity.
    pub is_metered: bool,
    /// Whether the whole price is there, not only its id: then a lookup key or metadata that is not
    /// there does not exist.
    pub is_whole: bool,
}

impl Price {
    /// Reads the price of a line or an item: `price` and `plan` (before 2025-03-31.basil) and
    /// `pricing.price_details.price`, each an id or (expanded, since 2025-12-15.clover) an object.
    pub fn read(holder: &Value) -> Self {
        let details = &holder["pricing"]["price_details"];
        let mut price = Self::default();
        for place in [&holder["price"], &details["price"], &holder["plan"]] {
            price.add(place);
        }
        price.product_id = price.product_id.or_else(|| id(&details["product"]));
        price
    }

    /// Reads a price object by itself.
    pub fn read_object(object: &Value) -> Self {
        let mut price = Self::default();
        price.add(object);
        price
    }

    fn add(&mut self, place: &Value) {
        push_new(&mut self.ids, id(place));
        let recurring = &place["recurring"];
        // Before prices, a plan had the interval itself.
        let interval = short_text(&recurring["interval"]).or_else(|| short_text(&place["interval"]));
        let count = recurring["interval_count"].as_i64().or_else(|| place["interval_count"].as_i64()).unwrap_or(1);
        let every = interval.map(|unit| if count == 1 { unit } else { format!("{count} {unit}s") });
        let usage = [&recurring["usage_type"], &place["usage_type"]];
        self.is_metered |= usage.into_iter().any(|usage| usage == "metered");
        self.every = self.every.take().or(every);
        self.amount = self.amount.or_else(|| money(&place["unit_amount"])).or_else(|| money(&place["amount"]));
        self.currency = self.currency.take().or_else(|| short_text(&place["currency"]));
        self.lookup_key = self.lookup_key.take().or_else(|| short_text(&place["lookup_key"]));
        self.product_id = self.product_id.take().or_else(|| id(&place["product"]));
        add_metadata(&mut self.metadata, &place["metadata"]);
        // A plan never has a lookup key, even where its price has one.
        self.is_whole |= place["object"] == "price" || place.get("lookup_key").is_some();
    }
}

/// The key of the catalogue's price that metadata names.
pub fn tagged_price(metadata: &Metadata) -> Option<&str> {
    metadata.get(PRICE_METADATA_KEY).map(String::as_str)
}

/// Whether metadata carries our own tag, which no other business uses.
pub fn has_our_tag(metadata: &Metadata) -> bool {
    metadata.contains_key(PRICE_METADATA_KEY) || metadata.contains_key(PLAN_METADATA_KEY)
}

/// The key of the catalogue's plan that metadata names.
pub fn tagged_plan(metadata: &Metadata) -> Option<&str> {
    metadata.get(PLAN_METADATA_KEY).or_else(|| metadata.get(OLD_PLAN_METADATA_KEY)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_price_is_read_in_every_place_that_it_was_ever_kept() {
        let whole = json!({"id": "price_9", "object": "price", "lookup_key": "pro_monthly", "product": "prod_1",
            "unit_amount": 59_900, "currency": "usd", "recurring": {"interval": "month", "interval_count": 1},
            "metadata": {"bursar_price": "pro_monthly"}});
        for holder in [json!({"price": whole}), json!({"pricing": {"price_details": {"price": whole}}})] {
            let price = Price::read(&holder);
            assert_eq!(
                (price.ids.as_slice(), price.amount),
                (["price_9".to_owned()].as_slice(), Some(MoneyMinor(59_900)))
            );
            assert_eq!((price.every.as_deref(), price.currency.as_deref()), (Some("month"), Some("usd")), "{holder}");
            assert_eq!((price.lookup_key.as_deref(), price.is_whole), (Some("pro_monthly"), true), "{holder}");
            assert_eq!(tagged_price(&price.metadata), Some("pro_monthly"), "{holder}");
        }
        let old = json!({"plan": {"id": "gold", "object": "plan", "amount": 900, "currency": "usd", "interval": "week",
            "interval_count": 2, "product": "prod_1"}});
        let price = Price::read(&old);
        assert_eq!((price.amount, price.every.as_deref()), (Some(MoneyMinor(900)), Some("2 weeks")));
        let bare = Price::read(&json!({"pricing": {"price_details": {"price": "price_9", "product": "prod_1"}}}));
        assert_eq!((bare.product_id.as_deref(), bare.is_whole), (Some("prod_1"), false));
        assert!(!Price::read(&json!({"plan": {"id": "price_9", "object": "plan"}})).is_whole);
    }

    #[test]
    fn a_tag_names_a_price_or_a_plan_by_our_key_or_by_the_old_one() {
        let metadata = |key: &str| Metadata::from([(key.to_owned(), "pro".to_owned())]);
        assert_eq!(tagged_plan(&metadata("bursar_plan")), Some("pro"));
        assert_eq!(tagged_plan(&metadata("plan")), Some("pro"));
        assert_eq!(tagged_price(&metadata("plan")), None);
    }
}
