//! Named histories: one for each kind of thing that the random ones are made of, and those that once ended wrongly.

use super::deed::{Case, Deed, Pay, Way};
use crate::amount::{Credits, MoneyMinor};
use crate::domain::catalogue::{Catalogue, GrantSchedule, Interval, IntervalUnit};
use crate::domain::sale::example::catalogue;
use crate::key::PriceKey;

/// Seeds of deliveries that each history is tried with.
const SEEDS: u64 = 64;

fn holds_in_every_order(catalogue: &Catalogue, deeds: &[Deed]) {
    for seed in 0..SEEDS {
        let case = Case { catalogue: catalogue.clone(), deeds: deeds.to_vec(), seed };
        if let Err(error) = super::check(&case) {
            panic!("seed {seed}: {error}");
        }
    }
}

fn subscribe() -> Deed {
    Deed::Subscribe { price: 0, seats: 1, percent_off: 0, has_add_on: false, is_tagged: false, pay: Pay::Card }
}

fn renew() -> Deed {
    Deed::Renew { pick: 0, pay: Pay::Card }
}

/// The built-in catalogue with a year of Pro that is granted monthly.
fn yearly() -> Catalogue {
    let mut yearly = Catalogue::clone(&catalogue());
    let price = &mut yearly.prices[0];
    (price.every, price.grant) = (Interval { count: 1, unit: IntervalUnit::Year }, GrantSchedule::Monthly);
    price.credits = Credits(125);
    yearly
}

#[test]
fn who_pays_a_former_price_gets_its_terms_whichever_event_comes_first() {
    let raise = Deed::Raise { price: 0, amount: 69_900, credits: 80 };
    holds_in_every_order(&catalogue(), &[subscribe(), raise, renew(), subscribe(), renew()]);
}

#[test]
fn a_price_that_is_raised_before_anything_is_sold_is_sold_at_the_new_terms() {
    let raise = Deed::Raise { price: 0, amount: 69_900, credits: 80 };
    holds_in_every_order(&catalogue(), &[raise.clone(), subscribe(), raise, renew()]);
}

#[test]
fn what_is_left_of_a_period_is_exchanged_for_the_credits_of_the_next() {
    let restart = Deed::Restart { pick: 0, price: 0, seats: 1, days: 5 };
    let refund = Deed::Refund { pick: 1, percent: 50 };
    holds_in_every_order(&catalogue(), &[subscribe(), restart.clone(), refund, restart, renew()]);
}

#[test]
fn a_paid_period_keeps_its_credits_when_the_price_gets_others() {
    let recredit = |credits| Deed::Recredit { price: 0, credits };
    let raise = Deed::Raise { price: 0, amount: 69_900, credits: 80 };
    let restart = Deed::Restart { pick: 0, price: 0, seats: 1, days: 5 };
    holds_in_every_order(&catalogue(), &[recredit(0), subscribe(), recredit(70), renew(), restart.clone()]);
    holds_in_every_order(&catalogue(), &[subscribe(), recredit(0), renew(), raise, renew(), recredit(90), restart]);
}

#[test]
fn the_months_of_a_year_come_one_by_one_and_go_with_their_money() {
    let refund = Deed::Refund { pick: 0, percent: 30 };
    let dispute = Deed::Dispute { pick: 0, percent: 100, is_foreign: true };
    let won = Deed::Decide { pick: 0, is_won: true };
    holds_in_every_order(&yearly(), &[subscribe(), refund, Deed::Wait { days: 40 }, renew()]);
    holds_in_every_order(&yearly(), &[subscribe(), dispute, Deed::Wait { days: 50 }, won, renew()]);
}

#[test]
fn what_the_balance_paid_counts_for_the_whole_and_what_is_given_back_for_its_share() {
    let first = Deed::Subscribe {
        price: 0,
        seats: 1,
        percent_off: 25,
        has_add_on: true,
        is_tagged: true,
        pay: Pay::Balance(80),
    };
    let note = |way| Deed::CreditNote { pick: 0, percent: 50, way };
    let void = Deed::VoidNote { pick: 0 };
    let refund = Deed::Refund { pick: 0, percent: 100 };
    holds_in_every_order(
        &catalogue(),
        &[first, note(Way::Balance), note(Way::Refund), void, refund, note(Way::Outside)],
    );
}

#[test]
fn a_whole_period_counts_whatever_it_was_billed_for_and_nothing_else_does() {
    let change = Deed::Change { pick: 0, price: 0, seats: 2, at_once: true, pay: Pay::Later };
    let beside = [Deed::Prorate { pick: 0, amount: 9_000 }, Deed::Manual { price: 0 }];
    let elsewhere = (0..5).map(|kind| Deed::Elsewhere { kind, is_stranger: kind % 2 == 0 });
    let resumed = [Deed::Pause { pick: 0 }, renew(), Deed::Resume { pick: 0, pay: Pay::Outside }];
    let deeds = [subscribe(), change, Deed::PayOpen { pick: 0 }].into_iter().chain(beside).chain(elsewhere);
    let deeds: Vec<Deed> = deeds.chain(resumed).chain([Deed::End { pick: 0 }]).collect();
    holds_in_every_order(&catalogue(), &deeds);
}

#[test]
fn a_change_within_a_trial_that_is_billed_on_its_own_brings_nothing() {
    holds_in_every_order(&catalogue(), &[Deed::Trial { price: 0, seats: 1 }, Deed::Prorate { pick: 0, amount: 1 }]);
}

#[test]
fn a_change_to_a_shorter_interval_is_not_undone_by_the_payment_of_the_longer_one() {
    let mut catalogue = Catalogue::clone(&catalogue());
    let mut short = catalogue.prices[0].clone();
    (short.key, short.lookup_key) = (PriceKey::trusted("pro_weekly"), "pro_weekly".to_owned());
    short.every = Interval { count: 1, unit: IntervalUnit::Week };
    catalogue.prices[0].every = Interval { count: 6, unit: IntervalUnit::Month };
    catalogue.prices.push(short);
    let change = |price| Deed::Change { pick: 0, price, seats: 1, at_once: true, pay: Pay::Card };
    holds_in_every_order(&catalogue, &[subscribe(), change(1)]);
    holds_in_every_order(&catalogue, &[subscribe(), change(1), renew(), change(0), renew()]);
}

#[test]
fn a_dispute_takes_no_part_of_a_period_that_was_exchanged_for_the_one_before() {
    let mut catalogue = Catalogue::clone(&catalogue());
    let mut half_year = catalogue.prices[0].clone();
    (half_year.key, half_year.lookup_key) = (PriceKey::trusted("pro_half_year"), "pro_half_year".to_owned());
    (half_year.every, half_year.grant) = (Interval { count: 6, unit: IntervalUnit::Month }, GrantSchedule::Monthly);
    half_year.amount = MoneyMinor(59_910);
    catalogue.prices.push(half_year);
    let restart = Deed::Restart { pick: 0, price: 1, seats: 1, days: 0 };
    let dispute = Deed::Dispute { pick: 1, percent: 100, is_foreign: false };
    holds_in_every_order(&catalogue, &[subscribe(), restart, dispute]);
}
