//! Replays: a frozen set of ended jobs that support runs again, for real or as a dry run.

use crate::clock::TimeMs;
use crate::domain::job::{JobFilter, JobKind, JobState};
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

/// Jobs of a replay that are alike, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedJobs {
    /// The state of their items.
    pub item: String,
    /// Their own state; `None` if they are deleted.
    pub job: Option<JobState>,
    /// Their kind.
    pub kind: Option<String>,
    /// Attempts until they are dead.
    pub attempts_left: i64,
    /// Their number.
    pub count: i64,
}

/// What became of the jobs of a replay, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Done.
    pub succeeded: i64,
    /// Became pointless, or were cancelled by support.
    pub cancelled: i64,
    /// Died again.
    pub dead: i64,
    /// Failed again, and wait for another attempt.
    pub retrying: i64,
    /// Back in their streams, and not tried yet.
    pub waiting: i64,
    /// The replay has not come to them.
    pub not_started: i64,
    /// Not run: deleted, or not ended when their turn came.
    pub skipped: i64,
    /// Run, and deleted since with everything that ended long ago.
    pub deleted: i64,
}

impl Outcomes {
    /// Adds up jobs of a replay for real. A job that is back in its stream has all attempts of its kind until the first
    /// one ends.
    pub fn of(jobs: impl IntoIterator<Item = ReplayedJobs>) -> Self {
        let mut outcomes = Self::default();
        for ReplayedJobs { item, job, kind, attempts_left, count } in jobs {
            let allowance = kind.as_deref().and_then(JobKind::parse).map(JobKind::attempts_max);
            let is_untried = allowance.is_none_or(|allowance| attempts_left >= allowance);
            let counted = match (item.as_str(), job) {
                ("waiting", _) => &mut outcomes.not_started,
                ("skipped", _) => &mut outcomes.skipped,
                (_, None) => &mut outcomes.deleted,
                (_, Some(JobState::Succeeded)) => &mut outcomes.succeeded,
                (_, Some(JobState::Cancelled)) => &mut outcomes.cancelled,
                (_, Some(JobState::Dead)) => &mut outcomes.dead,
                (_, Some(JobState::Available)) if !is_untried => &mut outcomes.retrying,
                (_, Some(JobState::Available | JobState::Running)) => &mut outcomes.waiting,
            };
            *counted += count;
        }
        outcomes
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_of_a_replay_counts_in_one_outcome() {
        let allowance = JobKind::StripeEvent.attempts_max();
        let jobs = |item: &str, job: Option<JobState>, attempts_left: i64, count: i64| ReplayedJobs {
            item: item.to_owned(),
            job,
            kind: job.map(|_| JobKind::StripeEvent.as_str().to_owned()),
            attempts_left,
            count,
        };
        let outcomes = Outcomes::of([
            jobs("replayed", Some(JobState::Succeeded), allowance - 1, 1),
            jobs("replayed", Some(JobState::Cancelled), allowance, 2),
            jobs("replayed", Some(JobState::Dead), 0, 4),
            jobs("replayed", Some(JobState::Available), allowance - 1, 8),
            jobs("replayed", Some(JobState::Available), allowance, 16),
            jobs("replayed", Some(JobState::Running), allowance - 1, 32),
            // Still dead of old, because its turn has not come.
            jobs("waiting", Some(JobState::Dead), 0, 64),
            jobs("skipped", None, 0, 128),
            jobs("replayed", None, 0, 256),
        ]);
        let expected = Outcomes {
            succeeded: 1,
            cancelled: 2,
            dead: 4,
            retrying: 8,
            waiting: 16 + 32,
            not_started: 64,
            skipped: 128,
            deleted: 256,
        };
        assert_eq!(outcomes, expected);
    }
}
