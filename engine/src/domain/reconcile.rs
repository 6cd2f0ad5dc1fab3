//! Reconciliation: compares Bursar's records with Stripe's.
//!
//! Webhooks get lost: an endpoint was down for longer than Stripe retries, an event was never made, a database was
//! restored. A run reads Stripe's lists, phase by phase, and compares. It repairs a safe difference by storing an event
//! that it makes itself, in the stream of Stripe's events for that customer, so that the same rules apply in the same
//! order. It reports all other differences for a person. A run is a stored object: it continues after a crash and can
//! be read later.
//!
//! | module | what is in it |
//! |---|---|
//! | [`class`] | phases, and the classes of differences |
//! | [`difference`] | one difference and its repair |
//! | [`events`], [`customers`], [`subscriptions`], [`invoices`], [`grants`], [`payments`], [`refunds`] | the rules: both sides' records → differences, pure |
//! | this one | a run, its counts and findings |
//!
//! A difference in a recently changed object is ignored: the event is still on its way ([`difference::drop_recent`]).

pub mod class;
pub mod customers;
pub mod difference;
pub mod events;
#[cfg(test)]
mod example;
pub mod grants;
pub mod invoices;
pub mod payments;
pub mod refunds;
pub mod subscriptions;

pub use class::{Class, Phase};
pub use difference::{Difference, Repair};

use crate::clock::TimeMs;
use crate::ids::{CustomerId, JobId, ReconciliationId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maximum number of findings that one run stores for a class; further differences are only counted.
pub const FINDINGS_PER_CLASS_MAX: i64 = 200;

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Under way; at most one run is.
    Running,
    /// It compared everything.
    Done,
    /// It could not finish.
    Failed,
    /// There is no Stripe to compare with.
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

/// The number of differences of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Differences found.
    pub found: i64,
    /// Differences with a repair under way.
    pub repaired: i64,
}

impl Tally {
    /// Differences left for a person, or for a run that repairs.
    pub fn left(self) -> i64 {
        self.found - self.repaired
    }
}

/// A run's counts, by the stored names of phases and classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Objects compared in each phase.
    pub checked: BTreeMap<String, i64>,
    /// Differences of each class.
    pub classes: BTreeMap<String, Tally>,
    /// Stored findings.
    pub findings: i64,
}

impl Counts {
    /// Objects compared in a phase.
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

    /// Counts compared objects.
    pub fn count_checked(&mut self, phase: Phase, objects: usize) {
        *self.checked.entry(phase.as_str().to_owned()).or_default() += i64::try_from(objects).unwrap_or(i64::MAX);
    }

    /// Counts a difference; returns it as a finding unless the class has too many.
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
    /// Its state.
    pub state: State,
    /// Whether it repairs safe differences or only reports.
    pub repair: bool,
    /// Whether it compares all customers and subscriptions, and not only what changed within its window.
    pub is_full: bool,
    /// The only customer that it compares; `None` for all.
    pub only_customer: Option<CustomerId>,
    /// The beginning of the window: objects that Stripe created since then.
    pub since_ms: TimeMs,
    /// The end of the window. Objects created later are not compared: their events may still be on their way.
    pub until_ms: TimeMs,
    /// Whether its window is at least the default; only such runs move the next run's start.
    pub moves_next_start: bool,
    /// The present phase.
    pub phase: Phase,
    /// The last object compared in this phase.
    pub cursor: Option<String>,
    /// Its counts.
    pub counts: Counts,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// The job that runs it.
    pub job_id: JobId,
    /// The requester: `admin:<name>`, `system`.
    pub requested_by: String,
    /// The request's idempotency key.
    pub request_key: String,
    /// Distinguishes a repeated request from another one under the same key.
    pub request_hash: String,
    /// When it was requested.
    pub created_at_ms: TimeMs,
    /// When it ended.
    pub finished_at_ms: Option<TimeMs>,
}

impl Reconciliation {
    /// Ends the run.
    pub fn end(self, state: State, reason: Option<String>, now_ms: TimeMs) -> Self {
        Self { state, reason, finished_at_ms: Some(now_ms), ..self }
    }
}

/// A stored difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its number within the run, from 1.
    pub n: i64,
    /// Its class, as stored, because a newer node may know more of them.
    pub class: String,
    /// The object at Stripe.
    pub object_id: String,
    /// Its customer, if known.
    pub customer_id: Option<CustomerId>,
    /// Bursar's record, in words.
    pub ours: String,
    /// Stripe's record, in words.
    pub theirs: String,
    /// Whether its repair is under way.
    pub is_repaired: bool,
}

/// The result of one step of a run, to commit with the end of its attempt.
#[derive(Debug, Clone)]
pub struct Step {
    /// The run after the step.
    pub run: Reconciliation,
    /// Its findings.
    pub findings: Vec<Finding>,
    /// Ids of the objects that Stripe listed. Records of ours that are not among them are missing at Stripe.
    pub seen: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference() -> Difference {
        Difference::new(Class::EventMissing, "evt_1", "not here", "made")
    }

    #[test]
    fn every_difference_is_counted_and_each_class_stores_a_limited_number() {
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
