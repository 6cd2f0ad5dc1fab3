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
use crate::domain::customer::Customer;
use crate::domain::ledger::{Account, EntryKind};
use crate::domain::subscription::Subscription;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::summary::{Charged, Flow, Standing, charged_list, flow_day_list, flow_list, standing_list};
use crate::infra::store::{Db, account, customer, subscription};
use sea_orm::ConnectionTrait;

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

/// Usage of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// When the day begins, in UTC.
    pub start_ms: TimeMs,
    /// Credits spent.
    pub spent: i64,
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
    /// Adds flows up; `amount` says which of a flow's amounts. By what they do not explain of the change of
    /// the balance, credits were spent.
    fn of(flows: &[Flow], amount: impl Fn(&Flow) -> i64, balance_change: i64) -> Self {
        let mut totals = Self::default();
        let mut explained = 0;
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
    let days_ms = first_days(now_ms);
    let before_period = stood(db, &account, id, &[period.start_ms - 1]).await?;
    let before_days = stood(db, &account, id, &days_ms.map(|start_ms| start_ms - 1)).await?;
    let (before_period, first) = match (before_period.first(), before_days.first()) {
        (Some(before_period), Some(first)) => (*before_period, *first),
        _ => return Err(Error::Corrupt(format!("the ledger of {id} has a gap"))),
    };
    let flows = flow_list(db, id, before_period.seq, account.version).await?;
    let flows_by_day = flow_day_list(db, id, first.seq, account.version).await?;
    let charged = charged_list(db, id, period.start_ms).await?;
    Ok(Summary {
        totals: Totals::of(&flows, |flow| flow.total, account.balance),
        period_totals: Totals::of(&flows, |flow| flow.period, account.balance - before_period.balance),
        days: spent_by_day(&days_ms, &before_days, &flows_by_day, account.balance),
        warnings: words::warnings(&customer, &account, subscription.as_ref(), config, now_ms),
        customer,
        account,
        subscription,
        period,
        flows,
        charged,
    })
}

/// Where the ledger stood at these moments, as far as the account knows it: what was written since the
/// account was read does not count.
async fn stood(
    db: &impl ConnectionTrait,
    account: &Account,
    id: &CustomerId,
    moments_ms: &[TimeMs],
) -> Result<Vec<Standing>> {
    let now = Standing { seq: account.version, balance: account.balance, held: account.held };
    let found = standing_list(db, id, moments_ms).await?;
    Ok(found.into_iter().map(|standing| if standing.seq > now.seq { now } else { standing }).collect())
}

/// When each of the days that are shown begins, oldest first.
fn first_days(now_ms: TimeMs) -> [TimeMs; DAYS_SHOWN] {
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
fn spent_by_day(days_ms: &[TimeMs], before: &[Standing], flows: &[(i64, i64)], balance: i64) -> Vec<Day> {
    let next = before.iter().skip(1).map(|standing| standing.balance).chain([balance]);
    let days = days_ms.iter().zip(before).zip(next);
    days.map(|((start_ms, before), after)| {
        let day = start_ms.div_euclid(DAY_MS);
        let is_last = Some(start_ms) == days_ms.last();
        let of_day = flows.iter().filter(|(other, _)| *other == day || (is_last && *other > day));
        let came_in: i64 = of_day.map(|(_, credits)| credits).sum();
        Day { start_ms: *start_ms, spent: came_in - (after - before.balance) }
    })
    .collect()
}

/// Where the ledger stood at a moment. Holds and grants whose time had run out count until they were
/// settled, which the sweep does at their end. Before the first entry there were no credits.
///
/// # Errors
/// `invalid_time` if the moment has not come yet; [`Error::NotFound`] if there is no such account.
pub async fn balance_at(db: &Db, id: &CustomerId, at_ms: TimeMs, now_ms: TimeMs) -> Result<Standing> {
    if at_ms > now_ms {
        return Err(Error::invalid("invalid_time", "at must not be in the future: nobody knows that balance yet."));
    }
    standing_list(db.read(), id, &[at_ms]).await?.pop().ok_or(Error::NotFound("account"))
}

#[cfg(test)]
mod tests;
