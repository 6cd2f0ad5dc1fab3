//! Prices, and which of them is Pro's.

use super::{Metadata, add_metadata, id, push_new, short_text};
use crate::config::StripeConfig;
use serde_json::Value;

/// Metadata that makes its price, line or subscription Pro's.
const PLAN_KEY: &str = "plan";
const PLAN_PRO: &str = "pro";

/// How Pro's price is recognised: by any of its id, its lookup key, or metadata `plan=pro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProPrice {
    /// Its id at Stripe. Worth configuring: since 2025-03-31.basil an invoice's lines name their
    /// price by id only, without lookup key or metadata.
    pub price_id: Option<String>,
    /// Its lookup key.
    pub lookup_key: String,
}

impl Default for ProPrice {
    fn default() -> Self {
        Self { price_id: None, lookup_key: "pro_monthly".to_owned() }
    }
}

impl From<&StripeConfig> for ProPrice {
    fn from(config: &StripeConfig) -> Self {
        // A variable that is set to nothing, as compose files do, is not set.
        let price_id = config.pro_price_id.clone().filter(|id| !id.trim().is_empty());
        Self { price_id, lookup_key: config.pro_lookup_key.clone() }
    }
}

/// Whether something is priced as Pro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsPro {
    /// It is.
    Yes,
    /// It is not, and enough was there to tell.
    No,
    /// What was there does not tell.
    Unknown,
}

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
            push_new(&mut price.ids, id(place));
            price.lookup_key = price.lookup_key.or_else(|| short_text(&place["lookup_key"]));
            price.product_id = price.product_id.or_else(|| id(&place["product"]));
            add_metadata(&mut price.metadata, &place["metadata"]);
            // A plan never has a lookup key, even where its price has one.
            price.is_whole |= place["object"] == "price" || place.get("lookup_key").is_some();
        }
        price.product_id = price.product_id.or_else(|| id(&details["product"]));
        price
    }

    /// Whether it is Pro's, judged by the price alone.
    pub fn is_pro(&self, pro: &ProPrice) -> IsPro {
        let by_id = pro.price_id.as_ref().is_some_and(|wanted| self.ids.contains(wanted));
        let by_key = self.lookup_key.as_ref() == Some(&pro.lookup_key);
        if by_id || by_key || says_pro(&self.metadata) {
            IsPro::Yes
        } else if self.is_whole {
            IsPro::No
        } else {
            IsPro::Unknown
        }
    }
}

/// Whether metadata says `plan=pro`.
pub(super) fn says_pro(metadata: &Metadata) -> bool {
    metadata.get(PLAN_KEY).is_some_and(|plan| plan == PLAN_PRO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_id_that_is_set_to_nothing_is_none() {
        let config = StripeConfig { pro_price_id: Some(String::new()), ..StripeConfig::default() };
        assert_eq!(ProPrice::from(&config).price_id, None);
    }
    use serde_json::json;

    fn configured() -> ProPrice {
        ProPrice { price_id: Some("price_pro".to_owned()), ..ProPrice::default() }
    }

    #[test]
    fn pro_is_recognised_in_every_place_that_a_price_was_ever_kept() {
        let whole = json!({"id": "price_9", "object": "price", "lookup_key": "pro_monthly", "product": "prod_1"});
        let tagged = json!({"id": "price_9", "object": "price", "lookup_key": null, "metadata": {"plan": "pro"}});
        let holders = [
            json!({"price": "price_pro"}),
            json!({"plan": {"id": "price_pro", "object": "plan"}}),
            json!({"price": whole}),
            json!({"price": tagged}),
            json!({"plan": {"id": "price_9", "object": "plan", "metadata": {"plan": "pro"}}}),
            json!({"pricing": {"price_details": {"price": "price_pro", "product": "prod_1"}}}),
            json!({"pricing": {"price_details": {"price": whole}}}),
            json!({"pricing": {"price_details": {"price": tagged}}}),
        ];
        for holder in holders {
            assert_eq!(Price::read(&holder).is_pro(&configured()), IsPro::Yes, "{holder}");
        }
    }

    #[test]
    fn a_price_named_by_id_only_is_unknown_and_a_whole_one_is_known_not_to_be_pro() {
        let bare = json!({"pricing": {"price_details": {"price": "price_9"}}});
        let plan = json!({"plan": {"id": "price_9", "object": "plan"}});
        let whole = json!({"price": {"id": "price_9", "object": "price", "lookup_key": null}});
        assert_eq!(Price::read(&bare).is_pro(&configured()), IsPro::Unknown);
        assert_eq!(Price::read(&plan).is_pro(&configured()), IsPro::Unknown);
        assert_eq!(Price::read(&json!({})).is_pro(&configured()), IsPro::Unknown);
        assert_eq!(Price::read(&whole).is_pro(&configured()), IsPro::No);
    }

    #[test]
    fn an_empty_lookup_key_in_the_configuration_matches_nothing() {
        let none = ProPrice { price_id: None, lookup_key: String::new() };
        let price = json!({"price": {"id": "price_9", "object": "price", "lookup_key": ""}});
        assert_eq!(Price::read(&price).is_pro(&none), IsPro::No);
    }

    #[test]
    fn the_product_is_read_as_text_or_expanded() {
        for holder in [
            json!({"price": {"id": "price_1", "product": "prod_1"}}),
            json!({"plan": {"id": "price_1", "product": {"id": "prod_1"}}}),
            json!({"pricing": {"price_details": {"price": "price_1", "product": "prod_1"}}}),
        ] {
            assert_eq!(Price::read(&holder).product_id.as_deref(), Some("prod_1"), "{holder}");
        }
    }
}
