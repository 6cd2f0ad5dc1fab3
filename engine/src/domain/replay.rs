//! Replays: a frozen set of ended jobs that support runs again, for real or as a dry run.

use crate::clock::TimeMs;
use crate::domain::job::JobFilter;
use crate::ids::{JobId, ReplayId};

/// The highest rate.
pub const RATE_MAX: i64 = 1_000;
/// Jobs shown by a preview.
pub const SAMPLE_MAX: u64 = 10;

/// A replay as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its identifier.
    pub id: ReplayId,
    /// The search that selected the jobs.
    pub filter: JobFilter,
    /// Whether it is a dry run, which changes nothing.
    pub dry_run: bool,
    /// Maximum number of jobs started a second.
    pub rate_per_second: i64,
    /// The reason, in words.
    pub reason: String,
    /// `preview`, `running`, `paused`, `done`, `cancelled`, or `failed` if it could not continue.
    pub state: String,
    /// Jobs in the frozen set.
    pub total: i64,
    /// Processed jobs.
    pub done: i64,
    /// The requester.
    pub created_by: String,
    /// When it was created.
    pub created_at_ms: TimeMs,
    /// When it ended, in whatever state.
    pub finished_at_ms: Option<TimeMs>,
}

/// One job of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayItem {
    /// Its number, from 1.
    pub n: i64,
    /// The job.
    pub job_id: JobId,
    /// `waiting`, `replayed`, `skipped` (deleted, or not ended when its turn came) or `tried`.
    pub state: String,
    /// Its result, as JSON.
    pub result: Option<String>,
}

/// The result of one job of a replay, to commit.
#[derive(Debug, Clone)]
pub struct ReplayStep {
    /// The item's number.
    pub n: i64,
    /// The job to run again; `None` in a dry run.
    pub requeue: Option<JobId>,
    /// `replayed` or `tried` (dry run); `skipped` if there was nothing to run again.
    pub state: &'static str,
    /// Its result, as JSON.
    pub result: Option<String>,
}

/// A person's command to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin.
    Start,
    /// Interrupt.
    Pause,
    /// Continue.
    Resume,
    /// End; jobs that already ran are not undone.
    Cancel,
}

impl Action {
    /// The name in the audit log.
    pub fn audit_name(self) -> &'static str {
        match self {
            Self::Start => "replay.start",
            Self::Pause => "replay.pause",
            Self::Resume => "replay.resume",
            Self::Cancel => "replay.cancel",
        }
    }

    /// The states in which it is allowed, and the state that it leads to.
    pub fn transition(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Start => (&["preview"], "running"),
            Self::Pause => (&["running"], "paused"),
            Self::Resume => (&["paused", "failed"], "running"),
            Self::Cancel => (&["preview", "running", "paused", "failed"], "cancelled"),
        }
    }
}
