//! Support: streams; pausing and resuming them, and skipping the job at the head.

use super::job::find_owner;
use super::job_body::JobBody;
use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::infra::store::job::job_head;
use bursar_engine::infra::store::stream::{Stream, StreamFilter, stream_find, stream_list};
use bursar_engine::usecase::stream;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of streams for staff.
pub struct AdminStreamApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_streams", &["invalid_time", "not_found"]),
    OperationDoc::new("admin_get_stream", &["not_found"]),
    OperationDoc::new("admin_pause_stream", &["invalid_reason", "not_found", "stream_paused"]),
    OperationDoc::new("admin_resume_stream", &["not_found", "stream_not_paused"]),
    OperationDoc::new(
        "admin_run_canary",
        &["invalid_reason", "job_not_waiting", "not_found", "stream_empty", "stream_moved", "stream_not_paused"],
    ),
    OperationDoc::new(
        "admin_skip_stream",
        &["invalid_reason", "job_not_waiting", "not_found", "stream_empty", "stream_moved"],
    ),
];

/// A stream.
#[derive(Debug, Object)]
#[oai(example)]
struct StreamBody {
    /// Its key, such as `stripe:cus_…`.
    key: String,
    /// Sequence number of its latest job.
    last_seq: i64,
    /// The node that has leased it.
    owner: Option<String>,
    /// The epoch of its latest lease, which only grows.
    epoch: i64,
    /// When the lease ends.
    lease_until: Option<String>,
    /// Since when it is paused.
    paused_at: Option<String>,
    /// Why it is paused.
    paused_reason: Option<String>,
    /// The job at its head that may run once although it is paused.
    canary_job_id: Option<String>,
    /// Jobs that are waiting or running.
    unfinished: i64,
}

impl Example for StreamBody {
    fn example() -> Self {
        Self {
            key: sample::STREAM.to_owned(),
            last_seq: 3,
            owner: None,
            epoch: 1_767_225_600_008,
            lease_until: None,
            paused_at: sample::text(sample::AT),
            paused_reason: sample::text("ticket 4711"),
            canary_job_id: None,
            unfinished: 1,
        }
    }
}

impl From<&Stream> for StreamBody {
    fn from(stream: &Stream) -> Self {
        Self {
            key: stream.key.clone(),
            last_seq: stream.last_seq,
            owner: stream.owner.clone(),
            epoch: stream.epoch,
            lease_until: stream.owner.as_ref().map(|_| rfc3339(stream.lease_until_ms)),
            paused_at: stream.paused_at_ms.map(rfc3339),
            paused_reason: stream.paused_reason.clone(),
            canary_job_id: stream.canary.as_ref().map(ToString::to_string),
            unfinished: stream.unfinished,
        }
    }
}

page! {
    /// A page of streams, by key.
    StreamPage of StreamBody
}

/// A stream with the job at its head.
#[derive(Debug, Object)]
#[oai(example)]
struct StreamDetail {
    /// The stream.
    stream: StreamBody,
    /// The first job that has not ended.
    head: Option<JobBody>,
}

impl Example for StreamDetail {
    fn example() -> Self {
        Self { stream: StreamBody::example(), head: Some(JobBody::waiting_example()) }
    }
}

/// An action on the job at the head of a stream.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct StreamHeadRequest {
    /// The reason, for the audit log.
    reason: Text,
    /// The job expected at the head; any job if not given.
    job_id: Option<Text>,
}

impl Example for StreamHeadRequest {
    fn example() -> Self {
        Self { reason: "ticket 4711".into(), job_id: Some(sample::JOB.into()) }
    }
}

/// A canary that was started.
#[derive(Debug, Object)]
#[oai(example)]
struct CanaryAnswer {
    /// The stream, which stays paused.
    stream: StreamBody,
    /// The job that runs, as it was before.
    job: JobBody,
}

impl Example for CanaryAnswer {
    fn example() -> Self {
        let stream = StreamBody { canary_job_id: sample::text(sample::JOB), ..StreamBody::example() };
        Self { stream, job: JobBody::waiting_example() }
    }
}

async fn detail(app: &App, key: &str) -> Result<Json<StreamDetail>, ApiError> {
    let stream = stream_find(app.db.read(), key).await?.ok_or(Error::NotFound("stream"))?;
    let head = job_head(app.db.read(), key).await?;
    let head = head.map(|job| JobBody::new(&job, app.clock.now_ms()));
    Ok(Json(StreamDetail { stream: StreamBody::from(&stream), head }))
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminStreamApi {
    /// Streams that are paused or have jobs
    ///
    /// By key. The jobs of a stream run one at a time, in order, such as the events of one Stripe customer.
    #[oai(path = "/admin/v1/streams", method = "get", operation_id = "admin_list_streams")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only those that are paused.
        paused: Query<Option<bool>>,
        /// Only those that are paused, or have a job that is due, runs or has failed: not those whose jobs only wait
        /// for their time, such as the follow-up mails to new customers.
        due: Query<Option<bool>>,
        /// Only those with jobs of this customer.
        customer: Query<Option<String>>,
        /// Only paused ones whose reason contains this text.
        reason: Query<Option<String>>,
        /// Only those that were paused at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<StreamPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let filter = StreamFilter {
            is_paused: paused.0.unwrap_or(false),
            is_due: due.0.unwrap_or(false),
            owner: find_owner(&app, customer.0).await?,
            reason: input::text(reason.0),
            paused_from_ms: input::time("from", from.0.as_deref())?,
        };
        let (now_ms, after) = (app.clock.now_ms(), page.cursor_or_empty());
        let found = stream_list(app.db.read(), &filter, now_ms, after, page.rows_to_query()).await?;
        Ok(page.answer(found, |stream| stream.key.clone(), |stream| StreamBody::from(&stream)))
    }

    /// Look at a stream
    ///
    /// With the job at its head, which is the one that runs next.
    #[oai(path = "/admin/v1/streams/:key", method = "get", operation_id = "admin_get_stream")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The stream.
        key: Path<String>,
    ) -> Result<Json<StreamDetail>, ApiError> {
        detail(&app, &key.0).await
    }

    /// Pause a stream
    ///
    /// A running job ends; no other starts until the stream is resumed.
    #[oai(path = "/admin/v1/streams/:key/pause", method = "post", operation_id = "admin_pause_stream")]
    async fn pause(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The stream.
        key: Path<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<StreamDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        stream::pause(&app.db, &key.0, &reason, &auth.0.actor, app.clock.now_ms()).await?;
        detail(&app, &key.0).await
    }

    /// Resume a paused stream
    ///
    /// The jobs that have accumulated run in order.
    #[oai(path = "/admin/v1/streams/:key/resume", method = "post", operation_id = "admin_resume_stream")]
    async fn resume(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The stream.
        key: Path<String>,
    ) -> Result<Json<StreamDetail>, ApiError> {
        let wakes = stream::resume(&app.db, &key.0, &auth.0.actor, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(wakes);
        detail(&app, &key.0).await
    }

    /// Let one job of a paused stream run, as a canary
    ///
    /// The job at the head runs once, and the stream stays paused: a way to see whether a cause is gone before
    /// everything behind it runs. If it fails, it waits at the head as before; a job that failed before is tried now.
    /// With `job_id`, only that job runs, so that repeating the request does not run a second one.
    #[oai(path = "/admin/v1/streams/:key/canary", method = "post", operation_id = "admin_run_canary")]
    async fn canary(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The stream.
        key: Path<String>,
        body: Json<StreamHeadRequest>,
    ) -> Result<Json<CanaryAnswer>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let job_id = body.0.job_id.as_ref().map(|job_id| job_id.0.as_str());
        let now_ms = app.clock.now_ms();
        let (job, wakes) = stream::run_canary(&app.db, &key.0, job_id, &reason, &auth.0.actor, now_ms).await?;
        app.runtime.dispatcher.announce(wakes);
        let stream = stream_find(app.db.read(), &key.0).await?.ok_or(Error::NotFound("stream"))?;
        Ok(Json(CanaryAnswer { stream: StreamBody::from(&stream), job: JobBody::new(&job, now_ms) }))
    }

    /// Skip the job at the head of a stream
    ///
    /// The job is cancelled; support can replay it later. A running job cannot be skipped. With `job_id`, only that
    /// job is skipped, so that repeating the request does not skip a second one.
    #[oai(path = "/admin/v1/streams/:key/skip", method = "post", operation_id = "admin_skip_stream")]
    async fn skip(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The stream.
        key: Path<String>,
        body: Json<StreamHeadRequest>,
    ) -> Result<Json<StreamDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let job_id = body.0.job_id.as_ref().map(|job_id| job_id.0.as_str());
        let wakes = stream::skip(&app.db, &key.0, job_id, &reason, &auth.0.actor, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(wakes);
        detail(&app, &key.0).await
    }
}
