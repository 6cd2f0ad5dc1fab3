//! Support: replays as stored objects.

use super::JobBody;
use super::job::JobStateBody;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::problem::ApiError;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::ids::ReplayId;
use bursar_engine::replay::{self, Action, NewReplay, Replay, SAMPLE_MAX};
use bursar_engine::store::job::JobFilter;
use bursar_engine::store::{job, replay as rows};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Rate if the request does not say.
const RATE_DEFAULT: i64 = 50;

/// Routes of replays.
pub struct AdminReplayApi;

/// Which jobs to replay. Empty fields match everything that has ended.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct FilterBody {
    /// `dead`, `cancelled` or `succeeded`.
    state: Option<JobStateBody>,
    /// A kind, such as `stripe.event`.
    kind: Option<Text>,
    /// A stream.
    stream: Option<Text>,
    /// A type of event.
    event_type: Option<Text>,
    /// Text that the last error contains.
    error: Option<Text>,
}

/// A replay to prepare.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct ReplayRequest {
    /// Which jobs.
    filter: FilterBody,
    /// Only try what would happen; nothing is changed.
    #[oai(default)]
    dry_run: bool,
    /// Jobs started in a second at the most, 1 to 1000; 50 if not given.
    rate_per_second: Option<i64>,
    /// Why, in words.
    reason: Text,
}

impl Example for ReplayRequest {
    fn example() -> Self {
        let filter = FilterBody {
            state: Some(JobStateBody::Dead),
            kind: Some("stripe.event".into()),
            stream: None,
            event_type: Some("invoice.paid".into()),
            error: None,
        };
        Self { filter, dry_run: true, rate_per_second: Some(50), reason: "ticket 4711".into() }
    }
}

/// A replay.
#[derive(Debug, Object)]
struct ReplayBody {
    /// Its identifier.
    id: String,
    /// `preview`, `running`, `paused`, `done`, `cancelled`, or `failed` (it can be resumed).
    state: String,
    /// Whether it only tries.
    dry_run: bool,
    /// Jobs started in a second at the most.
    rate_per_second: i64,
    /// Why.
    reason: String,
    /// Jobs in its frozen set.
    total: i64,
    /// Jobs worked off.
    done: i64,
    /// Who asked for it.
    created_by: String,
    /// When.
    created_at: String,
    /// When it was done or cancelled, or failed.
    finished_at: Option<String>,
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
struct ReplayPreview {
    /// The replay.
    replay: ReplayBody,
    /// The first jobs of its set.
    sample: Vec<JobBody>,
}

/// A replay alone.
#[derive(Debug, Object)]
struct ReplayDetail {
    /// The replay.
    replay: ReplayBody,
}

/// A page of replays.
#[derive(Debug, Object)]
struct ReplayPage {
    /// The rows, newest first.
    data: Vec<ReplayBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// One job of a replay.
#[derive(Debug, Object)]
struct ReplayItemBody {
    /// Its number in the set.
    n: i64,
    /// The job.
    job_id: String,
    /// `waiting`, `replayed` or `tried`.
    state: String,
    /// Of a dry run: what would have happened.
    result: Option<serde_json::Value>,
}

/// A page of a replay's jobs.
#[derive(Debug, Object)]
struct ReplayItemPage {
    /// The rows, in order.
    data: Vec<ReplayItemBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum ReplayCreated {
    /// The set is frozen. Nothing runs until the replay is started.
    #[oai(status = 201)]
    Created(Json<ReplayPreview>),
}

fn replay_id(text: &str) -> Result<ReplayId, ApiError> {
    ReplayId::parse(text).map_err(|_| Error::NotFound("replay").into())
}

async fn detail(app: &App, id: &ReplayId) -> Result<Json<ReplayDetail>, ApiError> {
    let found = rows::replay_find(app.db.read(), id).await?.ok_or(Error::NotFound("replay"))?;
    Ok(Json(ReplayDetail { replay: ReplayBody::from(&found) }))
}

async fn act(app: &App, auth: &AdminAuth, id: &str, action: Action) -> Result<Json<ReplayDetail>, ApiError> {
    let id = replay_id(id)?;
    let wakes = replay::act(&app.db, &id, action, &auth.0.actor, app.clock.now_ms()).await?;
    app.runtime.dispatcher.announce(wakes);
    detail(app, &id).await
}

#[OpenApi]
impl AdminReplayApi {
    /// Prepare a replay
    ///
    /// Freezes the set of jobs and shows how many there are and the first of them.
    #[oai(path = "/admin/v1/replays", method = "post", operation_id = "admin_create_replay", tag = "Tag::Admin")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        body: Json<ReplayRequest>,
    ) -> Result<ReplayCreated, ApiError> {
        let Json(ReplayRequest { filter, dry_run, rate_per_second, reason }) = body;
        let text = |text: Option<Text>| text.map(|text| text.0);
        let filter = JobFilter {
            state: filter.state.map(|state| state.as_str().to_owned()),
            kind: text(filter.kind),
            stream: text(filter.stream),
            event_type: text(filter.event_type),
            error: text(filter.error),
            ..JobFilter::default()
        };
        let rate_per_second = rate_per_second.unwrap_or(RATE_DEFAULT);
        let new = NewReplay { filter, dry_run, rate_per_second, reason: reason.0, actor: auth.0.actor };
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
    #[oai(path = "/admin/v1/replays", method = "get", operation_id = "admin_list_replays", tag = "Tag::Admin")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ReplayPage>, ApiError> {
        let limit = input::limit(limit.0)?;
        let before = input::cursor(cursor.0.as_deref())?.unwrap_or_default();
        let mut found = rows::replay_list(app.db.read(), &before, limit + 1).await?;
        let next_cursor = input::next_cursor(&mut found, limit, |replay| replay.id.to_string());
        Ok(Json(ReplayPage { data: found.iter().map(ReplayBody::from).collect(), next_cursor }))
    }

    /// Look at a replay
    #[oai(path = "/admin/v1/replays/:id", method = "get", operation_id = "admin_get_replay", tag = "Tag::Admin")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The replay.
        id: Path<String>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        detail(&app, &replay_id(&id.0)?).await
    }

    /// The jobs of a replay
    #[oai(
        path = "/admin/v1/replays/:id/items",
        method = "get",
        operation_id = "admin_list_replay_items",
        tag = "Tag::Admin"
    )]
    async fn items(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The replay.
        id: Path<String>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ReplayItemPage>, ApiError> {
        let limit = input::limit(limit.0)?;
        let after = input::cursor_number(cursor.0.as_deref())?.unwrap_or(0);
        let id = replay_id(&id.0)?;
        let mut found = rows::replay_items(app.db.read(), &id, false, after, limit + 1).await?;
        let next_cursor = input::next_cursor(&mut found, limit, |item| item.n.to_string());
        let data = found.into_iter().map(|item| ReplayItemBody {
            n: item.n,
            job_id: item.job_id.to_string(),
            state: item.state,
            result: item.result.and_then(|text| serde_json::from_str(&text).ok()),
        });
        Ok(Json(ReplayItemPage { data: data.collect(), next_cursor }))
    }

    /// Start a replay
    #[oai(
        path = "/admin/v1/replays/:id/start",
        method = "post",
        operation_id = "admin_start_replay",
        tag = "Tag::Admin"
    )]
    async fn start(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<String>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0, Action::Start).await
    }

    /// Pause a replay
    #[oai(
        path = "/admin/v1/replays/:id/pause",
        method = "post",
        operation_id = "admin_pause_replay",
        tag = "Tag::Admin"
    )]
    async fn pause(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<String>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0, Action::Pause).await
    }

    /// Let a paused replay go on
    #[oai(
        path = "/admin/v1/replays/:id/resume",
        method = "post",
        operation_id = "admin_resume_replay",
        tag = "Tag::Admin"
    )]
    async fn resume(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<String>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0, Action::Resume).await
    }

    /// Cancel a replay
    ///
    /// What ran already stays.
    #[oai(
        path = "/admin/v1/replays/:id/cancel",
        method = "post",
        operation_id = "admin_cancel_replay",
        tag = "Tag::Admin"
    )]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The replay.
        id: Path<String>,
    ) -> Result<Json<ReplayDetail>, ApiError> {
        act(&app, &auth, &id.0, Action::Cancel).await
    }
}
