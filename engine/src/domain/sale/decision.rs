//! Whether support may decide what a price at Stripe sells: nobody may be charged for what brings nothing then.

use super::at_stripe::SeenPrice;
use super::book::{PriceBook, Sold};
use super::judge::differs;
use super::known_price::{DecidedBy, Decision, KnownPrice};
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::webhook::fields::{Item, OPERATION_METADATA_KEY, SubscriptionFields};
use crate::error::{Error, Result};
use crate::key::PriceKey;

/// Checks that the catalogue does not sell, by the price with this id, what the decision says that it does not sell.
/// `known` is what is stored of it, `seen` what Stripe says; without `seen`, what is stored counts.
///
/// # Errors
/// `price_in_use`, with what to do.
pub fn check_not_on_sale(
    id: &str,
    decision: &Decision,
    known: Option<&KnownPrice>,
    seen: Option<&SeenPrice>,
    catalogue: &Catalogue,
) -> Result<()> {
    let sold = match decision {
        Decision::Undecided => None,
        Decision::NotOurs | Decision::Ours(_) => {
            on_sale(id, known, seen, catalogue).filter(|price| decision.price() != Some(&price.key))
        }
    };
    let Some(Price { key, .. }) = sold else { return Ok(()) };
    Err(Error::conflict(
        "price_in_use",
        format!(
            "the catalogue sells {key} by {id}: whoever buys it would be charged, and would not get what {key} brings. \
             Take it off the catalogue first: apply one with offered = false under [prices.{key}], or without it"
        ),
    ))
}

/// Checks that a price at Stripe can sell the catalogue's price that a decision names: what it costs is up to Stripe,
/// how long a period is and the currency are not. Without `seen`, what is stored counts.
///
/// # Errors
/// `stripe_price_differs`, with what to do.
pub fn check_same_period(
    id: &str,
    decision: &Decision,
    known: Option<&KnownPrice>,
    seen: Option<&SeenPrice>,
    catalogue: &Catalogue,
) -> Result<()> {
    let Some(price) = decision.price().and_then(|key| catalogue.price(key)) else { return Ok(()) };
    let stored = known.map(KnownPrice::said);
    let Some(said) = seen.map(|seen| &seen.said).or(stored.as_ref()) else { return Ok(()) };
    let is_once = seen.is_some_and(|seen| seen.said.is_whole && seen.said.every.is_none());
    let why = match is_once {
        true => format!("it is paid once, and {} each {}", price.key, price.every),
        false => match differs(said, price) {
            Some(why) => why,
            None => return Ok(()),
        },
    };
    let message = format!(
        "{id} cannot sell {}: {why}. If it is yours, add a price with its terms to the catalogue, with the id under \
         stripe, and apply that",
        price.key
    );
    Err(Error::NotAccepted { code: "stripe_price_differs", message })
}

/// The price that the catalogue sells by an id: it names the id, or the price has its lookup key.
fn on_sale<'c>(
    id: &str,
    known: Option<&KnownPrice>,
    seen: Option<&SeenPrice>,
    catalogue: &'c Catalogue,
) -> Option<&'c Price> {
    let lookup_key = match seen {
        // An archived price cannot be bought.
        Some(seen) => seen.said.lookup_key.as_deref().filter(|_| seen.is_active),
        None => known.and_then(|known| known.lookup_key.as_deref()),
    };
    catalogue
        .offered()
        .find(|price| price.stripe.iter().any(|named| named == id) || lookup_key == Some(price.lookup_key.as_str()))
}

/// The price of the catalogue whose subscribers would lose their plan and credits by a decision, silently. None if the
/// price at Stripe did not count as theirs before, or still counts as ours. To take a person's decision back is no
/// loss: the rules decide again.
pub fn taken_from_subscribers<'k>(decision: &Decision, known: Option<&'k KnownPrice>) -> Option<&'k PriceKey> {
    let known = known?;
    match decision {
        Decision::Ours(_) => None,
        Decision::Undecided if known.decided_by == DecidedBy::Operator => None,
        Decision::NotOurs | Decision::Undecided => known.decision.price(),
    }
}

/// Whether a subscription at Stripe would lose what the price with this id sells it. One that has it as other business,
/// such as an add-on, loses nothing. Nor does one that we made and that was moved to it: the price sells it nothing yet,
/// and its payments wait for this very decision.
pub fn is_sold_by(said: &SubscriptionFields, id: &str, book: &PriceBook) -> bool {
    let mut items = said.items.iter().filter(|item| item.price.ids.iter().any(|named| named == id)).peekable();
    // Stripe lists it as one that has the price, so the item is among those that are not here.
    let is_cut = items.peek().is_none();
    let is_made =
        |item: &Item| [&item.metadata, &said.metadata].iter().any(|it| it.contains_key(OPERATION_METADATA_KEY));
    is_cut
        || items.any(|item| match book.item(item, &said.items, &said.metadata) {
            Sold::NotOurs => false,
            Sold::Undecided(_) => !(is_made(item) && book.needs_tag(&item.price)),
            Sold::Ours(_) | Sold::Unnamed => true,
        })
}

/// Refuses a decision because of an open subscription: the one with this id, or some that are not known by id.
pub fn has_subscriptions(id: &str, key: &PriceKey, subscription: Option<&str>) -> Error {
    let have = match subscription {
        Some(subscription) => format!("the subscription {subscription} has {id}"),
        None => format!("open subscriptions have {key}, perhaps by {id}"),
    };
    Error::conflict(
        "price_in_use",
        format!(
            "{have}: it would go on to be charged, and would lose its plan and credits. Cancel or change what has it \
             first, or take off the metadata by which it has it (bursar_price, bursar_plan). If only an earlier decision \
             of support made it ours, take that back with the decision undecided"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::domain::sale::judge::judge;
    use crate::domain::webhook::fields;

    fn pro() -> PriceKey {
        PriceKey::trusted("pro_monthly")
    }

    fn known(decision: Decision, decided_by: DecidedBy) -> KnownPrice {
        let said = fields::Price { ids: vec!["price_1".to_owned()], ..fields::Price::default() };
        KnownPrice { decision, decided_by, ..judge(&said, &Catalogue::built_in(), &[], 1) }
    }

    #[test]
    fn a_price_with_another_period_or_currency_is_not_decided_as_ours() {
        let built_in = Catalogue::built_in();
        let said = |every: Option<&str>, currency: &str| fields::Price {
            ids: vec!["price_1".to_owned()],
            every: every.map(str::to_owned),
            currency: Some(currency.to_owned()),
            is_whole: true,
            ..fields::Price::default()
        };
        let refused = |said: fields::Price, decision: &Decision| {
            let stored = judge(&said, &built_in, &[], 1);
            let seen = SeenPrice { said, is_active: true };
            let by_stripe = check_same_period("price_1", decision, None, Some(&seen), &built_in).err();
            let by_row = check_same_period("price_1", decision, Some(&stored), None, &built_in).err();
            assert!(by_stripe.iter().chain(&by_row).all(|error| error.code() == Some("stripe_price_differs")));
            (by_stripe.is_some(), by_row.is_some())
        };
        let ours = Decision::Ours(pro());
        assert_eq!(refused(said(Some("month"), "usd"), &ours), (false, false));
        assert_eq!(refused(said(Some("year"), "usd"), &ours), (true, true));
        assert_eq!(refused(said(Some("month"), "eur"), &ours), (true, true));
        assert_eq!(refused(said(None, "usd"), &ours), (true, false), "only Stripe knows that it is paid once");
        let in_part = fields::Price { is_whole: false, ..said(None, "usd") };
        assert_eq!(refused(in_part, &ours), (false, false), "the rest of it may name a month");
        assert_eq!(refused(said(Some("year"), "usd"), &Decision::NotOurs), (false, false));
        assert!(check_same_period("price_1", &ours, None, None, &built_in).is_ok(), "nothing is known of it");
    }

    fn seen(lookup_key: Option<&str>, is_active: bool) -> SeenPrice {
        let said = fields::Price { lookup_key: lookup_key.map(str::to_owned), ..fields::Price::default() };
        SeenPrice { said, is_active }
    }

    fn naming(id: &str) -> Catalogue {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        catalogue.prices[0].stripe = vec![id.to_owned()];
        catalogue
    }

    fn is_refused(decision: &Decision, known: Option<&KnownPrice>, seen: Option<&SeenPrice>, of: &Catalogue) -> bool {
        let refused = check_not_on_sale("price_1", decision, known, seen, of).err();
        assert!(refused.iter().all(|error| error.code() == Some("price_in_use")), "{refused:?}");
        refused.is_some()
    }

    #[test]
    fn what_the_catalogue_sells_by_its_id_or_its_lookup_key_is_not_decided_away() {
        let (built_in, keyed) = (Catalogue::built_in(), seen(Some("pro_monthly"), true));
        for decision in [Decision::NotOurs, Decision::Ours(PriceKey::trusted("team"))] {
            assert!(is_refused(&decision, None, None, &naming("price_1")));
            assert!(is_refused(&decision, None, Some(&keyed), &built_in));
            assert!(!is_refused(&decision, None, None, &naming("price_2")));
            assert!(!is_refused(&decision, None, Some(&seen(None, true)), &built_in));
            assert!(!is_refused(&decision, None, Some(&seen(Some("pro_monthly"), false)), &built_in), "archived");
        }
        for decision in [Decision::Ours(pro()), Decision::Undecided] {
            assert!(!is_refused(&decision, None, Some(&keyed), &naming("price_1")), "{decision:?}");
        }
    }

    #[test]
    fn without_stripes_word_the_stored_lookup_key_is_what_the_catalogue_sells_by() {
        let built_in = Catalogue::built_in();
        let tagged = known(Decision::Ours(pro()), DecidedBy::Sold);
        assert!(!is_refused(&Decision::NotOurs, Some(&tagged), None, &built_in), "nobody can buy it here");
        let sold = KnownPrice { lookup_key: Some("pro_monthly".to_owned()), ..tagged };
        assert!(is_refused(&Decision::NotOurs, Some(&sold), None, &built_in));
        assert!(
            !is_refused(&Decision::NotOurs, Some(&sold), Some(&seen(None, true)), &built_in),
            "Stripe's word counts"
        );
    }

    #[test]
    fn a_subscription_loses_by_a_decision_only_what_the_price_sells_it() {
        let said = |metadata: &[(&str, &str)], ids: &[&str]| {
            let price = |id: &&str| fields::Price {
                ids: vec![(*id).to_owned()],
                amount: Some(MoneyMinor(59_900)),
                is_whole: true,
                ..fields::Price::default()
            };
            let item = |id: &&str| fields::Item { price: price(id), ..fields::Item::default() };
            let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            SubscriptionFields { metadata, items: ids.iter().map(item).collect(), ..SubscriptionFields::default() }
        };
        let book = |by| PriceBook::new(Catalogue::built_in(), [known(Decision::Ours(pro()), by)]);
        let (tag, made) = (("bursar_price", "pro_monthly"), ("bursar_operation_id", "op_1"));
        let loses = |metadata: &[(&str, &str)], by| is_sold_by(&said(metadata, &["price_1"]), "price_1", &book(by));
        assert!(loses(&[tag], DecidedBy::Sold));
        assert!(!loses(&[], DecidedBy::Sold), "it is other business");
        assert!(!loses(&[tag, made], DecidedBy::Sold), "it took the place of what we sold, and waits for a person");
        let pro = KnownPrice { id: "price_pro".to_owned(), ..known(Decision::Ours(pro()), DecidedBy::LookupKey) };
        let mut beside = book(DecidedBy::Sold);
        beside.add([pro]);
        assert!(!is_sold_by(&said(&[tag, made], &["price_1", "price_pro"]), "price_1", &beside), "it is an add-on");
        assert!(loses(&[], DecidedBy::LookupKey) && loses(&[tag, made], DecidedBy::Operator));
        assert!(is_sold_by(&said(&[], &["price_2"]), "price_1", &book(DecidedBy::Sold)), "not all items are there");
    }

    #[test]
    fn what_is_offered_no_longer_may_be_decided() {
        let mut catalogue = naming("price_1");
        catalogue.prices[0].offered = false;
        assert!(!is_refused(&Decision::NotOurs, None, Some(&seen(Some("pro_monthly"), true)), &catalogue));
    }

    #[test]
    fn only_subscribers_of_a_price_that_is_ours_lose_by_a_decision_and_by_one_taken_back_nobody_does() {
        let sold = known(Decision::Ours(pro()), DecidedBy::Sold);
        let by_hand = known(Decision::Ours(pro()), DecidedBy::Operator);
        let undecided = known(Decision::Undecided, DecidedBy::Product);
        let from = |decision: Decision, known: &KnownPrice| taken_from_subscribers(&decision, Some(known)).cloned();
        assert_eq!(from(Decision::NotOurs, &sold), Some(pro()));
        assert_eq!(from(Decision::Undecided, &sold), Some(pro()));
        assert_eq!(from(Decision::NotOurs, &by_hand), Some(pro()));
        assert_eq!(from(Decision::Undecided, &by_hand), None);
        assert_eq!(from(Decision::Ours(PriceKey::trusted("team")), &sold), None);
        assert_eq!(from(Decision::NotOurs, &undecided), None);
        assert_eq!(taken_from_subscribers(&Decision::NotOurs, None), None);
    }
}
