//! The usage summary: a customer's credits and charges, in total and in the present period, with warnings.
//!
//! | module | what is in it |
//! |---|---|
//! | [`period`] | the present period, pure |
//! | [`warnings`] | warnings, and the subscription's state in words, pure |

pub mod period;
pub mod warnings;

pub use period::{Period, PeriodKind};
pub use warnings::{SUSPENDED, Warning, describe_subscription};

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::ledger::{Account, EntryKind};
use crate::domain::subscription::Subscription;

/// Days of usage in a summary, including today.
pub const DAYS_SHOWN: usize = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// All figures about a customer's credits.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The customer.
    pub customer: Customer,
    /// Its account, at the same moment as all figures.
    pub account: Account,
    /// The relevant subscription to a plan, if there ever was one.
    pub subscription: Option<Subscription>,
    /// The present period.
    pub period: Period,
    /// Credits in total.
    pub totals: Totals,
    /// Credits in the period.
    pub period_totals: Totals,
    /// Changes of the balance other than usage, by kind and source.
    pub flows: Vec<Flow>,
    /// Charges for credits (units, packs, top-ups and debts), by currency.
    pub charged: Vec<Charged>,
    /// Usage of the last [`DAYS_SHOWN`] days, oldest first, including days without usage.
    pub days: Vec<Day>,
    /// Warnings for the customer, the most urgent first.
    pub warnings: Vec<Warning>,
}

/// The state of a ledger at a moment: after the last entry decided by then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Sequence number of that entry; 0 before the first.
    pub seq: i64,
    /// All credits; negative is debt.
    pub balance: Credits,
    /// The part reserved by open holds.
    pub held: Credits,
}

/// The sum of all entries of one kind and source, except usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Their kind.
    pub kind: EntryKind,
    /// Their cause.
    pub source: String,
    /// Of grants: the kind of their credits.
    pub grant_kind: Option<String>,
    /// Change of the balance in total.
    pub total: Credits,
    /// Change of the balance in the period.
    pub period: Credits,
}

/// The sum of charges for credits, in one currency. Refunds are not subtracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    /// ISO 4217 code, in lower case.
    pub currency: String,
    /// The total.
    pub total_minor: MoneyMinor,
    /// The number of charges.
    pub count: i64,
    /// The sum in the period.
    pub period_minor: MoneyMinor,
    /// The number in the period.
    pub period_count: i64,
}

/// Usage of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// When the day begins, in UTC.
    pub start_ms: TimeMs,
    /// Credits spent.
    pub spent: Credits,
}

/// Credits that came in and went out, each zero or more. The balance is `granted` minus all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Credits from all grants.
    pub granted: Credits,
    /// Credits spent on work.
    pub spent: Credits,
    /// Credits that expired.
    pub expired: Credits,
    /// Credits taken back with the money that bought them.
    pub clawed_back: Credits,
    /// Credits taken by support.
    pub removed: Credits,
}

impl Totals {
    /// Adds up flows, of which `amount` chooses the figure. The part of the balance's change that they do not
    /// explain was spent.
    pub fn of(flows: &[Flow], amount: impl Fn(&Flow) -> Credits, balance_change: Credits) -> Self {
        let mut totals = Self::default();
        let mut explained = Credits::ZERO;
        for flow in flows {
            let credits = amount(flow);
            explained += credits;
            match flow.kind {
                EntryKind::Grant => totals.granted += credits,
                EntryKind::Expire => totals.expired -= credits,
                EntryKind::ClawBack => totals.clawed_back -= credits,
                EntryKind::Adjust => totals.removed -= credits,
                // Usage and entries that leave the balance alone are no flows.
                EntryKind::Debit | EntryKind::Capture | EntryKind::Hold | EntryKind::Release | EntryKind::Terms => {}
            }
        }
        totals.spent = explained - balance_change;
        totals
    }
}

/// When each day shown begins, oldest first.
pub fn day_starts(now_ms: TimeMs) -> [TimeMs; DAYS_SHOWN] {
    let today_ms = now_ms - now_ms.rem_euclid(DAY_MS);
    let mut start_ms = today_ms;
    let mut days_ms = [today_ms; DAYS_SHOWN];
    for day_ms in days_ms.iter_mut().rev() {
        *day_ms = start_ms;
        start_ms -= DAY_MS;
    }
    days_ms
}

/// Credits spent on each day: the credits that came in minus the growth of the balance. `before` holds the ledger
/// before each day, `balance` the present one: the last day includes all later entries, even those that another
/// node's clock dates to the next day.
pub fn spent_by_day(days_ms: &[TimeMs], before: &[Standing], flows: &[(i64, Credits)], balance: Credits) -> Vec<Day> {
    let next = before.iter().skip(1).map(|standing| standing.balance).chain([balance]);
    let days = days_ms.iter().zip(before).zip(next);
    days.map(|((start_ms, before), after)| {
        let day = start_ms.div_euclid(DAY_MS);
        let is_last = Some(start_ms) == days_ms.last();
        let of_day = flows.iter().filter(|(other, _)| *other == day || (is_last && *other > day));
        let came_in: Credits = of_day.map(|(_, credits)| *credits).sum();
        Day { start_ms: *start_ms, spent: came_in - (after - before.balance) }
    })
    .collect()
}
