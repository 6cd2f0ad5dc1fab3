//! Replays: a frozen set of ended jobs that support runs again, or tries.

use crate::clock::TimeMs;
use crate::domain::job::JobFilter;
use crate::ids::{JobId, ReplayId};

/// The fastest rate.
pub const RATE_MAX: i64 = 1_000;
/// Jobs shown by a preview.
pub const SAMPLE_MAX: u64 = 10;

/// A replay as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its identifier.
    pub id: ReplayId,
    /// What was asked for.
    pub filter: JobFilter,
    /// Only try, change nothing.
    pub dry_run: bool,
    /// Jobs started in a second at the most.
    pub rate_per_second: i64,
    /// Why, in words.
    pub reason: String,
    /// `preview`, `running`, `paused`, `done`, `cancelled`, or `failed` if it could not go on.
    pub state: String,
    /// Jobs in the frozen set.
    pub total: i64,
    /// Jobs worked off.
    pub done: i64,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at_ms: TimeMs,
    /// When it was done or cancelled, or failed.
    pub finished_at_ms: Option<TimeMs>,
}

/// One job of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayItem {
    /// Its number, from 1.
    pub n: i64,
    /// The job.
    pub job_id: JobId,
    /// `waiting`, `replayed`, `skipped` (gone, or not ended when its turn came) or `tried`.
    pub state: String,
    /// What came of it, as JSON.
    pub result: Option<String>,
}

/// What came of one job of a replay, ready to be committed.
#[derive(Debug, Clone)]
pub struct ReplayStep {
    /// The item's number.
    pub n: i64,
    /// The job that runs again; none in a dry run.
    pub requeue: Option<JobId>,
    /// `replayed` or `tried` (dry run); `skipped` if it turns out that there is nothing to run again.
    pub state: &'static str,
    /// What came of it, as JSON.
    pub result: Option<String>,
}

/// What a person does to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin.
    Start,
    /// Stop for now.
    Pause,
    /// Go on.
    Resume,
    /// Stop for good; what ran already stays.
    Cancel,
}

impl Action {
    /// The name in the audit log.
    pub fn audit(self) -> &'static str {
        match self {
            Self::Start => "replay.start",
            Self::Pause => "replay.pause",
            Self::Resume => "replay.resume",
            Self::Cancel => "replay.cancel",
        }
    }

    /// From which states it leads to which.
    pub fn moves(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Start => (&["preview"], "running"),
            Self::Pause => (&["running"], "paused"),
            Self::Resume => (&["paused", "failed"], "running"),
            Self::Cancel => (&["preview", "running", "paused", "failed"], "cancelled"),
        }
    }
}
