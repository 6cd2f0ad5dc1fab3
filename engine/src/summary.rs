//! The usage summary: what a customer has, was given, has spent and was charged, in all and in the
//! present period, with what it should know in plain words.
//!
//! | module | what is in it |
//! |---|---|
//! | [`period`] | which period is the present one, pure |
//! | [`words`] | warnings, and how the subscription stands, pure |

pub mod period;
pub mod words;

pub use period::{Period, PeriodKind};
pub use words::{Warning, subscription_words};

use crate::clock::TimeMs;
use crate::config::CreditsConfig;
use crate::customer::Customer;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::ledger::{Account, EntryKind};
use crate::store::summary::{Charged, Flow, charged_list, day_list, flow_list};
use crate::store::{Db, account, customer, subscription};
use crate::subscription::Subscription;

/// Days of usage that a summary shows, today included.
pub const DAYS_SHOWN: i64 = 30;
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
    /// What moved the balance, by kind and source.
    pub flows: Vec<Flow>,
    /// What units beyond the credits cost, by currency.
    pub charged: Vec<Charged>,
    /// Usage of the last [`DAYS_SHOWN`] days, oldest first, days without usage included.
    pub days: Vec<Day>,
    /// What the customer should know, the most urgent first.
    pub warnings: Vec<Warning>,
}

/// Usage of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// When the day begins, in UTC.
    pub start_ms: TimeMs,
    /// Credits spent.
    pub spent: i64,
    /// Debits and captures.
    pub count: i64,
}

/// What came in and went out, in credits, each zero or more. What was granted less all the others is the
/// balance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Came in, in whatever way.
    pub granted: i64,
    /// Was spent on work.
    pub spent: i64,
    /// Ended unspent.
    pub expired: i64,
    /// Was taken back with the money that had bought it.
    pub clawed_back: i64,
    /// Was taken by support.
    pub removed: i64,
}

impl Totals {
    /// Adds flows up; `amount` says which of a flow's amounts.
    pub fn of(flows: &[Flow], amount: impl Fn(&Flow) -> i64) -> Self {
        let mut totals = Self::default();
        for flow in flows {
            let credits = amount(flow);
            match flow.kind {
                EntryKind::Grant => totals.granted += credits,
                EntryKind::Debit | EntryKind::Capture => totals.spent -= credits,
                EntryKind::Expire => totals.expired -= credits,
                EntryKind::ClawBack => totals.clawed_back -= credits,
                EntryKind::Adjust => totals.removed -= credits,
                EntryKind::Hold | EntryKind::Release => {}
            }
        }
        totals
    }

    /// The balance that they make.
    pub fn balance(&self) -> i64 {
        self.granted - self.spent - self.expired - self.clawed_back - self.removed
    }
}

/// A customer's summary.
///
/// The account is read first and the ledger up to the account's version, so that the figures agree with
/// each other although several queries bring them and usage goes on meanwhile.
///
/// # Errors
/// [`Error::NotFound`] if there is no such customer.
pub async fn summary(db: &Db, id: &CustomerId, config: &CreditsConfig, now_ms: TimeMs) -> Result<Summary> {
    let db = db.read();
    let customer = customer::customer_find(db, id).await?.ok_or(Error::NotFound("customer"))?;
    let account = account::account_find(db, id).await?.ok_or(Error::NotFound("account"))?;
    let subscription = Subscription::current(subscription::subscription_list(db, id).await?);
    let period = period::current(subscription.as_ref(), now_ms);
    let before = |at_ms: TimeMs| account::entry_last_by(db, id, at_ms - 1);
    let before_period = before(period.start_ms).await?.unwrap_or(0);
    let flows = flow_list(db, id, before_period, account.version).await?;
    let charged = charged_list(db, id, period.start_ms).await?;
    let first_day_ms = now_ms - now_ms.rem_euclid(DAY_MS) - (DAYS_SHOWN - 1) * DAY_MS;
    let before_days = before(first_day_ms).await?.unwrap_or(0);
    let days = every_day(first_day_ms, &day_list(db, id, before_days, account.version).await?);
    let warnings = words::warnings(&customer, &account, subscription.as_ref(), config, now_ms);
    Ok(Summary { customer, account, subscription, period, flows, charged, days, warnings })
}

/// All days from the first on, with what is known of each: (days since the epoch, credits, entries).
fn every_day(first_day_ms: TimeMs, known: &[(i64, i64, i64)]) -> Vec<Day> {
    let days = (0..DAYS_SHOWN).map(|n| first_day_ms + n * DAY_MS);
    days.map(|start_ms| {
        let found = known.iter().find(|(day, ..)| *day == start_ms.div_euclid(DAY_MS));
        found.map_or(Day { start_ms, spent: 0, count: 0 }, |(_, spent, count)| Day {
            start_ms,
            spent: *spent,
            count: *count,
        })
    })
    .collect()
}

/// A balance as of some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceAt {
    /// All credits; negative is debt.
    pub balance: i64,
    /// The part that open holds reserved.
    pub held: i64,
    /// Sequence number of the last entry by then; 0 if there was none.
    pub seq: i64,
}

/// The balance as the ledger had it at a moment: after the last entry that was decided by then. Holds and
/// grants whose time had run out count until they were settled, which a job does at their end. Before the
/// first entry there were no credits.
///
/// # Errors
/// `invalid_time` if the moment has not come yet; [`Error::NotFound`] if there is no such account.
pub async fn balance_at(db: &Db, id: &CustomerId, at_ms: TimeMs, now_ms: TimeMs) -> Result<BalanceAt> {
    if at_ms > now_ms {
        return Err(Error::invalid("invalid_time", "at must not be in the future: nobody knows that balance yet."));
    }
    let seq = account::entry_last_by(db.read(), id, at_ms).await?.ok_or(Error::NotFound("account"))?;
    if seq == 0 {
        return Ok(BalanceAt { balance: 0, held: 0, seq });
    }
    let entry = account::entry_find(db.read(), id, seq).await?;
    let entry = entry.ok_or_else(|| Error::Corrupt(format!("{id} has no entry {seq}")))?;
    Ok(BalanceAt { balance: entry.balance_after, held: entry.held_after, seq })
}

#[cfg(test)]
mod tests;
