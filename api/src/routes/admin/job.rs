//! Support: finding jobs, the reasons of their states, cancelling and replaying them.

use super::job_body::{ATTEMPTS_SHOWN_MAX, AttemptBody, JobBody, JobStateBody, explain, why_example};
use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::{PathId, parse_id};
use crate::routes::{Tag, input};
use bursar_engine::domain::job::{Job, JobFilter, JobOwner};
use bursar_engine::ids::{CustomerId, JobId};
use bursar_engine::infra::store::customer::customer_job_owner;
use bursar_engine::infra::store::{attempt, job};
use bursar_engine::{Error, usecase};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of jobs for staff.
pub struct AdminJobApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_jobs", &["invalid_time", "not_found"]),
    OperationDoc::new("admin_get_job", &["not_found"]),
    OperationDoc::new("admin_cancel_job", &["invalid_reason", "job_not_waiting", "not_found"]),
    OperationDoc::new("admin_replay_job", &["busy", "invalid_reason", "job_not_ended", "not_found"]),
];

page! {
    /// A page of jobs, newest first.
    JobPage of JobBody
}

/// Everything about a job.
#[derive(Debug, Object)]
#[oai(example)]
struct JobDetail {
    /// The job.
    job: JobBody,
    /// Its attempts, oldest first.
    attempts: Vec<AttemptBody>,
    /// The reason for its state.
    why: String,
}

impl Example for JobDetail {
    fn example() -> Self {
        Self { job: JobBody::example(), attempts: vec![AttemptBody::example()], why: why_example() }
    }
}

async fn find(app: &App, id: &JobId) -> Result<Job, Error> {
    job::job_find(app.db.read(), id).await?.ok_or(Error::NotFound("job"))
}

async fn detail(app: &App, id: &JobId) -> Result<Json<JobDetail>, ApiError> {
    let found = find(app, id).await?;
    let attempts = attempt::attempt_list(app.db.read(), &found.id, ATTEMPTS_SHOWN_MAX).await?;
    Ok(Json(JobDetail {
        job: JobBody::new(&found, app.clock.now_ms()),
        attempts: attempts.iter().map(AttemptBody::from).collect(),
        why: explain(app, &found).await?,
    }))
}

/// The customer whose jobs or events are searched for, with its streams.
pub(super) async fn find_owner(app: &App, customer: Option<String>) -> Result<Option<JobOwner>, ApiError> {
    let Some(id) = customer.as_deref().map(parse_id::<CustomerId>).transpose()? else { return Ok(None) };
    Ok(Some(customer_job_owner(app.db.read(), &id).await?))
}

/// Replays an ended job, or tries one now that waits after a failure, with a line in the audit log.
pub(super) async fn replay_job(app: &App, job: &Job, actor: &str, reason: &str) -> Result<(), ApiError> {
    let unit = usecase::job::replay(job, actor, reason)?;
    app.runtime.ledger.commit(unit).await.map_err(Error::from)?;
    Ok(())
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminJobApi {
    /// Find jobs
    ///
    /// Jobs of all kinds, newest first.
    #[oai(path = "/admin/v1/jobs", method = "get", operation_id = "admin_list_jobs")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only jobs in this state.
        state: Query<Option<JobStateBody>>,
        /// Only jobs of this kind, such as `stripe.event`.
        kind: Query<Option<String>>,
        /// Only jobs in this stream.
        stream: Query<Option<String>>,
        /// Only jobs that process an event of this type.
        event_type: Query<Option<String>>,
        /// Only jobs of this customer: those that name it, and those of its events.
        customer: Query<Option<String>>,
        /// Only jobs whose last error contains this text.
        error: Query<Option<String>>,
        /// Only jobs that were made at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<JobPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let filter = JobFilter {
            state: state.0.map(|state| state.as_str().to_owned()),
            kind: kind.0,
            stream: stream.0,
            event_type: event_type.0,
            error: error.0,
            owner: find_owner(&app, customer.0).await?,
            created_from_ms: input::time("from", from.0.as_deref())?,
            ..JobFilter::default()
        };
        let now_ms = app.clock.now_ms();
        let found = job::job_list(app.db.read(), &filter, page.cursor_or_empty(), page.rows_to_query(), now_ms).await?;
        Ok(page.answer(found, |job| job.id.to_string(), |job| JobBody::new(&job, now_ms)))
    }

    /// Look at a job
    ///
    /// With its latest attempts and the reason for its state.
    #[oai(path = "/admin/v1/jobs/:id", method = "get", operation_id = "admin_get_job")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The job.
        id: Path<PathId<JobId>>,
    ) -> Result<Json<JobDetail>, ApiError> {
        detail(&app, &id.0.parsed()?).await
    }

    /// Cancel a waiting job
    ///
    /// It ends without being processed, and its stream continues. It can be replayed.
    #[oai(path = "/admin/v1/jobs/:id/cancel", method = "post", operation_id = "admin_cancel_job")]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The job.
        id: Path<PathId<JobId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<JobDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let found = find(&app, &id.0.parsed()?).await?;
        usecase::job::cancel(&app.db, &found.id, &reason, &auth.0.actor, app.clock.now_ms()).await?;
        detail(&app, &found.id).await
    }

    /// Replay a job that has ended or failed
    ///
    /// It runs again with a new set of attempts; one that waits after a failure is tried now. Effects that it already
    /// had do not happen twice.
    #[oai(path = "/admin/v1/jobs/:id/replay", method = "post", operation_id = "admin_replay_job")]
    async fn replay(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The job.
        id: Path<PathId<JobId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<JobDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let found = find(&app, &id.0.parsed()?).await?;
        replay_job(&app, &found, &auth.0.actor, &reason).await?;
        detail(&app, &found.id).await
    }
}
