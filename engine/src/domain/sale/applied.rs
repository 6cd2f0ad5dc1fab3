//! A catalogue that is applied: the version, and what becomes of the prices at Stripe.

use super::known_price::KnownPrice;
use crate::domain::catalogue::touch::needs_other_stripe_price;
use crate::domain::catalogue::{Catalogue, CatalogueVersion, Price};
use crate::key::PriceKey;
use std::collections::BTreeMap;

/// What commits when a catalogue comes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedCatalogue {
    /// The version.
    pub version: CatalogueVersion,
    /// The catalogue that it follows.
    pub before: Catalogue,
    /// The same catalogue as the version.
    pub catalogue: Catalogue,
    /// The prices at Stripe that it sells now. The terms of the catalogue count for them.
    pub present: Vec<KnownPrice>,
    /// What whoever has a former price keeps.
    pub kept: Vec<KeptTerms>,
}

impl AppliedCatalogue {
    /// Whether something of the catalogue before is gone, which somebody may have begun to buy meanwhile.
    pub fn removes_something(&self) -> bool {
        let (old, new) = (&self.before, &self.catalogue);
        old.plans.iter().any(|plan| new.plan(&plan.key).is_none())
            || old.prices.iter().any(|price| new.price(&price.key).is_none())
            || old.packs.iter().any(|pack| new.pack(&pack.key).is_none())
    }
}

/// The terms that all prices at Stripe of a price keep, but the present one. Those that have terms already keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTerms {
    /// The price as the former catalogue sold it.
    pub terms: Price,
    /// The id of the present price at Stripe.
    pub present: Option<String>,
}

/// The terms that former prices keep when `new` follows `old`. `present` are the ids of the new prices at Stripe, as
/// far as they are known.
pub fn kept_terms(old: &Catalogue, new: &Catalogue, present: &BTreeMap<PriceKey, String>) -> Vec<KeptTerms> {
    let kept = |former: &Price| {
        let keep = |present: Option<String>| Some(KeptTerms { terms: former.clone(), present });
        let Some(price) = new.price(&former.key) else { return keep(None) };
        match present.get(&price.key).or_else(|| price.stripe.first()) {
            Some(id) => keep(Some(id.clone())),
            None if needs_other_stripe_price(former, price) => keep(None),
            // Nothing tells that the price at Stripe is another one.
            None => None,
        }
    };
    old.prices.iter().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Credits, MoneyMinor};

    fn kept(change: impl FnOnce(&mut Catalogue), present: Option<&str>) -> Option<Option<String>> {
        let old = Catalogue::built_in();
        let mut new = Catalogue::clone(&old);
        change(&mut new);
        let key = old.prices[0].key.clone();
        let present = present.map(|id| (key, id.to_owned())).into_iter().collect();
        let mut kept = kept_terms(&old, &new, &present);
        assert!(kept.iter().all(|kept| kept.terms == old.prices[0]), "the terms are the old ones");
        kept.pop().map(|kept| kept.present)
    }

    #[test]
    fn all_but_the_present_price_keep_the_old_terms() {
        let raised = |new: &mut Catalogue| new.prices[0].amount = MoneyMinor(69_900);
        assert_eq!(kept(raised, Some("price_2")), Some(Some("price_2".to_owned())));
        assert_eq!(kept(raised, None), Some(None), "without Stripe, what has been sold is former");
        assert_eq!(kept(|new| new.prices.clear(), None), Some(None), "the price has left the catalogue");
        let named = |new: &mut Catalogue| new.prices[0].stripe = vec!["price_2".to_owned(), "price_1".to_owned()];
        assert_eq!(kept(named, None), Some(Some("price_2".to_owned())));
    }

    #[test]
    fn without_stripe_other_credits_alone_make_no_price_a_former_one() {
        assert_eq!(kept(|new| new.prices[0].credits = Credits(80), None), None);
    }
}
