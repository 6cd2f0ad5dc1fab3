//! Decides what a price at Stripe sells, from everything that Stripe says of it.

use super::known_price::{DecidedBy, Decision, KnownPrice};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::{Catalogue, Interval, Price};
use crate::domain::webhook::fields::{self, Metadata, has_our_tag, tagged_plan, tagged_price};

/// What a price costs, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer<'a> {
    /// What one costs.
    pub amount: Option<MoneyMinor>,
    /// The currency.
    pub currency: Option<&'a str>,
    /// How long a period is.
    pub every: Option<&'a str>,
}

impl<'a> Offer<'a> {
    /// What a price says.
    pub fn of(price: &'a fields::Price) -> Self {
        Self { amount: price.amount, currency: price.currency.as_deref(), every: price.every.as_deref() }
    }

    /// What is known of a price.
    pub fn of_known(known: &'a KnownPrice) -> Self {
        Self { amount: known.amount, currency: known.currency.as_deref(), every: known.every.as_deref() }
    }

    /// Whether it is the same as another one, of which all is known.
    pub fn is_as(&self, other: Self) -> bool {
        let every = self.every.and_then(Interval::parse).zip(other.every);
        let is_as_long = every.is_some_and(|(one, other)| one.is_as_long_as(other));
        self.amount.is_some() && (self.amount, self.currency) == (other.amount, other.currency) && is_as_long
    }

    /// Whether it is what the catalogue's price costs. The amount must be known; what else is known must agree.
    pub fn is_of(&self, price: &Price) -> bool {
        self.amount == Some(price.amount)
            && self.currency.is_none_or(|currency| currency == price.currency.as_str())
            && self.every.is_none_or(|every| price.every.is_as_long_as(every))
    }
}

/// Why a price at Stripe cannot sell a price of the catalogue, whatever it costs: its periods have another length, it
/// is in another currency, or it bills use. What is not known differs in nothing.
///
/// A month sold as a year would bring the credits of a year each month.
pub fn differs(said: &fields::Price, price: &Price) -> Option<String> {
    let key = &price.key;
    if said.is_metered {
        return Some(format!("it bills what was used, and {key} is a fixed price"));
    }
    offer_differs(Offer::of(said), price)
}

/// As [`differs`], of what is known of a price.
pub fn known_differs(known: &KnownPrice, price: &Price) -> Option<String> {
    offer_differs(Offer::of_known(known), price)
}

fn offer_differs(offer: Offer<'_>, price: &Price) -> Option<String> {
    let key = &price.key;
    if let Some(every) = offer.every
        && !price.every.is_as_long_as(every)
    {
        return Some(format!("it is paid each {every}, and {key} each {}", price.every));
    }
    let currency = offer.currency.filter(|currency| *currency != price.currency.as_str())?;
    Some(format!("it is in {currency}, and {key} in {}", price.currency.as_str()))
}

/// The catalogue's prices that metadata names: by their own key, or by their plan's. `None` if it names none.
pub fn tagged<'a>(metadata: &Metadata, catalogue: &'a Catalogue) -> Option<Vec<&'a Price>> {
    let prices = || catalogue.prices.iter();
    let by_price = tagged_price(metadata)
        .map(|key| prices().filter(|price| price.key.as_str() == key).collect::<Vec<_>>())
        .filter(|found| !found.is_empty());
    let by_plan = || tagged_plan(metadata).map(|key| prices().filter(|price| price.plan.as_str() == key).collect());
    by_price.or_else(by_plan).filter(|found: &Vec<_>| !found.is_empty())
}

/// Decides what a price sells. `of_product` are known prices of the same product that are ours.
///
/// The questions, in this order: does the catalogue name its id; does it carry a lookup key of the catalogue; does it
/// carry our tag; does its product belong to a price of ours. A tag or a product counts only together with the amount
/// of the catalogue: with another amount it may be ours, and a person decides. So it is if an id or a lookup key of the
/// catalogue belongs to a price that [`differs`].
pub fn judge(said: &fields::Price, catalogue: &Catalogue, of_product: &[KnownPrice], now_ms: TimeMs) -> KnownPrice {
    let (decision, decided_by, reason) = decide(said, catalogue, of_product);
    KnownPrice {
        id: said.ids.first().cloned().unwrap_or_default(),
        product_id: said.product_id.clone(),
        lookup_key: said.lookup_key.clone(),
        metadata: said.metadata.clone(),
        amount: said.amount,
        currency: said.currency.clone(),
        every: said.every.clone(),
        decision,
        decided_by,
        reason,
        terms: None,
        first_seen_ms: now_ms,
        decided_at_ms: now_ms,
    }
}

fn decide(
    said: &fields::Price,
    catalogue: &Catalogue,
    of_product: &[KnownPrice],
) -> (Decision, DecidedBy, Option<String>) {
    let ours = |price: &Price, by| (Decision::Ours(price.key.clone()), by, None);
    let unclear = |by, reason| (Decision::Undecided, by, Some(reason));
    let by_id = said.ids.iter().find_map(|id| catalogue.price_of_stripe_id(id));
    let by_key = || said.lookup_key.as_deref().and_then(|key| catalogue.price_of_lookup_key(key));
    let named = by_id.map(|price| (price, DecidedBy::Catalogue));
    if let Some((price, by)) = named.or_else(|| by_key().map(|price| (price, DecidedBy::LookupKey))) {
        return match differs(said, price) {
            None => ours(price, by),
            Some(why) => unclear(by, format!("the catalogue names it as {}, but {why}", price.key)),
        };
    }
    let offer = Offer::of(said);
    if let Some(tagged) = tagged(&said.metadata, catalogue) {
        if let Some(price) = tagged.iter().find(|price| offer.is_of(price)) {
            return ours(price, DecidedBy::Tag);
        }
        // The tag of the releases before the catalogue (`plan`) is a word that other business may use as well.
        if has_our_tag(&said.metadata) {
            return unclear(DecidedBy::Tag, format!("it is tagged as ours and costs {}", describe(said)));
        }
    }
    // What is billed by use beside a plan is no period of the plan.
    if of_product.is_empty() || said.is_metered || said.every.is_none() {
        return (Decision::NotOurs, DecidedBy::Nothing, None);
    }
    let prices = of_product.iter().filter_map(|known| catalogue.price(known.decision.price()?));
    match prices.into_iter().find(|price| offer.is_of(price)) {
        Some(price) => ours(price, DecidedBy::Product),
        None => {
            unclear(DecidedBy::Product, format!("its product is one that we sell, and it costs {}", describe(said)))
        }
    }
}

fn describe(said: &fields::Price) -> String {
    let amount = said.amount.map_or_else(|| "an unknown amount".to_owned(), |amount| amount.to_string());
    let currency = said.currency.as_deref().unwrap_or("of an unknown currency");
    let every = said.every.as_deref().map(|every| format!(" each {every}")).unwrap_or_default();
    format!("{amount} {currency}{every}, which is no price of the catalogue")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Interval;
    use crate::key::PriceKey;

    fn said(id: &str, amount: i64) -> fields::Price {
        fields::Price {
            ids: vec![id.to_owned()],
            product_id: Some("prod_1".to_owned()),
            amount: Some(MoneyMinor(amount)),
            currency: Some("usd".to_owned()),
            every: Some("month".to_owned()),
            is_whole: true,
            ..fields::Price::default()
        }
    }

    fn judged(said: &fields::Price, of_product: &[KnownPrice]) -> (Decision, DecidedBy) {
        let known = judge(said, &Catalogue::built_in(), of_product, 1);
        assert_eq!(known.reason.is_some(), known.decision == Decision::Undecided);
        (known.decision, known.decided_by)
    }

    fn pro() -> Decision {
        Decision::Ours(PriceKey::trusted("pro_monthly"))
    }

    fn tag(key: &str, value: &str) -> Metadata {
        Metadata::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_price_is_ours_by_its_id_its_lookup_key_or_our_tag_at_our_amount() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.prices[0].stripe = vec!["price_new".to_owned(), "price_old".to_owned()];
        let by_id = judge(&said("price_old", 1), &catalogue, &[], 1);
        assert_eq!((by_id.decision, by_id.decided_by), (pro(), DecidedBy::Catalogue));
        let keyed = fields::Price { lookup_key: Some("pro_monthly".to_owned()), ..said("price_9", 1) };
        assert_eq!(judged(&keyed, &[]), (pro(), DecidedBy::LookupKey));
        for metadata in [tag("bursar_price", "pro_monthly"), tag("bursar_plan", "pro"), tag("plan", "pro")] {
            let tagged = fields::Price { metadata, ..said("price_9", 59_900) };
            assert_eq!(judged(&tagged, &[]), (pro(), DecidedBy::Tag));
            let is_ours_alone = has_our_tag(&tagged.metadata);
            let cheap = fields::Price { amount: Some(MoneyMinor(900)), ..tagged };
            let expected = match is_ours_alone {
                true => (Decision::Undecided, DecidedBy::Tag),
                false => (Decision::NotOurs, DecidedBy::Nothing),
            };
            assert_eq!(judged(&cheap, &[]), expected);
        }
    }

    #[test]
    fn what_the_catalogue_names_is_not_ours_with_another_period_or_currency() {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.prices[0].stripe = vec!["price_named".to_owned()];
        let by_id = said("price_named", 1);
        let by_key = fields::Price { lookup_key: Some("pro_monthly".to_owned()), ..said("price_9", 1) };
        for (named, by) in [(by_id, DecidedBy::Catalogue), (by_key, DecidedBy::LookupKey)] {
            for (every, currency, part) in [
                ("year", "usd", "it is paid each year, and pro_monthly each month"),
                ("2 months", "usd", "it is paid each 2 months"),
                ("30 days", "usd", "it is paid each 30 days"),
                ("month", "eur", "it is in eur, and pro_monthly in usd"),
            ] {
                let other = fields::Price {
                    every: Some(every.to_owned()),
                    currency: Some(currency.to_owned()),
                    ..named.clone()
                };
                let known = judge(&other, &catalogue, &[], 1);
                assert_eq!((&known.decision, known.decided_by), (&Decision::Undecided, by));
                assert!(known.reason.as_deref().is_some_and(|reason| reason.contains(part)), "{known:?}");
            }
            let bare = fields::Price { every: None, currency: None, ..named };
            assert_eq!(judge(&bare, &catalogue, &[], 1).decision, pro(), "what is not known differs in nothing");
        }
    }

    #[test]
    fn a_year_and_twelve_months_are_one_period() {
        let mut yearly = Catalogue::built_in().prices[0].clone();
        yearly.every = Interval::parse("year").expect("an interval");
        let paid = |every: &str| fields::Price { every: Some(every.to_owned()), ..said("price_9", 1) };
        assert_eq!(differs(&paid("12 months"), &yearly), None);
        assert!(differs(&paid("11 months"), &yearly).is_some());
        assert!(differs(&fields::Price { is_metered: true, ..paid("year") }, &yearly).is_some());
    }

    #[test]
    fn a_price_that_says_nothing_of_us_is_not_ours() {
        assert_eq!(judged(&said("price_9", 59_900), &[]), (Decision::NotOurs, DecidedBy::Nothing));
        let of_others = fields::Price { metadata: tag("plan", "gold"), ..said("price_9", 59_900) };
        assert_eq!(judged(&of_others, &[]), (Decision::NotOurs, DecidedBy::Nothing));
    }

    #[test]
    fn another_price_of_our_product_is_ours_at_our_amount_and_else_waits_for_a_person() {
        let keyed = fields::Price { lookup_key: Some("pro_monthly".to_owned()), ..said("price_1", 59_900) };
        let ours = [judge(&keyed, &Catalogue::built_in(), &[], 1)];
        assert_eq!(judged(&said("price_9", 59_900), &ours), (pro(), DecidedBy::Product));
        assert_eq!(judged(&said("price_9", 69_900), &ours), (Decision::Undecided, DecidedBy::Product));
        let metered = fields::Price { is_metered: true, ..said("price_9", 5) };
        assert_eq!(judged(&metered, &ours), (Decision::NotOurs, DecidedBy::Nothing));
        let once = fields::Price { every: None, ..said("price_9", 59_900) };
        assert_eq!(judged(&once, &ours), (Decision::NotOurs, DecidedBy::Nothing));
    }

    #[test]
    fn our_amount_in_another_currency_is_not_our_offer() {
        let tagged = fields::Price {
            metadata: tag("bursar_price", "pro_monthly"),
            currency: Some("jpy".to_owned()),
            ..said("price_9", 59_900)
        };
        assert_eq!(judged(&tagged, &[]), (Decision::Undecided, DecidedBy::Tag));
    }
}
