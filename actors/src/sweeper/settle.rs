//! The sweep over accounts: settles those with an expired hold or grant.
//!
//! Every command settles its account first, so no answer depends on this sweep. It only writes the entries of accounts
//! for which no command comes. Nodes sweep independently: the second one finds nothing to do. An account that cannot be
//! settled is retried with backoff while the sweep continues with the others. If the ledger is overloaded or
//! unavailable, the sweep ends and the next one starts over.
//!
//! What expires is decided in the engine's `domain::ledger::expire`.

use crate::customer::{Applied, Customers};
use crate::deadline::{ANSWER_MAX, within};
use bursar_engine::clock::Clock;
use bursar_engine::domain::ledger::Command;
use bursar_engine::error::Refusal;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::account::{self, SettleDue};
use bursar_engine::{Error, Result, metric};
use futures_util::{StreamExt, future, stream};
use rand::seq::SliceRandom;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of accounts read at once.
const PAGE_MAX: u64 = 500;
/// Accounts settled at once. Enough for large batches of commits.
const CONCURRENCY: usize = 64;
/// Maximum number of accounts with remembered failures. Further ones are retried in every sweep.
const FAILING_MAX: usize = 10_000;
/// The wait after the first failure. It doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);
/// The number of failures in a row at which a warning is logged, once.
const WARN_AT: u32 = 4;

pub(super) struct SettleDeps<'a> {
    pub(super) db: &'a Db,
    pub(super) clock: &'a Clock,
    pub(super) customers: &'a Customers,
}

/// Accounts whose last settlements failed.
#[derive(Default)]
pub(super) struct FailedAccounts {
    by_customer: HashMap<CustomerId, Failure>,
}

struct Failure {
    times: u32,
    retry_at: Instant,
}

impl FailedAccounts {
    /// Whether an account may be tried now.
    fn may_try(&self, customer: &CustomerId, now: Instant) -> bool {
        self.by_customer.get(customer).is_none_or(|failure| failure.retry_at <= now)
    }

    /// Records a failure. Returns the number of failures in a row.
    fn record_failure(&mut self, customer: &CustomerId, now: Instant) -> u32 {
        if self.by_customer.len() >= FAILING_MAX && !self.by_customer.contains_key(customer) {
            return 1;
        }
        let failure = self.by_customer.entry(customer.clone()).or_insert(Failure { times: 0, retry_at: now });
        let wait = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failure.times)).min(BACKOFF_MAX);
        failure.times = failure.times.saturating_add(1);
        failure.retry_at = now + wait;
        failure.times
    }

    /// Removes accounts that could be retried for `BACKOFF_MAX` and were no longer found due: another node has settled
    /// them.
    fn forget_old(&mut self, now: Instant) {
        self.by_customer.retain(|_, failure| now.duration_since(failure.retry_at) < BACKOFF_MAX);
    }
}

/// The result of settling an account.
#[derive(Debug)]
enum Settled {
    Done,
    /// There was nothing to settle.
    Idle,
    /// This account cannot be settled.
    Failed(Error),
    /// The ledger is overloaded or unavailable: every account would fail.
    Overload(Error),
}

impl Settled {
    fn from_answer(answer: Result<Applied>) -> Self {
        match answer {
            Ok(_) => Self::Done,
            Err(Error::Refused(Refusal::NothingToDo)) => Self::Idle,
            Err(error) if error.is_retryable() && !error.is_item_fault() => Self::Overload(error),
            Err(error) => Self::Failed(error),
        }
    }
}

/// Settles all due accounts, page by page. Returns the failed ones for the next sweep.
pub(super) async fn settle(deps: &SettleDeps<'_>, mut failed: FailedAccounts) -> FailedAccounts {
    let mut after: Option<SettleDue> = None;
    loop {
        let now_ms = deps.clock.now_ms();
        let page = account::account_settle_due(deps.db.read(), now_ms, after.as_ref(), PAGE_MAX);
        let page = match within(ANSWER_MAX, page).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "accounts to be settled could not be looked up");
                return failed;
            }
        };
        after = page.last().cloned();
        let is_last = (page.len() as u64) < PAGE_MAX;
        if settle_page(deps, page, &mut failed).await.is_break() {
            return failed;
        }
        if is_last {
            failed.forget_old(Instant::now());
            return failed;
        }
    }
}

async fn settle_page(deps: &SettleDeps<'_>, mut page: Vec<SettleDue>, failed: &mut FailedAccounts) -> ControlFlow<()> {
    let now = Instant::now();
    page.retain(|due| failed.may_try(&due.customer_id, now));
    // Nodes that sweep at the same time should start with different accounts.
    page.shuffle(&mut rand::rng());
    // After an overload, wait for those under way and start no others.
    let is_overload = &AtomicBool::new(false);
    let answers: Vec<_> = stream::iter(page)
        .take_while(|_| future::ready(!is_overload.load(Ordering::Relaxed)))
        .map(|due| async move {
            let settled = Settled::from_answer(deps.customers.apply(&due.customer_id, Command::settle()).await);
            is_overload.fetch_or(matches!(settled, Settled::Overload(_)), Ordering::Relaxed);
            (due, settled)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut idle = Vec::new();
    for (due, answer) in answers {
        match answer {
            Settled::Done => {
                failed.by_customer.remove(&due.customer_id);
                let late_ms = (deps.clock.now_ms() - due.at_ms).max(0);
                metrics::histogram!(metric::SETTLE_LATE_SECONDS)
                    .record(Duration::from_millis(late_ms.unsigned_abs()).as_secs_f64());
            }
            Settled::Idle => {
                failed.by_customer.remove(&due.customer_id);
                idle.push(due.customer_id.to_string());
            }
            Settled::Overload(error) => {
                tracing::debug!(error = %error.chain(), "a sweep over accounts ended early");
            }
            Settled::Failed(error) => {
                metrics::counter!(metric::SETTLE_FAILED).increment(1);
                if failed.record_failure(&due.customer_id, now) == WARN_AT {
                    let error = error.chain();
                    tracing::warn!(customer.id = %due.customer_id, error, "an account cannot be settled; it is retried with backoff");
                }
            }
        }
    }
    if let Err(error) = correct_due_column(deps.db, &idle).await {
        tracing::debug!(error = %error.chain(), "accounts with nothing to settle could not be corrected");
    }
    if is_overload.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Corrects the column by which due accounts are found. Most of these accounts were just settled by another node. But a
/// node of the previous release does not update the column, so its accounts would be found in every sweep.
async fn correct_due_column(db: &Db, customers: &[String]) -> Result<()> {
    if customers.is_empty() {
        return Ok(());
    }
    let corrected = within(ANSWER_MAX, account::account_settle_correct(db.write(), customers)).await?;
    if corrected > 0 {
        tracing::info!(accounts = corrected, "accounts written by a node of the previous release were corrected");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_account_backs_off_without_delaying_others() {
        let (mut failed, customer, other) = (FailedAccounts::default(), CustomerId::new(), CustomerId::new());
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for times in 1..=14 {
            assert!(failed.may_try(&customer, now));
            assert_eq!(failed.record_failure(&customer, now), times);
            assert!(!failed.may_try(&customer, now));
            assert!(failed.may_try(&other, now));
            let retry_at = failed.by_customer[&customer].retry_at;
            waits.push((retry_at - now).as_secs());
            now = retry_at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600]);
        failed.forget_old(now);
        assert_eq!(failed.by_customer.len(), 1);
        failed.forget_old(now + BACKOFF_MAX);
        assert!(failed.by_customer.is_empty());
    }

    #[test]
    fn an_overload_is_not_an_account_failure() {
        for error in [Error::Busy("the ledger"), Error::Timeout("the ledger"), Error::Unavailable("the database")] {
            assert!(matches!(Settled::from_answer(Err(error)), Settled::Overload(_)));
        }
        for error in [Error::Stuck("this account"), Error::Corrupt("no JSON".to_owned()), Error::NotFound("account")] {
            assert!(matches!(Settled::from_answer(Err(error)), Settled::Failed(_)));
        }
        assert!(matches!(Settled::from_answer(Err(Refusal::NothingToDo.into())), Settled::Idle));
    }

    #[test]
    fn the_number_of_remembered_failures_is_limited() {
        let (mut failed, now) = (FailedAccounts::default(), Instant::now());
        let customers: Vec<_> = (0..=FAILING_MAX).map(|n| CustomerId::trusted(format!("cst_{n}"))).collect();
        customers.iter().for_each(|customer| _ = failed.record_failure(customer, now));
        assert_eq!(failed.by_customer.len(), FAILING_MAX);
        assert!(failed.may_try(customers.last().unwrap(), now), "further accounts are retried every time");
    }
}
