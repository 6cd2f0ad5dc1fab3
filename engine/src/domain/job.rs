//! Jobs and streams: the one machinery for everything that is deferred, retried or ordered.
//!
//! A job belongs to a stream; jobs of a stream run one at a time, lowest sequence first. A job with
//! no order of its own has a stream of its own. A node works on a stream under a lease whose epoch
//! only ever grows; a result is taken only under the epoch it was worked out in.

mod backoff;
mod finish;
mod kind;

pub use backoff::Backoff;
pub use finish::{Attempt, BLOCKED, JobFinish, finish};
pub use kind::{JobKind, Policy};

use crate::clock::TimeMs;
use crate::ids::{CustomerId, EventId, JobId};

/// A job whose node died so often while it ran is run alone from then on: whoever dies next is it.
pub const RESCUES_SUSPECT: i64 = 2;
/// A job whose node died more often than this while it ran is given up: the nodes died of it.
pub const RESCUES_MAX: i64 = 5;
/// The longest reason kept of an attempt, in bytes.
pub const REASON_LEN_MAX: usize = 2_000;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waits for its time (then it is shown as `scheduled`) or its turn.
    Available,
    /// A node works on it.
    Running,
    /// Done.
    Succeeded,
    /// Ended because it made no sense any more, or skipped by support.
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

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "available" => Self::Available,
            "running" => Self::Running,
            "succeeded" => Self::Succeeded,
            "cancelled" => Self::Cancelled,
            "dead" => Self::Dead,
            _ => return None,
        })
    }
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// What it does; text, because a newer node may have stored a kind that this one does not know.
    pub kind: String,
    /// Its arguments as JSON.
    pub args: String,
    /// Its stream.
    pub stream_key: String,
    /// Its place in the stream, from 1.
    pub seq: i64,
    /// Where it stands.
    pub state: JobState,
    /// Attempts that have been used up.
    pub attempt: i64,
    /// Attempts after which it is dead.
    pub attempts_max: i64,
    /// How often a node died while it ran, since its latest attempt that ended.
    pub rescues: i64,
    /// Not before this.
    pub run_at_ms: TimeMs,
    /// No second job with the same key is ever made.
    pub unique_key: Option<String>,
    /// The event that it processes.
    pub event_id: Option<EventId>,
    /// The customer that it concerns, as far as known.
    pub customer_id: Option<CustomerId>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at_ms: TimeMs,
    /// When it ended.
    pub finished_at_ms: Option<TimeMs>,
}

impl Job {
    /// Whether it may be what its nodes died of.
    pub fn is_suspect(&self) -> bool {
        self.rescues >= RESCUES_SUSPECT
    }
}

/// A job to be made.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its identifier.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Its arguments as JSON.
    pub args: String,
    /// Its stream; one of its own if not given.
    pub stream_key: Option<String>,
    /// Not before this.
    pub run_at_ms: TimeMs,
    /// No second job with the same key is made.
    pub unique_key: Option<String>,
    /// The event that it processes.
    pub event_id: Option<EventId>,
    /// The customer that it concerns.
    pub customer_id: Option<CustomerId>,
    /// Where it starts: available, or ended at once (an event that needs no work, or must not have
    /// any) with the reason.
    pub state: JobState,
    /// Why it ended at once.
    pub last_error: Option<String>,
}

impl NewJob {
    /// A job that is due at `run_at_ms`.
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

    /// The stream it goes into.
    pub fn stream(&self) -> String {
        self.stream_key.clone().unwrap_or_else(|| format!("job:{}", self.id))
    }
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It failed in a way that may pass.
    Retry {
        /// Why.
        reason: String,
    },
    /// It is not yet time. Uses up no attempt.
    Snooze {
        /// When to look again.
        until_ms: TimeMs,
    },
    /// It makes no sense any more.
    Cancel {
        /// Why.
        reason: String,
    },
    /// It can never succeed as things are.
    Dead {
        /// Why.
        reason: String,
    },
}

/// Says that a stream has something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The stream.
    pub stream_key: String,
    /// The job that is due.
    pub job_id: JobId,
    /// Attempts that it had used up when this was said.
    pub attempt: i64,
    /// When it is due.
    pub run_at_ms: TimeMs,
}

/// What to look for among jobs. Empty fields match everything.
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
    /// Made at or after this.
    pub created_from_ms: Option<TimeMs>,
    /// Made before this.
    pub created_to_ms: Option<TimeMs>,
}
