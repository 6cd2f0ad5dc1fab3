//! The sweep over accounts: has those settled on which a hold or a grant has ended.
//!
//! Every decision settles first, so what customers are answered does not wait for this; it makes the line
//! in the ledger when nobody asks. Nodes sweep without knowing of each other: whoever comes second finds
//! nothing to do. An account that cannot be settled is left alone for ever longer, and the sweep goes on
//! behind it. A ledger that is overloaded or away is no account's fault: the sweep ends, and the next one
//! begins anew.

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
/// Most accounts whose failures are remembered; in a storm of failures the others are tried each time.
const FAILING_MAX: usize = 10_000;
/// The wait after a first failure; it doubles with each.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);
/// An operator is told, once, at this failure in a row: what passes by itself has passed by then.
const TELL_AT: u32 = 4;

/// What a sweep works with.
pub(super) struct SettleDeps<'a> {
    pub(super) db: &'a Db,
    pub(super) clock: &'a Clock,
    pub(super) customers: &'a Customers,
}

/// Accounts that could not be settled lately. An account that is settled is forgotten.
#[derive(Default)]
pub(super) struct Failing {
    by_customer: HashMap<CustomerId, Failed>,
}

struct Failed {
    times: u32,
    again_at: Instant,
}

impl Failing {
    /// Whether it is time to try an account (again).
    fn may_try(&self, customer: &CustomerId, now: Instant) -> bool {
        self.by_customer.get(customer).is_none_or(|failed| failed.again_at <= now)
    }

    /// Notes a failure; how many that makes in a row.
    fn note(&mut self, customer: &CustomerId, now: Instant) -> u32 {
        if self.by_customer.len() >= FAILING_MAX && !self.by_customer.contains_key(customer) {
            return 1;
        }
        let failed = self.by_customer.entry(customer.clone()).or_insert(Failed { times: 0, again_at: now });
        let wait = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failed.times)).min(BACKOFF_MAX);
        failed.times = failed.times.saturating_add(1);
        failed.again_at = now + wait;
        failed.times
    }

    /// Forgets those that nobody has found due for so long that somebody else must have settled them.
    fn forget_old(&mut self, now: Instant) {
        self.by_customer.retain(|_, failed| now.duration_since(failed.again_at) < BACKOFF_MAX);
    }
}

/// What came of trying to settle an account.
#[derive(Debug)]
enum Settled {
    /// It is settled.
    Done,
    /// It had nothing to settle.
    Idle,
    /// It cannot be settled, for a reason of its own.
    Failed(Error),
    /// The ledger is overloaded or away, which would fail any account.
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

/// Whether a sweep goes on behind a page.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

/// Settles all that is due, page by page; gives what is remembered for the next sweep.
pub(super) async fn settle(deps: &SettleDeps<'_>, mut failing: Failing) -> Failing {
    let mut after: Option<SettleDue> = None;
    loop {
        let now_ms = deps.clock.now_ms();
        let page = account::account_settle_due(deps.db.read(), now_ms, after.as_ref(), PAGE_MAX);
        let page = match within(ANSWER_MAX, page).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "accounts to be settled could not be looked up");
                return failing;
            }
        };
        after = page.last().cloned();
        let is_last = (page.len() as u64) < PAGE_MAX;
        if settle_page(deps, page, &mut failing).await == Next::End {
            return failing;
        }
        if is_last {
            failing.forget_old(Instant::now());
            return failing;
        }
    }
}

async fn settle_page(deps: &SettleDeps<'_>, mut page: Vec<SettleDue>, failing: &mut Failing) -> Next {
    let now = Instant::now();
    page.retain(|due| failing.may_try(&due.customer_id, now));
    // Nodes that sweep at one moment begin with different accounts.
    page.shuffle(&mut rand::rng());
    // Those under way are waited for; no other is begun.
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
                failing.by_customer.remove(&due.customer_id);
                let late_ms = (deps.clock.now_ms() - due.at_ms).max(0);
                metrics::histogram!(metric::SETTLE_LATE_SECONDS)
                    .record(Duration::from_millis(late_ms.unsigned_abs()).as_secs_f64());
            }
            Settled::Idle => {
                failing.by_customer.remove(&due.customer_id);
                idle.push(due.customer_id.to_string());
            }
            Settled::Overload(error) => {
                tracing::debug!(error = %error.chain(), "a sweep over accounts ended early");
            }
            Settled::Failed(error) => {
                metrics::counter!(metric::SETTLE_FAILED).increment(1);
                if failing.note(&due.customer_id, now) == TELL_AT {
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

/// Of most of these another node was quicker. What a node of the release before wrote, which does not know the
/// column, would be found again and again.
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
        let (mut failing, customer, other) = (Failing::default(), CustomerId::new(), CustomerId::new());
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for times in 1..=14 {
            assert!(failing.may_try(&customer, now));
            assert_eq!(failing.note(&customer, now), times);
            assert!(!failing.may_try(&customer, now));
            assert!(failing.may_try(&other, now));
            let again_at = failing.by_customer[&customer].again_at;
            waits.push((again_at - now).as_secs());
            now = again_at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600, 600]);
        failing.forget_old(now);
        assert_eq!(failing.by_customer.len(), 1);
        failing.forget_old(now + BACKOFF_MAX);
        assert!(failing.by_customer.is_empty());
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
        let (mut failing, now) = (Failing::default(), Instant::now());
        let customers: Vec<_> = (0..=FAILING_MAX).map(|n| CustomerId::trusted(format!("cst_{n}"))).collect();
        customers.iter().for_each(|customer| _ = failing.note(customer, now));
        assert_eq!(failing.by_customer.len(), FAILING_MAX);
        assert!(failing.may_try(customers.last().unwrap(), now), "the one too many is tried each time");
    }
}
