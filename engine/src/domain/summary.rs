//! The usage summary: what a customer has, was given, has spent and was charged, in all and in the
//! present period, with what it should know in plain words.
//!
//! | module | what is in it |
//! |---|---|
//! | [`period`] | which period is the present one, pure |
//! | [`warnings`] | warnings, and how the subscription stands, pure |

pub mod period;
pub mod warnings;

pub use period::{Period, PeriodKind};
pub use warnings::{Warning, subscription_words};

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::ledger::{Account, EntryKind};
use crate::domain::subscription::Subscription;

/// Days of usage that a summary shows, today included.
pub const DAYS_SHOWN: usize = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Everything about a customer's credits in figures.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The customer.
    pub customer: Customer,
    /// Its account at the moment that all figures are of.
    pub account: Account,
    /// The subscription to Pro that counts, if there ever was one.
    pub subscription: Option<Subscription>,
    /// The present period.
    pub period: Period,
    /// Credits in all.
    pub totals: Totals,
    /// Credits in the period.
    pub period_totals: Totals,
    /// What moved the balance besides usage, by kind and source.
    pub flows: Vec<Flow>,
    /// What units beyond the credits cost, by currency.
    pub charged: Vec<Charged>,
    /// Usage of the last [`DAYS_SHOWN`] days, oldest first, days without usage included.
    pub days: Vec<Day>,
    /// What the customer should know, the most urgent first.
    pub warnings: Vec<Warning>,
}

/// Where a ledger stood at a moment: after the last entry that was decided by then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Sequence number of that entry; 0 if there was none yet.
    pub seq: i64,
    /// All credits; negative is debt.
    pub balance: Credits,
    /// The part that open holds reserved.
    pub held: Credits,
}

/// Entries of one sort other than usage, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// What they did.
    pub kind: EntryKind,
    /// Who caused them.
    pub source: String,
    /// Of grants: what their credits are.
    pub grant_kind: Option<String>,
    /// Change of the balance by all of them.
    pub total: Credits,
    /// Change of the balance by those of the period.
    pub period: Credits,
}

/// Charges for units beyond the credits, added up, in one currency. Refunds are not taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    /// ISO 4217 code, in lower case.
    pub currency: String,
    /// All of them.
    pub total_minor: MoneyMinor,
    /// How many there were.
    pub count: i64,
    /// Those of the period.
    pub period_minor: MoneyMinor,
    /// How many there were in the period.
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

/// What came in and went out, in credits, each zero or more. What was granted less all the others is the
/// balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Came in, in whatever way.
    pub granted: Credits,
    /// Was spent on work.
    pub spent: Credits,
    /// Ended unspent.
    pub expired: Credits,
    /// Was taken back with the money that had bought it.
    pub clawed_back: Credits,
    /// Was taken by support.
    pub removed: Credits,
}

impl Totals {
    /// Adds flows up; `amount` says which of a flow's amounts. By what they do not explain of the change of
    /// the balance, credits were spent.
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
                // Usage, and what moves no balance, is no flow.
                EntryKind::Debit | EntryKind::Capture | EntryKind::Hold | EntryKind::Release => {}
            }
        }
        totals.spent = explained - balance_change;
        totals
    }
}

/// When each of the days that are shown begins, oldest first.
pub fn first_days(now_ms: TimeMs) -> [TimeMs; DAYS_SHOWN] {
    let today_ms = now_ms - now_ms.rem_euclid(DAY_MS);
    let mut start_ms = today_ms;
    let mut days_ms = [today_ms; DAYS_SHOWN];
    for day_ms in days_ms.iter_mut().rev() {
        *day_ms = start_ms;
        start_ms -= DAY_MS;
    }
    days_ms
}

/// What was spent on each day: what came in less what the balance grew by. `before` is where the ledger
/// stood before each day, `balance` what is there now: the last day has all that came after, also what
/// another node's clock dates into the next day.
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
