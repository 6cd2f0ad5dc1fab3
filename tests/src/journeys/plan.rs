//! The plan of a run, computed from its seed: for each day the customers' actions, the faults, and by how much the
//! clock advances afterwards.

mod action;

pub use action::{Action, HoldEnd};

use super::faults::DayFaults;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::ops::RangeInclusive;

/// Rounds of actions of a customer on one day.
const ROUNDS: RangeInclusive<usize> = 4..=8;
/// Days at the beginning on which customers sign up.
const SIGNUP_DAYS: usize = 2;
/// How far the clock advances after a day, in seconds: a renewal comes every month, retries of a failed one after
/// days, and an unpaid first invoice expires after 23 hours. Less than 30 days, since events about that time are sent
/// at its end, and Stripe drops events after 30 days.
const ADVANCES_S: [i64; 7] = [3_600, 7_200, 86_400, 3 * 86_400, 8 * 86_400, 16 * 86_400, 28 * 86_400];

/// Actions that run concurrently.
pub type Round = Vec<Action>;

/// What happens after a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AfterDay {
    /// By how many seconds the clock advances.
    pub advance_s: i64,
    /// Whether lost webhooks are recovered even if they could wait.
    pub recovers_webhooks: bool,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Day {
    /// Its number, from 1.
    pub number: usize,
    /// The faults.
    pub faults: DayFaults,
    /// The actions of each customer.
    pub customers: Vec<Vec<Round>>,
    /// What happens after it.
    pub after: AfterDay,
}

/// Returns the plan of one day, which depends only on the arguments.
pub fn day(seed: u64, number: usize, customers: usize) -> Day {
    let mut rng = new_rng(seed, number as u64, 0);
    let faults = DayFaults::random(&mut rng, number);
    let after = AfterDay {
        advance_s: ADVANCES_S[rng.random_range(0..ADVANCES_S.len())],
        recovers_webhooks: rng.random_bool(0.5),
    };
    let customers =
        (0..customers).map(|n| rounds(&mut new_rng(seed, number as u64, n as u64 + 1), n, number)).collect();
    Day { number, faults, customers, after }
}

/// A random number generator for one customer on one day.
fn new_rng(seed: u64, day: u64, customer: u64) -> StdRng {
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    StdRng::seed_from_u64(seed.wrapping_add(day.wrapping_mul(SPREAD)).wrapping_add(customer.wrapping_mul(SPREAD >> 7)))
}

fn rounds(rng: &mut StdRng, customer: usize, day: usize) -> Vec<Round> {
    let first = 1 + customer % SIGNUP_DAYS;
    if day < first {
        return Vec::new();
    }
    let mut rounds = Vec::new();
    if day == first {
        rounds.extend(first_rounds(rng));
    }
    for _ in 0..rng.random_range(ROUNDS) {
        let concurrent = if rng.random_bool(0.2) { rng.random_range(2..=3) } else { 1 };
        rounds.push((0..concurrent).map(|_| Action::random(rng)).collect());
    }
    rounds
}

/// What a customer begins with: most have a card, and half a subscription.
fn first_rounds(rng: &mut StdRng) -> Vec<Round> {
    let mut actions = vec![Action::SignUp];
    if rng.random_bool(0.85) {
        actions.push(Action::Attach { card: action::card(rng), is_default: true });
    }
    actions.push(Action::SpendAll);
    if rng.random_bool(0.5) {
        actions.push(Action::SetHighestCaps { day: None, month: Some(5_000_000) });
    }
    if rng.random_bool(0.5) {
        actions.push(Action::Subscribe { price: action::price(rng) });
    } else if rng.random_bool(0.5) {
        actions.push(Action::set_top_up(rng));
    }
    actions.into_iter().map(|action| vec![action]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_seed_determines_the_plan() {
        assert_eq!(day(7, 3, 5), day(7, 3, 5));
        assert_ne!(day(7, 3, 5), day(8, 3, 5));
        assert_ne!(day(7, 3, 5).customers[0], day(7, 3, 5).customers[1]);
    }

    #[test]
    fn more_customers_do_not_change_the_actions_of_the_first_ones() {
        assert_eq!(day(7, 3, 2).customers, day(7, 3, 5).customers[..2]);
    }

    #[test]
    fn sixty_days_have_every_action_and_every_clock_advance() {
        let days: Vec<Day> = (1..=60).map(|number| day(1, number, 12)).collect();
        let actions: BTreeSet<String> =
            days.iter().flat_map(|day| day.customers.iter().flatten().flatten()).map(Action::name).collect();
        assert_eq!(actions.len(), 31, "{actions:?}");
        let advances: BTreeSet<i64> = days.iter().map(|day| day.after.advance_s).collect();
        assert_eq!(advances.len(), ADVANCES_S.len());
    }

    #[test]
    fn every_customer_signs_up_first() {
        for customer in 0..6 {
            let first = (1..=SIGNUP_DAYS).find_map(|number| day(3, number, 6).customers[customer].first().cloned());
            assert_eq!(first, Some(vec![Action::SignUp]));
        }
    }
}
