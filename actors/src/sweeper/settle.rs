//! The sweep over accounts: settles those with a hold or a grant that has ended.
//!
//! Every command settles its account first, so answers to customers never wait for this sweep; it writes the entry
//! when no command comes. Nodes sweep independently: the second one finds nothing to do. An account that cannot be
//! settled is tried at growing intervals, and the sweep continues with the others. An overloaded or absent ledger is
//! no account's fault: the sweep ends, and the next one begins from the start.

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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Most accounts read at once.
const PAGE_MAX: u64 = 500;
/// Accounts that are being settled at once. Their commits are gathered, so few make large batches.
const AT_ONCE: usize = 64;
/// Most accounts whose failures are remembered; further ones are tried in each sweep.
const FAILING_MAX: usize = 10_000;
/// The wait after a first failure; it doubles with each.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);
/// The failure in a row at which a warning is logged, once: by then it will not pass by itself.
const WARN_AT: u32 = 4;

/// What a sweep works with.
pub(super) struct SettleDeps<'a> {
    pub(super) db: &'a Db,
    pub(super) clock: &'a Clock,
    pub(super) customers: &'a Customers,
}

/// Accounts that could not be settled lately. An account that is settled is forgotten.
#[derive(Default)]
pub(super) struct FailedAccounts {
    by_customer: HashMap<CustomerId, Failure>,
}

struct Failure {
    times: u32,
    retry_at: Instant,
}

impl FailedAccounts {
    /// Whether it is time to try an account (again).
    fn may_try(&self, customer: &CustomerId, now: Instant) -> bool {
        self.by_customer.get(customer).is_none_or(|failure| failure.retry_at <= now)
    }

    /// Records a failure; returns how many that makes in a row.
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

    /// Forgets accounts that were not found due for so long that another node must have settled them.
    fn forget_old(&mut self, now: Instant) {
        self.by_customer.retain(|_, failure| now.duration_since(failure.retry_at) < BACKOFF_MAX);
    }
}

/// The result of settling an account.
#[derive(Debug)]
enum Settled {
    /// It is settled.
    Done,
    /// It had nothing to settle.
    Idle,
    /// It cannot be settled, for a reason of its own.
    Failed(Error),
    /// The ledger is overloaded or absent: any account would fail.
    Overload(Error),
}

impl Settled {
    fn of(answer: Result<Applied>) -> Self {
        match answer {
            Ok(_) => Self::Done,
            Err(Error::Refused(Refusal::NothingToDo)) => Self::Idle,
            Err(error) if error.is_retryable() && !error.is_item_fault() => Self::Overload(error),
            Err(error) => Self::Failed(error),
        }
    }
}

/// Whether the sweep goes on with the next page.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// Settles all accounts that are due, page by page; returns the failed ones for the next sweep.
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
        if settle_page(deps, page, &mut failed).await == Next::End {
            return failed;
        }
        if is_last {
            failed.forget_old(Instant::now());
            return failed;
        }
    }
}

async fn settle_page(deps: &SettleDeps<'_>, mut page: Vec<SettleDue>, failed: &mut FailedAccounts) -> Next {
    let now = Instant::now();
    page.retain(|due| failed.may_try(&due.customer_id, now));
    // So that nodes that sweep at the same moment begin with different accounts.
    page.shuffle(&mut rand::rng());
    // After an overload those under way are awaited, and no other is begun.
    let is_overload = &AtomicBool::new(false);
    let answers: Vec<_> = stream::iter(page)
        .take_while(|_| future::ready(!is_overload.load(Ordering::Relaxed)))
        .map(|due| async move {
            let settled = Settled::of(deps.customers.apply(&due.customer_id, Command::settle()).await);
            is_overload.fetch_or(matches!(settled, Settled::Overload(_)), Ordering::Relaxed);
            (due, settled)
        })
        .buffer_unordered(AT_ONCE)
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
                    tracing::warn!(customer.id = %due.customer_id, error, "an account cannot be settled; it is tried ever less often");
                }
            }
        }
    }
    if let Err(error) = mend(deps.db, &idle).await {
        tracing::debug!(error = %error.chain(), "accounts with nothing to settle could not be looked at");
    }
    if is_overload.load(Ordering::Relaxed) { Next::End } else { Next::GoOn }
}

/// Corrects the column by which accounts are found due. Most of these accounts were settled by another node just now;
/// those written by a node of the previous release, which does not know the column, would be found in every sweep.
async fn mend(db: &Db, customers: &[String]) -> Result<()> {
    if customers.is_empty() {
        return Ok(());
    }
    let mended = within(ANSWER_MAX, account::account_settle_correct(db.write(), customers)).await?;
    if mended > 0 {
        tracing::info!(accounts = mended, "accounts of an older node were put in order");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_fails_is_tried_ever_less_often_and_others_are_not_kept_waiting() {
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
    fn an_overload_is_no_fault_of_the_account_that_met_it() {
        for error in [Error::Busy("the ledger"), Error::Timeout("the ledger"), Error::Unavailable("the database")] {
            assert!(matches!(Settled::of(Err(error)), Settled::Overload(_)));
        }
        for error in [Error::Stuck("this account"), Error::Corrupt("no JSON".to_owned()), Error::NotFound("account")] {
            assert!(matches!(Settled::of(Err(error)), Settled::Failed(_)));
        }
        assert!(matches!(Settled::of(Err(Refusal::NothingToDo.into())), Settled::Idle));
    }

    #[test]
    fn failures_are_remembered_of_so_many_accounts_and_no_more() {
        let (mut failed, now) = (FailedAccounts::default(), Instant::now());
        let customers: Vec<_> = (0..=FAILING_MAX).map(|n| CustomerId::trusted(format!("cst_{n}"))).collect();
        customers.iter().for_each(|customer| _ = failed.record_failure(customer, now));
        assert_eq!(failed.by_customer.len(), FAILING_MAX);
        assert!(failed.may_try(customers.last().unwrap(), now), "the one too many is tried each time");
    }
}
