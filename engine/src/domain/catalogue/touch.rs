//! Whom a change touches, and how.

use super::difference::{Difference, Subject};
use super::refusal::{Buying, InUse};
use super::{Catalogue, Pack, Price};
use crate::count::counted;

/// Whom a difference touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The number of customers or subscribers; `None` if it touches only who comes later, or nobody in particular.
    pub count: Option<u64>,
    /// What happens to them, in a sentence.
    pub effect: String,
}

/// Whether a changed price needs another price at Stripe, as far as the catalogue tells.
pub fn needs_other_stripe_price(old: &Price, new: &Price) -> bool {
    let named = |price: &Price| match price.stripe.first() {
        Some(id) => id.clone(),
        None => format!("lookup key {}", price.lookup_key),
    };
    !is_same_offer(old, new) || named(old) != named(new)
}

/// Whether one price at Stripe can sell both.
pub fn is_same_offer(one: &Price, other: &Price) -> bool {
    let offer = |price: &Price| (price.amount, price.currency.clone(), price.every, price.per_seat);
    offer(one) == offer(other)
}

/// Whom a difference touches, and how.
pub fn touch(difference: &Difference, old: &Catalogue, new: &Catalogue, in_use: &InUse) -> Touch {
    match &difference.subject {
        Subject::Catalogue => of_catalogue(difference, new, in_use),
        Subject::Plan(key) if difference.field.is_none() && difference.before.is_some() => {
            removed(in_use.of_plan(key), "customer", in_use.coming_to_plan(key, old).clauses())
        }
        Subject::Plan(key) => of_plan(difference, in_use.of_plan(key)),
        Subject::Price(key) => match (old.price(key), new.price(key)) {
            (Some(before), Some(after)) => of_price(difference, before, after, in_use),
            (Some(before), None) => removed(in_use.of_price(before), "subscriber", in_use.coming_to(key).clauses()),
            _ => later("New customers can buy it if it is offered."),
        },
        Subject::Pack(key) => of_pack(difference, new.pack(key), in_use.buying(key)),
    }
}

/// Automatic top-ups buy a pack without asking anybody again.
fn of_pack(difference: &Difference, pack: Option<&Pack>, buying: Buying) -> Touch {
    let top_ups = counted(buying.top_ups, "automatic top-up");
    let some = |one: &str, many: &str| match buying.top_ups {
        0 => None,
        1 => Some(format!("{top_ups} {one}")),
        _ => Some(format!("{top_ups} {many}")),
    };
    let said = |first: &str, more: Option<String>| {
        let count = more.is_some().then_some(buying.top_ups);
        Touch { count, effect: sentences(first.to_owned(), more.into_iter().collect()) }
    };
    match (difference.field, pack) {
        (None, None) => {
            let gone = "Nobody can buy it any longer. Whoever bought it keeps its credits.".to_owned();
            later(sentences(gone, buying.clauses()))
        }
        (None, Some(_)) => later("Customers can buy it if it is offered."),
        (Some("offered"), Some(pack)) if pack.offered => said(
            "Customers can buy it.",
            some("that chose it before buys it again", "that chose it before buy it again"),
        ),
        (Some("offered"), _) => said(
            "Nobody can buy it any longer. Whoever bought it keeps its credits.",
            some("that buys it stops", "that buy it stop"),
        ),
        (Some("name"), _) => said("It counts for whoever buys it from then on.", None),
        _ => said(
            "It counts for whoever buys it from then on.",
            some("buys it so without being asked again", "buy it so without being asked again"),
        ),
    }
}

fn later(effect: impl Into<String>) -> Touch {
    Touch { count: None, effect: effect.into() }
}

fn removed(count: u64, noun: &str, coming: Vec<String>) -> Touch {
    let lose =
        if count == 0 { "Nobody has it.".to_owned() } else { format!("{} would lose it.", counted(count, noun)) };
    Touch { count: Some(count), effect: sentences(lose, coming) }
}

/// A sentence, and one for each of these clauses.
fn sentences(first: String, clauses: Vec<String>) -> String {
    clauses.into_iter().fold(first, |text, clause| format!("{text} {clause}."))
}

fn of_catalogue(difference: &Difference, new: &Catalogue, in_use: &InUse) -> Touch {
    if difference.field == Some("currency") {
        let count: u64 = in_use.customers.values().sum();
        let (customers, pay) = (counted(count, "customer"), if count == 1 { "pays" } else { "pay" });
        let effect = format!("{customers} {pay} for single units in {} from then on.", new.currency);
        return Touch { count: Some(count), effect };
    }
    later(match difference.field {
        Some("entry") => format!("New customers begin on {}.", new.entry),
        _ => "Of several plans that a customer has, the last in this order counts.".to_owned(),
    })
}

fn of_plan(difference: &Difference, count: u64) -> Touch {
    let customers = counted(count, "customer");
    let on_it = |what: &str| Touch { count: Some(count), effect: format!("{customers} {what}") };
    match difference.field {
        None => later("Nobody has it yet."),
        Some("unit_price") if difference.after.is_none() => on_it("can no longer buy single units."),
        Some("unit_price") => on_it(if count == 1 {
            "pays the new price for each unit from then on."
        } else {
            "pay the new price for each unit from then on."
        }),
        Some("unit_step") => on_it(if count == 1 {
            "buys credits in the new steps from then on."
        } else {
            "buy credits in the new steps from then on."
        }),
        Some("signup_credits") => later("It counts for customers who sign up from then on."),
        Some("payment_method_credits") => {
            later("It counts for customers who add their first payment method from then on.")
        }
        Some("spend_cap_day" | "spend_cap_month") => on_it(if count == 1 {
            "is charged up to the new cap from then on, unless support has set another one."
        } else {
            "are charged up to the new cap from then on, unless support has set another one."
        }),
        Some("followed_by") => on_it("will be moved to the other plan when nothing gives this one any longer."),
        _ => on_it(if count == 1 { "sees the change." } else { "see the change." }),
    }
}

/// Who has a former price at Stripe keeps the terms stored with it, whatever the price becomes.
fn of_price(difference: &Difference, old: &Price, new: &Price, in_use: &InUse) -> Touch {
    let (all, former) = (in_use.of_price(old), in_use.of_former(old));
    // What can be bought is the same for all who have it.
    let (count, former) = if difference.field == Some("offered") { (all, 0) } else { (all - former, former) };
    let subscribers = counted(count, "subscriber");
    let [keep, get] = if count == 1 { ["keeps", "gets"] } else { ["keep", "get"] };
    let is_replaced = needs_other_stripe_price(old, new);
    let effect = match difference.field.unwrap_or_default() {
        "amount" => format!("{subscribers} {keep} the old amount; new ones pay the new one."),
        "every" | "currency" | "per_seat" | "plan" => {
            format!("{subscribers} {keep} what was bought; new ones get the new offer.")
        }
        "offered" if new.offered => "New customers can buy it.".to_owned(),
        "offered" => format!("Nobody can buy it any longer; {subscribers} {keep} it."),
        "stripe" | "lookup_key" => {
            format!("{subscribers} {keep} the price at Stripe that was bought, with its terms.")
        }
        _ if is_replaced => format!("{subscribers} {keep} the old terms; new ones get the new ones."),
        _ => format!("{subscribers} {get} the new terms from the next period on."),
    };
    let keeps = (former > 0).then(|| {
        let keep = if former == 1 { "keeps" } else { "keep" };
        format!("{} {keep} former terms", counted(former, "subscriber"))
    });
    let coming = in_use.coming_to(&old.key).clauses();
    Touch { count: Some(count), effect: sentences(effect, keeps.into_iter().chain(coming).collect()) }
}

#[cfg(test)]
mod tests {
    use super::super::Interval;
    use super::super::currency::Currency;
    use super::super::difference::differences;
    use super::super::refusal::Coming;
    use super::*;
    use crate::amount::{Credits, MoneyMinor};
    use crate::key::{PackKey, PlanKey, PriceKey};
    use std::collections::BTreeMap;

    fn said(change: impl FnOnce(&mut Catalogue)) -> Vec<String> {
        said_of(&Catalogue::built_in(), change)
    }

    fn said_of(old: &Catalogue, change: impl FnOnce(&mut Catalogue)) -> Vec<String> {
        let mut new = old.clone();
        change(&mut new);
        let in_use = InUse {
            customers: BTreeMap::from([(PlanKey::trusted("pro"), 1_000), (PlanKey::trusted("trial"), 1)]),
            subscriptions: BTreeMap::from([(PriceKey::trusted("pro_monthly"), 1_000)]),
            ..InUse::default()
        };
        differences(old, &new).iter().map(|found| touch(found, old, &new, &in_use).effect).collect()
    }

    #[test]
    fn a_raised_price_leaves_subscribers_what_they_have() {
        let raised = said(|new| {
            new.prices[0].amount = MoneyMinor(69_900);
            new.prices[0].credits = Credits(80);
        });
        assert_eq!(
            raised,
            [
                "1000 subscribers keep the old amount; new ones pay the new one.",
                "1000 subscribers keep the old terms; new ones get the new ones.",
            ]
        );
    }

    #[test]
    fn other_credits_at_the_same_amount_reach_subscribers_with_their_next_period() {
        let effects = said(|new| new.prices[0].credits = Credits(80));
        assert_eq!(effects, ["1000 subscribers get the new terms from the next period on."]);
    }

    #[test]
    fn a_changed_price_touches_only_those_who_are_on_its_present_terms() {
        let key = PriceKey::trusted("pro_monthly");
        let touched = |former: u64, change: &dyn Fn(&mut Price)| {
            let old = Catalogue::built_in();
            let mut new = Catalogue::clone(&old);
            change(&mut new.prices[0]);
            let in_use = InUse {
                subscriptions: BTreeMap::from([(key.clone(), 5)]),
                former: BTreeMap::from([(key.clone(), former)]),
                ..InUse::default()
            };
            let touch = touch(&differences(&old, &new)[0], &old, &new, &in_use);
            (touch.count, touch.effect)
        };
        let said = |count: u64, effect: &str| (Some(count), effect.to_owned());
        assert_eq!(
            touched(4, &|price| price.amount = MoneyMinor(39_900)),
            said(1, "1 subscriber keeps the old amount; new ones pay the new one. 4 subscribers keep former terms.")
        );
        assert_eq!(
            touched(1, &|price| price.credits = Credits(80)),
            said(4, "4 subscribers get the new terms from the next period on. 1 subscriber keeps former terms.")
        );
        assert_eq!(
            touched(4, &|price| price.offered = false),
            said(5, "Nobody can buy it any longer; 5 subscribers keep it.")
        );
        assert_eq!(touched(9, &|price| price.credits = Credits(80)).0, Some(0), "no more than there are");
    }

    #[test]
    fn a_changed_price_counts_the_changes_that_lead_to_it() {
        let old = Catalogue::built_in();
        let mut new = Catalogue::clone(&old);
        new.prices[0].amount = MoneyMinor(69_900);
        let coming = Coming { changes: 2, requests: 1 };
        let in_use = InUse { coming: BTreeMap::from([(old.prices[0].key.clone(), coming)]), ..InUse::default() };
        assert_eq!(
            touch(&differences(&old, &new)[0], &old, &new, &in_use).effect,
            "0 subscribers keep the old amount; new ones pay the new one. 2 pending changes lead to it. 1 request under \
             way names it."
        );
    }

    #[test]
    fn plans_touch_the_customers_who_are_on_them() {
        let effects = said(|new| {
            new.plans[0].signup_credits = Credits(6);
            new.plans[0].unit_prices.clear();
            new.plans[2].name = "Best".to_owned();
        });
        assert_eq!(
            effects,
            [
                "It counts for customers who sign up from then on.",
                "1 customer can no longer buy single units.",
                "1000 customers see the change.",
            ]
        );
    }

    #[test]
    fn changes_of_the_catalogue_itself_count_for_who_comes_later() {
        let effects = said(|new| {
            new.currency = Currency::parse("eur").expect("a currency");
            new.entry = PlanKey::trusted("pay_as_you_go");
            new.plans.swap(1, 2);
        });
        assert_eq!(
            effects,
            [
                "1001 customers pay for single units in eur from then on.",
                "New customers begin on pay_as_you_go.",
                "Of several plans that a customer has, the last in this order counts.",
            ]
        );
    }

    #[test]
    fn another_cap_says_what_it_lets_be_charged() {
        let effects = said(|new| {
            new.plans[0].spend_cap_month = Some(MoneyMinor(5_000));
            new.plans[2].spend_cap_day = Some(MoneyMinor(5_000));
        });
        assert_eq!(
            effects,
            [
                "1 customer is charged up to the new cap from then on, unless support has set another one.",
                "1000 customers are charged up to the new cap from then on, unless support has set another one.",
            ]
        );
    }

    #[test]
    fn a_changed_pack_counts_the_top_ups_that_buy_it() {
        let key = PackKey::trusted("fifty");
        let mut old = Catalogue::clone(&Catalogue::built_in());
        old.packs.push(Pack {
            key: key.clone(),
            name: "50 fixes".to_owned(),
            credits: Credits(50),
            amount: MoneyMinor(95_000),
            currency: old.currency.clone(),
            lifetime_days: None,
            offered: true,
        });
        let touched = |top_ups: u64, change: &dyn Fn(&mut Pack)| {
            let buying = BTreeMap::from([(key.clone(), Buying { top_ups, requests: 0 })]);
            let mut new = old.clone();
            change(&mut new.packs[0]);
            let in_use = InUse { buying, ..InUse::default() };
            let found = differences(&old, &new);
            assert_eq!(found.len(), 1, "{found:?}");
            let touch = touch(&found[0], &old, &new, &in_use);
            (touch.count, touch.effect)
        };
        let gone = "Nobody can buy it any longer. Whoever bought it keeps its credits.";
        assert_eq!(touched(0, &|pack| pack.offered = false), (None, gone.to_owned()));
        assert_eq!(
            touched(2, &|pack| pack.offered = false),
            (Some(2), format!("{gone} 2 automatic top-ups that buy it stop."))
        );
        let dearer =
            "It counts for whoever buys it from then on. 1 automatic top-up buys it so without being asked again.";
        assert_eq!(touched(1, &|pack| pack.amount = MoneyMinor(99_000)), (Some(1), dearer.to_owned()));
        assert_eq!(touched(1, &|pack| pack.name = "Fifty".to_owned()).0, None, "the name costs nothing");
    }

    #[test]
    fn what_is_added_touches_nobody_yet() {
        let effects = said(|new| {
            new.plans.push(super::super::Plan { key: PlanKey::trusted("team"), ..new.plans[2].clone() });
            new.prices.push(Price { key: PriceKey::trusted("team_monthly"), ..new.prices[0].clone() });
        });
        assert_eq!(effects, ["Nobody has it yet.", "New customers can buy it if it is offered."]);
    }

    #[test]
    fn what_is_removed_is_lost_by_whoever_has_it() {
        let effects = said(|new| {
            new.plans.retain(|plan| plan.key.as_str() == "trial");
            new.prices.clear();
        });
        assert_eq!(effects, ["Nobody has it.", "1000 customers would lose it.", "1000 subscribers would lose it."]);
    }

    #[test]
    fn what_is_removed_says_what_will_have_it() {
        let coming = Coming { changes: 1, requests: 0 };
        let in_use = InUse { coming: BTreeMap::from([(PriceKey::trusted("pro_monthly"), coming)]), ..InUse::default() };
        let old = Catalogue::built_in();
        let mut new = Catalogue::clone(&old);
        new.plans.pop();
        new.prices.clear();
        let effects: Vec<String> =
            differences(&old, &new).iter().map(|found| touch(found, &old, &new, &in_use).effect).collect();
        assert_eq!(effects, ["Nobody has it. 1 pending change leads to it."; 2]);
    }

    #[test]
    fn a_changed_plan_tells_one_customer_from_many() {
        let effects = said(|new| {
            new.plans[0].name = "Start".to_owned();
            new.plans[0].payment_method_credits = Credits(9);
            for plan in [0, 2] {
                new.plans[plan].unit_prices.values_mut().for_each(|price| *price = MoneyMinor(1_900));
            }
            new.plans[2].followed_by = Some(PlanKey::trusted("trial"));
        });
        assert_eq!(
            effects,
            [
                "1 customer sees the change.",
                "It counts for customers who add their first payment method from then on.",
                "1 customer pays the new price for each unit from then on.",
                "1000 customers pay the new price for each unit from then on.",
                "1000 customers will be moved to the other plan when nothing gives this one any longer.",
            ]
        );
    }

    #[test]
    fn who_bought_a_price_keeps_it_when_it_is_offered_no_longer_or_as_something_else() {
        let withdrawn = said(|new| new.prices[0].offered = false);
        assert_eq!(withdrawn, ["Nobody can buy it any longer; 1000 subscribers keep it."]);
        let yearly = said(|new| new.prices[0].every = Interval { count: 3, ..Interval::MONTH });
        assert_eq!(yearly, ["1000 subscribers keep what was bought; new ones get the new offer."]);
        let renamed = said(|new| new.prices[0].stripe = vec!["price_1".to_owned()]);
        assert_eq!(renamed, ["1000 subscribers keep the price at Stripe that was bought, with its terms."]);
        let mut old = Catalogue::clone(&Catalogue::built_in());
        old.prices[0].offered = false;
        assert_eq!(said_of(&old, |new| new.prices[0].offered = true), ["New customers can buy it."]);
    }
}
