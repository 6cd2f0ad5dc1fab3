//! Reconciliation: what is known here against what Stripe has.
//!
//! Webhooks get lost: an endpoint was away for longer than Stripe tries, an event was never made, a
//! database was restored. A run walks through Stripe's lists, phase after phase, and compares. What is
//! safe to repair is repaired by telling ourselves of it, as an event in the stream where Stripe's own
//! would have gone, so that the rules and the order are the same; everything else is reported for a
//! person. A run is a stored object: it goes on where it was after a crash, and can be read later.
//!
//! | module | what is in it |
//! |---|---|
//! | [`class`] | phases, and the classes of differences |
//! | [`difference`] | one difference, and what mends it |
//! | [`events`], [`customers`], [`subscriptions`], [`invoices`], [`payments`], [`refunds`] | the rules: ours and theirs → differences, pure |
//! | this one | a run, its window, its beginning |
//!
//! What Stripe told of a moment ago is no difference: its event is still on its way ([`difference::settled`]).

pub mod class;
pub mod customers;
pub mod difference;
pub mod events;
#[cfg(test)]
mod example;
pub mod invoices;
pub mod payments;
pub mod refunds;
pub mod subscriptions;

pub use class::{Class, Phase};
pub use difference::{Difference, Repair};

use crate::clock::TimeMs;
use crate::domain::effect::Audit;
use crate::domain::job::{JobKind, NewJob, Wake};
use crate::domain::ledger::Refusal;
use crate::error::{Error, Result};
use crate::ids::{CustomerId, JobId, ReconciliationId};
use crate::infra::store::{Db, audit, job, reconciliation as rows};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// How far back Stripe lists events, and so the farthest that a run looks. Source: Stripe, "List all
/// events".
pub const WINDOW_MAX_MS: i64 = 30 * DAY_MS;
/// Differences of one class that one run keeps in words; the rest is only counted.
pub const FINDINGS_PER_CLASS_MAX: i64 = 200;
/// A run begins this long before the one before it began, so that no moment falls between two.
const OVERLAP_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The stream of all runs.
const STREAM: &str = "stripe.reconcile";

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Under way; only one run is.
    Running,
    /// It compared everything.
    Done,
    /// It could not be done to its end.
    Failed,
    /// There is nothing to compare with.
    Cancelled,
}

impl State {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// How many differences of a class a run found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Found.
    pub found: i64,
    /// Of these, those whose repair was begun.
    pub repaired: i64,
}

impl Tally {
    /// What is left for a person, or for a run that repairs.
    pub fn left(self) -> i64 {
        self.found - self.repaired
    }
}

/// What a run has counted, by the stored names of phases and classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Objects looked at in each phase.
    pub checked: BTreeMap<String, i64>,
    /// Differences of each class.
    pub classes: BTreeMap<String, Tally>,
    /// Differences that are kept in words.
    pub findings: i64,
}

impl Counts {
    /// Objects looked at in a phase.
    pub fn checked(&self, phase: Phase) -> i64 {
        self.checked.get(phase.as_str()).copied().unwrap_or(0)
    }

    /// Differences of a class.
    pub fn tally(&self, class: Class) -> Tally {
        self.classes.get(class.as_str()).copied().unwrap_or_default()
    }

    /// Differences of all classes.
    pub fn total(&self) -> Tally {
        self.classes.values().fold(Tally::default(), |sum, tally| Tally {
            found: sum.found + tally.found,
            repaired: sum.repaired + tally.repaired,
        })
    }

    /// Counts objects that were looked at.
    pub fn look(&mut self, phase: Phase, objects: usize) {
        *self.checked.entry(phase.as_str().to_owned()).or_default() += i64::try_from(objects).unwrap_or(i64::MAX);
    }

    /// Counts a difference; gives it as a finding if there is room for it in words.
    pub fn add(&mut self, difference: &Difference, is_repaired: bool) -> Option<Finding> {
        let tally = self.classes.entry(difference.class.as_str().to_owned()).or_default();
        tally.found += 1;
        tally.repaired += i64::from(is_repaired);
        if tally.found > FINDINGS_PER_CLASS_MAX {
            return None;
        }
        self.findings += 1;
        Some(Finding {
            n: self.findings,
            class: difference.class.as_str().to_owned(),
            object_id: difference.object_id.clone(),
            customer_id: difference.customer_id.clone(),
            ours: difference.ours.clone(),
            theirs: difference.theirs.clone(),
            is_repaired,
        })
    }
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Its identifier.
    pub id: ReconciliationId,
    /// Where it stands.
    pub state: State,
    /// Whether it repairs what is safe, or only reports.
    pub repair: bool,
    /// It looks at what Stripe made since then …
    pub since_ms: TimeMs,
    /// … and until then: what is younger is still on its way.
    pub until_ms: TimeMs,
    /// Whether it looks as far back as one would of which nobody said how far: the next one then begins
    /// where it did.
    pub is_whole: bool,
    /// What it compares now.
    pub phase: Phase,
    /// The last object that it has compared in this phase.
    pub cursor: Option<String>,
    /// What it has counted.
    pub counts: Counts,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// The job that carries it out.
    pub job_id: JobId,
    /// Who asked for it: `admin:<name>`, `system`.
    pub requested_by: String,
    /// Under which key.
    pub request_key: String,
    /// What tells a repeated request from another one under the same key.
    pub request_hash: String,
    /// When it was asked for.
    pub created_at_ms: TimeMs,
    /// When it ended.
    pub finished_at_ms: Option<TimeMs>,
}

impl Reconciliation {
    /// The run, ended.
    pub fn ended(self, state: State, reason: Option<String>, now_ms: TimeMs) -> Self {
        Self { state, reason, finished_at_ms: Some(now_ms), ..self }
    }
}

/// A difference as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its number within the run, from 1.
    pub n: i64,
    /// Its class, as stored: a newer node may know more of them.
    pub class: String,
    /// The object at Stripe.
    pub object_id: String,
    /// Whose it is, as far as known.
    pub customer_id: Option<CustomerId>,
    /// What is here, in words.
    pub ours: String,
    /// What Stripe has, in words.
    pub theirs: String,
    /// Whether its repair was begun.
    pub is_repaired: bool,
}

/// What a step of a run wants written, together with the end of its attempt.
#[derive(Debug, Clone)]
pub struct Step {
    /// The run as it stands after it.
    pub run: Reconciliation,
    /// What it found.
    pub findings: Vec<Finding>,
    /// Objects that Stripe has, so that what is here and not among them can be told.
    pub seen: Vec<String>,
}

/// What a new run is asked for.
#[derive(Debug, Clone)]
pub struct NewReconciliation {
    /// Look back this long; if nothing is said, to the run before.
    pub window_ms: Option<i64>,
    /// Repair what is safe, or only report.
    pub repair: bool,
    /// Who asks.
    pub actor: String,
    /// The second time does nothing.
    pub request_key: String,
    /// What tells a repeated request from another one under the same key.
    pub request_hash: String,
}

/// How far runs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How far back a run looks if there was none before it.
    pub first_ms: i64,
    /// What is younger than this is left to its event.
    pub grace_ms: i64,
}

/// What a run leaves to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Since when it compared.
    pub since_ms: TimeMs,
    /// Until when: what was younger it left to its event, and to the next run.
    pub until_ms: TimeMs,
    /// Whether it found nothing.
    pub is_clean: bool,
}

impl Before {
    fn of(run: &Reconciliation) -> Self {
        Self { since_ms: run.since_ms, until_ms: run.until_ms, is_clean: run.counts.total().found == 0 }
    }
}

/// Since when a run compares: since where the one before it ended, and a little before. If that one found
/// anything, all of its window once more: a repair may have failed, and what is left for a person stays
/// in view.
pub fn window_since_ms(asked_ms: Option<i64>, before: Option<Before>, first_ms: i64, now_ms: TimeMs) -> TimeMs {
    let since_ms = match (asked_ms, before) {
        (Some(window_ms), _) => now_ms - window_ms,
        (None, Some(before)) if before.is_clean => before.until_ms - OVERLAP_MS,
        (None, Some(before)) => before.since_ms,
        (None, None) => now_ms - first_ms,
    };
    since_ms.max(now_ms - WINDOW_MAX_MS)
}

/// A run that was asked for.
#[derive(Debug)]
pub struct Begun {
    /// A new one, or the one that the same key asked for before.
    pub run: Reconciliation,
    /// What to wake.
    pub wakes: Vec<Wake>,
}

/// Records a run with its job and a line in the audit log, or finds the one that the same key asked for.
///
/// # Errors
/// `invalid_window`; `reconciliation_running` while another one is under way; [`Refusal::KeyReused`].
pub async fn begin(db: &Db, new: NewReconciliation, reach: Reach, now_ms: TimeMs) -> Result<Begun> {
    if new.window_ms.is_some_and(|window_ms| !(1..=WINDOW_MAX_MS).contains(&window_ms)) {
        return Err(Error::invalid("invalid_window", "a reconciliation looks back at most 30 days"));
    }
    let tx = db.begin().await?;
    // A job that was given up or cancelled by support cannot say so itself.
    rows::reconciliation_abandon(&tx, now_ms).await?;
    if let Some(run) = rows::reconciliation_find_by_key(&tx, &new.request_key).await? {
        tx.commit().await?;
        return begun_before(run, &new.request_hash);
    }
    let before = rows::reconciliation_last_whole(&tx).await?.as_ref().map(Before::of);
    let (run, work) = planned(new, before, reach, now_ms);
    if !rows::reconciliation_insert(&tx, &run).await? {
        tx.rollback().await?;
        // The same request may have come twice at once; then the other one was first.
        if let Some(first) = rows::reconciliation_find_by_key(db.write(), &run.request_key).await? {
            return begun_before(first, &run.request_hash);
        }
        return Err(Error::conflict("reconciliation_running", "another reconciliation is under way"));
    }
    let wakes = job::job_insert_many(&tx, &[work], now_ms).await?;
    let line = Audit {
        actor: run.requested_by.clone(),
        action: "stripe.reconcile",
        target: run.id.to_string(),
        details: json!({ "repair": run.repair, "since_ms": run.since_ms }).to_string(),
    };
    audit::audit_append(&tx, &line, now_ms).await?;
    tx.commit().await?;
    Ok(Begun { run, wakes })
}

/// A run that its key asked for before.
fn begun_before(run: Reconciliation, request_hash: &str) -> Result<Begun> {
    if run.request_hash == request_hash { Ok(Begun { run, wakes: Vec::new() }) } else { Err(Refusal::KeyReused.into()) }
}

/// A run that is about to be recorded, and the job that carries it out.
fn planned(new: NewReconciliation, before: Option<Before>, reach: Reach, now_ms: TimeMs) -> (Reconciliation, NewJob) {
    let due_since_ms = window_since_ms(None, before, reach.first_ms, now_ms);
    let since_ms = window_since_ms(new.window_ms, before, reach.first_ms, now_ms);
    let id = ReconciliationId::new();
    let mut work = NewJob::new(JobKind::StripeReconcile, json!({ "reconciliation": id.as_str() }).to_string(), now_ms);
    work.stream_key = Some(STREAM.to_owned());
    let run = Reconciliation {
        id,
        state: State::Running,
        repair: new.repair,
        since_ms,
        until_ms: now_ms - reach.grace_ms,
        is_whole: since_ms <= due_since_ms,
        phase: Phase::ALL[0],
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

    fn difference() -> Difference {
        Difference::new(Class::EventMissing, "evt_1", "not here", "made")
    }

    fn before(is_clean: bool) -> Before {
        Before { since_ms: 49 * DAY_MS, until_ms: 50 * DAY_MS, is_clean }
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
        let reach = Reach { first_ms: 3 * DAY_MS, grace_ms: DAY_MS };
        let asked = || NewReconciliation {
            window_ms: None,
            repair: true,
            actor: "system".to_owned(),
            request_key: String::new(),
            request_hash: String::new(),
        };
        let (first, _) = planned(asked(), None, reach, 50 * DAY_MS);
        let (second, _) = planned(asked(), Some(Before::of(&first)), reach, 51 * DAY_MS);
        assert!(second.since_ms < first.until_ms, "{} {}", second.since_ms, first.until_ms);
        assert!(second.is_whole);
    }

    #[test]
    fn after_a_run_that_found_something_the_next_one_looks_at_the_same_once_more() {
        assert_eq!(window_since_ms(None, Some(before(false)), DAY_MS, 51 * DAY_MS), 49 * DAY_MS);
    }

    #[test]
    fn no_run_looks_further_back_than_stripe_lists_events() {
        assert_eq!(window_since_ms(None, Some(before(false)), DAY_MS, 100 * DAY_MS), 70 * DAY_MS);
    }

    #[test]
    fn every_difference_is_counted_and_only_so_many_of_a_class_are_kept_in_words() {
        let mut counts = Counts::default();
        let kept = (0..FINDINGS_PER_CLASS_MAX + 5).filter_map(|at| counts.add(&difference(), at % 2 == 0)).count();
        assert_eq!(i64::try_from(kept), Ok(FINDINGS_PER_CLASS_MAX));
        let tally = counts.tally(Class::EventMissing);
        assert_eq!(tally.found, FINDINGS_PER_CLASS_MAX + 5);
        assert_eq!(tally.left() + tally.repaired, tally.found);
        let other = Difference { class: Class::CustomerMissing, ..difference() };
        assert_eq!(counts.add(&other, false).map(|finding| finding.n), Some(FINDINGS_PER_CLASS_MAX + 1));
        assert_eq!(counts.total().found, FINDINGS_PER_CLASS_MAX + 6);
    }
}
