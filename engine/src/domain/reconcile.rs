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
//! | this one | a run, what it counts and finds |
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
use crate::ids::{CustomerId, JobId, ReconciliationId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Differences of one class that one run keeps in words; the rest is only counted.
pub const FINDINGS_PER_CLASS_MAX: i64 = 200;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn difference() -> Difference {
        Difference::new(Class::EventMissing, "evt_1", "not here", "made")
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
