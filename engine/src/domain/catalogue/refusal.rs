//! Changes that are refused because customers have what they take away.

use super::difference::Subject;
use super::{Catalogue, Price};
use crate::count::counted;
use crate::key::{PlanKey, PriceKey};
use std::collections::BTreeMap;
use std::fmt;

/// What customers have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// The number of customers on each plan.
    pub customers: BTreeMap<PlanKey, u64>,
    /// The number of open subscriptions to each price.
    pub subscriptions: BTreeMap<PriceKey, u64>,
    /// The number of open subscriptions to each plan whose price is not known.
    pub unpriced: BTreeMap<PlanKey, u64>,
    /// The number of open subscriptions to each plan, whatever their price.
    pub subscribed: BTreeMap<PlanKey, u64>,
    /// Of the ids at Stripe that are stored as ours: the price that each sells.
    pub sold: BTreeMap<String, PriceKey>,
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
        let subscriptions = in_use.of_price(price);
        match new.price(&price.key) {
            None if subscriptions > 0 => refusals.push(removed_price(price, subscriptions)),
            Some(changed) if subscriptions > 0 => refusals.extend(other_offer(price, changed, subscriptions)),
            _ => {}
        }
    }
    refusals.extend(new.prices.iter().flat_map(|price| moved_names(old, price, in_use)));
    refusals
}

fn removed_plans(old: &Catalogue, new: &Catalogue, in_use: &InUse) -> Vec<Refusal> {
    let keys = old.plans.iter().map(|plan| &plan.key);
    let gone = keys.filter(|key| new.plan(key).is_none() && in_use.of_plan(key) > 0);
    let refusal = |key: &PlanKey| Refusal {
        subject: Subject::Plan(key.clone()),
        message: format!(
            "plan {key} cannot be removed: {} it. Keep [plans.{key}]; to sell it no longer, set offered = false in its \
             prices",
            have(in_use.of_plan(key), "customer")
        ),
    };
    gone.map(refusal).collect()
}

fn removed_price(price: &Price, subscriptions: u64) -> Refusal {
    let key = &price.key;
    let message = format!(
        "price {key} cannot be removed: {} it. Keep [prices.{key}] with offered = false",
        have(subscriptions, "open subscription")
    );
    Refusal { subject: Subject::Price(key.clone()), message }
}

/// A price that subscriptions have and that would be another offer under the same key.
fn other_offer(old: &Price, new: &Price, subscriptions: u64) -> Option<Refusal> {
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
            "{} of price {key} cannot change: {} it. Add a new price instead, and set offered = false in \
             [prices.{key}]",
            changed.join(" and "),
            have(subscriptions, "open subscription")
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

/// `1 customer has`, `2 customers have`.
fn have(count: u64, noun: &str) -> String {
    format!("{} {}", counted(count, noun), if count == 1 { "has" } else { "have" })
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
