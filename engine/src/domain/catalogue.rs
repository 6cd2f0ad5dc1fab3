//! The catalogue: everything that is sold. No other code knows a plan or a price by name.
//!
//! A **plan** says what a customer may do and what follows when it ends. A **price** sells a plan for an interval: what
//! it costs, what it brings, and by which ids Stripe knows it. A **pack** sells credits once.
//!
//! | module | what is in it |
//! |---|---|
//! | [`mod@read`] | reads the file; every mistake with its line |
//! | [`mod@check`] | the rules of a catalogue, most of them between its entries |
//! | [`sellable`] | what a catalogue offers although nobody can buy it |
//! | [`strict`] | rules that only a catalogue to be applied must keep |
//! | [`mod@write`] | writes a catalogue as a file |
//! | [`currency`] | currencies, their digits and which amounts Stripe charges |
//! | [`shared`] | the catalogue that a process uses now |
//! | [`version`] | a catalogue that is or was in force |
//! | [`mod@difference`] | what another catalogue changes |
//! | [`refusal`] | changes that customers forbid |
//! | [`touch`] | whom a change touches, and how |

pub mod check;
pub mod currency;
pub mod difference;
pub mod history;
pub mod read;
pub mod refusal;
pub mod sellable;
pub mod shared;
pub mod strict;
pub mod touch;
pub mod version;
pub mod write;

use crate::amount::{Credits, MoneyMinor};
use crate::key::{PackKey, PlanKey, PriceKey};
pub use difference::{Difference, Subject};
pub use history::CatalogueHistory;
pub use refusal::{InUse, Refusal};
pub use shared::SharedCatalogue;
pub use version::CatalogueVersion;

use currency::Currency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The catalogue that is built in.
pub const BUILT_IN: &str = include_str!("../../data/catalogue.toml");

static DEFAULT: LazyLock<Arc<Catalogue>> =
    LazyLock::new(|| Arc::new(read::read(BUILT_IN).expect("the built-in catalogue is valid; a test reads it")));

/// Everything that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// The currency of whoever pays by unit.
    pub currency: Currency,
    /// The plan of new customers.
    pub entry: PlanKey,
    /// The plans, each better than those before it: of several that a customer has, the last counts.
    pub plans: Vec<Plan>,
    /// The prices.
    pub prices: Vec<Price>,
    /// The packs.
    pub packs: Vec<Pack>,
}

/// Sells credits once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Its key.
    pub key: PackKey,
    /// Its name, for people.
    pub name: String,
    /// Its credits.
    pub credits: Credits,
    /// What it costs.
    pub amount: MoneyMinor,
    /// The currency.
    pub currency: Currency,
    /// Days after which its credits expire; `None` for never.
    pub lifetime_days: Option<u32>,
    /// Whether it can be bought.
    pub offered: bool,
}

/// What a customer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its key.
    pub key: PlanKey,
    /// Its name, for people.
    pub name: String,
    /// Credits for signing up; only the entry plan may give any.
    pub signup_credits: Credits,
    /// Credits for the first payment method of a customer, on whatever plan; only the entry plan may give any.
    pub payment_method_credits: Credits,
    /// What a unit costs once there are no credits left, in each currency. Without a price in the customer's
    /// currency, such work is refused.
    pub unit_prices: BTreeMap<Currency, MoneyMinor>,
    /// Credits are bought in multiples of this, so that cheap units do not cost a fee each.
    pub unit_step: Credits,
    /// The most that a customer may be charged a day for credits, in the catalogue's currency; `None` for no cap. The
    /// same number holds in each other currency.
    pub spend_cap_day: Option<MoneyMinor>,
    /// The same for a month; `None` for 1,000 units of the currency, 100,000 of one without minor units.
    pub spend_cap_month: Option<MoneyMinor>,
    /// The plan that follows when nothing gives this one any longer; `None` if a customer has it without buying it.
    pub followed_by: Option<PlanKey>,
}

/// Sells a plan for an interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Its key.
    pub key: PriceKey,
    /// The plan that it sells.
    pub plan: PlanKey,
    /// How long a period is.
    pub every: Interval,
    /// What a period costs, for each seat if it is sold by seat.
    pub amount: MoneyMinor,
    /// The currency.
    pub currency: Currency,
    /// Credits of a period, for each seat if it is sold by seat.
    pub credits: Credits,
    /// When they are granted.
    pub grant: GrantSchedule,
    /// Whether amount and credits are those of one seat.
    pub per_seat: bool,
    /// What becomes of credits that are left when the period ends.
    pub rollover: Rollover,
    /// Days after which a grant's credits expire; `None` for never.
    pub lifetime_days: Option<u32>,
    /// The lookup key of its price at Stripe.
    pub lookup_key: String,
    /// Ids of prices at Stripe that sell it, the present one first, then former ones.
    pub stripe: Vec<String>,
    /// Whether it can be bought. Who has it keeps it.
    pub offered: bool,
}

impl Price {
    /// Whether it costs and brings as much as another, however it is sold.
    pub fn is_worth(&self, other: &Self) -> bool {
        let (lookup_key, stripe) = (other.lookup_key.clone(), other.stripe.clone());
        Self { lookup_key, stripe, offered: other.offered, ..self.clone() } == *other
    }
}

/// The length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The number of units.
    pub count: u32,
    /// The unit.
    pub unit: IntervalUnit,
}

/// The unit of an [`Interval`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalUnit {
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Years.
    Year,
}

/// When a period's credits are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSchedule {
    /// All at once, when the period is paid.
    Whole,
    /// An equal part each month of the period.
    Monthly,
}

/// What becomes of credits that are left when their period ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rollover {
    /// They stay.
    Keep,
    /// They expire.
    Reset,
}

impl IntervalUnit {
    /// Stripe's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Parses Stripe's name. Days are no unit here.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Week, Self::Month, Self::Year].into_iter().find(|unit| unit.as_str() == text)
    }
}

impl GrantSchedule {
    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Monthly => "monthly",
        }
    }

    /// Parses a name of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Whole, Self::Monthly].into_iter().find(|schedule| schedule.as_str() == text)
    }
}

impl Rollover {
    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
        }
    }

    /// Parses a name of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Keep, Self::Reset].into_iter().find(|rollover| rollover.as_str() == text)
    }
}

impl Interval {
    /// A month.
    pub const MONTH: Self = Self { count: 1, unit: IntervalUnit::Month };

    /// The number of whole months, each with a part of the credits if they are granted monthly.
    pub fn months(self) -> u32 {
        match self.unit {
            IntervalUnit::Week => 0,
            IntervalUnit::Month => self.count,
            IntervalUnit::Year => self.count * 12,
        }
    }

    /// Its length, to compare intervals with: a week has 84 parts, and a month a twelfth of a year.
    pub fn length(self) -> i64 {
        i64::from(self.count)
            * match self.unit {
                IntervalUnit::Week => 84,
                IntervalUnit::Month => 365,
                IntervalUnit::Year => 365 * 12,
            }
    }

    /// Whether it is as long as one that is written so. Days and what is no interval are not.
    pub fn is_as_long_as(self, text: &str) -> bool {
        Self::parse(text).is_some_and(|other| other.length() == self.length())
    }

    /// Parses `month`, `2 weeks` or `1 year`.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once(' ').unwrap_or(("1", text));
        let unit = IntervalUnit::parse(unit.strip_suffix('s').unwrap_or(unit))?;
        // One number is written in one way.
        let is_plain = count.bytes().all(|digit| digit.is_ascii_digit()) && !count.starts_with('0');
        let count = count.parse().ok().filter(|count| is_plain && *count > 0)?;
        Some(Self { count, unit })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str(self.unit.as_str()),
            n => write!(f, "{n} {}s", self.unit.as_str()),
        }
    }
}

impl Catalogue {
    /// The built-in catalogue.
    pub fn built_in() -> Arc<Self> {
        DEFAULT.clone()
    }

    /// A plan.
    pub fn plan(&self, key: &PlanKey) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.key == *key)
    }

    /// The plan of new customers.
    pub fn entry_plan(&self) -> &Plan {
        self.plan(&self.entry).expect("a catalogue has its entry plan; `check` sees to it")
    }

    /// A plan's name; its key if the catalogue has it no longer.
    pub fn plan_name<'a>(&'a self, key: &'a PlanKey) -> &'a str {
        self.plan(key).map_or(key.as_str(), |plan| &plan.name)
    }

    /// A price.
    pub fn price(&self, key: &PriceKey) -> Option<&Price> {
        self.prices.iter().find(|price| price.key == *key)
    }

    /// A pack.
    pub fn pack(&self, key: &PackKey) -> Option<&Pack> {
        self.packs.iter().find(|pack| pack.key == *key)
    }

    /// The currency of a pack; the catalogue's for single units, or without the pack.
    pub fn currency_of(&self, pack: Option<&PackKey>) -> &Currency {
        pack.and_then(|key| self.pack(key)).map_or(&self.currency, |pack| &pack.currency)
    }

    /// The price that an id at Stripe sells.
    pub fn price_of_stripe_id(&self, id: &str) -> Option<&Price> {
        self.prices.iter().find(|price| price.stripe.iter().any(|known| known == id))
    }

    /// The price with a lookup key.
    pub fn price_of_lookup_key(&self, lookup_key: &str) -> Option<&Price> {
        self.prices.iter().find(|price| price.lookup_key == lookup_key)
    }

    /// Prices that can be bought, those of better plans last.
    pub fn offered(&self) -> impl Iterator<Item = &Price> {
        self.prices.iter().filter(|price| price.offered)
    }

    /// What a unit costs on a plan, in the catalogue's currency.
    pub fn unit_price(&self, plan: &PlanKey) -> Option<MoneyMinor> {
        self.plan(plan)?.unit_prices.get(&self.currency).copied()
    }

    /// How many units a plan sells at a time.
    pub fn unit_step(&self, plan: &PlanKey) -> Credits {
        self.plan(plan).map_or(Credits(1), |plan| plan.unit_step.max(Credits(1)))
    }

    /// The better of two plans; one that the catalogue has no longer is worst.
    pub fn better<'a>(&self, one: &'a PlanKey, other: &'a PlanKey) -> &'a PlanKey {
        let rank = |key: &PlanKey| self.plans.iter().position(|plan| plan.key == *key);
        if rank(other) > rank(one) { other } else { one }
    }

    /// The plan of a customer.
    ///
    /// `given` are the plans that subscriptions and purchases give it now, and the best of them counts. Without any, a
    /// plan that was bought is followed by the next, and so is the entry plan if the customer `has_left` a plan that it
    /// paid for. A plan that the catalogue has no longer is followed by the entry plan, unless
    /// [`follower_of_lost`](Self::follower_of_lost) knows better.
    pub fn plan_now(&self, present: &PlanKey, given: &[PlanKey], has_left: Option<&PlanKey>) -> PlanKey {
        if let Some(best) = given.iter().reduce(|one, other| self.better(one, other)) {
            return best.clone();
        }
        let after = |key: &PlanKey| self.plan(key).and_then(|plan| plan.followed_by.clone());
        if let Some(next) = after(present) {
            return next;
        }
        if self.plan(present).is_none() {
            return self.entry.clone();
        }
        let left = has_left.filter(|_| *present == self.entry).and_then(after);
        left.unwrap_or_else(|| present.clone())
    }

    /// The plan that follows one that this catalogue has no longer: the first of those after it in the `former`
    /// catalogue that this one has, else the entry plan.
    pub fn follower_of_lost(&self, lost: &PlanKey, former: &Self) -> PlanKey {
        let mut key = lost;
        // Each plan is passed once, whatever the former catalogue says.
        for _ in &former.plans {
            let Some(next) = former.plan(key).and_then(|plan| plan.followed_by.as_ref()) else { break };
            if self.plan(next).is_some() {
                return next.clone();
            }
            key = next;
        }
        self.entry.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> PlanKey {
        PlanKey::parse(text).expect("a key")
    }

    #[test]
    fn the_built_in_catalogue_is_the_reference_tenants() {
        let catalogue = Catalogue::built_in();
        let price = catalogue.price(&PriceKey::trusted("pro_monthly")).expect("Pro's price");
        assert_eq!((price.amount, price.credits, price.every), (MoneyMinor(59_900), Credits(60), Interval::MONTH));
        let entry = catalogue.entry_plan();
        assert_eq!((entry.signup_credits, entry.payment_method_credits), (Credits(5), Credits(5)));
        let unit = |plan: &str| catalogue.unit_price(&key(plan)).map(|price| price.0);
        assert_eq!([unit("trial"), unit("pay_as_you_go"), unit("pro")], [Some(2_900), Some(2_900), Some(1_500)]);
    }

    #[test]
    fn a_customer_has_the_best_plan_that_something_gives_it() {
        let catalogue = Catalogue::built_in();
        let (trial, each, pro) = (key("trial"), key("pay_as_you_go"), key("pro"));
        let now =
            |present: &PlanKey, given: &[PlanKey], left: Option<&PlanKey>| catalogue.plan_now(present, given, left);
        assert_eq!(now(&trial, &[each.clone(), pro.clone()], None), pro);
        assert_eq!(now(&pro, &[], None), each, "nothing gives it any longer");
        assert_eq!(now(&trial, &[], None), trial);
        assert_eq!(now(&trial, &[], Some(&pro)), each, "it has been a paying customer");
        assert_eq!(now(&each, &[], Some(&pro)), each);
        let gone = key("gone");
        assert_eq!(now(&gone, &[], None), trial, "nobody stays on a plan that the catalogue has no longer");
        assert_eq!(now(&gone, std::slice::from_ref(&gone), None), gone, "as long as something gives it");
        assert_eq!(now(&trial, &[gone, pro.clone()], None), pro);
    }

    #[test]
    fn a_lost_plan_is_followed_as_the_catalogue_that_had_it_says() {
        let present = Catalogue::built_in();
        let pro = present.plan(&key("pro")).expect("Pro").clone();
        let with = |followed_by: [Option<&str>; 2]| {
            let lost = ["team", "company"].into_iter().zip(followed_by).map(|(name, followed_by)| Plan {
                key: key(name),
                followed_by: followed_by.map(key),
                ..pro.clone()
            });
            Catalogue { plans: present.plans.iter().cloned().chain(lost).collect(), ..Catalogue::clone(&present) }
        };
        let follower = |followed_by| present.follower_of_lost(&key("team"), &with(followed_by)).to_string();
        assert_eq!(follower([Some("pay_as_you_go"), None]), "pay_as_you_go");
        assert_eq!(follower([Some("company"), Some("pay_as_you_go")]), "pay_as_you_go", "over another lost one");
        assert_eq!(follower([Some("company"), Some("team")]), "trial", "they follow each other");
        assert_eq!(follower([None, None]), "trial");
        assert_eq!(present.follower_of_lost(&key("team"), &present), key("trial"));
    }

    #[test]
    fn an_interval_is_written_as_it_is_read() {
        for text in ["month", "year", "2 weeks", "3 months"] {
            assert_eq!(Interval::parse(text).map(|every| every.to_string()).as_deref(), Some(text));
        }
        for text in ["", "day", "0 months", "month 2", "-1 weeks", "+2 months", "02 months", " 2 months", "2  months"] {
            assert_eq!(Interval::parse(text), None, "{text}");
        }
        assert_eq!(Interval::parse("1 year").map(Interval::months), Some(12));
    }
}
