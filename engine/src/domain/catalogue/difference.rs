//! What another catalogue changes.

use super::currency::money;
use super::{Catalogue, Pack, Plan, Price};
use crate::amount::MoneyMinor;
use crate::key::{PackKey, PlanKey, PriceKey};
use std::fmt;

/// What a difference or a refusal is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The catalogue itself.
    Catalogue,
    /// A plan.
    Plan(PlanKey),
    /// A price.
    Price(PriceKey),
    /// A pack.
    Pack(PackKey),
}

impl Subject {
    /// `catalogue`, `plan`, `price` or `pack`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Plan(_) => "plan",
            Self::Price(_) => "price",
            Self::Pack(_) => "pack",
        }
    }

    /// The key of the plan, the price or the pack.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Catalogue => None,
            Self::Plan(key) => Some(key.as_str()),
            Self::Price(key) => Some(key.as_str()),
            Self::Pack(key) => Some(key.as_str()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key() {
            Some(key) => write!(f, "{} {key}", self.kind()),
            None => f.write_str("the catalogue"),
        }
    }
}

/// Something that another catalogue changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about.
    pub subject: Subject,
    /// The field; `None` if the whole entry is added or removed.
    pub field: Option<&'static str>,
    /// What stands there now; `None` if nothing does.
    pub before: Option<String>,
    /// What will stand there; `None` if nothing will.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, field, before, after } = self;
        match (field, before, after) {
            (None, None, _) => write!(f, "{subject} is added"),
            (None, Some(_), _) => write!(f, "{subject} is removed"),
            (Some(field), before, after) => {
                let [before, after] = [before, after].map(|value| value.as_deref().unwrap_or("nothing"));
                write!(f, "{field} of {subject} changes from {before} to {after}")
            }
        }
    }
}

/// What `new` changes in `old`: of the catalogue, then of plans, prices and packs, in the order of their fields.
pub fn differences(old: &Catalogue, new: &Catalogue) -> Vec<Difference> {
    let mut found = compare(&Subject::Catalogue, &catalogue_fields(old, new), &catalogue_fields(new, old));
    let keys = |of: &Catalogue| of.plans.iter().map(|plan| plan.key.clone()).collect::<Vec<_>>();
    for key in union(keys(old), keys(new)) {
        let fields = |of: &Catalogue| of.plan(&key).map(|plan| plan_fields(plan, of.currency.as_str()));
        found.extend(compare_entries(Subject::Plan(key.clone()), fields(old), fields(new)));
    }
    let keys = |of: &Catalogue| of.prices.iter().map(|price| price.key.clone()).collect::<Vec<_>>();
    for key in union(keys(old), keys(new)) {
        let fields = |of: &Catalogue| of.price(&key).map(price_fields);
        found.extend(compare_entries(Subject::Price(key.clone()), fields(old), fields(new)));
    }
    let keys = |of: &Catalogue| of.packs.iter().map(|pack| pack.key.clone()).collect::<Vec<_>>();
    for key in union(keys(old), keys(new)) {
        let fields = |of: &Catalogue| of.pack(&key).map(pack_fields);
        found.extend(compare_entries(Subject::Pack(key.clone()), fields(old), fields(new)));
    }
    found
}

type Fields = Vec<(&'static str, Option<String>)>;

/// The keys of the new catalogue in its order, then those that only the old one has.
fn union<K: PartialEq>(old: Vec<K>, new: Vec<K>) -> Vec<K> {
    let gone: Vec<K> = old.into_iter().filter(|key| !new.contains(key)).collect();
    new.into_iter().chain(gone).collect()
}

fn compare_entries(subject: Subject, old: Option<Fields>, new: Option<Fields>) -> Vec<Difference> {
    match (old, new) {
        (Some(old), Some(new)) => compare(&subject, &old, &new),
        (old, new) => {
            let (before, after) = (old.as_ref().map(summary), new.as_ref().map(summary));
            vec![Difference { subject, field: None, before, after }]
        }
    }
}

fn compare(subject: &Subject, old: &Fields, new: &Fields) -> Vec<Difference> {
    let pairs = old.iter().zip(new).filter(|((_, before), (_, after))| before != after);
    let difference = |((field, before), (_, after)): (&(&'static str, Option<String>), &(_, Option<String>))| {
        Difference { subject: subject.clone(), field: Some(field), before: before.clone(), after: after.clone() }
    };
    pairs.map(difference).collect()
}

/// A whole entry in one line.
fn summary(fields: &Fields) -> String {
    let named = fields.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    named.collect::<Vec<_>>().join(", ")
}

fn catalogue_fields(of: &Catalogue, other: &Catalogue) -> Fields {
    // A plan that only one of them has is a difference of its own.
    let both = of.plans.iter().map(|plan| &plan.key).filter(|key| other.plan(key).is_some());
    vec![
        ("currency", Some(of.currency.to_string())),
        ("entry", Some(of.entry.to_string())),
        ("order of plans", Some(both.map(PlanKey::as_str).collect::<Vec<_>>().join(", "))),
    ]
}

/// The fields of a plan, whose caps are in this currency.
fn plan_fields(plan: &Plan, currency: &str) -> Fields {
    let cap = |cap: Option<MoneyMinor>| cap.map(|cap| money(cap, currency));
    let unit_prices: Vec<String> =
        plan.unit_prices.iter().map(|(currency, price)| money(*price, currency.as_str())).collect();
    vec![
        ("name", Some(plan.name.clone())),
        ("signup_credits", Some(plan.signup_credits.to_string())),
        ("payment_method_credits", Some(plan.payment_method_credits.to_string())),
        ("unit_price", (!unit_prices.is_empty()).then(|| unit_prices.join(", "))),
        ("unit_step", Some(plan.unit_step.to_string())),
        ("spend_cap_day", cap(plan.spend_cap_day)),
        ("spend_cap_month", cap(plan.spend_cap_month)),
        ("followed_by", plan.followed_by.as_ref().map(ToString::to_string)),
    ]
}

fn price_fields(price: &Price) -> Fields {
    let flag = |is_set: bool| Some(if is_set { "yes" } else { "no" }.to_owned());
    vec![
        ("plan", Some(price.plan.to_string())),
        ("every", Some(price.every.to_string())),
        ("amount", Some(money(price.amount, price.currency.as_str()))),
        ("currency", Some(price.currency.to_string())),
        ("credits", Some(price.credits.to_string())),
        ("grant", Some(price.grant.as_str().to_owned())),
        ("per_seat", flag(price.per_seat)),
        ("rollover", Some(price.rollover.as_str().to_owned())),
        ("lifetime_days", price.lifetime_days.map(|days| days.to_string())),
        ("lookup_key", Some(price.lookup_key.clone())),
        ("stripe", (!price.stripe.is_empty()).then(|| price.stripe.join(", "))),
        ("offered", flag(price.offered)),
    ]
}

fn pack_fields(pack: &Pack) -> Fields {
    vec![
        ("name", Some(pack.name.clone())),
        ("credits", Some(pack.credits.to_string())),
        ("amount", Some(money(pack.amount, pack.currency.as_str()))),
        ("currency", Some(pack.currency.to_string())),
        ("lifetime_days", pack.lifetime_days.map(|days| days.to_string())),
        ("offered", Some(if pack.offered { "yes" } else { "no" }.to_owned())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use std::sync::Arc;

    fn changed(change: impl FnOnce(&mut Catalogue)) -> Vec<String> {
        let old = Catalogue::built_in();
        let mut new = Catalogue::clone(&old);
        change(&mut new);
        differences(&old, &new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_catalogues_have_no_differences() {
        assert!(changed(|_| {}).is_empty());
    }

    #[test]
    fn each_changed_field_is_a_difference_with_its_values() {
        let said = changed(|new| {
            new.plans[2].name = "Best".to_owned();
            new.plans[2].unit_prices.clear();
            new.prices[0].amount = MoneyMinor(69_900);
            new.prices[0].credits = Credits(80);
            new.prices[0].lifetime_days = Some(90);
        });
        assert_eq!(
            said,
            [
                "name of plan pro changes from Pro to Best",
                "unit_price of plan pro changes from $15.00 to nothing",
                "amount of price pro_monthly changes from $599.00 to $699.00",
                "credits of price pro_monthly changes from 60 to 80",
                "lifetime_days of price pro_monthly changes from nothing to 90",
            ]
        );
    }

    #[test]
    fn packs_differ_by_their_fields_and_steps_and_caps_by_those_of_their_plan() {
        let pack = Pack {
            key: PackKey::trusted("hundred"),
            name: "100 fixes".to_owned(),
            credits: Credits(100),
            amount: MoneyMinor(200_000),
            currency: Catalogue::built_in().currency.clone(),
            lifetime_days: None,
            offered: true,
        };
        let said = changed(|new| {
            new.plans[2].unit_step = Credits(5);
            new.plans[2].spend_cap_month = Some(MoneyMinor(500_000));
            new.packs.push(pack.clone());
        });
        assert_eq!(
            said,
            [
                "unit_step of plan pro changes from 1 to 5",
                "spend_cap_month of plan pro changes from nothing to $5000.00",
                "pack hundred is added",
            ]
        );
        let old = Catalogue { packs: vec![pack.clone()], ..Catalogue::clone(&Catalogue::built_in()) };
        let dearer = Pack { amount: MoneyMinor(250_000), lifetime_days: Some(90), ..pack };
        let new = Catalogue { packs: vec![dearer], ..old.clone() };
        let said: Vec<String> = differences(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "amount of pack hundred changes from $2000.00 to $2500.00",
                "lifetime_days of pack hundred changes from nothing to 90",
            ]
        );
    }

    #[test]
    fn an_added_or_removed_entry_is_one_difference() {
        let said = changed(|new| {
            let team = Plan { key: PlanKey::trusted("team"), ..new.plans[2].clone() };
            new.plans.push(team);
            new.prices.clear();
        });
        assert_eq!(said, ["plan team is added", "price pro_monthly is removed"]);
        let old = Catalogue::built_in();
        let new = Catalogue { prices: Vec::new(), ..Catalogue::clone(&old) };
        let removed = differences(&old, &new).remove(0);
        assert_eq!(removed.after, None);
        assert!(removed.before.is_some_and(|before| before.starts_with("plan pro, every month, amount $599.00")));
    }

    #[test]
    fn the_order_of_plans_counts_and_that_of_prices_does_not() {
        assert_eq!(
            changed(|new| new.plans.swap(1, 2)),
            ["order of plans of the catalogue changes from trial, pay_as_you_go, pro to trial, pro, pay_as_you_go"]
        );
        let mut old = Catalogue::clone(&Catalogue::built_in());
        old.prices.push(Price { key: PriceKey::trusted("other"), ..old.prices[0].clone() });
        let mut new = old.clone();
        new.prices.swap(0, 1);
        assert!(differences(&Arc::new(old), &new).is_empty());
    }
}
