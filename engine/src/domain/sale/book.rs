//! The prices that are known, and what a line or an item sells by them.

use super::judge::{Offer, differs, judge, tagged};
use super::known_price::{Decision, KnownPrice};
use super::terms::{EarlierTerms, SoldTerms};
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::webhook::fields::{self, InvoiceFields, Item, Line, Metadata, SubscriptionFields};
use std::collections::HashMap;
use std::sync::Arc;

/// The catalogue with the known prices of some objects.
#[derive(Debug, Clone)]
pub struct PriceBook {
    catalogue: Arc<Catalogue>,
    known: Arc<HashMap<String, KnownPrice>>,
    earlier: Arc<EarlierTerms>,
}

/// What a line or an item sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sold {
    /// This price of the catalogue, on the terms that count for it.
    Ours(Box<Price>),
    /// Other business.
    NotOurs,
    /// The object names no price.
    Unnamed,
    /// It may be ours, and a person must decide; why, in words.
    Undecided(String),
}

impl PriceBook {
    /// Creates a book.
    pub fn new(catalogue: Arc<Catalogue>, known: impl IntoIterator<Item = KnownPrice>) -> Self {
        let known: HashMap<_, _> = known.into_iter().map(|price| (price.id.clone(), price)).collect();
        Self { catalogue, known: Arc::new(known), earlier: Arc::default() }
    }

    /// The same prices with another catalogue.
    pub fn with_catalogue(&self, catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, ..self.clone() }
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// Adds what was learned of prices.
    pub fn add(&mut self, known: impl IntoIterator<Item = KnownPrice>) {
        Arc::make_mut(&mut self.known).extend(known.into_iter().map(|price| (price.id.clone(), price)));
    }

    /// What is known of the terms of earlier times, to add to it.
    pub fn earlier_mut(&mut self) -> &mut EarlierTerms {
        Arc::make_mut(&mut self.earlier)
    }

    /// What is known of a price.
    pub fn known(&self, price: &fields::Price) -> Option<&KnownPrice> {
        price.ids.iter().find_map(|id| self.known.get(id))
    }

    /// Whether nothing is known of a price but what the object at hand says.
    pub fn lacks(&self, price: &fields::Price) -> bool {
        !price.ids.is_empty() && self.known(price).is_none()
    }

    /// What a line of an invoice sells, on the terms that count for the invoice.
    pub fn line_of(&self, invoice: &InvoiceFields, line: &Line) -> Sold {
        match self.line(line, &invoice.subscription_metadata) {
            Sold::Ours(price) => {
                let kept = self.known(&line.price).and_then(|known| known.terms.as_ref());
                Sold::Ours(Box::new(self.earlier.apply(*price, invoice, line, kept)))
            }
            other => other,
        }
    }

    /// The terms of all prices of ours that an invoice names, each once.
    pub fn terms_of(&self, invoice: &InvoiceFields) -> Vec<SoldTerms> {
        let mut all: Vec<SoldTerms> = Vec::new();
        for line in invoice.lines.iter().filter(|line| line.bills_period() || line.prorates()) {
            let Sold::Ours(price) = self.line_of(invoice, line) else { continue };
            let terms = SoldTerms { ids: line.price.ids.clone(), price: *price };
            if !all.contains(&terms) {
                all.push(terms);
            }
        }
        all
    }

    /// What a line of an invoice sells, on the terms of now.
    pub fn line(&self, line: &Line, of_subscription: &Metadata) -> Sold {
        let offer = Offer { amount: line.unit_amount(), currency: line.currency.as_deref(), every: None };
        self.sold(&line.price, &[&line.metadata, of_subscription], offer)
    }

    /// What an item of a subscription sells.
    pub fn item(&self, item: &Item, of_subscription: &Metadata) -> Sold {
        self.sold(&item.price, &[&item.metadata, of_subscription], Offer::of(&item.price))
    }

    /// The price at Stripe of the item that sells a subscription's plan, the best of several.
    pub fn stripe_price_of(&self, said: &SubscriptionFields) -> Option<String> {
        let ours = said.items.iter().filter_map(|item| match self.item(item, &said.metadata) {
            Sold::Ours(price) => Some((item, price.plan.clone())),
            Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => None,
        });
        let best =
            ours.reduce(|one, other| if *self.catalogue.better(&one.1, &other.1) == one.1 { one } else { other });
        best.and_then(|(item, _)| item.price.ids.first().cloned())
    }

    /// What a price sells that is decided by its id: by a person, because it was sold as ours, or by the catalogue. It
    /// is ours only if it can sell that at all: an earlier release may have decided it without asking.
    fn decided(&self, price: &fields::Price) -> Option<Sold> {
        let stored = self.known(price).map(KnownPrice::said);
        let id = price.ids.first().map_or("(without id)", String::as_str);
        let ours = |sold: &Price| {
            let why = stored.as_ref().and_then(|said| differs(said, sold)).or_else(|| differs(price, sold));
            Some(match why {
                Some(why) => Sold::Undecided(format!("price {id} cannot sell {}: {why}", sold.key)),
                None => Sold::Ours(Box::new(sold.clone())),
            })
        };
        let known = self.known(price).filter(|known| known.is_final());
        if let Some(terms) = known.and_then(|known| known.terms.as_ref()) {
            return ours(terms);
        }
        if known.is_some_and(|known| known.decision == Decision::NotOurs) {
            return Some(Sold::NotOurs);
        }
        if let Some(named) = price.ids.iter().find_map(|id| self.catalogue.price_of_stripe_id(id)) {
            return ours(named);
        }
        let (id, key) = known.and_then(|known| Some((&known.id, known.decision.price()?)))?;
        match self.catalogue.price(key) {
            Some(price) => ours(price),
            None => Some(Sold::Undecided(format!("price {id} was sold as {key}, which the catalogue has no longer"))),
        }
    }

    /// What is known of the price by its id counts first. Then the tags of the line and of its subscription, at an
    /// amount of the catalogue: the same subscription may bill other things beside the plan. Then what else is known of
    /// the price, judged by the present catalogue.
    fn sold(&self, price: &fields::Price, tags: &[&Metadata], offer: Offer<'_>) -> Sold {
        if let Some(sold) = self.decided(price) {
            return sold;
        }
        let named = tags.iter().filter_map(|metadata| tagged(metadata, &self.catalogue)).flatten();
        if let Some(price) = named.into_iter().find(|price| offer.is_of(price)) {
            return Sold::Ours(Box::new(price.clone()));
        }
        if price.ids.is_empty() && !price.is_whole {
            return Sold::Unnamed;
        }
        let known = self.known(price);
        let judged = match known {
            // It is not final, and the catalogue may have changed since.
            Some(known) => {
                let anew = judge(&known.said(), &self.catalogue, &[], known.decided_at_ms);
                if matches!(anew.decision, Decision::Ours(_)) { anew } else { known.clone() }
            }
            None => judge(price, &self.catalogue, &[], 0),
        };
        match judged.decision {
            Decision::Ours(key) => match self.catalogue.price(&key) {
                Some(price) => Sold::Ours(Box::new(price.clone())),
                None => Sold::NotOurs,
            },
            Decision::NotOurs if known.is_some() || price.is_whole => Sold::NotOurs,
            Decision::NotOurs => Sold::Undecided(format!(
                "nothing is known of price {0}, because Stripe could not be asked; if it is ours, name it in the \
                 catalogue: stripe = [\"{0}\"] under its price",
                judged.id
            )),
            Decision::Undecided => {
                Sold::Undecided(format!("price {}: {}", judged.id, judged.reason.unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::domain::sale::example::{catalogue, pro_price};
    use crate::domain::webhook::fixtures::{SubscriptionDoc, TEAM_PRICE, Version, team};
    use crate::key::PriceKey;
    use serde_json::json;

    fn line(id: &str, unit: i64, quantity: i64) -> Line {
        Line {
            price: fields::Price { ids: vec![id.to_owned()], ..fields::Price::default() },
            amount: Some(MoneyMinor(unit * quantity)),
            quantity: Some(quantity),
            currency: Some("usd".to_owned()),
            ..Line::default()
        }
    }

    fn tags(key: &str, value: &str) -> Metadata {
        Metadata::from([(key.to_owned(), value.to_owned())])
    }

    fn key(sold: &Sold) -> Option<&PriceKey> {
        match sold {
            Sold::Ours(price) => Some(&price.key),
            Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => None,
        }
    }

    fn known(id: &str, decision: Decision) -> KnownPrice {
        KnownPrice { id: id.to_owned(), decision, ..judge(&fields::Price::default(), &catalogue(), &[], 1) }
    }

    #[test]
    fn a_price_once_known_as_ours_stays_ours_whatever_the_line_says() {
        let pro = PriceKey::trusted("pro_monthly");
        let book = PriceBook::new(catalogue(), [known("price_old", Decision::Ours(pro.clone()))]);
        assert_eq!(key(&book.line(&line("price_old", 49_900, 1), &Metadata::new())), Some(&pro));
    }

    #[test]
    fn a_price_keeps_the_terms_on_which_it_was_sold() {
        let old = Price { credits: crate::amount::Credits(40), ..pro_price() };
        let row = KnownPrice { terms: Some(old.clone()), ..known("price_old", Decision::Ours(old.key.clone())) };
        let book = PriceBook::new(catalogue(), [row]);
        assert_eq!(book.line(&line("price_old", 1, 1), &Metadata::new()), Sold::Ours(Box::new(old)));
    }

    #[test]
    fn an_id_that_the_catalogue_names_sells_nothing_with_periods_of_another_length() {
        let mut naming = Catalogue::clone(&catalogue());
        naming.prices[0].stripe = vec!["price_1".to_owned()];
        let naming = Arc::new(naming);
        let yearly = KnownPrice { every: Some("year".to_owned()), ..known("price_1", Decision::NotOurs) };
        let bare = line("price_1", 59_900, 1);
        assert!(key(&PriceBook::new(naming.clone(), []).line(&bare, &Metadata::new())).is_some());
        let mut whole = bare.clone();
        whole.price.every = Some("year".to_owned());
        let of_known = PriceBook::new(naming.clone(), [yearly]).line(&bare, &Metadata::new());
        for sold in [of_known, PriceBook::new(naming, []).line(&whole, &Metadata::new())] {
            assert!(matches!(&sold, Sold::Undecided(why) if why.contains("paid each year")), "{sold:?}");
        }
    }

    #[test]
    fn a_price_that_is_billed_more_often_than_what_it_was_decided_to_sell_waits_for_a_person() {
        let every = |every: &str| KnownPrice {
            every: Some(every.to_owned()),
            ..known("price_x", Decision::Ours(PriceKey::trusted("pro_monthly")))
        };
        let sold =
            |row: KnownPrice| PriceBook::new(catalogue(), [row]).line(&line("price_x", 59_900, 1), &Metadata::new());
        assert!(key(&sold(every("month"))).is_some());
        let by_hand = KnownPrice { decided_by: crate::domain::sale::DecidedBy::Operator, ..every("week") };
        for row in [every("week"), by_hand, KnownPrice { terms: Some(pro_price()), ..every("week") }] {
            let sold = sold(row);
            assert!(matches!(&sold, Sold::Undecided(why) if why.contains("paid each week")), "{sold:?}");
        }
    }

    #[test]
    fn a_price_that_was_ours_and_left_the_catalogue_is_never_taken_for_other_business() {
        let gone = known("price_old", Decision::Ours(PriceKey::trusted("gone")));
        let sold = PriceBook::new(catalogue(), [gone]).line(&line("price_old", 1, 1), &Metadata::new());
        assert!(matches!(&sold, Sold::Undecided(why) if why.contains("sold as gone")), "{sold:?}");
    }

    #[test]
    fn a_tag_of_the_subscription_counts_for_the_line_with_our_amount_and_for_no_other() {
        let book = PriceBook::new(catalogue(), [known("price_add_on", Decision::NotOurs)]);
        let tags = tags("bursar_price", "pro_monthly");
        assert!(key(&book.line(&line("price_x", 59_900, 2), &tags)).is_some());
        assert_eq!(book.line(&line("price_add_on", 500, 1), &tags), Sold::NotOurs);
    }

    #[test]
    fn a_bare_id_of_which_nothing_is_known_waits_for_a_person_with_the_line_to_add() {
        let sold = PriceBook::new(catalogue(), []).line(&line("price_x", 1, 1), &Metadata::new());
        assert!(matches!(&sold, Sold::Undecided(why) if why.contains("stripe = [\"price_x\"]")), "{sold:?}");
    }

    #[test]
    fn what_was_not_ours_is_ours_once_the_catalogue_names_it() {
        let keyed = KnownPrice { lookup_key: Some("pro_monthly".to_owned()), ..known("price_x", Decision::NotOurs) };
        let book = PriceBook::new(catalogue(), [keyed.clone()]);
        assert!(key(&book.line(&line("price_x", 1, 1), &Metadata::new())).is_some());
        let decided = KnownPrice { decided_by: crate::domain::sale::DecidedBy::Operator, ..keyed };
        let book = PriceBook::new(catalogue(), [decided]);
        for tags in [Metadata::new(), tags("bursar_price", "pro_monthly")] {
            assert_eq!(book.line(&line("price_x", 59_900, 1), &tags), Sold::NotOurs, "a person said so");
        }
    }

    #[test]
    fn what_a_price_sells_can_be_learned_only_of_one_that_has_an_id_and_is_not_known() {
        let book = PriceBook::new(catalogue(), [known("price_1", Decision::NotOurs)]);
        let with = |ids: &[&str]| fields::Price {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..fields::Price::default()
        };
        assert!(book.lacks(&with(&["price_2"])));
        assert!(!book.lacks(&with(&["price_1"])) && !book.lacks(&with(&[])));
    }

    #[test]
    fn the_price_at_stripe_of_several_is_that_of_the_best_plan() {
        let book = team();
        let (pro, team) = (SubscriptionDoc::default(), SubscriptionDoc::team(3));
        let (pro, team) = (pro.item(Version::Basil), team.item(Version::Basil));
        let mut object = SubscriptionDoc::default().render(Version::Basil);
        for items in [json!([pro, team]), json!([team, pro])] {
            object["items"]["data"] = items;
            assert_eq!(book.stripe_price_of(&SubscriptionFields::read(&object)).as_deref(), Some(TEAM_PRICE));
        }
        object["items"]["data"] = json!([]);
        assert_eq!(book.stripe_price_of(&SubscriptionFields::read(&object)), None);
    }
}
