//! Changes that are refused because customers have what they take away, or will have it.

use super::difference::Subject;
use super::{Catalogue, Pack, Price};
use crate::count::counted;
use crate::key::{PackKey, PlanKey, PriceKey};
use std::collections::BTreeMap;
use std::fmt;

const HAVE: [&str; 2] = ["has it", "have it"];

/// What customers have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// The number of customers on each plan.
    pub customers: BTreeMap<PlanKey, u64>,
    /// The number of open subscriptions to each price.
    pub subscriptions: BTreeMap<PriceKey, u64>,
    /// The number of those that keep former terms, because their price at Stripe is not the present one.
    pub former: BTreeMap<PriceKey, u64>,
    /// The number of open subscriptions to each plan whose price is not known.
    pub unpriced: BTreeMap<PlanKey, u64>,
    /// The number of open subscriptions to each plan, whatever their price.
    pub subscribed: BTreeMap<PlanKey, u64>,
    /// Of the ids at Stripe that are stored as ours: the price that each sells.
    pub sold: BTreeMap<String, PriceKey>,
    /// What will have each price.
    pub coming: BTreeMap<PriceKey, Coming>,
    /// What buys each pack.
    pub buying: BTreeMap<PackKey, Buying>,
}

/// What will have a price, although no subscription has it yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coming {
    /// Pending changes of open subscriptions that lead to it.
    pub changes: u64,
    /// Requests to subscribe or to change to it that have not ended.
    pub requests: u64,
}

impl Coming {
    /// What there is of it, each in a sentence without its full stop.
    pub fn clauses(self) -> Vec<String> {
        let changes = clause(self.changes, "pending change", ["leads to it", "lead to it"]);
        let requests = clause(self.requests, "request", ["under way names it", "under way name it"]);
        changes.into_iter().chain(requests).collect()
    }

    fn and(self, other: Self) -> Self {
        Self { changes: self.changes + other.changes, requests: self.requests + other.requests }
    }
}

/// What buys a pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buying {
    /// Automatic top-ups that are on.
    pub top_ups: u64,
    /// Requests to buy it that have not ended.
    pub requests: u64,
}

impl Buying {
    /// What there is of it, each in a sentence without its full stop.
    pub fn clauses(self) -> Vec<String> {
        let top_ups = clause(self.top_ups, "automatic top-up", ["buys it", "buy it"]);
        let requests = clause(self.requests, "request", ["under way names it", "under way name it"]);
        top_ups.into_iter().chain(requests).collect()
    }
}

impl InUse {
    /// The number of customers on a plan, or with an open subscription to it, whichever is larger.
    pub fn of_plan(&self, plan: &PlanKey) -> u64 {
        let count = |of: &BTreeMap<PlanKey, u64>| of.get(plan).copied().unwrap_or(0);
        count(&self.customers).max(count(&self.subscribed))
    }

    /// The number of open subscriptions that have a price, or may have it.
    pub fn of_price(&self, price: &Price) -> u64 {
        let known = self.subscriptions.get(&price.key).copied().unwrap_or(0);
        known + self.unpriced.get(&price.plan).copied().unwrap_or(0)
    }

    /// The number of open subscriptions that have a price on former terms, which no change of the price touches.
    pub fn of_former(&self, price: &Price) -> u64 {
        self.former.get(&price.key).copied().unwrap_or(0).min(self.of_price(price))
    }

    /// What will have a price.
    pub fn coming_to(&self, price: &PriceKey) -> Coming {
        self.coming.get(price).copied().unwrap_or_default()
    }

    /// What will have a plan by one of the prices of a catalogue.
    pub fn coming_to_plan(&self, plan: &PlanKey, catalogue: &Catalogue) -> Coming {
        let prices = catalogue.prices.iter().filter(|price| price.plan == *plan);
        prices.fold(Coming::default(), |sum, price| sum.and(self.coming_to(&price.key)))
    }

    /// What buys a pack.
    pub fn buying(&self, pack: &PackKey) -> Buying {
        self.buying.get(pack).copied().unwrap_or_default()
    }

    /// Why a plan of a catalogue must stay, if it must.
    fn holds_plan(&self, plan: &PlanKey, catalogue: &Catalogue) -> Option<String> {
        let have = clause(self.of_plan(plan), "customer", HAVE);
        all_of(have.into_iter().chain(self.coming_to_plan(plan, catalogue).clauses()))
    }

    /// Why a price must stay what it is, if it must.
    fn holds_price(&self, price: &Price) -> Option<String> {
        let have = clause(self.of_price(price), "open subscription", HAVE);
        all_of(have.into_iter().chain(self.coming_to(&price.key).clauses()))
    }
}

/// A change that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub subject: Subject,
    /// Why, and what to do instead.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What `new` must not change in `old`.
pub fn refusals(old: &Catalogue, new: &Catalogue, in_use: &InUse) -> Vec<Refusal> {
    let mut refusals = removed_plans(old, new, in_use);
    for price in &old.prices {
        let Some(why) = in_use.holds_price(price) else { continue };
        match new.price(&price.key) {
            None => refusals.push(removed_price(price, &why)),
            Some(changed) => refusals.extend(other_offer(price, changed, &why)),
        }
    }
    refusals.extend(new.prices.iter().flat_map(|price| moved_names(old, price, in_use)));
    let removed = old.packs.iter().filter(|pack| new.pack(&pack.key).is_none());
    refusals.extend(removed.filter_map(|pack| removed_pack(pack, in_use)));
    refusals
}

fn removed_plans(old: &Catalogue, new: &Catalogue, in_use: &InUse) -> Vec<Refusal> {
    let gone = old.plans.iter().map(|plan| &plan.key).filter(|key| new.plan(key).is_none());
    let refusal = |key: &PlanKey| {
        let why = in_use.holds_plan(key, old)?;
        let is_sold = old.prices.iter().chain(&new.prices).any(|price| price.plan == *key);
        let advice = match (is_sold, old.entry == *key) {
            (true, _) => "; to sell it no longer, set offered = false in its prices",
            (false, true) => "; another entry plan is for new customers only",
            (false, false) => "",
        };
        let message = format!("plan {key} cannot be removed: {why}. Keep [plans.{key}]{advice}");
        Some(Refusal { subject: Subject::Plan(key.clone()), message })
    };
    gone.filter_map(refusal).collect()
}

fn removed_price(price: &Price, why: &str) -> Refusal {
    let key = &price.key;
    let message = format!("price {key} cannot be removed: {why}. Keep [prices.{key}] with offered = false");
    Refusal { subject: Subject::Price(key.clone()), message }
}

fn removed_pack(pack: &Pack, in_use: &InUse) -> Option<Refusal> {
    let key = &pack.key;
    let why = all_of(in_use.buying(key).clauses())?;
    let message = format!(
        "pack {key} cannot be removed: {why}. Keep [packs.{key}]; with offered = false nobody can choose it any longer, \
         and top-ups that buy it stop"
    );
    Some(Refusal { subject: Subject::Pack(key.clone()), message })
}

/// A price that subscriptions have, or will have, and that would be another offer under the same key.
fn other_offer(old: &Price, new: &Price, why: &str) -> Option<Refusal> {
    let changes = [
        ("plan", old.plan != new.plan),
        ("every", old.every != new.every),
        ("currency", old.currency != new.currency),
        ("per_seat", old.per_seat != new.per_seat),
    ];
    let changed: Vec<&str> =
        changes.into_iter().filter(|(_, is_changed)| *is_changed).map(|(field, _)| field).collect();
    let key = &old.key;
    (!changed.is_empty()).then(|| Refusal {
        subject: Subject::Price(key.clone()),
        message: format!(
            "{} of price {key} cannot change: {why}. Add a new price instead, and set offered = false in [prices.{key}]",
            changed.join(" and "),
        ),
    })
}

/// Names at Stripe that belong to another price already.
fn moved_names(old: &Catalogue, new: &Price, in_use: &InUse) -> Vec<Refusal> {
    let key = &new.key;
    let refusal = |message: String| Refusal { subject: Subject::Price(key.clone()), message };
    let mut refusals = Vec::new();
    for id in &new.stripe {
        let named = old.price_of_stripe_id(id).map(|price| &price.key);
        let Some(owner) = [named, in_use.sold.get(id)].into_iter().flatten().find(|owner| *owner != key) else {
            continue;
        };
        refusals.push(refusal(format!(
            "{id} cannot be moved to price {key}: it sells {owner}, and whoever has it keeps what it bought. Remove it \
             from stripe under [prices.{key}]"
        )));
    }
    let owner = old.price_of_lookup_key(&new.lookup_key).filter(|owner| owner.key != *key);
    refusals.extend(owner.map(|owner| {
        refusal(format!(
            "lookup_key {} cannot be moved to price {key}: it belongs to {}. Choose another one for [prices.{key}]",
            new.lookup_key, owner.key
        ))
    }));
    refusals
}

/// Such as `1 customer has it` or `2 customers have it`; `None` for none.
fn clause(count: u64, noun: &str, [one, many]: [&str; 2]) -> Option<String> {
    (count > 0).then(|| format!("{} {}", counted(count, noun), if count == 1 { one } else { many }))
}

/// Clauses as one; `None` without any.
fn all_of(clauses: impl IntoIterator<Item = String>) -> Option<String> {
    let clauses: Vec<String> = clauses.into_iter().collect();
    let (last, others) = clauses.split_last()?;
    Some(if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Credits, MoneyMinor};
    use crate::domain::catalogue::Interval;
    use crate::domain::catalogue::currency::Currency;

    fn pro() -> (PlanKey, PriceKey) {
        (PlanKey::trusted("pro"), PriceKey::trusted("pro_monthly"))
    }

    /// Three customers on Pro, two of them by the price.
    fn used() -> InUse {
        let (plan, price) = pro();
        InUse {
            customers: BTreeMap::from([(plan.clone(), 3)]),
            subscriptions: BTreeMap::from([(price, 2)]),
            subscribed: BTreeMap::from([(plan, 2)]),
            ..InUse::default()
        }
    }

    fn refused(in_use: &InUse, change: impl FnOnce(&mut Catalogue)) -> Vec<String> {
        let old = Catalogue::built_in();
        let mut new = Catalogue::clone(&old);
        change(&mut new);
        refusals(&old, &new, in_use).into_iter().map(|refusal| refusal.message).collect()
    }

    #[test]
    fn a_plan_and_a_price_that_customers_have_stay() {
        let both_gone = |new: &mut Catalogue| {
            new.plans.pop();
            new.prices.clear();
        };
        assert_eq!(
            refused(&used(), both_gone),
            [
                "plan pro cannot be removed: 3 customers have it. Keep [plans.pro]; to sell it no longer, set offered = \
                 false in its prices",
                "price pro_monthly cannot be removed: 2 open subscriptions have it. Keep [prices.pro_monthly] with \
                 offered = false",
            ]
        );
        assert!(refused(&InUse::default(), both_gone).is_empty(), "nobody has them");
        assert!(refused(&used(), |new| new.prices[0].offered = false).is_empty());
    }

    #[test]
    fn a_plan_without_prices_is_kept_without_advice_about_prices() {
        let in_use = InUse { customers: BTreeMap::from([(PlanKey::trusted("trial"), 1)]), ..InUse::default() };
        let renamed = |new: &mut Catalogue| {
            new.entry = PlanKey::trusted("start");
            new.plans[0].key = PlanKey::trusted("start");
        };
        let why = "plan trial cannot be removed: 1 customer has it. Keep [plans.trial]";
        assert_eq!(refused(&in_use, renamed), [format!("{why}; another entry plan is for new customers only")]);
    }

    #[test]
    fn a_price_and_its_plan_stay_while_a_change_or_a_request_leads_to_them() {
        let coming = |changes, requests| InUse {
            coming: BTreeMap::from([(pro().1, Coming { changes, requests })]),
            ..InUse::default()
        };
        let both_gone = |new: &mut Catalogue| {
            new.plans.pop();
            new.prices.clear();
        };
        assert_eq!(
            refused(&coming(1, 2), both_gone),
            [
                "plan pro cannot be removed: 1 pending change leads to it and 2 requests under way name it. Keep \
                 [plans.pro]; to sell it no longer, set offered = false in its prices",
                "price pro_monthly cannot be removed: 1 pending change leads to it and 2 requests under way name it. \
                 Keep [prices.pro_monthly] with offered = false",
            ]
        );
        let said = refused(&InUse { coming: coming(2, 0).coming, ..used() }, |new| new.prices.clear());
        assert!(said[0].contains("2 open subscriptions have it and 2 pending changes lead to it."), "{said:?}");
        let said = refused(&coming(0, 1), |new| new.prices[0].per_seat = true);
        assert!(said[0].contains("per_seat of price pro_monthly cannot change: 1 request under way names it."));
        assert!(refused(&coming(1, 1), |new| new.prices[0].amount = MoneyMinor(1)).is_empty());
    }

    #[test]
    fn a_pack_that_top_ups_or_requests_buy_stays() {
        let key = PackKey::trusted("hundred");
        let old = Catalogue {
            packs: vec![Pack {
                key: key.clone(),
                name: "100".to_owned(),
                credits: Credits(100),
                amount: MoneyMinor(1_000),
                currency: Catalogue::built_in().currency.clone(),
                lifetime_days: None,
                offered: true,
            }],
            ..Catalogue::clone(&Catalogue::built_in())
        };
        let said = |buying: Buying| {
            let in_use = InUse { buying: BTreeMap::from([(key.clone(), buying)]), ..InUse::default() };
            let refused = refusals(&old, &Catalogue::built_in(), &in_use);
            refused.into_iter().map(|refusal| refusal.message).collect::<Vec<_>>()
        };
        let found = said(Buying { top_ups: 3, requests: 1 });
        let start = "pack hundred cannot be removed: 3 automatic top-ups buy it and 1 request under way names it. Keep";
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
        assert!(said(Buying::default()).is_empty());
    }

    #[test]
    fn a_subscription_whose_price_is_not_known_counts_for_every_price_of_its_plan() {
        let in_use = InUse { unpriced: BTreeMap::from([(pro().0, 1)]), ..InUse::default() };
        let said = refused(&in_use, |new| new.prices.clear());
        assert!(said.len() == 1 && said[0].contains("1 open subscription has it"), "{said:?}");
    }

    #[test]
    fn a_raised_amount_and_other_credits_are_allowed() {
        let raised = |new: &mut Catalogue| {
            new.prices[0].amount = MoneyMinor(69_900);
            new.prices[0].credits = Credits(80);
        };
        assert!(refused(&used(), raised).is_empty());
    }

    #[test]
    fn a_price_that_is_in_use_keeps_its_interval_currency_seats_and_plan() {
        let other = |new: &mut Catalogue| {
            let price = &mut new.prices[0];
            price.every = Interval { count: 2, ..price.every };
            price.currency = Currency::parse("eur").expect("a currency");
            price.per_seat = true;
        };
        assert_eq!(
            refused(&used(), other),
            [
                "every and currency and per_seat of price pro_monthly cannot change: 2 open subscriptions have it. Add a \
              new price instead, and set offered = false in [prices.pro_monthly]"
            ]
        );
        assert!(refused(&InUse::default(), other).is_empty());
    }

    #[test]
    fn a_name_at_stripe_stays_with_its_price() {
        let second = |new: &mut Catalogue| {
            let price =
                Price { key: PriceKey::trusted("pro_2"), lookup_key: "pro_2".to_owned(), ..new.prices[0].clone() };
            new.prices.push(price);
        };
        let sold = InUse { sold: BTreeMap::from([("price_1".to_owned(), pro().1)]), ..InUse::default() };
        let said = refused(&sold, |new| {
            second(new);
            new.prices[1].stripe = vec!["price_2".to_owned(), "price_1".to_owned()];
        });
        assert!(said.len() == 1 && said[0].starts_with("price_1 cannot be moved to price pro_2: it sells"), "{said:?}");
        let said = refused(&sold, |new| {
            second(new);
            new.prices[0].lookup_key = "pro_1".to_owned();
            new.prices[1].lookup_key = "pro_monthly".to_owned();
        });
        assert!(said.len() == 1 && said[0].starts_with("lookup_key pro_monthly cannot be moved"), "{said:?}");
        let mut old = Catalogue::clone(&Catalogue::built_in());
        old.prices[0].stripe = vec!["price_1".to_owned()];
        let mut new = old.clone();
        second(&mut new);
        new.prices[0].stripe.clear();
        assert_eq!(refusals(&old, &new, &InUse::default()).len(), 1, "named before, though never sold");
        assert!(refused(&sold, |new| new.prices[0].stripe = vec!["price_1".to_owned()]).is_empty());
    }
}
