//! What a catalogue offers although nobody can buy it: amounts that Stripe refuses, what costs more than the spend caps
//! let a customer be charged, and unit prices in currencies in which no unit is charged.
//!
//! None of these is a rule of [`check`](super::check::check), because a version that was applied by an earlier release
//! may break it and must stay readable.

use super::check::Breach;
use super::currency::{Currency, money};
use super::{Catalogue, Pack, Plan};
use crate::amount::{AMOUNT_MINOR_MAX, Credits, MoneyMinor};

/// Everything that nobody can buy.
pub fn unsellable(catalogue: &Catalogue) -> Vec<Breach> {
    [refused_by_stripe(catalogue), over_caps(catalogue), never_charged(catalogue)].concat()
}

/// Amounts that are no multiples of what Stripe charges in their currency. Units are charged in steps, so the cost of a
/// step counts: then that of any number of steps can be charged.
pub fn refused_by_stripe(catalogue: &Catalogue) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for plan in &catalogue.plans {
        for (currency, price) in &plan.unit_prices {
            let Some(cost) = price.checked_mul(plan.unit_step) else { continue };
            breaches.extend(odd_amount(unit_paths(plan, currency), cost, currency));
        }
    }
    for price in &catalogue.prices {
        breaches.extend(odd_amount(offer_paths("prices", price.key.as_str()), price.amount, &price.currency));
    }
    for pack in &catalogue.packs {
        breaches.extend(odd_amount(offer_paths("packs", pack.key.as_str()), pack.amount, &pack.currency));
    }
    breaches
}

/// Packs that cost more than every plan's spend cap, and units of which a step costs more than the cap of their plan.
/// Only customers whose caps support has raised can buy them.
pub fn over_caps(catalogue: &Catalogue) -> Vec<Breach> {
    let units = catalogue.plans.iter().filter_map(|plan| units_over_cap(catalogue, plan));
    let offered = catalogue.packs.iter().filter(|pack| pack.offered);
    units.chain(offered.filter_map(|pack| pack_over_caps(catalogue, pack))).collect()
}

/// Unit prices in other currencies than the catalogue's. Whoever subscribes in such a currency is charged for units in
/// the catalogue's all the same.
pub fn never_charged(catalogue: &Catalogue) -> Vec<Breach> {
    let top = &catalogue.currency;
    let of_plan = |plan: &Plan| {
        let others = plan.unit_prices.keys().filter(|currency| *currency != top);
        let breach = |currency: &Currency| {
            let path = format!("plans.{}.unit_price.{currency}", plan.key);
            let message = format!(
                "{path} is never charged: single units are charged in {top}, the currency at the top, also to customers \
                 who subscribe in {currency}"
            );
            Breach { paths: vec![path], message }
        };
        others.map(breach).collect::<Vec<_>>()
    };
    catalogue.plans.iter().flat_map(of_plan).collect()
}

/// What a step of units costs is made of: the unit's price, and the step unless it is one unit.
fn unit_paths(plan: &Plan, currency: &Currency) -> Vec<String> {
    let price = format!("plans.{}.unit_price.{currency}", plan.key);
    if plan.unit_step == Credits(1) { vec![price] } else { vec![price, format!("plans.{}.unit_step", plan.key)] }
}

fn offer_paths(table: &str, key: &str) -> Vec<String> {
    vec![format!("{table}.{key}.amount"), format!("{table}.{key}.currency")]
}

/// The amount as messages name it: by the fields that it is made of.
fn name_of(paths: &[String]) -> String {
    match paths {
        [price, step] if step.ends_with(".unit_step") => format!("{price} times {step}"),
        _ => paths.first().cloned().unwrap_or_default(),
    }
}

/// An amount within Stripe's limits that is no multiple of what Stripe charges.
fn odd_amount(paths: Vec<String>, amount: MoneyMinor, currency: &Currency) -> Option<Breach> {
    let multiple = currency.charge_multiple();
    let is_in_limits = (currency.charge_min()..=AMOUNT_MINOR_MAX).contains(&amount);
    (is_in_limits && amount.0 % multiple.0 != 0).then(|| {
        let why = match multiple.0 {
            100 => format!("Stripe charges whole units of {currency} only, each of which is 100"),
            _ => format!("Stripe refuses amounts of {currency} whose last digit is not 0"),
        };
        Breach { message: format!("{} must be divisible by {multiple}: {why}", name_of(&paths)), paths }
    })
}

/// The lowest spend cap of a plan, with its field.
fn lowest_cap(plan: &Plan, currency: &Currency) -> (&'static str, MoneyMinor) {
    let month = plan.spend_cap_month.unwrap_or_else(|| currency.spend_cap_month_default());
    match plan.spend_cap_day {
        Some(day) if day < month => ("spend_cap_day", day),
        _ => ("spend_cap_month", month),
    }
}

fn units_over_cap(catalogue: &Catalogue, plan: &Plan) -> Option<Breach> {
    // Units are charged in this currency only.
    let currency = &catalogue.currency;
    let cost = plan.unit_prices.get(currency)?.checked_mul(plan.unit_step)?;
    let (field, cap) = lowest_cap(plan, currency);
    (cost > cap).then(|| {
        let paths = unit_paths(plan, currency);
        let message = format!(
            "{} is {}, more than the plan's {field} of {}: lower it, or raise {field} under [plans.{}]. Until then \
             only customers whose cap support has raised can buy units",
            name_of(&paths),
            money(cost, currency.as_str()),
            money(cap, currency.as_str()),
            plan.key
        );
        Breach { paths, message }
    })
}

fn pack_over_caps(catalogue: &Catalogue, pack: &Pack) -> Option<Breach> {
    let (paths, code) = (offer_paths("packs", pack.key.as_str()), pack.currency.as_str());
    let start = format!("{} is {}", name_of(&paths), money(pack.amount, code));
    let cap = catalogue.plans.iter().map(|plan| lowest_cap(plan, &catalogue.currency).1).max()?;
    let cap = pack.currency.same_number(cap, &catalogue.currency);
    let message = format!(
        "{start}, and the spend caps of no plan let a customer be charged more than {}: lower it, or raise \
         spend_cap_month, and spend_cap_day where it is set, of the plans whose customers are to buy the pack. Until \
         then only customers whose caps support has raised can buy it",
        money(cap, code)
    );
    (pack.amount > cap).then_some(Breach { paths, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PackKey;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).expect("a currency")
    }

    fn catalogue(change: impl FnOnce(&mut Catalogue)) -> Catalogue {
        let mut catalogue = Catalogue::clone(&Catalogue::built_in());
        change(&mut catalogue);
        catalogue
    }

    fn pack(amount: i64, code: &str) -> Pack {
        Pack {
            key: PackKey::trusted("hundred"),
            name: "100 fixes".to_owned(),
            credits: Credits(100),
            amount: MoneyMinor(amount),
            currency: currency(code),
            lifetime_days: None,
            offered: true,
        }
    }

    fn messages(breaches: Vec<Breach>) -> Vec<String> {
        breaches.into_iter().map(|breach| breach.message).collect()
    }

    #[test]
    fn a_unit_price_in_another_currency_than_that_at_the_top_is_never_charged() {
        let mut euros = catalogue(|catalogue| catalogue.currency = currency("eur"));
        euros.plans.iter_mut().for_each(|plan| {
            plan.unit_prices.insert(currency("eur"), MoneyMinor(1_500));
        });
        let said = messages(never_charged(&euros));
        assert_eq!(said.len(), euros.plans.len());
        let start = "plans.trial.unit_price.usd is never charged: single units are charged in eur";
        assert!(said[0].starts_with(start), "{said:?}");
    }

    #[test]
    fn the_built_in_catalogue_can_be_bought() {
        assert_eq!(unsellable(&Catalogue::built_in()), []);
    }

    #[test]
    fn an_amount_that_stripe_refuses_is_named_with_what_it_must_be() {
        let refused = |amount: i64, code: &str| {
            let catalogue = catalogue(|catalogue| {
                catalogue.packs = vec![pack(amount, code)];
                (catalogue.prices[0].amount, catalogue.prices[0].currency) = (MoneyMinor(amount), currency(code));
            });
            messages(refused_by_stripe(&catalogue))
        };
        let expected = |rule: &str| {
            let amounts = ["prices.pro_monthly.amount", "packs.hundred.amount"];
            amounts.map(|path| format!("{path} must be divisible by {rule}")).to_vec()
        };
        let whole = "100: Stripe charges whole units of isk only, each of which is 100";
        assert_eq!(refused(290_050, "isk"), expected(whole));
        assert_eq!(refused(290_005, "kwd"), expected("10: Stripe refuses amounts of kwd whose last digit is not 0"));
        for (amount, code) in [(290_100, "isk"), (290_000, "ugx"), (290_010, "kwd"), (290_005, "usd"), (290_005, "jpy")]
        {
            assert!(refused(amount, code).is_empty(), "{amount} {code}");
        }
        assert!(refused(100_000_005, "kwd").is_empty(), "one message says that it is beyond Stripe's limits");
    }

    #[test]
    fn the_lower_of_both_caps_of_a_plan_is_the_one_to_keep_within() {
        let lowest = |day: i64, month: i64| {
            let plan = Plan {
                spend_cap_day: Some(MoneyMinor(day)),
                spend_cap_month: Some(MoneyMinor(month)),
                ..Catalogue::built_in().plans[0].clone()
            };
            lowest_cap(&plan, &currency("usd"))
        };
        assert_eq!(lowest(100, 500), ("spend_cap_day", MoneyMinor(100)));
        assert_eq!(lowest(500, 100), ("spend_cap_month", MoneyMinor(100)));
    }

    #[test]
    fn what_a_step_of_units_costs_must_be_an_amount_that_stripe_takes() {
        let refused = |price: i64, step: i64| {
            let catalogue = catalogue(|catalogue| {
                let plan = &mut catalogue.plans[0];
                plan.unit_prices.insert(currency("tnd"), MoneyMinor(price));
                plan.unit_step = Credits(step);
            });
            messages(refused_by_stripe(&catalogue))
        };
        let rule = "must be divisible by 10: Stripe refuses amounts of tnd whose last digit is not 0";
        assert_eq!(refused(2_905, 1), [format!("plans.trial.unit_price.tnd {rule}")]);
        assert_eq!(refused(2_905, 3), [format!("plans.trial.unit_price.tnd times plans.trial.unit_step {rule}")]);
        assert!(refused(2_905, 10).is_empty() && refused(2_910, 1).is_empty());
        assert!(refused(i64::MAX, 2).is_empty(), "nobody can be charged that");
    }

    #[test]
    fn a_pack_above_the_caps_of_all_plans_is_named_and_one_that_some_plan_may_buy_is_not() {
        let over = |change: fn(&mut Catalogue)| {
            messages(over_caps(&catalogue(|catalogue| {
                catalogue.packs = vec![pack(200_000, "usd")];
                change(catalogue);
            })))
        };
        let found = over(|_| {});
        assert_eq!(found.len(), 1, "{found:?}");
        let start = "packs.hundred.amount is $2000.00, and the spend caps of no plan let a customer be charged more \
                     than $1000.00: lower it, or raise spend_cap_month";
        assert!(found[0].starts_with(start), "{found:?}");
        assert!(over(|catalogue| catalogue.packs[0].amount = MoneyMinor(100_000)).is_empty(), "a cap may be reached");
        assert!(over(|catalogue| catalogue.packs[0].offered = false).is_empty());
        assert!(over(|catalogue| catalogue.plans[2].spend_cap_month = Some(MoneyMinor(200_000))).is_empty());
        let by_day = over(|catalogue| {
            catalogue.plans[2].spend_cap_month = Some(MoneyMinor(200_000));
            catalogue.plans[2].spend_cap_day = Some(MoneyMinor(199_999));
        });
        assert!(by_day[0].contains("more than $1999.99"), "{by_day:?}");
    }

    #[test]
    fn the_caps_of_the_plans_hold_for_packs_in_another_currency() {
        let over = |amount: i64| {
            let catalogue = catalogue(|catalogue| {
                catalogue.packs = vec![pack(amount, "eur")];
                catalogue.plans[2].spend_cap_month = Some(MoneyMinor(900_000));
            });
            messages(over_caps(&catalogue))
        };
        assert!(over(900_001)[0].contains("more than 9000.00 EUR"), "{:?}", over(900_001));
        assert!(over(900_000).is_empty());
    }

    #[test]
    fn units_of_which_one_step_is_above_the_plans_cap_are_named_with_the_cap() {
        let over = |step: i64, day: Option<i64>| {
            let catalogue = catalogue(|catalogue| {
                let plan = &mut catalogue.plans[0];
                plan.unit_prices.insert(currency("jpy"), MoneyMinor(9_000_000));
                (plan.unit_step, plan.spend_cap_day) = (Credits(step), day.map(MoneyMinor));
            });
            messages(over_caps(&catalogue))
        };
        assert!(over(34, None).is_empty());
        let found = over(35, None);
        let start = "plans.trial.unit_price.usd times plans.trial.unit_step is $1015.00, more than the plan's \
                     spend_cap_month of $1000.00: lower it, or raise spend_cap_month under [plans.trial]";
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
        let found = over(1, Some(2_899));
        assert!(
            found[0].starts_with("plans.trial.unit_price.usd is $29.00, more than the plan's spend_cap_day of $28.99")
        );
    }
}
