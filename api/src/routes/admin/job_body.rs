//! A job and its attempts for staff, and the reason for the job's state.

use crate::app::App;
use crate::sample;
use bursar_engine::Result;
use bursar_engine::clock::rfc3339;
use bursar_engine::count::counted;
use bursar_engine::domain::job::{Job, JobKind, JobState};
use bursar_engine::infra::store::attempt::Attempt;
use bursar_engine::infra::store::job::job_head;
use bursar_engine::infra::store::stream::{Stream, stream_find};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

/// Maximum number of attempts shown of one job.
pub(super) const ATTEMPTS_SHOWN_MAX: u64 = 100;

/// Reasons that lie in the event itself, so that a replay would end the same way; docs/errors.md explains them.
const FINAL_REASONS: [&str; 3] = ["history_too_long", "unreadable", "wrong_mode"];

/// The state of a job.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum JobStateBody {
    /// Not due yet.
    Scheduled,
    /// Due.
    Available,
    /// Being processed.
    Running,
    /// Done.
    Succeeded,
    /// Ended without being processed.
    Cancelled,
    /// Given up.
    Dead,
}

impl JobStateBody {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

/// A job.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct JobBody {
    /// Its identifier.
    id: String,
    /// Its kind, such as `stripe.event`.
    kind: String,
    /// `scheduled`, `available`, `running`, `succeeded`, `cancelled` or `dead`.
    state: String,
    /// Its stream.
    stream: String,
    /// Its sequence number in the stream.
    seq: i64,
    /// Number of attempts so far.
    attempt: i64,
    /// Attempts after which it is dead.
    attempts_max: i64,
    /// When it is due.
    run_at: String,
    /// A key that prevents a second such job.
    unique_key: Option<String>,
    /// The event that it processes.
    event_id: Option<String>,
    /// The customer that it concerns.
    customer_id: Option<String>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When it was created.
    created_at: String,
    /// When it ended.
    finished_at: Option<String>,
}

impl Example for JobBody {
    fn example() -> Self {
        Self {
            id: sample::JOB.to_owned(),
            kind: "stripe.event".to_owned(),
            state: "dead".to_owned(),
            stream: sample::STREAM.to_owned(),
            seq: 3,
            attempt: 8,
            attempts_max: 8,
            run_at: sample::AT.to_owned(),
            unique_key: None,
            event_id: sample::text(sample::EVENT),
            customer_id: None,
            last_error: sample::text(sample::WHY_DEAD),
            created_at: sample::AT.to_owned(),
            finished_at: sample::text(sample::AT),
        }
    }
}

impl JobBody {
    /// The example of a job that has not ended.
    pub(super) fn waiting_example() -> Self {
        Self { state: "available".to_owned(), finished_at: None, ..Self::example() }
    }

    pub(super) fn new(job: &Job, now_ms: i64) -> Self {
        Self {
            id: job.id.to_string(),
            kind: job.kind.clone(),
            state: job.state.shown(job.run_at_ms, now_ms).to_owned(),
            stream: job.stream_key.clone(),
            seq: job.seq,
            attempt: job.attempt,
            attempts_max: job.attempts_max,
            run_at: rfc3339(job.run_at_ms),
            unique_key: job.unique_key.clone(),
            event_id: job.event_id.as_ref().map(ToString::to_string),
            customer_id: job.customer_id.as_ref().map(ToString::to_string),
            last_error: job.last_error.clone(),
            created_at: rfc3339(job.created_at_ms),
            finished_at: job.finished_at_ms.map(rfc3339),
        }
    }
}

/// One attempt.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct AttemptBody {
    /// Its number.
    attempt: i64,
    /// The epoch of the lease under which it ran.
    epoch: i64,
    /// The node that ran it.
    node: String,
    /// When it began.
    started_at: String,
    /// When it ended.
    finished_at: String,
    /// How long it took.
    duration_ms: i64,
    /// `done`, `retry`, `snooze`, `cancel` or `dead`.
    outcome: String,
    /// The reason for the outcome.
    reason: Option<String>,
}

impl Example for AttemptBody {
    fn example() -> Self {
        Self {
            attempt: 8,
            epoch: 8,
            node: sample::NODE.to_owned(),
            started_at: sample::AT.to_owned(),
            finished_at: sample::AT.to_owned(),
            duration_ms: 4,
            outcome: "dead".to_owned(),
            reason: sample::text(sample::WHY_DEAD),
        }
    }
}

impl From<&Attempt> for AttemptBody {
    fn from(attempt: &Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            epoch: attempt.epoch,
            node: attempt.node.clone(),
            started_at: rfc3339(attempt.started_at_ms),
            finished_at: rfc3339(attempt.finished_at_ms),
            duration_ms: attempt.finished_at_ms - attempt.started_at_ms,
            outcome: attempt.outcome.clone(),
            reason: attempt.reason.clone(),
        }
    }
}

/// Explains the state of a job in a sentence.
fn why(job: &Job, stream: Option<&Stream>, head: Option<&Job>, now_ms: i64) -> String {
    let last = job.last_error.as_deref().unwrap_or("no reason was recorded");
    match job.state {
        JobState::Succeeded => "It is done.".to_owned(),
        JobState::Cancelled => format!("It was cancelled: {last}."),
        JobState::Dead => {
            let how = match job.attempt {
                0 => "without an attempt".to_owned(),
                attempts => format!("after {}", counted(attempts, "attempt")),
            };
            let advice = if is_final(last) { "A replay would end the same way." } else { "Replay it to try again." };
            format!("It was given up {how}: {last}. {advice}")
        }
        JobState::Running => {
            let node = stream.and_then(|stream| stream.owner.as_deref()).unwrap_or("an unknown node");
            format!("It is being worked on by {node}.")
        }
        JobState::Available => {
            let paused = stream.filter(|stream| stream.paused_at_ms.is_some());
            if paused.is_some_and(|stream| stream.canary.as_ref() == Some(&job.id)) && job.run_at_ms <= now_ms {
                return "It is the canary of its paused stream, and waits for a worker.".to_owned();
            }
            if let Some(reason) = paused.map(|stream| stream.paused_reason.as_deref()) {
                return format!("Its stream is paused: {}.", reason.unwrap_or("no reason was recorded"));
            }
            match head {
                Some(head) if head.id != job.id => {
                    let state = match head.state {
                        JobState::Available if head.run_at_ms > now_ms => {
                            format!("scheduled for {}", rfc3339(head.run_at_ms))
                        }
                        state => state.as_str().to_owned(),
                    };
                    format!("It waits for {} before it in its stream, which is {state}.", head.id)
                }
                _ if JobKind::parse(&job.kind).is_none() => {
                    let at = rfc3339(job.run_at_ms);
                    format!("It waits for a node that supports its kind. The next check is at {at}.")
                }
                _ if job.run_at_ms > now_ms && job.attempt > 0 => {
                    format!("It is tried again at {}: {last}.", rfc3339(job.run_at_ms))
                }
                _ if job.run_at_ms > now_ms => format!("It is due at {}.", rfc3339(job.run_at_ms)),
                _ => "It is due and waits for a worker.".to_owned(),
            }
        }
    }
}

/// Whether a replay would end the same way.
fn is_final(reason: &str) -> bool {
    FINAL_REASONS.contains(&reason.split(':').next().unwrap_or_default())
}

/// The result of [`why`] for the examples' job.
pub(super) fn why_example() -> String {
    format!("It was given up after 8 attempts: {}. Replay it to try again.", sample::WHY_DEAD)
}

/// Explains the state of a job, reading its stream and the job at the stream's head.
pub(super) async fn explain(app: &App, job: &Job) -> Result<String> {
    let stream = stream_find(app.db.read(), &job.stream_key).await?;
    let head = job_head(app.db.read(), &job.stream_key).await?;
    Ok(why(job, stream.as_ref(), head.as_ref(), app.clock.now_ms()))
}
