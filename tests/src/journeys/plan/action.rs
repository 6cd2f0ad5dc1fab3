//! What customers, their banks and support do.

use crate::journeys::sold::{PACKS, SOLD};
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use std::fmt;
use std::ops::RangeInclusive;

/// Units of one request.
const UNITS: RangeInclusive<i64> = 1..=4;
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
    /// Buys a pack.
    BuyPack {
        pack: &'static str,
    },
    /// Buys the credits that it owes.
    PayDebt,
    /// Turns automatic top-ups on, or changes them.
    SetTopUp {
        threshold: i64,
        target: i64,
        pack: Option<&'static str>,
        month_cap: Option<i64>,
    },
    EndTopUp,
    /// Sets its own spend caps.
    SetCaps {
        day: Option<i64>,
        month: Option<i64>,
    },
    /// Support sets its highest spend caps.
    SetHighestCaps {
        day: Option<i64>,
        month: Option<i64>,
    },
    /// Previews a change of the subscription, then makes it.
    ChangePlan {
        price: &'static str,
        is_now: bool,
    },
    /// Reserves this many more credits than it has.
    HoldBeyond {
        units: i64,
        end: HoldEnd,
    },
    /// Support refunds a part of a payment, in percent, and says what becomes of the credits.
    RefundBySupport {
        nth: usize,
        percent: i64,
        credits: &'static str,
    },
    Suspend,
    /// Support ends a suspension.
    Unsuspend,
}

impl Action {
    /// Chooses a random action: most often one of everyday.
    pub fn random(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..58 => basic(rng),
            58..90 => billing(rng),
            _ => support(rng),
        }
    }

    /// Turns automatic top-ups on, on random terms.
    pub(super) fn set_top_up(rng: &mut StdRng) -> Self {
        let threshold = rng.random_range(1..=4);
        Self::SetTopUp {
            threshold,
            target: threshold + rng.random_range(0..=6),
            pack: rng.random_bool(0.4).then(|| pack(rng)),
            month_cap: one_of(rng, &[None, None, Some(0), Some(6_000), Some(60_000), Some(400_000)]),
        }
    }

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

pub(super) fn card(rng: &mut StdRng) -> &'static str {
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

/// What customers and their banks do every day.
fn basic(rng: &mut StdRng) -> Action {
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

pub(super) fn price(rng: &mut StdRng) -> &'static str {
    SOLD[rng.random_range(0..SOLD.len())].key
}

/// Purchases, top-ups, caps and changes of plan.
fn billing(rng: &mut StdRng) -> Action {
    match rng.random_range(0..30) {
        0..6 => Action::BuyPack { pack: pack(rng) },
        6..9 => Action::PayDebt,
        9..14 => Action::set_top_up(rng),
        14..15 => Action::EndTopUp,
        15..18 => Action::SetCaps {
            day: one_of(rng, &[None, None, Some(0), Some(5_800), Some(40_000)]),
            month: one_of(rng, &[None, None, Some(9_000), Some(60_000), Some(250_000)]),
        },
        18..26 => Action::ChangePlan { price: price(rng), is_now: rng.random_bool(0.6) },
        _ => Action::HoldBeyond { units: rng.random_range(UNITS), end: hold_end(rng) },
    }
}

/// What support does about money.
fn support(rng: &mut StdRng) -> Action {
    match rng.random_range(0..13) {
        0..4 => Action::SetHighestCaps {
            day: one_of(rng, &[None, None, Some(20_000), Some(1_000_000)]),
            month: one_of(rng, &[None, Some(30_000), Some(500_000), Some(5_000_000)]),
        },
        4..9 => Action::RefundBySupport {
            nth: rng.random_range(0..8),
            percent: one_of(rng, &[10, 50, 100]),
            credits: one_of(rng, &["unspent", "all", "none"]),
        },
        9..10 => Action::Suspend,
        _ => Action::Unsuspend,
    }
}

fn pack(rng: &mut StdRng) -> &'static str {
    PACKS[rng.random_range(0..PACKS.len())].key
}

fn one_of<T: Copy>(rng: &mut StdRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

fn hold_end(rng: &mut StdRng) -> HoldEnd {
    [HoldEnd::Capture, HoldEnd::CaptureOne, HoldEnd::Release, HoldEnd::Forget][rng.random_range(0..4)]
}
