//! Requests a reconciliation with Stripe: its window, and its record with its job.

use crate::clock::TimeMs;
use crate::config::ReconcileWindow;
use crate::domain::audit::Audit;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::{JobKind, NewJob, Wake};
use crate::domain::reconcile::{Counts, Phase, Reconciliation, State};
#[cfg(doc)]
use crate::error::Refusal;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, ReconciliationId};
use crate::infra::store::customer::customer_find;
use crate::infra::store::{Db, audit, job, reconciliation as rows};
use serde_json::json;

/// How long Stripe lists events, and so the longest window. Source: Stripe, "List all events".
pub const WINDOW_MAX_MS: i64 = 30 * DAY_MS;
/// Overlap between the windows of two runs, so that they leave no gap.
const OVERLAP_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The stream of all runs.
const STREAM: &str = "stripe.reconcile";

/// The request for a new run.
#[derive(Debug, Clone)]
pub struct NewReconciliation {
    /// Length of the window; by default it begins at the previous run's end.
    pub window_ms: Option<i64>,
    /// Whether to repair safe differences or only report.
    pub repair: bool,
    /// Whether to compare all customers and subscriptions, and not only what changed. The first run does.
    pub is_full: bool,
    /// The only customer to compare, all of whose objects are compared.
    pub only_customer: Option<CustomerId>,
    /// The requester.
    pub actor: String,
    /// Makes a retry a no-op.
    pub request_key: String,
    /// Distinguishes a repeated request from another one under the same key.
    pub request_hash: String,
}

/// A requested run.
#[derive(Debug)]
pub struct BegunRun {
    /// A new run, or the earlier one with the same key.
    pub run: Reconciliation,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Records a run with its job and an audit entry, or finds the earlier one with the same key.
///
/// # Errors
/// `invalid_window`; `NotFound` if there is no such customer; `reconciliation_running` while another one is under way;
/// [`Refusal::KeyReused`].
pub async fn begin(db: &Db, new: NewReconciliation, window: ReconcileWindow, now_ms: TimeMs) -> Result<BegunRun> {
    if new.window_ms.is_some_and(|window_ms| !(1..=WINDOW_MAX_MS).contains(&window_ms)) {
        return Err(Error::invalid("invalid_window", "a reconciliation looks back at most 30 days"));
    }
    let tx = db.begin().await?;
    // A run whose job is dead or cancelled cannot end itself.
    rows::reconciliation_abandon(&tx, now_ms).await?;
    if let Some(run) = rows::reconciliation_find_by_key(&tx, &new.request_key).await? {
        tx.commit().await?;
        return repeat_begun(run, &new.request_hash);
    }
    if let Some(customer) = &new.only_customer {
        customer_find(&tx, customer).await?.ok_or(Error::NotFound("customer"))?;
    }
    let before = rows::reconciliation_last_whole(&tx).await?.as_ref().map(PreviousRun::of);
    let (run, work) = plan_run(new, before, window, now_ms);
    if !rows::reconciliation_insert(&tx, &run).await? {
        tx.rollback().await?;
        // The same request may have arrived twice at once, and the other one was first.
        if let Some(first) = rows::reconciliation_find_by_key(db.write(), &run.request_key).await? {
            return repeat_begun(first, &run.request_hash);
        }
        return Err(Error::conflict("reconciliation_running", "another reconciliation is under way"));
    }
    let wakes = job::job_insert_many(&tx, &[work], now_ms).await?;
    let only_customer = run.only_customer.as_ref().map(CustomerId::as_str);
    let details = json!({
        "repair": run.repair, "since_ms": run.since_ms, "full": run.is_full, "customer": only_customer,
    });
    let line = Audit::new(run.requested_by.clone(), "stripe.reconcile", &run.id, &details);
    audit::audit_append(&tx, &line, now_ms).await?;
    tx.commit().await?;
    Ok(BegunRun { run, wakes })
}

/// The window and result of the previous run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousRun {
    /// The beginning of its window.
    pub since_ms: TimeMs,
    /// The end of its window: younger objects are left to their events and the next run.
    pub until_ms: TimeMs,
    /// Whether it found no differences.
    pub is_clean: bool,
}

impl PreviousRun {
    fn of(run: &Reconciliation) -> Self {
        Self { since_ms: run.since_ms, until_ms: run.until_ms, is_clean: run.counts.total().found == 0 }
    }
}

/// The beginning of a run's window: the end of the previous one, minus an overlap. If that run found anything, its
/// window is repeated, because a repair may have failed, and unrepaired differences stay visible.
pub fn window_since_ms(asked_ms: Option<i64>, before: Option<PreviousRun>, first_ms: i64, now_ms: TimeMs) -> TimeMs {
    let since_ms = match (asked_ms, before) {
        (Some(window_ms), _) => now_ms - window_ms,
        (None, Some(before)) if before.is_clean => before.until_ms - OVERLAP_MS,
        (None, Some(before)) => before.since_ms,
        (None, None) => now_ms - first_ms,
    };
    since_ms.max(now_ms - WINDOW_MAX_MS)
}

/// Returns a run that was already requested, if the request is the same.
fn repeat_begun(run: Reconciliation, request_hash: &str) -> Result<BegunRun> {
    check_same_request(Some(&run.request_hash), Some(request_hash))?;
    Ok(BegunRun { run, wakes: Vec::new() })
}

/// Builds a run and its job.
fn plan_run(
    new: NewReconciliation,
    before: Option<PreviousRun>,
    window: ReconcileWindow,
    now_ms: TimeMs,
) -> (Reconciliation, NewJob) {
    let due_since_ms = window_since_ms(None, before, window.first_ms, now_ms);
    let since_ms = match &new.only_customer {
        // All of a customer's objects are compared.
        Some(_) => 0,
        None => window_since_ms(new.window_ms, before, window.first_ms, now_ms),
    };
    // What changed before the window, and after the previous run, is not found by its time.
    let is_gap = before.is_none_or(|before| before.until_ms < now_ms - WINDOW_MAX_MS);
    // A window of one customer is of no use to the next run.
    let moves_next_start = since_ms <= due_since_ms && new.only_customer.is_none();
    let first_phase = Phase::ALL.into_iter().find(|phase| new.only_customer.is_none() || phase.is_of_customer());
    let id = ReconciliationId::new();
    let mut work = NewJob::new(JobKind::StripeReconcile, json!({ "reconciliation": id.as_str() }).to_string(), now_ms);
    work.stream_key = Some(match &new.only_customer {
        Some(customer) => format!("{STREAM}:{customer}"),
        None => STREAM.to_owned(),
    });
    let run = Reconciliation {
        id,
        state: State::Running,
        repair: new.repair,
        is_full: (new.is_full || is_gap) && new.only_customer.is_none(),
        only_customer: new.only_customer,
        since_ms,
        until_ms: now_ms - window.grace_ms,
        moves_next_start,
        phase: first_phase.unwrap_or(Phase::ALL[0]),
        cursor: None,
        counts: Counts::default(),
        reason: None,
        job_id: work.id.clone(),
        requested_by: new.actor,
        request_key: new.request_key,
        request_hash: new.request_hash,
        created_at_ms: now_ms,
        finished_at_ms: None,
    };
    (run, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(is_clean: bool) -> PreviousRun {
        PreviousRun { since_ms: 49 * DAY_MS, until_ms: 50 * DAY_MS, is_clean }
    }

    #[test]
    fn a_run_looks_back_to_the_one_before_it_and_a_little_further() {
        let since_ms = |asked_ms, before| window_since_ms(asked_ms, before, 3 * DAY_MS, 51 * DAY_MS);
        assert_eq!(since_ms(None, Some(before(true))), 50 * DAY_MS - OVERLAP_MS);
        assert_eq!(since_ms(None, None), 48 * DAY_MS);
        assert_eq!(since_ms(Some(DAY_MS), Some(before(false))), 50 * DAY_MS);
    }

    #[test]
    fn no_grace_is_so_long_that_two_runs_leave_a_gap() {
        let window = ReconcileWindow { first_ms: 3 * DAY_MS, grace_ms: DAY_MS };
        let asked = || NewReconciliation {
            window_ms: None,
            repair: true,
            is_full: false,
            only_customer: None,
            actor: "system".to_owned(),
            request_key: String::new(),
            request_hash: String::new(),
        };
        let (first, _) = plan_run(asked(), None, window, 50 * DAY_MS);
        let (second, _) = plan_run(asked(), Some(PreviousRun::of(&first)), window, 51 * DAY_MS);
        assert!(second.since_ms < first.until_ms, "{} {}", second.since_ms, first.until_ms);
        assert!(second.moves_next_start);
        assert!(first.is_full && !second.is_full, "the first run compares everything");
        let (late, _) = plan_run(asked(), Some(PreviousRun::of(&first)), window, 100 * DAY_MS);
        assert!(late.is_full, "so does one after more time than a window has");
    }

    #[test]
    fn a_run_of_one_customer_compares_all_of_it_and_moves_nothing() {
        let window = ReconcileWindow { first_ms: 3 * DAY_MS, grace_ms: DAY_MS };
        let customer = CustomerId::new();
        let asked = NewReconciliation {
            window_ms: None,
            repair: true,
            is_full: false,
            only_customer: Some(customer.clone()),
            actor: "admin:ada".to_owned(),
            request_key: String::new(),
            request_hash: String::new(),
        };
        let (run, work) = plan_run(asked, Some(before(true)), window, 51 * DAY_MS);
        assert_eq!((run.since_ms, run.moves_next_start, run.phase), (0, false, Phase::CustomersHere));
        assert_eq!(work.stream_key, Some(format!("{STREAM}:{customer}")));
    }

    #[test]
    fn after_a_run_that_found_something_the_next_one_looks_at_the_same_once_more() {
        assert_eq!(window_since_ms(None, Some(before(false)), DAY_MS, 51 * DAY_MS), 49 * DAY_MS);
    }

    #[test]
    fn no_run_looks_further_back_than_stripe_lists_events() {
        assert_eq!(window_since_ms(None, Some(before(false)), DAY_MS, 100 * DAY_MS), 70 * DAY_MS);
    }
}
