//! Jobs and streams: the machinery for all work that is deferred, retried or ordered.
//!
//! A job belongs to a stream; jobs of a stream run one at a time, lowest sequence first. A job without an order has
//! a stream of its own. A node works on a stream under a lease with an epoch that only grows; a result is accepted
//! only under the epoch in which the work began.

mod backoff;
mod finish;
mod kind;
mod lane;

pub use backoff::Backoff;
pub use finish::{Attempt, JobFinish, PAUSED_BY_DEAD_JOB, finish};
pub use kind::{JobKind, Policy};
pub use lane::{Lane, shared as shared_workers};

use crate::clock::TimeMs;
use crate::ids::{CustomerId, EventId, JobId};

/// After so many deaths of its node while running, a job runs alone, so that the next death identifies it.
pub const RESCUES_SUSPECT: i64 = 2;
/// A job whose node died more often than this while running is dead.
pub const RESCUES_MAX: i64 = 5;
/// The longest stored reason of an attempt, in bytes.
pub const REASON_LEN_MAX: usize = 2_000;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for its time (shown as `scheduled`) or its turn.
    Available,
    /// A node is working on it.
    Running,
    /// Done.
    Succeeded,
    /// Ended because it became pointless, or skipped by support.
    Cancelled,
    /// Given up; support can replay it.
    Dead,
}

impl JobState {
    /// The name as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// The name by which support knows the state of a job that is due at `run_at_ms`: `scheduled` while that is to come.
    pub fn shown(self, run_at_ms: TimeMs, now_ms: TimeMs) -> &'static str {
        if self == Self::Available && run_at_ms > now_ms { "scheduled" } else { self.as_str() }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        let states = [Self::Available, Self::Running, Self::Succeeded, Self::Cancelled, Self::Dead];
        states.into_iter().find(|state| state.as_str() == text)
    }
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// Its kind, as text, because a newer node may have stored a kind that this one does not know.
    pub kind: String,
    /// Its arguments as JSON.
    pub args: String,
    /// Its stream.
    pub stream_key: String,
    /// Its place in the stream, from 1.
    pub seq: i64,
    /// Its state.
    pub state: JobState,
    /// Attempts used up.
    pub attempt: i64,
    /// Attempts after which it is dead.
    pub attempts_max: i64,
    /// Deaths of its node while it ran, since the last attempt that ended.
    pub rescues: i64,
    /// The earliest time to run.
    pub run_at_ms: TimeMs,
    /// At most one job with this key is ever created.
    pub unique_key: Option<String>,
    /// The event that it processes.
    pub event_id: Option<EventId>,
    /// Its customer, if known.
    pub customer_id: Option<CustomerId>,
    /// Reason for the last failure, or that it was put back before it had failed.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at_ms: TimeMs,
    /// When it ended.
    pub finished_at_ms: Option<TimeMs>,
}

impl Job {
    /// Whether an attempt before may have done a part of its work: one that failed, or that was put back because its node
    /// died or stopped.
    pub fn may_have_begun(&self) -> bool {
        self.attempt > 0 || self.rescues > 0 || self.last_error.is_some()
    }

    /// Whether it may have killed its nodes.
    pub fn is_suspect(&self) -> bool {
        self.rescues >= RESCUES_SUSPECT
    }
}

/// A job to create.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its identifier.
    pub id: JobId,
    /// Its kind.
    pub kind: JobKind,
    /// Its arguments as JSON.
    pub args: String,
    /// Its stream; one of its own if not given.
    pub stream_key: Option<String>,
    /// The earliest time to run.
    pub run_at_ms: TimeMs,
    /// At most one job with this key is ever created.
    pub unique_key: Option<String>,
    /// The event that it processes.
    pub event_id: Option<EventId>,
    /// Its customer.
    pub customer_id: Option<CustomerId>,
    /// Its initial state: available, or ended at once with a reason (an event that needs no work, or must not have
    /// any).
    pub state: JobState,
    /// Why it ended at once.
    pub last_error: Option<String>,
}

impl NewJob {
    /// Creates a job due at `run_at_ms`.
    pub fn new(kind: JobKind, args: String, run_at_ms: TimeMs) -> Self {
        Self {
            id: JobId::new(),
            kind,
            args,
            stream_key: None,
            run_at_ms,
            unique_key: None,
            event_id: None,
            customer_id: None,
            state: JobState::Available,
            last_error: None,
        }
    }

    /// Its stream.
    pub fn stream(&self) -> String {
        self.stream_key.clone().unwrap_or_else(|| format!("{}:{}", self.kind.as_str(), self.id))
    }
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is done.
    Done,
    /// The attempt failed for a reason that may pass.
    Retry {
        /// Why.
        reason: String,
    },
    /// Too early. Uses up no attempt.
    Snooze {
        /// When to try again.
        until_ms: TimeMs,
    },
    /// The job became pointless.
    Cancel {
        /// Why.
        reason: String,
    },
    /// The job cannot succeed without a change elsewhere.
    Dead {
        /// Why.
        reason: String,
    },
}

/// A message that a stream has a due job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The stream.
    pub stream_key: String,
    /// The job that is due.
    pub job_id: JobId,
    /// Attempts used up when this was sent.
    pub attempt: i64,
    /// When it is due.
    pub run_at_ms: TimeMs,
}

/// A search for jobs. Empty fields match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct JobFilter {
    /// `scheduled`, `available`, `running`, `succeeded`, `cancelled` or `dead`.
    pub state: Option<String>,
    /// A kind such as `stripe.event`.
    pub kind: Option<String>,
    /// A stream.
    pub stream: Option<String>,
    /// A type of event such as `invoice.paid`.
    pub event_type: Option<String>,
    /// Text that the last error contains.
    pub error: Option<String>,
    /// Created at or after this.
    pub created_from_ms: Option<TimeMs>,
    /// Created before this.
    pub created_to_ms: Option<TimeMs>,
    /// Whose.
    pub owner: Option<JobOwner>,
    /// The cause of the last error, as [`crate::domain::failure_group::cause_of`] reads it.
    pub cause: Option<String>,
}

/// A customer whose jobs are searched for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobOwner {
    /// The customer, which a job may name.
    pub customer: CustomerId,
    /// The streams of the customer's events: those of its Stripe customers and of its GitHub account.
    pub streams: Vec<String>,
}
