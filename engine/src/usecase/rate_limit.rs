//! Takes from a rate limit that all nodes share: [`take`] from one of few requests, in one statement; [`answer_many`]
//! for the processes' shares of larger ones; [`take_audited`] in a customer's transaction.

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::rate_limit::log::{Asked, Taken};
use crate::domain::rate_limit::share::Question;
use crate::domain::rate_limit::{Admission, LIMIT_MAX, Quota, count_left};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::rate_log::{RateLog, RateLogWrite, rate_log_find, rate_log_lock_many, rate_log_put_many};
use crate::infra::store::{Db, audit, customer, rate_limit};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use std::collections::BTreeMap;

/// How often a batch is tried whose new rows another node writes at the same moment.
const TRIES_MAX: u32 = 3;

/// Takes one of the `limit` requests of a key in any `window_ms`. The key names the limit and its subject, such as
/// `signup:203.0.113.7`. A taken request cannot be returned.
///
/// # Errors
/// If the database fails; then nothing was taken, or one request that remains unused.
pub async fn take(db: &Db, key: &str, limit: u32, window_ms: i64, now_ms: TimeMs) -> Result<Admission> {
    Ok(take_counted(db, key, limit, window_ms, now_ms).await?.0)
}

/// As [`take`], with the number of requests that are left.
///
/// # Errors
/// If the database fails.
pub async fn take_counted(db: &Db, key: &str, limit: u32, window_ms: i64, now_ms: TimeMs) -> Result<(Admission, u32)> {
    take_on((db.write(), db.read()), key, limit, window_ms, now_ms).await
}

/// As [`take`], in the caller's transaction: its rollback returns what was taken.
///
/// # Errors
/// If the database fails.
pub async fn take_within(
    tx: &impl ConnectionTrait,
    key: &str,
    limit: u32,
    window_ms: i64,
    now_ms: TimeMs,
) -> Result<Admission> {
    Ok(take_on((tx, tx), key, limit, window_ms, now_ms).await?.0)
}

async fn take_on(
    (write, read): (&impl ConnectionTrait, &impl ConnectionTrait),
    key: &str,
    limit: u32,
    window_ms: i64,
    now_ms: TimeMs,
) -> Result<(Admission, u32)> {
    let limit = limit.min(LIMIT_MAX);
    if limit == 0 {
        return Ok((Admission::Denied { retry_after_ms: window_ms }, 0));
    }
    if let Some(times_ms) = rate_limit::rate_limit_take(write, key, limit, window_ms, now_ms).await? {
        return Ok((Admission::Allowed, count_left(times_ms.into_iter(), limit, window_ms, now_ms)));
    }
    let oldest_ms = rate_limit::rate_limit_oldest(read, key, limit).await?;
    // A missing row was pruned meanwhile, so the next request is allowed.
    let free_at_ms = oldest_ms.map_or(now_ms, |oldest_ms| oldest_ms.saturating_add(window_ms));
    Ok((Admission::Denied { retry_after_ms: (free_at_ms - now_ms).clamp(1, window_ms.max(1)) }, 0))
}

/// A process's question about the log of a key.
#[derive(Debug, Clone)]
pub struct LogQuestion {
    /// Names the limit and its subject, such as `writes:cus_…`.
    pub key: String,
    /// The limit.
    pub quota: Quota,
    /// The question.
    pub question: Question,
}

/// Answers the questions of a process in one transaction, in their order: what is settled and given back counts before
/// what is asked. `None` for those that ask nothing.
///
/// # Errors
/// If the database fails; then nothing was taken, or units that count as used for a window. `Busy` if other nodes were
/// faster each time.
pub async fn answer_many(db: &Db, questions: &[LogQuestion], now_ms: TimeMs) -> Result<Vec<Option<Taken>>> {
    for _ in 0..TRIES_MAX {
        let tx = db.begin().await?;
        if let Some(answers) = answer_within(&tx, questions, now_ms).await? {
            tx.commit().await?;
            return Ok(answers);
        }
        tx.rollback().await?;
    }
    Err(Error::Busy("a rate limit"))
}

/// `None` if another node wrote one of the rows first.
async fn answer_within(
    tx: &DatabaseTransaction,
    questions: &[LogQuestion],
    now_ms: TimeMs,
) -> Result<Option<Vec<Option<Taken>>>> {
    let mut logs: BTreeMap<String, (Quota, RateLog, bool)> =
        questions.iter().map(|asked| (asked.key.clone(), (asked.quota, RateLog::default(), false))).collect();
    let keys: Vec<String> = logs.keys().cloned().collect();
    for (key, found) in rate_log_lock_many(tx, &keys).await? {
        if let Some((_, log, _)) = logs.get_mut(&key) {
            *log = found;
        }
    }
    let mut answers = Vec::with_capacity(questions.len());
    for LogQuestion { key, quota, question } in questions {
        let Some((_, RateLog { log, .. }, is_changed)) = logs.get_mut(key) else { continue };
        question.settled.into_iter().for_each(|share| log.settle(*quota, share));
        log.give_back(question.given_back);
        let taken = question.asked.map(|asked| log.take(*quota, asked, now_ms));
        *is_changed |= question.settled.is_some() || question.given_back > 0;
        *is_changed |= matches!(taken, Some(Taken::Share { .. }));
        answers.push(taken);
    }
    let writes: Vec<RateLogWrite<'_>> = logs
        .iter()
        .filter(|(_, (_, _, is_changed))| *is_changed)
        .map(|(key, (quota, log, _))| RateLogWrite { key, log, until_ms: log.log.ends_at_ms(*quota) })
        .collect();
    Ok(rate_log_put_many(tx, &writes).await?.then_some(answers))
}

/// Takes one unit of a customer's limit in the transaction of the act that is limited, with the line of the audit log
/// about that act: both are there if the transaction commits, and neither if it does not. It locks the customer first,
/// as its other acts do, so that nodes decide one after the other. Nothing is written if the limit is reached.
///
/// A repeated act is to be recognized before.
///
/// # Errors
/// `NotFound` without the customer; errors of the database: no unit is taken, and the act does not happen.
pub async fn take_audited(
    tx: &DatabaseTransaction,
    limit: (&str, Quota),
    customer_id: &CustomerId,
    line: &Audit,
    now_ms: TimeMs,
) -> Result<Taken> {
    let (name, quota) = limit;
    if !customer::customer_lock(tx, customer_id).await? {
        return Err(Error::NotFound("customer"));
    }
    let key = format!("{name}:{customer_id}");
    let mut found = rate_log_find(tx, &key).await?.unwrap_or_default();
    let taken = found.log.take(quota, Asked::now(1), now_ms);
    if matches!(taken, Taken::Share { .. }) {
        let write = RateLogWrite { key: &key, log: &found, until_ms: found.log.ends_at_ms(quota) };
        if !rate_log_put_many(tx, &[write]).await? {
            return Err(Error::Busy("a rate limit"));
        }
        audit::audit_append(tx, line, now_ms).await?;
    }
    Ok(taken)
}
