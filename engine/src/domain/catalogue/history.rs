//! The catalogues that were in force: what was sold is decided on the terms of its time.

use super::touch::needs_other_stripe_price;
use super::{Catalogue, Price};
use crate::clock::TimeMs;
use crate::key::PriceKey;
use std::sync::Arc;

/// The catalogues that were in force, from the first known one to the present one, each with when it came into force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogueHistory {
    versions: Vec<(TimeMs, Arc<Catalogue>)>,
}

impl CatalogueHistory {
    /// The history that consists of these versions, in their order.
    pub fn new(versions: Vec<(TimeMs, Arc<Catalogue>)>) -> Self {
        Self { versions }
    }

    /// A price on its terms of a time. If the catalogue of that time lacks it, those of the first one after that has it
    /// count: a price that was sold before any catalogue named it has no earlier terms.
    pub fn price_at(&self, key: &PriceKey, at_ms: TimeMs) -> Option<&Price> {
        let in_force = self.versions.iter().rposition(|(since_ms, _)| *since_ms <= at_ms).unwrap_or(0);
        self.versions.get(in_force..)?.iter().find_map(|(_, catalogue)| catalogue.price(key))
    }

    /// Since when a price at Stripe keeps these terms: since it was replaced by another one. `None` if nothing tells.
    pub fn kept_since(&self, kept: &Price) -> Option<TimeMs> {
        let is_other = |price: &Price| needs_other_stripe_price(kept, price);
        let mut changes = self.versions.iter().zip(self.versions.iter().skip(1));
        let replaced = changes.find(|((_, before), (_, after))| {
            before.price(&kept.key) == Some(kept) && after.price(&kept.key).is_none_or(is_other)
        });
        replaced.map(|(_, (since_ms, _))| *since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;

    fn with_credits(credits: i64) -> Arc<Catalogue> {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.prices[0].credits = Credits(credits);
        Arc::new(catalogue)
    }

    #[test]
    fn the_terms_of_a_time_are_those_of_the_catalogue_that_was_in_force() {
        let history = CatalogueHistory::new(vec![(10, with_credits(1)), (20, with_credits(2))]);
        let key = &Catalogue::built_in().prices[0].key;
        let credits = |at_ms| history.price_at(key, at_ms).map(|price| price.credits.0);
        assert_eq!([5, 10, 19, 20, 99].map(credits), [Some(1), Some(1), Some(1), Some(2), Some(2)]);
        assert_eq!(CatalogueHistory::default().price_at(key, 5), None);
    }

    #[test]
    fn a_price_at_stripe_keeps_its_terms_since_another_one_has_replaced_it() {
        let raised = |credits| {
            let mut catalogue = Catalogue::clone(&with_credits(credits));
            catalogue.prices[0].amount = crate::amount::MoneyMinor(69_900);
            Arc::new(catalogue)
        };
        let versions = vec![(10, with_credits(1)), (20, with_credits(2)), (30, raised(2)), (40, with_credits(3))];
        let history = CatalogueHistory::new(versions);
        let since = |catalogue: &Catalogue| history.kept_since(&catalogue.prices[0]);
        assert_eq!((since(&with_credits(2)), since(&raised(2))), (Some(30), Some(40)));
        assert_eq!((since(&with_credits(1)), since(&with_credits(3))), (None, None), "they were not replaced");
    }

    #[test]
    fn a_price_that_no_catalogue_named_at_the_time_has_the_first_terms_that_it_got() {
        let without = Arc::new(Catalogue { prices: Vec::new(), ..Catalogue::clone(&Catalogue::built_in()) });
        let versions = vec![(10, without.clone()), (20, with_credits(2)), (30, with_credits(3)), (40, without)];
        let history = CatalogueHistory::new(versions);
        let key = &Catalogue::built_in().prices[0].key;
        let credits = |at_ms| history.price_at(key, at_ms).map(|price| price.credits.0);
        assert_eq!([15, 25, 35, 45].map(credits), [Some(2), Some(2), Some(3), None]);
    }
}
