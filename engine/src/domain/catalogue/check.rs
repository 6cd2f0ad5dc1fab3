//! The rules of a catalogue, most of them between its entries.

use super::currency::Currency;
use super::{Catalogue, GrantSchedule, Interval, IntervalUnit, Pack, Plan, Price, Rollover};
use crate::amount::{AMOUNT_MINOR_MAX, Credits, MoneyMinor, SPEND_CAP_MAX, UNITS_MAX};
use crate::key::PlanKey;
use crate::name::{NAME_LEN_MAX, check_name};
use crate::stripe_id::STRIPE_ID_LEN_MAX;
use std::collections::BTreeMap;

/// Maximum number of plans.
pub const PLANS_MAX: usize = 100;
/// Maximum number of prices.
pub const PRICES_MAX: usize = 1_000;
/// Maximum number of packs.
pub const PACKS_MAX: usize = 100;
/// The longest lifetime of credits: ten years.
pub const LIFETIME_MAX_DAYS: u32 = 3_650;
/// The longest lookup key, in characters. Source: Stripe, "Create a price".
pub const LOOKUP_KEY_LEN_MAX: usize = 200;

/// A rule that a catalogue breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// What the rule compares, as paths such as `prices.pro_monthly.amount`. The first is the place of the mistake.
    pub paths: Vec<String>,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Checks all rules.
pub fn check(catalogue: &Catalogue) -> Vec<Breach> {
    let mut rules = Rules { catalogue, breaches: Vec::new() };
    for (name, len, len_max) in [
        ("plans", catalogue.plans.len(), PLANS_MAX),
        ("prices", catalogue.prices.len(), PRICES_MAX),
        ("packs", catalogue.packs.len(), PACKS_MAX),
    ] {
        rules.need(len <= len_max, &[name], || format!("there are {len} {name}, more than {len_max}"));
    }
    // The other rules compare each entry with all others.
    if rules.breaches.is_empty() {
        rules.check_entry();
        catalogue.plans.iter().for_each(|plan| rules.check_plan(plan));
        catalogue.prices.iter().for_each(|price| rules.check_price(price));
        catalogue.packs.iter().for_each(|pack| rules.check_pack(pack));
        rules.check_names_at_stripe();
    }
    rules.breaches
}

/// The longest interval. Source: Stripe, "Create a price", `recurring.interval_count`: three years.
fn interval_count_max(unit: IntervalUnit) -> u32 {
    match unit {
        IntervalUnit::Week => 156,
        IntervalUnit::Month => 36,
        IntervalUnit::Year => 3,
    }
}

/// Whether a text can name something at Stripe: no more than `len_max` characters, none of them invisible, and not a
/// placeholder from documentation.
pub(super) fn is_name_at_stripe(text: &str, len_max: usize) -> bool {
    let is_placeholder = text.contains('…') || text.contains("...");
    (1..=len_max).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && text.trim() == text
        && !is_placeholder
}

struct Rules<'c> {
    catalogue: &'c Catalogue,
    breaches: Vec<Breach>,
}

impl<'c> Rules<'c> {
    fn need(&mut self, holds: bool, paths: &[&str], message: impl FnOnce() -> String) {
        if !holds {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            self.breaches.push(Breach { paths, message: message() });
        }
    }

    fn need_credits(&mut self, path: &str, credits: Credits) {
        self.need((Credits::ZERO..=UNITS_MAX).contains(&credits), &[path], || {
            format!("{path} must be from 0 to {UNITS_MAX} credits")
        });
    }

    fn need_charge(&mut self, paths: &[&str], amount: MoneyMinor, currency: &Currency) {
        let range = currency.charge_min()..=AMOUNT_MINOR_MAX;
        self.need(range.contains(&amount), paths, || {
            let path = paths.first().unwrap_or(&"");
            format!(
                "{path} must be from {} to {} minor units of {currency}, the least and the most that Stripe charges",
                range.start(),
                range.end()
            )
        });
    }

    fn check_entry(&mut self) {
        let entry = &self.catalogue.entry;
        self.need(!self.catalogue.plans.is_empty(), &["plans"], || {
            "there must be at least one plan, such as [plans.trial]".to_owned()
        });
        match self.catalogue.plan(entry) {
            None => self.need(false, &["entry", &format!("plans.{entry}")], || {
                format!("entry must be the key of a plan, and there is no [plans.{entry}]")
            }),
            Some(plan) => {
                let path = format!("plans.{entry}.followed_by");
                self.need(plan.followed_by.is_none(), &[&path, "entry"], || {
                    format!("{path} must be left out: {entry} is the entry plan, and nobody buys it")
                });
            }
        }
    }

    fn check_plan(&mut self, plan: &Plan) {
        let path = |field: &str| format!("plans.{}.{field}", plan.key);
        let name = path("name");
        self.need(check_name(&plan.name).is_ok(), &[&name], || {
            format!("{name} must have 1 to {NAME_LEN_MAX} printable characters")
        });
        let entry = &self.catalogue.entry;
        let may_give = plan.key == *entry || self.catalogue.plan(entry).is_none();
        for (field, credits) in
            [("signup_credits", plan.signup_credits), ("payment_method_credits", plan.payment_method_credits)]
        {
            let path = path(field);
            self.need_credits(&path, credits);
            self.need(may_give || credits == Credits::ZERO, &[&path, "entry"], || {
                format!("{path} must be left out: only the entry plan, {entry}, may give credits to new customers")
            });
        }
        self.check_unit_prices(plan);
        let (unit_price, currency) = (path("unit_price"), &self.catalogue.currency);
        let is_charged = plan.unit_prices.is_empty() || plan.unit_prices.contains_key(currency);
        self.need(is_charged, &[&unit_price, "currency"], || {
            format!("{unit_price} must have a price in {currency}, the currency at the top: units are charged in it")
        });
        if let Some(next) = &plan.followed_by {
            let (field, next_path) = (path("followed_by"), format!("plans.{next}"));
            self.need(self.catalogue.plan(next).is_some(), &[&field, &next_path], || {
                format!("{field} must be the key of another plan, and there is no [plans.{next}]")
            });
            self.need(*next != plan.key, &[&field], || format!("{field} must be another plan than {next} itself"));
            let circle = self.circle_from(plan);
            self.need(circle.len() < 2, &[&field], || {
                let circle: Vec<_> = circle.iter().map(|key| key.as_str()).collect();
                format!(
                    "{field} leads in a circle, {0} → {1}: it must end at a plan that has no followed_by",
                    circle.join(" → "),
                    plan.key
                )
            });
        }
    }

    /// Checks what single units cost, and the caps. Units are charged in steps, so Stripe's limits are those of a step.
    fn check_unit_prices(&mut self, plan: &Plan) {
        let path = |field: &str| format!("plans.{}.{field}", plan.key);
        let step_path = path("unit_step");
        self.need((Credits(1)..=UNITS_MAX).contains(&plan.unit_step), &[&step_path], || {
            format!("{step_path} must be from 1 to {UNITS_MAX} credits")
        });
        for (currency, price) in &plan.unit_prices {
            let price_path = path(&format!("unit_price.{currency}"));
            let range = currency.charge_min()..=AMOUNT_MINOR_MAX;
            if plan.unit_step == Credits(1) {
                self.need(range.contains(price), &[&price_path], || {
                    format!(
                        "{price_path} must be from {} to {} minor units of {currency}, the least and the most that Stripe \
                         charges; for cheaper units, set {step_path}, so that several are bought at once",
                        range.start(),
                        range.end()
                    )
                });
                continue;
            }
            let of_step = price.checked_mul(plan.unit_step).filter(|amount| range.contains(amount));
            self.need(of_step.is_some(), &[&price_path, &step_path], || {
                format!(
                    "{price_path} times {step_path} must be from {} to {} minor units of {currency}, the least and the \
                     most that Stripe charges",
                    range.start(),
                    range.end()
                )
            });
        }
        for (field, cap) in [("spend_cap_day", plan.spend_cap_day), ("spend_cap_month", plan.spend_cap_month)] {
            let path = path(field);
            self.need(cap.is_none_or(|cap| (MoneyMinor::ZERO..=SPEND_CAP_MAX).contains(&cap)), &[&path], || {
                format!("{path} must be from 0 to {SPEND_CAP_MAX} minor units")
            });
        }
    }

    /// The plans that follow each other from a plan until it follows again; empty if it never does.
    fn circle_from(&self, plan: &Plan) -> Vec<&'c PlanKey> {
        let mut circle = Vec::new();
        let mut next = self.catalogue.plan(&plan.key);
        while let Some(plan) = next.filter(|_| circle.len() < self.catalogue.plans.len()) {
            circle.push(&plan.key);
            next = plan.followed_by.as_ref().and_then(|key| self.catalogue.plan(key));
            if next.is_some_and(|next| next.key == *circle[0]) {
                return circle;
            }
        }
        Vec::new()
    }

    fn check_price(&mut self, price: &Price) {
        let path = |field: &str| format!("prices.{}.{field}", price.key);
        self.check_plan_of(price, &path("plan"));
        self.need_charge(&[&path("amount"), &path("currency")], price.amount, &price.currency);
        self.need_credits(&path("credits"), price.credits);
        let (every, count_max) = (path("every"), interval_count_max(price.every.unit));
        let is_interval = (1..=count_max).contains(&price.every.count);
        self.need(is_interval, &[&every], || {
            let most = Interval { count: count_max, unit: price.every.unit };
            format!("{every} must be at most {most}, as at Stripe")
        });
        if price.grant == GrantSchedule::Monthly && is_interval {
            let (grant, credits) = (path("grant"), path("credits"));
            let months = price.every.months();
            self.need(months >= 2, &[&grant, &every], || {
                format!("{grant} must be \"whole\": only intervals of at least 2 months have monthly parts")
            });
            self.need(months < 2 || price.credits >= Credits(i64::from(months)), &[&credits, &grant, &every], || {
                format!("{credits} must be at least {months}, one for each month, or {grant} \"whole\"")
            });
        }
        if let Some(days) = price.lifetime_days {
            let (lifetime, rollover) = (path("lifetime_days"), path("rollover"));
            self.need((1..=LIFETIME_MAX_DAYS).contains(&days), &[&lifetime], || {
                format!("{lifetime} must be from 1 to {LIFETIME_MAX_DAYS}")
            });
            self.need(price.rollover == Rollover::Keep, &[&rollover, &lifetime], || {
                format!("{rollover} = \"reset\" contradicts {lifetime}: leave one of them out")
            });
        }
    }

    fn check_pack(&mut self, pack: &Pack) {
        let path = |field: &str| format!("packs.{}.{field}", pack.key);
        let (name, credits, lifetime) = (path("name"), path("credits"), path("lifetime_days"));
        self.need(check_name(&pack.name).is_ok(), &[&name], || {
            format!("{name} must have 1 to {NAME_LEN_MAX} printable characters")
        });
        self.need((Credits(1)..=UNITS_MAX).contains(&pack.credits), &[&credits], || {
            format!("{credits} must be from 1 to {UNITS_MAX} credits")
        });
        self.need_charge(&[&path("amount"), &path("currency")], pack.amount, &pack.currency);
        let is_lifetime = pack.lifetime_days.is_none_or(|days| (1..=LIFETIME_MAX_DAYS).contains(&days));
        self.need(is_lifetime, &[&lifetime], || format!("{lifetime} must be from 1 to {LIFETIME_MAX_DAYS}"));
    }

    fn check_plan_of(&mut self, price: &Price, path: &str) {
        let (key, plan_path) = (&price.plan, format!("plans.{}", price.plan));
        match self.catalogue.plan(key) {
            None => self.need(false, &[path, &plan_path], || {
                format!("{path} must be the key of a plan, and there is no [plans.{key}]")
            }),
            Some(_) if *key == self.catalogue.entry => self.need(false, &[path, "entry"], || {
                format!("{path} must be another plan than {key}, the entry plan, which nobody buys")
            }),
            Some(plan) => self.need(plan.followed_by.is_some(), &[path, &format!("{plan_path}.followed_by")], || {
                format!("{path} sells {key}, so [plans.{key}] must say with followed_by which plan comes after it")
            }),
        }
    }

    /// Checks the names by which Stripe knows the prices, each of which may stand in one price only.
    fn check_names_at_stripe(&mut self) {
        let (mut lookup_keys, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for price in &self.catalogue.prices {
            let path = format!("prices.{}.lookup_key", price.key);
            self.need(is_name_at_stripe(&price.lookup_key, LOOKUP_KEY_LEN_MAX), &[&path], || {
                format!(
                    "{path} must have 1 to {LOOKUP_KEY_LEN_MAX} printable characters, no blanks at its ends, and be no \
                     placeholder"
                )
            });
            if let Some(other) = lookup_keys.insert(&price.lookup_key, path.clone()) {
                self.need(false, &[&path, &other], || {
                    format!("{path} must differ from {other}: a lookup key belongs to one price")
                });
            }
            for (at, id) in price.stripe.iter().enumerate() {
                let (list, path) =
                    (format!("prices.{}.stripe", price.key), format!("prices.{}.stripe.{at}", price.key));
                self.need(is_name_at_stripe(id, STRIPE_ID_LEN_MAX), &[&path], || {
                    format!(
                        "{list} must have ids of 1 to {STRIPE_ID_LEN_MAX} printable characters without blanks at their \
                         ends, and no placeholders"
                    )
                });
                if let Some((other_list, other)) = ids.insert(id, (list.clone(), path.clone())) {
                    self.need(false, &[&path, &other], || {
                        format!("{list} has {id}, which {other_list} has already: an id belongs to one price")
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
