//! A customer's usage summary, and its balance at a moment.

use crate::clock::TimeMs;
use crate::config::CreditsConfig;
use crate::domain::catalogue::Catalogue;
use crate::domain::ledger::Account;
use crate::domain::subscription::Subscription;
use crate::domain::summary::{Standing, Summary, Totals, day_starts, period, spent_by_day, warnings};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::summary::{charged_list, flow_day_list, flow_list, standing_list};
use crate::infra::store::{Db, account, customer, subscription};
use sea_orm::ConnectionTrait;

/// A customer's usage summary.
///
/// The account is read first, and the ledger only up to its version, so that the figures agree although they come
/// from several queries while usage continues.
///
/// # Errors
/// [`Error::NotFound`] if there is no such customer.
pub async fn summary(
    db: &Db,
    id: &CustomerId,
    config: &CreditsConfig,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<Summary> {
    let db = db.read();
    let customer = customer::customer_find(db, id).await?.ok_or(Error::NotFound("customer"))?;
    let account = account::account_find(db, id).await?.ok_or(Error::NotFound("account"))?;
    let subscription = Subscription::current(subscription::subscription_list(db, id).await?, catalogue);
    let period = period::current(subscription.as_ref(), now_ms);
    let days_ms = day_starts(now_ms);
    let before_period = read_standings(db, &account, id, &[period.start_ms - 1]).await?;
    let before_days = read_standings(db, &account, id, &days_ms.map(|start_ms| start_ms - 1)).await?;
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
        warnings: warnings::warnings(&customer, &account, subscription.as_ref(), config, catalogue, now_ms),
        customer,
        account,
        subscription,
        period,
        flows,
        charged,
    })
}

/// The state of the ledger at a moment. Expired holds and grants count until they are settled, which the sweep does
/// at their expiry. Before the first entry there were no credits.
///
/// # Errors
/// `invalid_time` if the moment is in the future; [`Error::NotFound`] if there is no such account.
pub async fn balance_at(db: &Db, id: &CustomerId, at_ms: TimeMs, now_ms: TimeMs) -> Result<Standing> {
    if at_ms > now_ms {
        return Err(Error::invalid("invalid_time", "at must not be in the future: nobody knows that balance yet."));
    }
    standing_list(db.read(), id, &[at_ms]).await?.pop().ok_or(Error::NotFound("account"))
}

/// The states of the ledger at these moments, as of the given account: entries written after it was read are
/// ignored.
async fn read_standings(
    db: &impl ConnectionTrait,
    account: &Account,
    id: &CustomerId,
    moments_ms: &[TimeMs],
) -> Result<Vec<Standing>> {
    let now = Standing { seq: account.version, balance: account.balance, held: account.held };
    let found = standing_list(db, id, moments_ms).await?;
    Ok(found.into_iter().map(|standing| if standing.seq > now.seq { now } else { standing }).collect())
}

#[cfg(test)]
mod tests;
