//! The plan of a run, computed from its seed: for each day the customers' actions, the faults, and by how much the
//! clock advances afterwards.

use super::faults::DayFaults;
use super::sold::SOLD;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::fmt;
use std::ops::RangeInclusive;

/// Rounds of actions of a customer on one day.
const ROUNDS: RangeInclusive<usize> = 3..=6;
/// Units of one request.
const UNITS: RangeInclusive<i64> = 1..=4;
/// Days at the beginning on which customers sign up.
const SIGNUP_DAYS: usize = 2;
/// How far the clock advances after a day, in seconds: a renewal comes every month, retries of a failed one after
/// days, and an unpaid first invoice expires after 23 hours. Less than 30 days, since events about that time are sent
/// at its end, and Stripe drops events after 30 days.
const ADVANCES_S: [i64; 7] = [3_600, 7_200, 86_400, 3 * 86_400, 8 * 86_400, 16 * 86_400, 28 * 86_400];
/// Cards and their weights. For what payments with them do, see `sandbox/src/card.rs`.
const CARDS: [(&str, u32); 9] = [
    ("pm_card_visa", 10),
    ("pm_card_mastercard", 4),
    ("pm_card_chargeCustomerFail", 4),
    ("pm_card_authenticationRequired", 4),
    ("pm_card_authenticationRequiredOnSetup", 2),
    ("pm_card_createDispute", 2),
    ("pm_card_createDisputeInquiry", 1),
    ("pm_card_chargeDeclined", 2),
    ("pm_card_chargeDeclinedInsufficientFunds", 1),
];

/// How a hold ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldEnd {
    /// All units are captured.
    Capture,
    /// One unit is captured.
    CaptureOne,
    /// It is released.
    Release,
    /// It expires.
    Forget,
}

/// An action of a customer, its bank or support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[allow(missing_docs, reason = "fields say what they are")]
pub enum Action {
    SignUp,
    Attach {
        card: &'static str,
        is_default: bool,
    },
    Detach {
        nth: usize,
    },
    MakeDefault {
        nth: usize,
    },
    Use {
        units: i64,
    },
    /// Repeats the latest request for units under its key.
    UseAgain,
    /// Makes the same request several times concurrently, under one key.
    UseAtOnce {
        units: i64,
        times: usize,
    },
    /// Spends all available credits.
    SpendAll,
    Hold {
        units: i64,
        end: HoldEnd,
    },
    Subscribe {
        price: &'static str,
    },
    Cancel {
        at_once: bool,
    },
    Resume,
    /// The customer authenticates with its bank, which accepts or refuses.
    Authenticate {
        succeeds: bool,
    },
    /// Refunds a part of a payment, in percent.
    Refund {
        nth: usize,
        percent: i64,
    },
    FailRefund,
    Dispute {
        nth: usize,
    },
    CloseDispute {
        is_won: bool,
    },
    Adjust {
        credits: i64,
    },
    RenewCard,
    DeleteStripeCustomer,
}

impl Action {
    /// The name under which it is counted.
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value["action"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

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
        rounds.push(vec![Action::SignUp]);
        if rng.random_bool(0.85) {
            rounds.push(vec![Action::Attach { card: card(rng), is_default: true }]);
        }
        rounds.push(vec![Action::SpendAll]);
        if rng.random_bool(0.5) {
            rounds.push(vec![Action::Subscribe { price: price(rng) }]);
        }
    }
    for _ in 0..rng.random_range(ROUNDS) {
        let concurrent = if rng.random_bool(0.2) { rng.random_range(2..=3) } else { 1 };
        rounds.push((0..concurrent).map(|_| action(rng)).collect());
    }
    rounds
}

fn card(rng: &mut StdRng) -> &'static str {
    let total: u32 = CARDS.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0..total);
    for (card, weight) in CARDS {
        if left < weight {
            return card;
        }
        left -= weight;
    }
    CARDS[0].0
}

fn action(rng: &mut StdRng) -> Action {
    let nth = rng.random_range(0..8);
    match rng.random_range(0..100) {
        0..10 => Action::Attach { card: card(rng), is_default: rng.random_bool(0.8) },
        10..14 => Action::Detach { nth },
        14..17 => Action::MakeDefault { nth },
        17..37 => Action::Use { units: rng.random_range(UNITS) },
        37..43 => Action::UseAgain,
        43..49 => Action::UseAtOnce { units: rng.random_range(UNITS), times: rng.random_range(2..=4) },
        49..56 => Action::SpendAll,
        56..61 => Action::Hold { units: rng.random_range(UNITS), end: hold_end(rng) },
        61..68 => Action::Subscribe { price: price(rng) },
        68..72 => Action::Cancel { at_once: rng.random_bool(0.5) },
        72..75 => Action::Resume,
        75..81 => Action::Authenticate { succeeds: rng.random_bool(0.7) },
        81..86 => Action::Refund { nth, percent: [10, 50, 100][rng.random_range(0..3)] },
        86..88 => Action::FailRefund,
        88..91 => Action::Dispute { nth },
        91..94 => Action::CloseDispute { is_won: rng.random_bool(0.5) },
        94..97 => Action::Adjust { credits: rng.random_range(-3..=6) },
        97..99 => Action::RenewCard,
        _ => Action::DeleteStripeCustomer,
    }
}

fn price(rng: &mut StdRng) -> &'static str {
    SOLD[rng.random_range(0..SOLD.len())].key
}

fn hold_end(rng: &mut StdRng) -> HoldEnd {
    [HoldEnd::Capture, HoldEnd::CaptureOne, HoldEnd::Release, HoldEnd::Forget][rng.random_range(0..4)]
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
        assert_eq!(actions.len(), 20, "{actions:?}");
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
