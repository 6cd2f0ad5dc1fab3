//! Support: dead jobs, grouped by cause.

use super::job::find_owner;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::failure_group::{FailureGroup, READ_MAX, group};
use bursar_engine::domain::job::JobFilter;
use bursar_engine::infra::store::failure_group::dead_job_list;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Maximum number of groups in an answer, the largest ones.
const GROUPS_MAX: usize = 100;

/// Routes of failures for staff.
pub struct AdminFailureApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] =
    &[OperationDoc::new("admin_list_failures", &["invalid_time", "not_found"])];

/// Dead jobs of one kind, and of one type of event, with one cause.
#[derive(Debug, Object)]
#[oai(example)]
struct FailureGroupBody {
    /// The cause: a word such as `customer_unknown`, or what the sentences of their last errors have in common. A
    /// replay takes it as `filter.cause`.
    cause: String,
    /// Their kind.
    kind: String,
    /// The type of the events that they process.
    event_type: Option<String>,
    /// Their number.
    count: u64,
    /// When the first of them died.
    first_at: String,
    /// When the last of them died.
    last_at: String,
    /// The job that died last.
    latest_job_id: String,
    /// Why that job died, in full.
    example: String,
}

impl Example for FailureGroupBody {
    fn example() -> Self {
        Self {
            cause: "customer_unknown".to_owned(),
            kind: "stripe.event".to_owned(),
            event_type: sample::text("invoice.paid"),
            count: 12,
            first_at: sample::AT.to_owned(),
            last_at: sample::AT.to_owned(),
            latest_job_id: sample::JOB.to_owned(),
            example: sample::WHY_DEAD.to_owned(),
        }
    }
}

impl From<FailureGroup> for FailureGroupBody {
    fn from(group: FailureGroup) -> Self {
        Self {
            cause: group.cause,
            kind: group.kind,
            event_type: group.event_type,
            count: group.count,
            first_at: rfc3339(group.first_at_ms),
            last_at: rfc3339(group.last_at_ms),
            latest_job_id: group.latest.to_string(),
            example: group.example,
        }
    }
}

/// Dead jobs, grouped by cause.
#[derive(Debug, Object)]
#[oai(example)]
struct FailureGroups {
    /// The groups, the largest first; at most 100.
    data: Vec<FailureGroupBody>,
    /// Number of dead jobs that were looked at: the latest ones, at most 10000.
    jobs_read: u64,
    /// Whether all dead jobs were looked at that match. If not, each group may have more.
    is_complete: bool,
    /// Number of jobs in smaller groups, which are left out.
    left_out: u64,
}

impl Example for FailureGroups {
    fn example() -> Self {
        Self { data: vec![FailureGroupBody::example()], jobs_read: 12, is_complete: true, left_out: 0 }
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminFailureApi {
    /// Failures by cause
    ///
    /// Dead jobs, which include the dead events, counted by cause, kind and type of event. At most the latest 10,000
    /// are looked at, and `is_complete` says whether these are all. A group is replayed by a replay with its `cause`,
    /// `kind` and `event_type` in the filter.
    #[oai(path = "/admin/v1/failures", method = "get", operation_id = "admin_list_failures")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only jobs of this kind, such as `stripe.event`.
        kind: Query<Option<String>>,
        /// Only jobs that process an event of this type.
        event_type: Query<Option<String>>,
        /// Only jobs in this stream.
        stream: Query<Option<String>>,
        /// Only jobs of this customer.
        customer: Query<Option<String>>,
        /// Only jobs whose last error contains this text.
        error: Query<Option<String>>,
        /// Only jobs that were made at this time or later.
        from: Query<Option<String>>,
    ) -> Result<Json<FailureGroups>, ApiError> {
        let filter = JobFilter {
            kind: kind.0,
            event_type: event_type.0,
            stream: stream.0,
            error: input::text(error.0),
            owner: find_owner(&app, customer.0).await?,
            created_from_ms: input::time("from", from.0.as_deref())?,
            ..JobFilter::default()
        };
        let mut dead = dead_job_list(app.db.read(), &filter, READ_MAX + 1).await?;
        let is_complete = dead.len() as u64 <= READ_MAX;
        if !is_complete {
            dead.sort_by(|one, other| other.id.cmp(&one.id));
            dead.truncate(usize::try_from(READ_MAX).unwrap_or(usize::MAX));
        }
        let jobs_read = dead.len() as u64;
        let mut groups = group(dead);
        let left_out = groups.iter().skip(GROUPS_MAX).map(|group| group.count).sum();
        groups.truncate(GROUPS_MAX);
        let data = groups.into_iter().map(FailureGroupBody::from).collect();
        Ok(Json(FailureGroups { data, jobs_read, is_complete, left_out }))
    }
}
