//! Support: find jobs, see why one is stuck, cancel or replay it.

use super::{ATTEMPTS_SHOWN_MAX, AttemptBody, JobBody, ReasonRequest, check_reason, explain, replay_job, why_example};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::Described;
use crate::problem::ApiError;
use crate::routes::page::page;
use crate::routes::{Tag, input};
use bursar_engine::domain::job::{Job, JobFilter};
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::{attempt, job};
use bursar_engine::{Error, usecase};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// Routes of jobs for staff.
pub struct AdminJobApi;

pub(super) const DESCRIBED: &[Described] = &[
    Described::new("admin_list_jobs", &[]),
    Described::new("admin_get_job", &["not_found"]),
    Described::new("admin_cancel_job", &["invalid_reason", "job_not_waiting", "not_found"]),
    Described::new("admin_replay_job", &["busy", "invalid_reason", "job_not_ended", "not_found"]),
];

/// Where a job stands.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum JobStateBody {
    /// Waits for its time.
    Scheduled,
    /// Due.
    Available,
    /// Being worked on.
    Running,
    /// Done.
    Succeeded,
    /// Ended without being done.
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
    /// Why it stands where it stands.
    why: String,
}

impl Example for JobDetail {
    fn example() -> Self {
        Self { job: JobBody::example(), attempts: vec![AttemptBody::example()], why: why_example() }
    }
}

async fn find(app: &App, id: &str) -> Result<Job, Error> {
    let id = JobId::parse(id).map_err(|_| Error::NotFound("job"))?;
    job::job_find(app.db.read(), &id).await?.ok_or(Error::NotFound("job"))
}

async fn detail(app: &App, id: &str) -> Result<Json<JobDetail>, ApiError> {
    let found = find(app, id).await?;
    let attempts = attempt::attempt_list(app.db.read(), &found.id, ATTEMPTS_SHOWN_MAX).await?;
    Ok(Json(JobDetail {
        job: JobBody::new(&found, app.clock.now_ms()),
        attempts: attempts.iter().map(AttemptBody::from).collect(),
        why: explain(app, &found).await?,
    }))
}

#[OpenApi]
impl AdminJobApi {
    /// Find jobs
    ///
    /// Newest first: everything that was put off, whatever its kind.
    #[oai(path = "/admin/v1/jobs", method = "get", operation_id = "admin_list_jobs", tag = "Tag::Admin")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Where they stand.
        state: Query<Option<JobStateBody>>,
        /// Their kind, such as `stripe.event`.
        kind: Query<Option<String>>,
        /// Their stream.
        stream: Query<Option<String>>,
        /// The type of the event that they process.
        event_type: Query<Option<String>>,
        /// Text that their last error contains.
        error: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<JobPage>, ApiError> {
        let limit = input::limit(limit.0)?;
        let before = input::cursor(cursor.0.as_deref())?.unwrap_or_default();
        let filter = JobFilter {
            state: state.0.map(|state| state.as_str().to_owned()),
            kind: kind.0,
            stream: stream.0,
            event_type: event_type.0,
            error: error.0,
            ..JobFilter::default()
        };
        let now_ms = app.clock.now_ms();
        let mut found = job::job_list(app.db.read(), &filter, &before, limit + 1, now_ms).await?;
        let next_cursor = input::next_cursor(&mut found, limit, |job| job.id.to_string());
        Ok(Json(JobPage { data: found.iter().map(|job| JobBody::new(job, now_ms)).collect(), next_cursor }))
    }

    /// Look at a job
    ///
    /// With its latest attempts, and why it stands where it stands.
    #[oai(path = "/admin/v1/jobs/:id", method = "get", operation_id = "admin_get_job", tag = "Tag::Admin")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The job.
        id: Path<String>,
    ) -> Result<Json<JobDetail>, ApiError> {
        detail(&app, &id.0).await
    }

    /// Cancel a job that waits
    ///
    /// It ends without being done, and its stream goes on. It can be replayed.
    #[oai(path = "/admin/v1/jobs/:id/cancel", method = "post", operation_id = "admin_cancel_job", tag = "Tag::Admin")]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The job.
        id: Path<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<JobDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let found = find(&app, &id.0).await?;
        usecase::job::cancel(&app.db, &found.id, &reason, &auth.0.actor, app.clock.now_ms()).await?;
        detail(&app, &id.0).await
    }

    /// Replay a job that has ended
    ///
    /// It runs again with a fresh allowance of attempts. What it did before is not done twice.
    #[oai(path = "/admin/v1/jobs/:id/replay", method = "post", operation_id = "admin_replay_job", tag = "Tag::Admin")]
    async fn replay(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The job.
        id: Path<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<JobDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let found = find(&app, &id.0).await?;
        replay_job(&app, &found, &auth.0.actor, &reason).await?;
        detail(&app, &id.0).await
    }
}
