//! Writes a catalogue as the TOML that [`read`](super::read::read) reads. Fields with their default are left out.

use super::{Catalogue, GrantSchedule, Pack, Plan, Price, Rollover};
use crate::amount::Credits;
use std::fmt::Display;

/// Writes a catalogue. Reading the text gives an equal one.
pub fn write(catalogue: &Catalogue) -> String {
    let mut text = Text::default();
    text.field("currency", quoted(catalogue.currency.as_str()));
    text.field("entry", quoted(catalogue.entry.as_str()));
    for plan in &catalogue.plans {
        write_plan(&mut text, plan);
    }
    for price in &catalogue.prices {
        write_price(&mut text, price);
    }
    for pack in &catalogue.packs {
        write_pack(&mut text, pack);
    }
    text.0
}

fn write_plan(text: &mut Text, plan: &Plan) {
    text.table("plans", plan.key.as_str());
    text.field("name", quoted(&plan.name));
    text.field_unless(plan.signup_credits == Credits::ZERO, "signup_credits", plan.signup_credits);
    text.field_unless(
        plan.payment_method_credits == Credits::ZERO,
        "payment_method_credits",
        plan.payment_method_credits,
    );
    let prices: Vec<String> =
        plan.unit_prices.iter().map(|(currency, price)| format!("{currency} = {price}")).collect();
    text.field_unless(prices.is_empty(), "unit_price", format!("{{ {} }}", prices.join(", ")));
    text.field_unless(plan.unit_step == Credits(1), "unit_step", plan.unit_step);
    for (name, cap) in [("spend_cap_day", plan.spend_cap_day), ("spend_cap_month", plan.spend_cap_month)] {
        if let Some(cap) = cap {
            text.field(name, cap);
        }
    }
    if let Some(next) = &plan.followed_by {
        text.field("followed_by", quoted(next.as_str()));
    }
}

fn write_price(text: &mut Text, price: &Price) {
    text.table("prices", price.key.as_str());
    text.field("plan", quoted(price.plan.as_str()));
    text.field("every", quoted(&price.every.to_string()));
    text.field("amount", price.amount);
    text.field("currency", quoted(price.currency.as_str()));
    text.field("credits", price.credits);
    text.field_unless(price.grant == GrantSchedule::Whole, "grant", quoted(price.grant.as_str()));
    text.field_unless(!price.per_seat, "per_seat", price.per_seat);
    text.field_unless(price.rollover == Rollover::Keep, "rollover", quoted(price.rollover.as_str()));
    if let Some(days) = price.lifetime_days {
        text.field("lifetime_days", days);
    }
    text.field("lookup_key", quoted(&price.lookup_key));
    let ids: Vec<String> = price.stripe.iter().map(|id| quoted(id)).collect();
    text.field_unless(ids.is_empty(), "stripe", format!("[{}]", ids.join(", ")));
    text.field_unless(price.offered, "offered", price.offered);
}

fn write_pack(text: &mut Text, pack: &Pack) {
    text.table("packs", pack.key.as_str());
    text.field("name", quoted(&pack.name));
    text.field("credits", pack.credits);
    text.field("amount", pack.amount);
    text.field("currency", quoted(pack.currency.as_str()));
    if let Some(days) = pack.lifetime_days {
        text.field("lifetime_days", days);
    }
    text.field_unless(pack.offered, "offered", pack.offered);
}

/// A text in TOML's quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The text of a file.
#[derive(Default)]
struct Text(String);

impl Text {
    fn table(&mut self, name: &str, key: &str) {
        self.0.push_str(&format!("\n[{name}.{key}]\n"));
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.0.push_str(&format!("{name} = {value}\n"));
    }

    fn field_unless(&mut self, is_default: bool, name: &str, value: impl Display) {
        if !is_default {
            self.field(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::check;
    use super::super::currency::Currency;
    use super::super::read::read_version;
    use super::super::{BUILT_IN, Interval, IntervalUnit};
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::key::{PackKey, PlanKey, PriceKey};
    use crate::name::check_name;
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    fn currencies() -> impl Strategy<Value = Currency> {
        select(vec!["usd", "eur", "jpy", "kwd", "cop"]).prop_map(|code| Currency::parse(code).expect("a currency"))
    }

    /// Amounts that every currency of [`currencies`] can be charged in.
    fn amounts() -> impl Strategy<Value = MoneyMinor> {
        (20_000..=9_999_999_i64).prop_map(|tens| MoneyMinor(tens * 10))
    }

    /// Any text without control characters, blanks at its ends and dots.
    fn texts() -> impl Strategy<Value = String> {
        let is_shown = |c: &char| *c == ' ' || check_name(&c.to_string()).is_ok();
        let text = vec(any::<char>(), 0..20).prop_map(move |characters| {
            let text: String = characters.into_iter().filter(is_shown).filter(|c| !matches!(c, '.' | '…')).collect();
            format!("\"{}\\", text.trim())
        });
        text.prop_filter("characters that are invisible together", |text| check_name(text).is_ok())
    }

    fn intervals() -> impl Strategy<Value = Interval> {
        (1..=3_u32, select(vec![IntervalUnit::Week, IntervalUnit::Month, IntervalUnit::Year]))
            .prop_map(|(count, unit)| Interval { count, unit })
    }

    /// Plans by their positions; each may be followed by one before it. The first is the entry plan.
    fn plans() -> impl Strategy<Value = Vec<Plan>> {
        let caps = (option::of(0..=1_000_000_000_000_i64), option::of(0..=1_000_000_000_000_i64));
        let prices = (btree_map(currencies(), amounts(), 0..3), caps);
        let plan = (texts(), 0..=1_000_000_i64, prices, option::of(any::<Index>()));
        vec(plan, 1..6).prop_map(|plans| {
            let key = |at: usize| PlanKey::trusted(&format!("plan_{at}"));
            let with_position = plans.into_iter().enumerate();
            let plan = |(at, (name, credits, prices, next)): (usize, (_, i64, (_, (_, _)), Option<Index>))| Plan {
                key: key(at),
                name,
                signup_credits: if at == 0 { Credits(credits) } else { Credits::ZERO },
                payment_method_credits: if at == 0 { Credits(credits / 2) } else { Credits::ZERO },
                unit_prices: prices.0,
                unit_step: Credits(1),
                spend_cap_day: (prices.1.0 as Option<i64>).map(MoneyMinor),
                spend_cap_month: (prices.1.1 as Option<i64>).map(MoneyMinor),
                followed_by: next.filter(|_| at > 0).map(|next| key(next.index(at))),
            };
            with_position.map(plan).collect()
        })
    }

    /// A price whose key and names at Stripe get their position later.
    fn price() -> impl Strategy<Value = Price> {
        let money = (amounts(), currencies(), 36..=1_000_000_i64, intervals());
        let credits = (any::<bool>(), any::<bool>(), option::of(1..=3_650_u32), any::<bool>());
        let stripe = (texts(), vec(texts(), 0..4), any::<bool>());
        (money, credits, stripe).prop_map(|(money, (monthly, reset, lifetime_days, per_seat), stripe)| Price {
            key: PriceKey::trusted(""),
            plan: PlanKey::trusted(""),
            every: money.3,
            amount: money.0,
            currency: money.1,
            credits: Credits(money.2),
            grant: if monthly && money.3.months() > 1 { GrantSchedule::Monthly } else { GrantSchedule::Whole },
            per_seat,
            rollover: if reset && lifetime_days.is_none() { Rollover::Reset } else { Rollover::Keep },
            lifetime_days,
            lookup_key: stripe.0,
            stripe: stripe.1,
            offered: stripe.2,
        })
    }

    /// Packs by their positions.
    fn packs() -> impl Strategy<Value = Vec<Pack>> {
        let pack = (texts(), 1..=1_000_000_i64, amounts(), currencies(), option::of(1..=3_650_u32), any::<bool>());
        vec(pack, 0..4).prop_map(|packs| {
            let with_position = packs.into_iter().enumerate();
            let pack =
                |(at, (name, credits, amount, currency, lifetime_days, offered)): (usize, (_, i64, _, _, _, _))| {
                    let key = PackKey::trusted(&format!("pack_{at}"));
                    Pack { key, name, credits: Credits(credits), amount, currency, lifetime_days, offered }
                };
            with_position.map(pack).collect()
        })
    }

    fn catalogues() -> impl Strategy<Value = Catalogue> {
        let prices = vec((any::<Index>(), price()), 0..6);
        (currencies(), plans(), prices, packs()).prop_map(|(currency, mut plans, prices, packs)| {
            // Who has a unit price in any currency has one in that of the catalogue.
            for plan in plans.iter_mut().filter(|plan| !plan.unit_prices.is_empty()) {
                plan.unit_prices.entry(currency.clone()).or_insert(MoneyMinor(200_000));
            }
            let sold: Vec<PlanKey> =
                plans.iter().filter(|plan| plan.followed_by.is_some()).map(|plan| plan.key.clone()).collect();
            let named = |(at, (plan, price)): (usize, (Index, Price))| Price {
                key: PriceKey::trusted(&format!("price_{at}")),
                plan: plan.get(&sold).clone(),
                lookup_key: format!("{}{at}", price.lookup_key),
                stripe: price.stripe.iter().enumerate().map(|(n, id)| format!("{id}{at}_{n}")).collect(),
                ..price
            };
            let prices = prices.into_iter().enumerate().filter(|_| !sold.is_empty()).map(named).collect();
            Catalogue { currency, entry: plans[0].key.clone(), plans, prices, packs }
        })
    }

    proptest! {
        #[test]
        fn a_catalogue_that_was_written_reads_back_equal(catalogue in catalogues()) {
            prop_assert_eq!(check(&catalogue), []);
            prop_assert_eq!(read_version(&write(&catalogue)), Ok(catalogue));
        }
    }

    #[test]
    fn the_built_in_catalogue_is_written_as_it_stands_without_its_comments() {
        let plain: String =
            BUILT_IN.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let (written, expected) = (write(&Catalogue::built_in()), plain.replace("\n\n\n", "\n\n"));
        assert_eq!(written, expected.trim_start());
    }

    #[test]
    fn a_text_with_a_control_character_is_written_as_toml_that_reads_back_equal() {
        let text = "a\u{1}b\n\u{85}\"\\";
        let written = format!("name = {}", quoted(text));
        let document: toml_edit::DocumentMut = written.parse().expect("it is TOML");
        assert_eq!(document["name"].as_str(), Some(text), "{written}");
    }
}
