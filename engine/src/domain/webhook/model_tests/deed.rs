//! Random catalogues and histories.

use crate::amount::{Credits, MoneyMinor};
use crate::domain::catalogue::currency::Currency;
use crate::domain::catalogue::{Catalogue, GrantSchedule, Interval, IntervalUnit, Plan, Price, Rollover, check};
use crate::domain::sale::example::{catalogue, pro_price};
use crate::key::{PlanKey, PriceKey};
use proptest::collection::vec;
use proptest::prelude::*;

/// A random history, and how its events arrive.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub catalogue: Catalogue,
    pub deeds: Vec<Deed>,
    /// Of the dice that decide on delivery and formats.
    pub seed: u64,
}

/// How an invoice is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pay {
    Card,
    /// This part, in per cent, from the customer's balance, and the rest by card.
    Balance(i64),
    Outside,
    Later,
}

/// How a credit note gives money back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Balance,
    Refund,
    Outside,
}

/// What happens next. Subscriptions, invoices and so on are picked from those that there are.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    Subscribe {
        price: usize,
        seats: i64,
        percent_off: i64,
        has_add_on: bool,
        is_tagged: bool,
        pay: Pay,
    },
    Trial {
        price: usize,
        seats: i64,
    },
    Renew {
        pick: usize,
        pay: Pay,
    },
    PayOpen {
        pick: usize,
    },
    /// Another price or other seats, without prorations: from the next period, or with a new period at once.
    Change {
        pick: usize,
        price: usize,
        seats: i64,
        at_once: bool,
        pay: Pay,
    },
    /// Another price or other seats within the period, after some days, with prorations that are billed at once.
    Switch {
        pick: usize,
        price: usize,
        seats: i64,
        days: i64,
    },
    /// Another price or other seats with a new period, after some days, with a credit for the time that is left.
    Restart {
        pick: usize,
        price: usize,
        seats: i64,
        days: i64,
    },
    /// The end within the period, after some days, with a credit for the time that is left.
    Leave {
        pick: usize,
        days: i64,
    },
    Pause {
        pick: usize,
    },
    Resume {
        pick: usize,
        pay: Pay,
    },
    End {
        pick: usize,
    },
    /// A proration of ours alone on an invoice.
    Prorate {
        pick: usize,
        amount: i64,
    },
    /// An invoice for a price of ours that bills no period.
    Manual {
        price: usize,
    },
    Elsewhere {
        kind: usize,
        is_stranger: bool,
    },
    Refund {
        pick: usize,
        percent: i64,
    },
    CreditNote {
        pick: usize,
        percent: i64,
        way: Way,
    },
    VoidNote {
        pick: usize,
    },
    Dispute {
        pick: usize,
        percent: i64,
        is_foreign: bool,
    },
    Decide {
        pick: usize,
        is_won: bool,
    },
    /// A new version of the catalogue: a new price at Stripe takes the lookup key over.
    Raise {
        price: usize,
        amount: i64,
        credits: i64,
    },
    /// A new version of the catalogue with other credits for what is sold as before.
    Recredit {
        price: usize,
        credits: i64,
    },
    /// A new version of the catalogue in which a price cannot be bought any longer.
    Retire {
        price: usize,
    },
    Wait {
        days: i64,
    },
}

const CURRENCIES: [&str; 3] = ["usd", "eur", "jpy"];
const INTERVALS: [(u32, IntervalUnit); 6] = [
    (1, IntervalUnit::Week),
    (2, IntervalUnit::Week),
    (1, IntervalUnit::Month),
    (3, IntervalUnit::Month),
    (6, IntervalUnit::Month),
    (1, IntervalUnit::Year),
];

fn prices(plans: usize) -> impl Strategy<Value = Price> {
    let sold = (0..plans, 0..INTERVALS.len(), 500..90_000_i64, 0..CURRENCIES.len(), 1..400_i64);
    let terms = (any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(20..500_u32));
    (sold, terms).prop_map(|((plan, every, amount, currency, credits), (monthly, per_seat, reset, lifetime))| {
        let every = Interval { count: INTERVALS[every].0, unit: INTERVALS[every].1 };
        let is_monthly = monthly && every.months() >= 2 && credits >= i64::from(every.months());
        Price {
            plan: plan_key(plan),
            every,
            amount: MoneyMinor(amount),
            currency: Currency::parse(CURRENCIES[currency]).unwrap(),
            credits: Credits(credits),
            grant: if is_monthly { GrantSchedule::Monthly } else { GrantSchedule::Whole },
            per_seat,
            rollover: if reset { Rollover::Reset } else { Rollover::Keep },
            lifetime_days: lifetime.filter(|_| !reset),
            ..pro_price()
        }
    })
}

fn plan_key(n: usize) -> PlanKey {
    PlanKey::trusted(&format!("plan_{n}"))
}

/// Catalogues with two or three paid plans and up to five prices.
fn catalogues() -> impl Strategy<Value = Catalogue> {
    (2..4_usize).prop_flat_map(|plans| {
        vec(prices(plans), 2..6).prop_map(move |mut prices| {
            let mut sold = Catalogue::clone(&catalogue());
            let pro = sold.plans.pop().unwrap();
            sold.plans.extend((0..plans).map(|n| Plan { key: plan_key(n), name: format!("Plan {n}"), ..pro.clone() }));
            for (n, price) in prices.iter_mut().enumerate() {
                price.key = PriceKey::trusted(&format!("price_{n}"));
                price.lookup_key = format!("sold_{n}");
            }
            sold.prices = prices;
            assert_eq!(check::check(&sold), []);
            sold
        })
    })
}

fn pays() -> impl Strategy<Value = Pay> {
    prop_oneof![
        6 => Just(Pay::Card),
        2 => (1..=100_i64).prop_map(Pay::Balance),
        1 => Just(Pay::Outside),
        1 => Just(Pay::Later),
    ]
}

fn ways() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Balance), Just(Way::Refund), Just(Way::Outside)]
}

fn percents_off() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => 1..100_i64, 1 => Just(100)]
}

/// What is sold and billed.
fn sales() -> BoxedStrategy<Deed> {
    let (any, seats) = (0..64_usize, 1..5_i64);
    prop_oneof![
        4 => (any.clone(), seats.clone(), percents_off(), prop::bool::ANY, prop::bool::ANY, pays()).prop_map(
            |(price, seats, percent_off, has_add_on, is_tagged, pay)| {
                Deed::Subscribe { price, seats, percent_off, has_add_on, is_tagged, pay }
            }
        ),
        1 => (any.clone(), seats.clone()).prop_map(|(price, seats)| Deed::Trial { price, seats }),
        6 => (any.clone(), pays()).prop_map(|(pick, pay)| Deed::Renew { pick, pay }),
        2 => any.clone().prop_map(|pick| Deed::PayOpen { pick }),
        3 => (any.clone(), any.clone(), seats.clone(), 0..9_i64)
            .prop_map(|(pick, price, seats, days)| Deed::Switch { pick, price, seats, days }),
        3 => (any.clone(), any.clone(), seats.clone(), 0..9_i64)
            .prop_map(|(pick, price, seats, days)| Deed::Restart { pick, price, seats, days }),
        2 => (any.clone(), 0..9_i64).prop_map(|(pick, days)| Deed::Leave { pick, days }),
        2 => (any.clone(), any.clone(), seats, prop::bool::ANY, pays())
            .prop_map(|(pick, price, seats, at_once, pay)| Deed::Change { pick, price, seats, at_once, pay }),
        1 => any.clone().prop_map(|pick| Deed::Pause { pick }),
        1 => (any.clone(), pays()).prop_map(|(pick, pay)| Deed::Resume { pick, pay }),
        1 => any.prop_map(|pick| Deed::End { pick }),
    ]
    .boxed()
}

/// What happens to money, beside the plans, and to the catalogue.
fn others() -> BoxedStrategy<Deed> {
    let (any, percent) = (0..64_usize, 1..=100_i64);
    prop_oneof![
        1 => (any.clone(), 1..50_000_i64).prop_map(|(pick, amount)| Deed::Prorate { pick, amount }),
        1 => any.clone().prop_map(|price| Deed::Manual { price }),
        2 => (any.clone(), prop::bool::ANY).prop_map(|(kind, is_stranger)| Deed::Elsewhere { kind, is_stranger }),
        3 => (any.clone(), percent.clone()).prop_map(|(pick, percent)| Deed::Refund { pick, percent }),
        2 => (any.clone(), percent.clone(), ways())
            .prop_map(|(pick, percent, way)| Deed::CreditNote { pick, percent, way }),
        1 => any.clone().prop_map(|pick| Deed::VoidNote { pick }),
        2 => (any.clone(), percent, prop::bool::ANY)
            .prop_map(|(pick, percent, is_foreign)| Deed::Dispute { pick, percent, is_foreign }),
        2 => (any.clone(), prop::bool::ANY).prop_map(|(pick, is_won)| Deed::Decide { pick, is_won }),
        2 => (any.clone(), 500..90_000_i64, 12..400_i64)
            .prop_map(|(price, amount, credits)| Deed::Raise { price, amount, credits }),
        2 => (any.clone(), prop_oneof![Just(0), 12..400_i64])
            .prop_map(|(price, credits)| Deed::Recredit { price, credits }),
        1 => any.prop_map(|price| Deed::Retire { price }),
        1 => (1..60_i64).prop_map(|days| Deed::Wait { days }),
    ]
    .boxed()
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let deeds = vec(prop_oneof![3 => sales(), 2 => others()], 1..24);
    (catalogues(), deeds, any::<u64>()).prop_map(|(catalogue, deeds, seed)| Case { catalogue, deeds, seed })
}
