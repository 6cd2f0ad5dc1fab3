//! A price at Stripe, and how it was decided what it sells.

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::webhook::fields::{self, has_our_tag};
use crate::key::PriceKey;
use std::collections::BTreeMap;

/// A price at Stripe that was seen, and what it sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPrice {
    /// Its id at Stripe.
    pub id: String,
    /// Its product at Stripe.
    pub product_id: Option<String>,
    /// Its lookup key.
    pub lookup_key: Option<String>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// What one costs.
    pub amount: Option<MoneyMinor>,
    /// The currency.
    pub currency: Option<String>,
    /// How long a period is, as an [`Interval`](crate::domain::catalogue::Interval) is written: `month`, `2 weeks`.
    pub every: Option<String>,
    /// What it sells.
    pub decision: Decision,
    /// Who or what decided that.
    pub decided_by: DecidedBy,
    /// Why, in words: what is unclear, or the operator's reason.
    pub reason: Option<String>,
    /// The terms of the catalogue's price when this stopped being its present one; `None` if the catalogue's present
    /// terms count.
    pub terms: Option<Price>,
    /// When it was first seen.
    pub first_seen_ms: TimeMs,
    /// When it was decided.
    pub decided_at_ms: TimeMs,
}

impl KnownPrice {
    /// Whether the decision stands whatever the catalogue becomes, and whoever has the price: a person's, and that a
    /// price is ours by itself.
    pub fn is_final(&self) -> bool {
        let is_ours = matches!(self.decision, Decision::Ours(_)) && !self.is_tag_needed();
        self.decided_by == DecidedBy::Operator || is_ours
    }

    /// Whether it is ours only for what carries a tag of ours: a subscription that somebody tagged has it, and another
    /// one may have it for something else. Earlier releases also marked so what Bursar itself sells by, which its terms
    /// or its own tag name.
    pub fn is_tag_needed(&self) -> bool {
        let names = |terms: &Price| {
            terms.stripe.contains(&self.id) || self.lookup_key.as_ref().is_some_and(|key| *key == terms.lookup_key)
        };
        let is_ours = matches!(self.decision, Decision::Ours(_)) && self.decided_by == DecidedBy::Sold;
        is_ours && !has_our_tag(&self.metadata) && !self.terms.as_ref().is_some_and(names)
    }

    /// Whether nothing but its id was seen of it.
    pub fn is_bare(&self) -> bool {
        self.product_id.is_none() && self.lookup_key.is_none() && self.amount.is_none()
    }

    /// What is known of it after another look. What needs a tag is not told by its price: it stays, unless the price
    /// says the same by itself by now. What is unclear without a tag is kept with it.
    pub fn after(&self, judged: Self) -> Self {
        if !self.is_tag_needed() {
            return judged;
        }
        let terms = self.terms.clone();
        if judged.decision == self.decision {
            return Self { terms, ..judged };
        }
        Self { reason: judged.reason, decided_at_ms: judged.decided_at_ms, ..self.clone() }
    }

    /// Whether support decided that it does not sell this price of the catalogue.
    pub fn is_denied(&self, key: &PriceKey) -> bool {
        self.decided_by == DecidedBy::Operator && self.decision.price() != Some(key)
    }

    /// Whether another look says the same of it, whenever that was.
    pub fn is_as(&self, other: &Self) -> bool {
        let (first_seen_ms, decided_at_ms) = (other.first_seen_ms, other.decided_at_ms);
        Self { first_seen_ms, decided_at_ms, terms: other.terms.clone(), ..self.clone() } == *other
    }

    /// Whether a person's decision was taken back and the rules have not decided since.
    pub fn is_taken_back(&self) -> bool {
        self.decision == Decision::Undecided && self.decided_by == DecidedBy::Nothing
    }

    /// What a subscription at it costs and brings that is stored as one to this price of the catalogue; `None` if the
    /// two disagree.
    pub fn subscribed(&self, key: &PriceKey, catalogue: &Catalogue) -> Option<SubscribedPrice> {
        let present = catalogue.price(key);
        let terms = self.terms.as_ref().or(present).filter(|_| self.decision.price() == Some(key))?;
        // What one costs is up to the price at Stripe.
        let price = Price { amount: self.amount.unwrap_or(terms.amount), ..terms.clone() };
        let is_present = present.is_some_and(|present| price.is_worth(present));
        Some(SubscribedPrice { price, is_former: !is_present })
    }

    /// What was seen of it.
    pub fn said(&self) -> fields::Price {
        fields::Price {
            ids: vec![self.id.clone()],
            lookup_key: self.lookup_key.clone(),
            product_id: self.product_id.clone(),
            metadata: self.metadata.clone(),
            amount: self.amount,
            currency: self.currency.clone(),
            every: self.every.clone(),
            is_metered: false,
            is_whole: true,
        }
    }
}

/// What a subscription costs and brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribedPrice {
    /// The price, on the terms that count for the subscription.
    pub price: Price,
    /// Whether they are no longer those of the catalogue: whoever has the price keeps them.
    pub is_former: bool,
}

/// What a price at Stripe sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This price of the catalogue.
    Ours(PriceKey),
    /// Other business.
    NotOurs,
    /// It may be ours, and a person must decide.
    Undecided,
}

impl Decision {
    /// The name as stored and shown.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ours(_) => "ours",
            Self::NotOurs => "not_ours",
            Self::Undecided => "undecided",
        }
    }

    /// The catalogue's price, if it is ours.
    pub fn price(&self) -> Option<&PriceKey> {
        match self {
            Self::Ours(price) => Some(price),
            Self::NotOurs | Self::Undecided => None,
        }
    }

    /// Reads a stored name with the catalogue's price, which exactly `ours` has.
    pub fn parse(text: &str, price: Option<PriceKey>) -> Option<Self> {
        Some(match (text, price) {
            ("ours", Some(price)) => Self::Ours(price),
            ("not_ours", None) => Self::NotOurs,
            ("undecided", None) => Self::Undecided,
            _ => return None,
        })
    }
}

/// Who or what decided what a price sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The catalogue names its id.
    Catalogue,
    /// Its lookup key is one of the catalogue.
    LookupKey,
    /// Its metadata names a price or a plan of the catalogue.
    Tag,
    /// Its product has another price that is ours.
    Product,
    /// A subscription or an item that carries our tag has it, and only with such a tag it is ours.
    Sold,
    /// An operator.
    Operator,
    /// Nothing says that it is ours.
    Nothing,
}

impl DecidedBy {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Catalogue, Self::LookupKey, Self::Tag, Self::Product, Self::Sold, Self::Operator, Self::Nothing];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::LookupKey => "lookup_key",
            Self::Tag => "tag",
            Self::Product => "product",
            Self::Sold => "sold",
            Self::Operator => "operator",
            Self::Nothing => "nothing",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;

    #[test]
    fn exactly_a_price_that_is_ours_has_a_price_of_the_catalogue() {
        let key = PriceKey::trusted("pro_monthly");
        for decision in [Decision::Ours(key.clone()), Decision::NotOurs, Decision::Undecided] {
            let price = decision.price().cloned();
            assert_eq!(Decision::parse(decision.as_str(), price.clone()), Some(decision.clone()));
            let other = price.is_none().then(|| key.clone());
            assert_eq!(Decision::parse(decision.as_str(), other), None, "{decision:?}");
        }
        assert_eq!(Decision::parse("theirs", None), None);
    }

    #[test]
    fn a_later_look_at_the_same_price_says_the_same_and_another_lookup_key_does_not() {
        let price = KnownPrice { first_seen_ms: 1, decided_at_ms: 2, ..of(Decision::NotOurs) };
        assert!(price.is_as(&KnownPrice { first_seen_ms: 3, decided_at_ms: 4, ..price.clone() }));
        assert!(!price.is_as(&KnownPrice { lookup_key: Some("pro_monthly".to_owned()), ..price.clone() }));
        assert!(!price.is_as(&KnownPrice { decision: Decision::Undecided, ..price.clone() }));
    }

    #[test]
    fn what_a_tag_made_ours_is_final_for_nobody_and_what_we_sell_by_is_for_everybody() {
        let key = PriceKey::trusted("pro_monthly");
        let terms = Catalogue::built_in().prices[0].clone();
        let tagged = KnownPrice { decided_by: DecidedBy::Sold, ..of(Decision::Ours(key.clone())) };
        assert!(tagged.is_tag_needed() && !tagged.is_final());
        let kept = KnownPrice { terms: Some(terms.clone()), ..tagged.clone() };
        assert!(kept.is_tag_needed(), "it was on its terms, and they do not name it");
        let other_key = KnownPrice { lookup_key: Some("phone_support".to_owned()), ..kept.clone() };
        assert!(other_key.is_tag_needed());
        let named = Price { stripe: vec!["price_1".to_owned()], ..terms };
        let own_tag = BTreeMap::from([("bursar_plan".to_owned(), "pro".to_owned())]);
        for sold in [
            KnownPrice { lookup_key: Some("pro_monthly".to_owned()), ..kept },
            KnownPrice { terms: Some(named), ..tagged.clone() },
            KnownPrice { metadata: own_tag, ..tagged.clone() },
            KnownPrice { decided_by: DecidedBy::LookupKey, ..tagged.clone() },
            KnownPrice { decided_by: DecidedBy::Operator, ..tagged },
        ] {
            assert!(!sold.is_tag_needed() && sold.is_final(), "{sold:?}");
        }
    }

    #[test]
    fn another_look_at_what_needs_a_tag_keeps_it_until_the_price_says_the_same_by_itself() {
        let ours = Decision::Ours(PriceKey::trusted("pro_monthly"));
        let terms = Some(Catalogue::built_in().prices[0].clone());
        let tagged = KnownPrice { decided_by: DecidedBy::Sold, terms: terms.clone(), ..of(ours.clone()) };
        let judged = |decision, reason: Option<&str>| KnownPrice {
            reason: reason.map(str::to_owned),
            decided_at_ms: 9,
            ..of(decision)
        };
        let unclear = tagged.after(judged(Decision::Undecided, Some("its product is ours")));
        let kept = KnownPrice { reason: Some("its product is ours".to_owned()), decided_at_ms: 9, ..tagged.clone() };
        assert_eq!(unclear, kept);
        let other = tagged.after(judged(Decision::Ours(PriceKey::trusted("team")), None));
        assert_eq!(other, KnownPrice { decided_at_ms: 9, ..tagged.clone() });
        let keyed = KnownPrice { decided_by: DecidedBy::LookupKey, ..judged(ours, None) };
        assert_eq!(tagged.after(keyed.clone()), KnownPrice { terms, ..keyed });
        let news = judged(Decision::Undecided, None);
        assert_eq!(of(Decision::NotOurs).after(news.clone()), news);
    }

    #[test]
    fn only_a_person_denies_that_a_price_sells_one_of_the_catalogue() {
        let (pro, team) = (PriceKey::trusted("pro_monthly"), PriceKey::trusted("team_monthly"));
        let by_hand = |decision| KnownPrice { decided_by: DecidedBy::Operator, ..of(decision) };
        assert!(by_hand(Decision::NotOurs).is_denied(&pro) && by_hand(Decision::Ours(team)).is_denied(&pro));
        assert!(!by_hand(Decision::Ours(pro.clone())).is_denied(&pro) && !of(Decision::NotOurs).is_denied(&pro));
    }

    #[test]
    fn a_subscriber_keeps_the_amount_of_its_price_and_the_terms_of_a_former_one() {
        let (catalogue, key) = (Catalogue::built_in(), PriceKey::trusted("pro_monthly"));
        let present = catalogue.price(&key).expect("it is built in");
        let known = |amount: i64| KnownPrice { amount: Some(MoneyMinor(amount)), ..of(Decision::Ours(key.clone())) };
        let seen = |known: KnownPrice| {
            let found = known.subscribed(&key, &catalogue).expect("it is one of ours");
            (found.price.amount.0, found.price.credits.0, found.is_former)
        };
        assert_eq!(seen(known(present.amount.0)), (59_900, 60, false));
        assert_eq!(seen(known(49_900)), (49_900, 60, true));
        let terms = Some(Price { credits: Credits(80), ..present.clone() });
        assert_eq!(seen(KnownPrice { terms, ..known(59_900) }), (59_900, 80, true));
        assert_eq!(of(Decision::NotOurs).subscribed(&key, &catalogue), None);
        assert_eq!(known(1).subscribed(&PriceKey::trusted("team_monthly"), &catalogue), None);
    }

    fn of(decision: Decision) -> KnownPrice {
        KnownPrice {
            id: "price_1".to_owned(),
            product_id: None,
            lookup_key: None,
            metadata: BTreeMap::new(),
            amount: None,
            currency: None,
            every: None,
            decision,
            decided_by: DecidedBy::Nothing,
            reason: None,
            terms: None,
            first_seen_ms: 0,
            decided_at_ms: 0,
        }
    }

    #[test]
    fn who_decided_is_read_as_it_is_written() {
        for by in DecidedBy::ALL {
            assert_eq!(DecidedBy::parse(by.as_str()), Some(by));
        }
        assert_eq!(DecidedBy::parse("chance"), None);
    }
}
