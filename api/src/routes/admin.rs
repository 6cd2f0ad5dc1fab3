//! Routes for support staff. Every act that changes something is in the audit log.

mod api_key;
mod audit;
mod customer;
mod event;
mod job;
mod mail;
mod marketplace;
mod reconciliation;
mod replay;
mod report;
mod stream;
mod timeline;

pub use api_key::AdminApiKeyApi;
pub use audit::AdminAuditApi;
pub use customer::AdminCustomerApi;
pub use event::AdminEventApi;
pub use job::AdminJobApi;
pub use mail::AdminMailApi;
pub use marketplace::AdminMarketplaceApi;
pub use reconciliation::AdminReconciliationApi;
pub use replay::AdminReplayApi;
pub use report::AdminReportApi;
pub use stream::AdminStreamApi;
pub use timeline::AdminTimelineApi;

use super::sample;
use super::text::Text;
use crate::app::App;
use crate::document::Described;
use crate::problem::ApiError;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::job::{Job, JobKind, JobState};
use bursar_engine::infra::store::attempt::Attempt;
use bursar_engine::infra::store::stream::Stream;
use bursar_engine::{Error, Result, usecase};
use poem_openapi::Object;
use poem_openapi::types::Example;

/// What the types of these routes do not say.
pub(super) const DESCRIBED: &[&[Described]] = &[
    api_key::DESCRIBED,
    audit::DESCRIBED,
    customer::DESCRIBED,
    event::DESCRIBED,
    job::DESCRIBED,
    mail::DESCRIBED,
    marketplace::DESCRIBED,
    reconciliation::DESCRIBED,
    replay::DESCRIBED,
    report::DESCRIBED,
    stream::DESCRIBED,
    timeline::DESCRIBED,
];

/// Attempts shown of one job.
const ATTEMPTS_SHOWN_MAX: u64 = 100;
/// Longest reason, in bytes.
const REASON_LEN_MAX: usize = 500;

/// Why something is done.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct ReasonRequest {
    /// In words, for the audit log.
    reason: Text,
}

impl Example for ReasonRequest {
    fn example() -> Self {
        Self { reason: "ticket 4711".into() }
    }
}

fn check_reason(reason: &Text) -> Result<String, ApiError> {
    let reason = reason.0.trim();
    if reason.is_empty() || reason.len() > REASON_LEN_MAX {
        let detail = format!("reason must have 1 to {REASON_LEN_MAX} characters.");
        return Err(ApiError::bad_request("invalid_reason", detail));
    }
    Ok(reason.to_owned())
}

/// A job.
#[derive(Debug, Object)]
#[oai(example)]
struct JobBody {
    /// Its identifier.
    id: String,
    /// What it does.
    kind: String,
    /// `scheduled`, `available`, `running`, `succeeded`, `cancelled` or `dead`.
    state: String,
    /// Its stream.
    stream: String,
    /// Its place in the stream.
    seq: i64,
    /// Attempts used up.
    attempt: i64,
    /// Attempts after which it is dead.
    attempts_max: i64,
    /// Not before this.
    run_at: String,
    /// No second job with this key is made.
    unique_key: Option<String>,
    /// The event that it processes.
    event_id: Option<String>,
    /// The customer that it concerns.
    customer_id: Option<String>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When it was made.
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
    fn new(job: &Job, now_ms: i64) -> Self {
        let state =
            if job.state == JobState::Available && job.run_at_ms > now_ms { "scheduled" } else { job.state.as_str() };
        Self {
            id: job.id.to_string(),
            kind: job.kind.clone(),
            state: state.to_owned(),
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
struct AttemptBody {
    /// Its number.
    attempt: i64,
    /// The lease under which the work was done.
    epoch: i64,
    /// The node that did it.
    node: String,
    /// When it began.
    started_at: String,
    /// When it ended.
    finished_at: String,
    /// How long it took.
    duration_ms: i64,
    /// `done`, `retry`, `snooze`, `cancel` or `dead`.
    outcome: String,
    /// Why.
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

/// Why a job stands where it stands, in a sentence.
fn why(job: &Job, stream: Option<&Stream>, head: Option<&Job>, now_ms: i64) -> String {
    let last = job.last_error.as_deref().unwrap_or("no reason was recorded");
    match job.state {
        JobState::Succeeded => "It is done.".to_owned(),
        JobState::Cancelled => format!("It was cancelled: {last}."),
        JobState::Dead => format!("It was given up after {} attempts: {last}. Replay it to try again.", job.attempt),
        JobState::Running => {
            let node = stream.and_then(|stream| stream.owner.as_deref()).unwrap_or("an unknown node");
            format!("It is being worked on by {node}.")
        }
        JobState::Available => {
            if let Some(reason) = stream.filter(|s| s.paused_at_ms.is_some()).map(|s| s.paused_reason.as_deref()) {
                return format!("Its stream is paused: {}.", reason.unwrap_or("no reason was recorded"));
            }
            match head {
                Some(head) if head.id != job.id => {
                    format!("It waits for {} before it in its stream, which is {}.", head.id, head.state.as_str())
                }
                _ if JobKind::parse(&job.kind).is_none() => {
                    let at = rfc3339(job.run_at_ms);
                    format!("It waits for a node that knows its kind; {at} is the next look at it.")
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

/// What [`why`] says of the job of the examples.
fn why_example() -> String {
    format!("It was given up after 8 attempts: {}. Replay it to try again.", sample::WHY_DEAD)
}

/// The sentence for a job that was found.
async fn explain(app: &App, job: &Job) -> Result<String> {
    use bursar_engine::infra::store::job::job_head;
    use bursar_engine::infra::store::stream::stream_find;
    let stream = stream_find(app.db.read(), &job.stream_key).await?;
    let head = job_head(app.db.read(), &job.stream_key).await?;
    Ok(why(job, stream.as_ref(), head.as_ref(), app.clock.now_ms()))
}

/// Makes one ended job run again, with a line in the audit log.
async fn replay_job(app: &App, job: &Job, actor: &str, reason: &str) -> Result<(), ApiError> {
    let unit = usecase::job::replay(job, actor, reason)?;
    app.runtime.ledger.commit(unit).await.map_err(Error::from)?;
    Ok(())
}
