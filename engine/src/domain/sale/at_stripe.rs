//! Which prices at Stripe a catalogue sells, and which have to be made.

use super::judge::{Offer, differs, judge};
use super::known_price::{DecidedBy, Decision, KnownPrice};
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::money;
use crate::domain::catalogue::{Catalogue, Price, Refusal, Subject};
use crate::domain::webhook::fields;
use crate::key::{PlanKey, PriceKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A price as Stripe has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenPrice {
    /// What it says.
    pub said: fields::Price,
    /// Whether it can be bought; false if it is archived.
    pub is_active: bool,
}

impl SeenPrice {
    /// Reads a price object.
    pub fn read(object: &Value) -> Self {
        Self { said: fields::Price::read_object(object), is_active: object["active"] != false }
    }

    fn id(&self) -> &str {
        self.said.ids.first().map_or("", String::as_str)
    }
}

/// The prices at Stripe that catalogues name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StripePrices {
    /// By id; `None` if Stripe has no such price.
    pub by_id: BTreeMap<String, Option<SeenPrice>>,
    /// The active ones by lookup key.
    pub by_lookup_key: BTreeMap<String, SeenPrice>,
}

impl StripePrices {
    /// All ids of them.
    pub fn ids(&self) -> Vec<String> {
        let by_key = self.by_lookup_key.values().map(|seen| seen.id().to_owned());
        let ids: BTreeSet<String> = self.by_id.keys().cloned().chain(by_key).collect();
        ids.into_iter().collect()
    }

    /// What Stripe has for a price: the first id counts, else the lookup key.
    fn of(&self, price: &Price) -> Option<&SeenPrice> {
        match price.stripe.first() {
            Some(id) => self.by_id.get(id)?.as_ref(),
            None => self.by_lookup_key.get(&price.lookup_key),
        }
    }
}

/// What Stripe has of a catalogue's prices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtStripe {
    /// The present price at Stripe of each price that has one.
    pub present: BTreeMap<PriceKey, fields::Price>,
    /// Prices that are offered and have none.
    pub missing: Vec<PriceKey>,
    /// Why the catalogue cannot sell by what it names at Stripe.
    pub refusals: Vec<Refusal>,
    /// The products of plans.
    pub products: BTreeMap<PlanKey, String>,
}

/// Finds a catalogue's prices among those at Stripe. `known` is what is stored of them.
pub fn at_stripe(catalogue: &Catalogue, seen: &StripePrices, known: &[KnownPrice]) -> AtStripe {
    let known: BTreeMap<&str, &KnownPrice> = known.iter().map(|price| (price.id.as_str(), price)).collect();
    let mut at = AtStripe::default();
    for price in &catalogue.prices {
        at.refusals.extend(former_that_differ(price, seen));
        let found = seen.of(price);
        if let Some(product) = found.and_then(|found| found.said.product_id.as_ref()) {
            at.products.entry(price.plan.clone()).or_insert_with(|| product.clone());
        }
        let row = found.and_then(|found| known.get(found.id())).copied();
        let result = match price.stripe.first() {
            Some(id) => by_id(price, id, found, row),
            None => by_lookup_key(price, found, row),
        };
        match result {
            Ok(Some(said)) => {
                at.present.insert(price.key.clone(), said);
            }
            Ok(None) if price.offered => at.missing.push(price.key.clone()),
            Ok(None) => {}
            Err(message) => at.refusals.push(Refusal { subject: Subject::Price(price.key.clone()), message }),
        }
    }
    at
}

/// How a price that the catalogue offers stands at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It can be bought.
    Sold,
    /// Stripe has none.
    Missing,
    /// Stripe has it, and sells it no longer.
    Archived {
        /// Its id at Stripe.
        id: String,
    },
    /// Stripe has one that costs something else.
    Differs {
        /// Its id at Stripe.
        id: String,
        /// What it costs at Stripe, in words.
        at_stripe: String,
        /// What it costs in the catalogue, in words.
        here: String,
    },
}

/// How each price that the catalogue offers stands at Stripe. `seen` may hold archived prices by lookup key, too.
pub fn standings(catalogue: &Catalogue, seen: &StripePrices) -> Vec<(PriceKey, Standing)> {
    let standing = |price: &Price| {
        let Some(found) = seen.of(price) else { return Standing::Missing };
        let id = found.id().to_owned();
        if !is_offer_of(&found.said, price) {
            return Standing::Differs { id, at_stripe: describe(&found.said), here: describe_price(price) };
        }
        if found.is_active { Standing::Sold } else { Standing::Archived { id } }
    };
    catalogue.prices.iter().filter(|price| price.offered).map(|price| (price.key.clone(), standing(price))).collect()
}

fn by_id(
    price: &Price,
    id: &str,
    found: Option<&SeenPrice>,
    row: Option<&KnownPrice>,
) -> Result<Option<fields::Price>, String> {
    let key = &price.key;
    let Some(found) = found else {
        return Err(format!("Stripe has no price {id}, which stripe under [prices.{key}] names"));
    };
    if !is_offer_of(&found.said, price) {
        return Err(format!(
            "{id} costs {} at Stripe, and [prices.{key}] says {}. Make the two equal, or leave stripe out so that a \
             price is made",
            describe(&found.said),
            describe_price(price)
        ));
    }
    if price.offered && !found.is_active {
        return Err(format!("{id} is archived at Stripe, so [prices.{key}] cannot be bought by it"));
    }
    if let Some(row) = row {
        belongs(price, row)?;
        if row.terms.as_ref().is_some_and(|terms| !has_same_terms(terms, price)) {
            return Err(format!(
                "{id} is a former price of {key}, and whoever has it keeps other terms. Leave stripe out under \
                 [prices.{key}], so that a price is made"
            ));
        }
    }
    Ok(Some(found.said.clone()))
}

/// Refusals of former prices that a price names and that can never have sold it.
fn former_that_differ(price: &Price, seen: &StripePrices) -> Vec<Refusal> {
    let refusal = |id: &String| {
        let why = differs(&seen.by_id.get(id)?.as_ref()?.said, price)?;
        let message = format!("stripe under [prices.{}] names {id}, but {why}. Leave the id out", price.key);
        Some(Refusal { subject: Subject::Price(price.key.clone()), message })
    };
    price.stripe.iter().skip(1).filter_map(refusal).collect()
}

fn by_lookup_key(
    price: &Price,
    found: Option<&SeenPrice>,
    row: Option<&KnownPrice>,
) -> Result<Option<fields::Price>, String> {
    let Some(found) = found.filter(|found| is_offer_of(&found.said, price)) else { return Ok(None) };
    if let Some(row) = row {
        belongs(price, row)?;
        if row.terms.as_ref().is_some_and(|terms| !has_same_terms(terms, price)) {
            return Ok(None);
        }
    }
    Ok(Some(found.said.clone()))
}

/// Checks that what was decided of a price at Stripe lets this price of the catalogue be sold by it.
fn belongs(price: &Price, row: &KnownPrice) -> Result<(), String> {
    match &row.decision {
        Decision::Ours(owner) if *owner != price.key => {
            Err(format!("{} at Stripe sells {owner} already, so {} cannot be sold by it", row.id, price.key))
        }
        Decision::NotOurs if row.decided_by == DecidedBy::Operator => {
            Err(format!("support has decided that {} at Stripe is other business", row.id))
        }
        _ => Ok(()),
    }
}

fn is_offer_of(said: &fields::Price, price: &Price) -> bool {
    Offer::of(said).is_of(price) && !said.is_metered && said.every.is_some()
}

/// Whether whoever pays for one gets what whoever pays for the other gets.
fn has_same_terms(one: &Price, other: &Price) -> bool {
    let terms = |price: &Price| {
        let brings = (price.credits, price.grant, price.rollover, price.lifetime_days);
        (price.plan.clone(), price.every, price.per_seat, brings)
    };
    terms(one) == terms(other)
}

/// What a price costs in words, as far as Stripe says.
fn describe(said: &fields::Price) -> String {
    let amount = match (said.amount, said.currency.as_deref()) {
        (Some(amount), Some(currency)) => money(amount, currency),
        _ => "an amount of another form".to_owned(),
    };
    match said.every.as_deref() {
        Some(_) if said.is_metered => format!("{amount} by use"),
        Some(every) => format!("{amount} each {every}"),
        None => format!("{amount} once"),
    }
}

/// What a price of the catalogue costs in words.
pub fn describe_price(price: &Price) -> String {
    format!("{} each {}", money(price.amount, price.currency.as_str()), price.every)
}

/// The price at Stripe that sells a price of the catalogue from now on. The catalogue names it by its id or its lookup
/// key, so it is ours for whoever has it.
pub fn sold(price: &Price, said: &fields::Price, catalogue: &Catalogue, now_ms: TimeMs) -> KnownPrice {
    let is_named = price.stripe.iter().any(|id| said.ids.contains(id));
    KnownPrice {
        decision: Decision::Ours(price.key.clone()),
        decided_by: if is_named { DecidedBy::Catalogue } else { DecidedBy::LookupKey },
        reason: None,
        ..judge(said, catalogue, &[], now_ms)
    }
}

/// The prices at Stripe that a catalogue names and of which nothing final is stored. They are ours, and must be known
/// as such before another catalogue is in force, by which nothing may tell it any longer.
pub fn unstored(catalogue: &Catalogue, seen: &StripePrices, known: &[KnownPrice], now_ms: TimeMs) -> Vec<KnownPrice> {
    let is_stored = |id: &str| known.iter().any(|row| row.id == id && row.is_final());
    let mut unstored = BTreeMap::new();
    for price in &catalogue.prices {
        let bare = |id: &String| fields::Price { ids: vec![id.clone()], ..fields::Price::default() };
        let named = price.stripe.iter().map(|id| match seen.by_id.get(id) {
            Some(Some(found)) => found.said.clone(),
            _ => bare(id),
        });
        let keyed = seen.by_lookup_key.get(&price.lookup_key).map(|found| found.said.clone());
        for said in named.chain(keyed) {
            let known = judge(&said, catalogue, &[], now_ms);
            if matches!(known.decision, Decision::Ours(_)) && !is_stored(&known.id) {
                unstored.insert(known.id.clone(), known);
            }
        }
    }
    unstored.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Credits, MoneyMinor};
    use crate::domain::sale::example::{catalogue, pro_price};

    fn seen(id: &str, amount: i64) -> SeenPrice {
        let said = fields::Price {
            ids: vec![id.to_owned()],
            product_id: Some("prod_1".to_owned()),
            lookup_key: Some("pro_monthly".to_owned()),
            amount: Some(MoneyMinor(amount)),
            currency: Some("usd".to_owned()),
            every: Some("month".to_owned()),
            is_whole: true,
            ..fields::Price::default()
        };
        SeenPrice { said, is_active: true }
    }

    fn keyed(price: SeenPrice) -> StripePrices {
        StripePrices { by_lookup_key: BTreeMap::from([("pro_monthly".to_owned(), price)]), ..StripePrices::default() }
    }

    fn named(price: Option<SeenPrice>) -> (Catalogue, StripePrices) {
        let mut catalogue = Catalogue::clone(&catalogue());
        catalogue.prices[0].stripe = vec!["price_1".to_owned()];
        (catalogue, StripePrices { by_id: BTreeMap::from([("price_1".to_owned(), price)]), ..StripePrices::default() })
    }

    /// The id of Pro's present price.
    fn present(at: &AtStripe) -> Option<&str> {
        at.present.get(&pro_price().key)?.ids.first().map(String::as_str)
    }

    #[test]
    fn a_price_is_found_by_its_lookup_key_at_its_amount_and_made_else() {
        let at = at_stripe(&catalogue(), &keyed(seen("price_1", 59_900)), &[]);
        assert_eq!((present(&at), at.missing.len()), (Some("price_1"), 0));
        let at = at_stripe(&catalogue(), &keyed(seen("price_1", 49_900)), &[]);
        assert_eq!((present(&at), at.missing.as_slice()), (None, [pro_price().key].as_slice()));
        assert_eq!(at.products[&pro_price().plan], "prod_1", "the new price belongs to the same product");
        let mut retired = Catalogue::clone(&catalogue());
        retired.prices[0].offered = false;
        assert!(at_stripe(&retired, &StripePrices::default(), &[]).missing.is_empty(), "nobody can buy it");
    }

    #[test]
    fn an_offered_price_is_sold_missing_archived_or_differs() {
        let standing = |prices: &StripePrices| standings(&catalogue(), prices).remove(0).1;
        assert_eq!(standing(&keyed(seen("price_1", 59_900))), Standing::Sold);
        assert_eq!(standing(&StripePrices::default()), Standing::Missing);
        let archived = SeenPrice { is_active: false, ..seen("price_1", 59_900) };
        assert_eq!(standing(&keyed(archived)), Standing::Archived { id: "price_1".to_owned() });
        let Standing::Differs { id, at_stripe, here } = standing(&keyed(seen("price_1", 49_900))) else {
            panic!("its amount differs")
        };
        assert_eq!((id.as_str(), at_stripe.as_str()), ("price_1", "$499.00 each month"));
        assert_eq!(here, describe_price(&pro_price()));
        let (mut named, prices) = named(None);
        assert_eq!(standings(&named, &prices)[0].1, Standing::Missing);
        named.prices[0].offered = false;
        assert!(standings(&named, &prices).is_empty(), "nobody can buy it");
    }

    #[test]
    fn a_named_price_must_be_there_at_its_amount_and_not_archived() {
        for (price, part) in [
            (None, "Stripe has no price price_1"),
            (Some(seen("price_1", 49_900)), "price_1 costs $499.00 each month at Stripe"),
            (Some(SeenPrice { is_active: false, ..seen("price_1", 59_900) }), "price_1 is archived"),
        ] {
            let (catalogue, prices) = named(price);
            let at = at_stripe(&catalogue, &prices, &[]);
            let said = &at.refusals[0].message;
            assert!(said.starts_with(part) && at.missing.is_empty(), "{said}");
        }
        let (catalogue, prices) = named(Some(seen("price_1", 59_900)));
        assert_eq!(present(&at_stripe(&catalogue, &prices, &[])), Some("price_1"));
    }

    #[test]
    fn a_former_price_that_is_named_must_have_periods_of_the_same_length() {
        let (mut catalogue, mut prices) = named(Some(seen("price_1", 59_900)));
        catalogue.prices[0].stripe.push("price_0".to_owned());
        let mut refused_with = |every: &str| {
            let mut former = seen("price_0", 49_900);
            former.said.every = Some(every.to_owned());
            prices.by_id.insert("price_0".to_owned(), Some(former));
            at_stripe(&catalogue, &prices, &[]).refusals
        };
        assert!(refused_with("month").is_empty());
        let refused = refused_with("year");
        assert!(refused[0].message.contains("names price_0, but it is paid each year"), "{refused:?}");
    }

    #[test]
    fn a_former_price_with_other_terms_is_never_sold_again() {
        let known = sold(&pro_price(), &seen("price_1", 59_900).said, &catalogue(), 1);
        let former = |credits: i64| KnownPrice {
            terms: Some(Price { credits: Credits(credits), ..pro_price() }),
            ..known.clone()
        };
        let prices = keyed(seen("price_1", 59_900));
        assert_eq!(at_stripe(&catalogue(), &prices, &[former(40)]).missing.len(), 1);
        assert_eq!(present(&at_stripe(&catalogue(), &prices, &[former(60)])), Some("price_1"));
        let (catalogue, prices) = named(Some(seen("price_1", 59_900)));
        let refused = at_stripe(&catalogue, &prices, &[former(40)]).refusals;
        assert!(refused[0].message.contains("keeps other terms"), "{refused:?}");
    }

    #[test]
    fn what_is_sold_is_ours_for_everybody_by_the_name_that_the_catalogue_has_for_it() {
        let row = |catalogue: &Catalogue| sold(&catalogue.prices[0], &seen("price_1", 59_900).said, catalogue, 1);
        let (named, _) = named(None);
        let by = [row(&named), row(&catalogue())].map(|row| (row.is_final(), row.decided_by));
        assert_eq!(by, [(true, DecidedBy::Catalogue), (true, DecidedBy::LookupKey)]);
    }

    #[test]
    fn what_only_a_tag_makes_ours_is_stored_once_the_catalogue_names_it() {
        let (catalogue, prices) = named(Some(seen("price_1", 59_900)));
        let row = sold(&pro_price(), &seen("price_1", 59_900).said, &catalogue, 1);
        let tagged = KnownPrice { decided_by: DecidedBy::Sold, ..row };
        let stored = unstored(&catalogue, &prices, &[tagged], 2);
        assert_eq!(stored.iter().map(|row| row.decided_by).collect::<Vec<_>>(), [DecidedBy::Catalogue]);
    }

    #[test]
    fn a_price_that_sells_something_else_is_refused() {
        let known = sold(&pro_price(), &seen("price_1", 59_900).said, &catalogue(), 1);
        let prices = keyed(seen("price_1", 59_900));
        for (decision, part) in
            [(Decision::Ours(PriceKey::trusted("team")), "sells team already"), (Decision::NotOurs, "other business")]
        {
            let row = KnownPrice { decision, decided_by: DecidedBy::Operator, ..known.clone() };
            let refused = at_stripe(&catalogue(), &prices, &[row]).refusals;
            assert!(refused[0].message.contains(part), "{refused:?}");
        }
    }

    #[test]
    fn what_the_catalogue_names_is_stored_unless_it_is_known_as_ours() {
        let (catalogue, mut prices) = named(None);
        prices.by_lookup_key.insert("pro_monthly".to_owned(), seen("price_2", 49_900));
        let stored = unstored(&catalogue, &prices, &[], 1);
        let ours = |row: &KnownPrice| (row.id.clone(), row.decision.price().cloned());
        let key = Some(pro_price().key);
        let expected = [("price_1".to_owned(), key.clone()), ("price_2".to_owned(), key)];
        assert_eq!(stored.iter().map(ours).collect::<Vec<_>>(), expected);
        assert!(unstored(&catalogue, &prices, &stored, 2).is_empty());
    }

    #[test]
    fn a_named_price_with_the_same_terms_or_that_nobody_has_decided_on_is_sold() {
        let (catalogue, prices) = named(Some(seen("price_1", 59_900)));
        let row = sold(&pro_price(), &seen("price_1", 59_900).said, &catalogue, 1);
        let same = KnownPrice { terms: Some(pro_price()), ..row.clone() };
        let undecided = KnownPrice { decision: Decision::NotOurs, decided_by: DecidedBy::Nothing, ..row };
        for known in [same, undecided] {
            assert_eq!(present(&at_stripe(&catalogue, &prices, &[known])), Some("price_1"));
        }
    }

    #[test]
    fn a_price_that_nobody_can_buy_any_longer_may_be_archived_at_stripe() {
        let (mut catalogue, prices) = named(Some(SeenPrice { is_active: false, ..seen("price_1", 59_900) }));
        catalogue.prices[0].offered = false;
        let at = at_stripe(&catalogue, &prices, &[]);
        assert_eq!((present(&at), at.refusals.len()), (Some("price_1"), 0));
    }

    #[test]
    fn what_is_paid_once_or_by_use_or_in_another_form_is_no_price_of_a_plan() {
        let said = seen("price_1", 59_900).said;
        for (said, words) in [
            (fields::Price { every: None, ..said.clone() }, "price_1 costs $599.00 once at Stripe"),
            (fields::Price { is_metered: true, ..said.clone() }, "price_1 costs $599.00 by use at Stripe"),
            (fields::Price { amount: None, ..said }, "price_1 costs an amount of another form each month at Stripe"),
        ] {
            let (catalogue, prices) = named(Some(SeenPrice { said, is_active: true }));
            let at = at_stripe(&catalogue, &prices, &[]);
            assert!(at.present.is_empty() && at.refusals[0].message.starts_with(words), "{:?}", at.refusals);
        }
    }

    #[test]
    fn what_stripe_says_of_a_named_price_is_stored_with_it() {
        let (catalogue, prices) = named(Some(seen("price_1", 59_900)));
        let stored = unstored(&catalogue, &prices, &[], 1);
        assert_eq!((stored.len(), stored[0].amount), (1, Some(MoneyMinor(59_900))));
    }
}
