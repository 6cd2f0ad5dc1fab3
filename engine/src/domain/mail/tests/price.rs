//! What mails say of plans and prices, for catalogues other than the built-in one.

use super::*;
use crate::domain::catalogue::currency::Currency;
use crate::domain::catalogue::{Interval, IntervalUnit, Plan, Price};
use crate::key::{PlanKey, PriceKey};
use std::collections::BTreeMap;

/// The built-in catalogue with a second plan: by seat, every two weeks, in two currencies, without a unit price.
fn with_team() -> Catalogue {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    let (key, pro) = (PlanKey::trusted("team"), catalogue.prices[0].clone());
    let plan =
        Plan { key: key.clone(), name: "Team".to_owned(), unit_prices: BTreeMap::new(), ..catalogue.plans[2].clone() };
    let price = |name: &str, currency: &str| Price {
        key: PriceKey::trusted(name),
        plan: key.clone(),
        every: Interval { count: 2, unit: IntervalUnit::Week },
        currency: Currency::parse(currency).expect("a currency"),
        credits: Credits(20),
        per_seat: true,
        lookup_key: name.to_owned(),
        ..pro.clone()
    };
    catalogue.prices.extend([price("team_usd", "usd"), price("team_eur", "eur")]);
    catalogue.plans.push(plan);
    catalogue
}

/// A mail's text and HTML under a catalogue.
fn parts(template: Template, params: &Params, catalogue: &Catalogue) -> [String; 2] {
    let mail = render(template, params, &branding(), catalogue).expect("it renders");
    [mail.text, mail.html]
}

#[test]
fn the_mail_about_prices_names_each_plan_that_can_be_bought_once() {
    let mut catalogue = with_team();
    for part in parts(Template::FollowupDay7, &sample(), &catalogue) {
        assert!(part.contains("there are 3 ways to continue:") && part.contains("Each begins with"), "{part}");
        assert!(part.contains("Pay as you go: $29.00 for one fix, and nothing else."), "{part}");
        assert!(part.contains("Pro: credits for 60 fixes every month, and $15.00 for each one beyond."), "{part}");
        assert!(part.contains("Team: credits for 20 fixes per seat every 2 weeks."), "{part}");
        assert_eq!(part.matches("Team").count(), 1, "the price in another currency is left out: {part}");
    }
    catalogue.prices[0].offered = false;
    catalogue.prices[1].credits = Credits(0);
    for part in parts(Template::FollowupDay7, &sample(), &catalogue) {
        assert!(!part.contains("Pro:") && part.contains("there are two ways to continue:"), "{part}");
        assert!(part.contains("Team: $599.00 per seat every 2 weeks."), "{part}");
    }
}

#[test]
fn without_plans_to_buy_the_mail_about_prices_names_none() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.prices.clear();
    for part in parts(Template::FollowupDay7, &sample(), &catalogue) {
        assert!(part.contains("there is one way to continue:") && part.contains("It begins with"), "{part}");
        assert!(part.contains("Pay as you go: $29.00 for one fix") && !part.contains("Pro"), "{part}");
    }
    catalogue.plans[0].unit_prices.clear();
    for part in parts(Template::FollowupDay7, &sample(), &catalogue) {
        assert!(part.contains("answer this mail: a person reads it."), "{part}");
        assert!(!part.contains("continue:") && !part.contains('$'), "{part}");
    }
}

#[test]
fn without_a_unit_price_no_mail_promises_single_units() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    for plan in &mut catalogue.plans {
        plan.unit_prices.clear();
    }
    let mut params = sample();
    params.customer.has_payment_method = true;
    for part in parts(Template::FollowupDay5, &params, &catalogue) {
        assert!(part.contains("Nothing is charged for adding it.") && !part.contains("costs"), "{part}");
    }
    for part in parts(Template::SubscriptionEnded, &params, &catalogue) {
        assert!(part.contains("Once they are gone, subscribe again to continue."), "{part}");
    }
    for part in parts(Template::LowCredit, &params, &catalogue) {
        assert!(part.contains("The plan Trial has no price for single fixes: choose another plan."), "{part}");
    }
    catalogue.plans[0].payment_method_credits = Credits(0);
    for part in parts(Template::FollowupDay5, &params, &catalogue) {
        assert!(part.contains("you can subscribe as soon as the free credits are gone"), "{part}");
    }
}

#[test]
fn a_customer_without_credits_is_told_what_it_owes_and_not_what_is_left() {
    let catalogue = Catalogue::built_in();
    for part in parts(Template::AutoTopUpStopped, &Params { balance: Credits(-80), ..sample() }, &catalogue) {
        assert!(part.contains("Credits owed: 80.") && !part.contains("Credits left"), "{part}");
    }
    for part in parts(Template::AutoTopUpStopped, &sample(), &catalogue) {
        assert!(part.contains("Credits left: 1."), "{part}");
    }
}

#[test]
fn the_end_of_a_subscription_is_told_with_the_price_after_it() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.plans[1].unit_prices.insert(catalogue.currency.clone(), MoneyMinor(3_300));
    let mut params = sample();
    params.customer.has_payment_method = true;
    for plan in ["pro", "pay_as_you_go"] {
        params.customer.plan = PlanKey::trusted(plan);
        for part in parts(Template::SubscriptionEnded, &params, &catalogue) {
            assert!(part.contains("one fix costs $33.00, charged when you use it."), "{plan}: {part}");
        }
    }
}

#[test]
fn units_that_are_sold_in_steps_are_told_with_the_price_of_a_step() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    for plan in &mut catalogue.plans {
        plan.unit_step = Credits(20);
        plan.unit_prices.values_mut().for_each(|price| *price = MoneyMinor(25));
    }
    let mut params = sample();
    params.customer.has_payment_method = true;
    for (template, words) in [
        (Template::LowCredit, "The next 20 fixes after that cost $5.00."),
        (Template::SubscriptionEnded, "20 fixes cost $5.00, charged when you use the first of them."),
        (Template::FollowupDay5, "Only when your credits are gone, 20 fixes cost $5.00."),
        (Template::FollowupDay7, "Pay as you go: $5.00 for 20 fixes, and nothing else."),
        (Template::FollowupDay7, "credits for 60 fixes every month, and $5.00 for each 20 fixes beyond."),
    ] {
        for part in parts(template, &params, &catalogue) {
            assert!(part.contains(words) && !part.contains("0.25"), "{words}: {part}");
        }
    }
    catalogue.prices[0].credits = Credits(0);
    for part in parts(Template::FollowupDay7, &params, &catalogue) {
        assert!(part.contains("Pro: $599.00 every month, and $5.00 for each 20 fixes."), "{part}");
    }
}

#[test]
fn a_mail_about_low_credits_tells_a_customer_within_its_limit_of_no_debt() {
    let params = Params { balance: Credits(-50), floor: Credits(-100), ..sample() };
    for part in parts(Template::LowCredit, &params, &Catalogue::built_in()) {
        assert!(part.contains("You may spend 50 fix credits on credit.") && !part.contains("owes"), "{part}");
    }
}
