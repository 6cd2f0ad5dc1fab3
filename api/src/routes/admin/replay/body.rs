//! Requests for replays, and the bodies of answers.

use crate::routes::admin::job_body::{JobBody, JobStateBody};
use crate::routes::page::page;
use crate::routes::text::Text;
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::replay::{Outcomes, Replay};
use poem_openapi::Object;
use poem_openapi::types::Example;

/// The jobs to replay. Empty fields match all ended jobs.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
pub(super) struct FilterBody {
    /// `dead`, `cancelled` or `succeeded`.
    pub(super) state: Option<JobStateBody>,
    /// Their kind, such as `stripe.event`.
    pub(super) kind: Option<Text>,
    /// Their stream.
    pub(super) stream: Option<Text>,
    /// The type of the events that they process.
    pub(super) event_type: Option<Text>,
    /// Text that their last error contains.
    pub(super) error: Option<Text>,
    /// The cause of their last error, as the groups of failures name it.
    pub(super) cause: Option<Text>,
    /// The customer whose they are.
    pub(super) customer: Option<Text>,
    /// Only those that were made at this time or later.
    pub(super) from: Option<Text>,
}

/// A replay to prepare.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct ReplayRequest {
    /// The jobs to replay.
    pub(super) filter: FilterBody,
    /// Report what would happen, and change nothing.
    #[oai(default)]
    pub(super) dry_run: bool,
    /// Maximum number of jobs started per second, 1 to 1000; 50 if not given.
    pub(super) rate_per_second: Option<i64>,
    /// The reason, for the audit log.
    pub(super) reason: Text,
}

impl Example for ReplayRequest {
    fn example() -> Self {
        let filter = FilterBody {
            state: Some(JobStateBody::Dead),
            kind: Some("stripe.event".into()),
            stream: None,
            event_type: Some("invoice.paid".into()),
            error: None,
            cause: Some("customer_unknown".into()),
            customer: None,
            from: None,
        };
        Self { filter, dry_run: true, rate_per_second: Some(50), reason: "ticket 4711".into() }
    }
}

/// A replay.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct ReplayBody {
    /// Its identifier.
    pub(super) id: String,
    /// `preview`, `running`, `paused`, `done`, `cancelled`, or `failed`. A failed replay can be resumed.
    pub(super) state: String,
    /// Whether it only reports what would happen.
    pub(super) dry_run: bool,
    /// Maximum number of jobs started per second.
    pub(super) rate_per_second: i64,
    /// The reason that was given.
    pub(super) reason: String,
    /// Jobs in its fixed set.
    pub(super) total: i64,
    /// Jobs processed so far.
    pub(super) done: i64,
    /// Who created it.
    pub(super) created_by: String,
    /// When it was created.
    pub(super) created_at: String,
    /// When it was done, was cancelled or failed.
    pub(super) finished_at: Option<String>,
}

impl Example for ReplayBody {
    fn example() -> Self {
        Self {
            id: sample::REPLAY.to_owned(),
            state: "preview".to_owned(),
            dry_run: true,
            rate_per_second: 50,
            reason: "ticket 4711".to_owned(),
            total: 12,
            done: 0,
            created_by: "admin:bootstrap".to_owned(),
            created_at: sample::AT.to_owned(),
            finished_at: None,
        }
    }
}

impl From<&Replay> for ReplayBody {
    fn from(replay: &Replay) -> Self {
        Self {
            id: replay.id.to_string(),
            state: replay.state.clone(),
            dry_run: replay.dry_run,
            rate_per_second: replay.rate_per_second,
            reason: replay.reason.clone(),
            total: replay.total,
            done: replay.done,
            created_by: replay.created_by.clone(),
            created_at: rfc3339(replay.created_at_ms),
            finished_at: replay.finished_at_ms.map(rfc3339),
        }
    }
}

/// A replay with the first jobs of its set.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct ReplayPreview {
    /// The replay.
    pub(super) replay: ReplayBody,
    /// The first jobs of its set.
    pub(super) sample: Vec<JobBody>,
}

impl Example for ReplayPreview {
    fn example() -> Self {
        Self { replay: ReplayBody::example(), sample: vec![JobBody::example()] }
    }
}

/// One replay.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct ReplayDetail {
    /// The replay.
    pub(super) replay: ReplayBody,
    /// What became of its jobs so far; null for a dry run.
    pub(super) outcomes: Option<OutcomesBody>,
}

impl Example for ReplayDetail {
    fn example() -> Self {
        let replay = ReplayBody { state: "done".to_owned(), dry_run: false, done: 12, ..ReplayBody::example() };
        Self { replay, outcomes: Some(OutcomesBody::example()) }
    }
}

/// What became of the jobs of a replay so far. Each counts once.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct OutcomesBody {
    /// Done.
    succeeded: i64,
    /// Became pointless, or were cancelled by support.
    cancelled: i64,
    /// Died again.
    dead: i64,
    /// Failed again, and wait for another attempt.
    retrying: i64,
    /// Back in their streams, and not tried yet.
    waiting: i64,
    /// The replay has not come to them.
    not_started: i64,
    /// Not run: deleted, or not ended when their turn came.
    skipped: i64,
    /// Run, and deleted since with everything that ended long ago.
    deleted: i64,
}

impl Example for OutcomesBody {
    fn example() -> Self {
        Self::from(Outcomes { succeeded: 10, dead: 1, retrying: 1, ..Outcomes::default() })
    }
}

impl From<Outcomes> for OutcomesBody {
    fn from(outcomes: Outcomes) -> Self {
        let Outcomes { succeeded, cancelled, dead, retrying, waiting, not_started, skipped, deleted } = outcomes;
        Self { succeeded, cancelled, dead, retrying, waiting, not_started, skipped, deleted }
    }
}

page! {
    /// A page of replays, newest first.
    pub(super) ReplayPage of ReplayBody
}

/// One job of a replay.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct ReplayItemBody {
    /// Its number in the set.
    pub(super) n: i64,
    /// The job.
    pub(super) job_id: String,
    /// `waiting`, `replayed`, `skipped` (deleted, or not ended when its turn came) or `tried` (in a dry run).
    pub(super) state: String,
    /// What would have happened, in a dry run.
    pub(super) result: Option<serde_json::Value>,
}

impl Example for ReplayItemBody {
    fn example() -> Self {
        let result =
            serde_json::json!({ "outcome": "done", "ledger": { "customer_id": sample::CUSTOMER, "amount": 60 } });
        Self { n: 1, job_id: sample::JOB.to_owned(), state: "tried".to_owned(), result: Some(result) }
    }
}

page! {
    /// A page of a replay's jobs, in order.
    pub(super) ReplayItemPage of ReplayItemBody
}
