//! Support: replays as stored objects.

mod body;

use super::job::find_owner;
use super::job_body::JobBody;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::PageQuery;
use crate::routes::path_id::PathId;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use body::{ReplayBody, ReplayDetail, ReplayItemBody, ReplayItemPage, ReplayPage, ReplayPreview, ReplayRequest};
use bursar_engine::Error;
use bursar_engine::domain::job::JobFilter;
use bursar_engine::domain::replay::{Action, Outcomes, ReplayItem, SAMPLE_MAX};
use bursar_engine::ids::ReplayId;
use bursar_engine::infra::store::{job, replay as rows};
use bursar_engine::usecase::replay::{self, NewReplay};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use std::sync::Arc;

/// The default rate.
const RATE_DEFAULT: i64 = 50;

/// Routes of replays.
pub struct AdminReplayApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "admin_create_replay",
        &["busy", "invalid_rate", "invalid_reason", "invalid_time", "not_found", "replay_too_large"],
    ),
    OperationDoc::new("admin_list_replays", &["invalid_time"]),
    OperationDoc::new("admin_get_replay", &["not_found"]),
    OperationDoc::new("admin_list_replay_items", &["not_found"]),
    OperationDoc::new("admin_start_replay", &["not_found", "replay_state"]),
    OperationDoc::new("admin_pause_replay", &["not_found", "replay_state"]),
    OperationDoc::new("admin_resume_replay", &["not_found", "replay_state"]),
    OperationDoc::new("admin_cancel_replay", &["not_found", "replay_state"]),
];

#[derive(ApiResponse)]
enum ReplayCreated {
    /// The set of jobs is fixed. Nothing runs until the replay is started.
    #[oai(status = 201)]
    Created(Json<ReplayPreview>),
}

async fn detail(app: &App, id: &ReplayId) -> Result<Json<ReplayDetail>, ApiError> {
    let found = rows::replay_find(app.db.read(), id).await?.ok_or(Error::NotFound("replay"))?;
    let outcomes = match found.dry_run {
        true => None,
        false => Some(Outcomes::of(rows::replay_jobs_count(app.db.read(), id).await?).into()),
    };
    Ok(Json(ReplayDetail { replay: ReplayBody::from(&found), outcomes }))
}

async fn act(app: &App, auth: &AdminAuth, id: &ReplayId, action: Action) -> Result<Json<ReplayDetail>, ApiError> {
    let wakes = replay::act(&app.db, id, action, &auth.0.actor, app.clock.now_ms()).await?;
    app.runtime.dispatcher.announce(wakes);
    detail(app, id).await
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminReplayApi {
    /// Prepare a replay
    ///
    /// Fixes the set of jobs, and shows their number and the first of them.
    #[oai(path = "/admin/v1/replays", method = "post", operation_id = "admin_create_replay")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<ReplayRequest>,
    ) -> Result<ReplayCreated, ApiError> {
        let idempotency_key = input::idempotency_key(&idempotency_key.0)?;
        let request_hash = input::request_hash("admin_create_replay", &body.0);
        let Json(ReplayRequest { filter, dry_run, rate_per_second, reason }) = body;
        let text = |text: Option<Text>| text.map(|text| text.0);
        let filter = JobFilter {
            state: filter.state.map(|state| state.as_str().to_owned()),
            kind: text(filter.kind),
            stream: text(filter.stream),
            event_type: text(filter.event_type),
            error: text(filter.error),
            cause: text(filter.cause),
            owner: find_owner(&app, text(filter.customer)).await?,
            created_from_ms: input::time("filter.from", text(filter.from).as_deref())?,
            ..JobFilter::default()
        };
        let rate_per_second = rate_per_second.unwrap_or(RATE_DEFAULT);
        let new = NewReplay {
            filter,
            dry_run,
            rate_per_second,
            reason: reason.0,
            actor: auth.0.actor,
            idempotency_key,
            request_hash,
        };
        let now_ms = app.clock.now_ms();
        let made = replay::create(&app.db, new, now_ms).await?;
        let mut sample = Vec::new();
        for item in rows::replay_items(app.db.read(), &made.id, false, 0, SAMPLE_MAX).await? {
            if let Some(job) = job::job_find(app.db.read(), &item.job_id).await? {
                sample.push(JobBody::new(&job, now_ms));
            }
        }
        Ok(ReplayCreated::Created(Json(ReplayPreview { replay: ReplayBody::from(&made), sample })))
    }

    /// Replays
    ///
    /// Newest first, including those that are done or cancelled.
    #[oai(path = "/admin/v1/replays", method = "get", operation_id = "admin_list_replays")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only those whose reason contains this text.
        reason: Query<Option<String>>,
        /// Only those that were made at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ReplayPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let wanted = (input::time("from", from.0.as_deref())?, reason.0.as_deref());
        let found = rows::replay_list(app.db.read(), wanted, page.cursor_or_empty(), page.rows_to_query()).await?;
        Ok(page.answer(found, |replay| replay.id.to_string(), |replay| ReplayBody::from(&replay)))
    }

    /// Look at a replay
    ///
    /// Its state, how many of its jobs are processed, and what became of those that ran.
    #[oai(path = "/admin/v1/replays/:id", method = "get", operation_id = "admin_get_replay")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The replay.
        id: Path<PathId<ReplayId>>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        detail(&app, &id.0.parsed()?).await
    }

    /// The jobs of a replay
    ///
    /// In the order in which they run. A dry run also shows what would have happened.
    #[oai(path = "/admin/v1/replays/:id/items", method = "get", operation_id = "admin_list_replay_items")]
    async fn items(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The replay.
        id: Path<PathId<ReplayId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ReplayItemPage>, ApiError> {
        let page = PageQuery::parse_numbered(cursor.0, limit.0)?;
        let (id, after) = (id.0.parsed()?, page.cursor.unwrap_or(0));
        let found = rows::replay_items(app.db.read(), &id, false, after, page.rows_to_query()).await?;
        let body = |item: ReplayItem| ReplayItemBody {
            n: item.n,
            job_id: item.job_id.to_string(),
            state: item.state,
            result: item.result.and_then(|text| serde_json::from_str(&text).ok()),
        };
        Ok(page.answer(found, |item| item.n.to_string(), body))
    }

    /// Start a replay
    ///
    /// Its jobs run again at its rate. A dry run changes nothing.
    #[oai(path = "/admin/v1/replays/:id/start", method = "post", operation_id = "admin_start_replay")]
    async fn start(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<PathId<ReplayId>>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0.parsed()?, Action::Start).await
    }

    /// Pause a replay
    ///
    /// No further jobs of it are started until it is resumed.
    #[oai(path = "/admin/v1/replays/:id/pause", method = "post", operation_id = "admin_pause_replay")]
    async fn pause(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<PathId<ReplayId>>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0.parsed()?, Action::Pause).await
    }

    /// Resume a paused replay
    ///
    /// It continues where it was paused: no job is replayed twice.
    #[oai(path = "/admin/v1/replays/:id/resume", method = "post", operation_id = "admin_resume_replay")]
    async fn resume(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<PathId<ReplayId>>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0.parsed()?, Action::Resume).await
    }

    /// Cancel a replay
    ///
    /// Jobs that already ran are not undone.
    #[oai(path = "/admin/v1/replays/:id/cancel", method = "post", operation_id = "admin_cancel_replay")]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<PathId<ReplayId>>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0.parsed()?, Action::Cancel).await
    }
}
