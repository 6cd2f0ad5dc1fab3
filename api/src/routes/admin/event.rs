//! Support: finding events, the reasons of failures, and replaying events.

use super::job::{find_owner, replay_job};
use super::job_body::{ATTEMPTS_SHOWN_MAX, AttemptBody, explain, why_example};
use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::job::JobState;
use bursar_engine::infra::store::event::{EventFilter, EventView, event_bytes, event_find, event_list};
use bursar_engine::infra::store::{attempt, job};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// The field of Stripe's objects with a secret by which whoever has it can confirm a payment.
const CLIENT_SECRET: &str = "client_secret";
/// Stands for a value that is left out.
const LEFT_OUT: &str = "(left out)";

/// Routes of events for staff.
pub struct AdminEventApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_events", &["invalid_time", "not_found"]),
    OperationDoc::new("admin_get_event", &["not_found"]),
    OperationDoc::new("admin_replay_event", &["busy", "invalid_reason", "job_not_ended", "not_found"]),
];

/// The state of an event.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum EventState {
    /// Stored, not processed yet.
    Waiting,
    /// Processed, or of a type that needs no processing.
    Processed,
    /// Given up; support can replay it.
    Dead,
    /// Skipped by support.
    Skipped,
}

impl EventState {
    /// The corresponding filter on the job's state.
    fn filter(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Processed => "succeeded",
            Self::Dead => "dead",
            Self::Skipped => "cancelled",
        }
    }

    fn of(state: JobState) -> Self {
        match state {
            JobState::Available | JobState::Running => Self::Waiting,
            JobState::Succeeded => Self::Processed,
            JobState::Cancelled => Self::Skipped,
            JobState::Dead => Self::Dead,
        }
    }
}

/// An event.
#[derive(Debug, Object)]
#[oai(example)]
struct EventBody {
    /// Its identifier here.
    id: String,
    /// Who sent it.
    source: String,
    /// Its identifier at the sender.
    external_id: String,
    /// Its type.
    #[oai(rename = "type")]
    event_type: String,
    /// Its state.
    state: EventState,
    /// Number of attempts so far.
    attempts: i64,
    /// Why the last attempt failed.
    last_error: Option<String>,
    /// When it was first received.
    received_at: String,
    /// When it was processed or given up.
    processed_at: Option<String>,
    /// How often it was delivered.
    deliveries: i64,
    /// Its stream.
    stream: String,
    /// Its job.
    job_id: String,
}

impl Example for EventBody {
    fn example() -> Self {
        Self {
            id: sample::EVENT.to_owned(),
            source: "stripe".to_owned(),
            external_id: sample::STRIPE_EVENT.to_owned(),
            event_type: "invoice.paid".to_owned(),
            state: EventState::Dead,
            attempts: 8,
            last_error: sample::text(sample::WHY_DEAD),
            received_at: sample::AT.to_owned(),
            processed_at: sample::text(sample::AT),
            deliveries: 2,
            stream: sample::STREAM.to_owned(),
            job_id: sample::JOB.to_owned(),
        }
    }
}

impl From<&EventView> for EventBody {
    fn from(event: &EventView) -> Self {
        Self {
            id: event.id.to_string(),
            source: event.source.clone(),
            external_id: event.external_id.clone(),
            event_type: event.event_type.clone(),
            state: EventState::of(event.state),
            attempts: event.attempts,
            last_error: event.last_error.clone(),
            received_at: rfc3339(event.received_at_ms),
            processed_at: event.processed_at_ms.map(rfc3339),
            deliveries: event.deliveries,
            stream: event.stream_key.clone(),
            job_id: event.job_id.to_string(),
        }
    }
}

page! {
    /// A page of events, newest first.
    EventPage of EventBody
}

/// Everything about an event.
#[derive(Debug, Object)]
#[oai(example)]
struct EventDetail {
    /// The event.
    event: EventBody,
    /// Its attempts, oldest first.
    attempts: Vec<AttemptBody>,
    /// The reason for its state.
    why: String,
    /// The body as received: JSON, or text if it is not JSON. Client secrets, with which a payment can be confirmed,
    /// are left out.
    payload: serde_json::Value,
}

impl Example for EventDetail {
    fn example() -> Self {
        Self {
            event: EventBody::example(),
            attempts: vec![AttemptBody::example()],
            why: why_example(),
            payload: serde_json::json!({ "id": sample::STRIPE_EVENT, "object": "event", "type": "invoice.paid" }),
        }
    }
}

/// An event that was replayed.
#[derive(Debug, Object)]
#[oai(example)]
struct EventReplayed {
    /// The event, waiting again.
    event: EventBody,
}

impl Example for EventReplayed {
    fn example() -> Self {
        let waiting = EventBody { state: EventState::Waiting, processed_at: None, ..EventBody::example() };
        Self { event: waiting }
    }
}

/// Replaces the values of client secrets anywhere in a payload.
fn leave_out_secrets(payload: &mut serde_json::Value) {
    match payload {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    serde_json::Value::String(secret) if name == CLIENT_SECRET => LEFT_OUT.clone_into(secret),
                    value => leave_out_secrets(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(leave_out_secrets),
        _ => {}
    }
}

async fn find(app: &App, id: &str) -> Result<EventView, Error> {
    event_find(app.db.read(), id).await?.ok_or(Error::NotFound("event"))
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminEventApi {
    /// Find events
    ///
    /// Newest first. Dead events need support: `why` of an event gives the reason.
    #[oai(path = "/admin/v1/events", method = "get", operation_id = "admin_list_events")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only events in this state.
        state: Query<Option<EventState>>,
        /// Only events from this sender: `stripe` or `github`.
        source: Query<Option<String>>,
        /// Only events of this type, such as `invoice.paid`.
        #[oai(name = "type")]
        event_type: Query<Option<String>>,
        /// Only events in this stream, such as `stripe:cus_…`.
        stream: Query<Option<String>>,
        /// Only events of this customer.
        customer: Query<Option<String>>,
        /// Only events whose last error contains this text.
        error: Query<Option<String>>,
        /// Only events that were received at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<EventPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let filter = EventFilter {
            source: source.0,
            state: state.0.map(|state| state.filter().to_owned()),
            event_type: event_type.0,
            stream: stream.0,
            owner: find_owner(&app, customer.0).await?,
            error: input::text(error.0),
            received_from_ms: input::time("from", from.0.as_deref())?,
        };
        let found = event_list(app.db.read(), &filter, page.cursor_or_empty(), page.rows_to_query()).await?;
        Ok(page.answer(found, |event| event.id.to_string(), |event| EventBody::from(&event)))
    }

    /// Look at an event
    ///
    /// By its identifier here or at the sender.
    #[oai(path = "/admin/v1/events/:id", method = "get", operation_id = "admin_get_event")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The event.
        id: Path<String>,
    ) -> Result<Json<EventDetail>, ApiError> {
        let event = find(&app, &id.0).await?;
        let found = job::job_find(app.db.read(), &event.job_id).await?.ok_or(Error::NotFound("job"))?;
        let attempts = attempt::attempt_list(app.db.read(), &event.job_id, ATTEMPTS_SHOWN_MAX).await?;
        let bytes = event_bytes(app.db.read(), &[&event.id]).await?.pop().map(|event| event.payload);
        let bytes = bytes.unwrap_or_default();
        let mut payload = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        leave_out_secrets(&mut payload);
        Ok(Json(EventDetail {
            event: EventBody::from(&event),
            attempts: attempts.iter().map(AttemptBody::from).collect(),
            why: explain(&app, &found).await?,
            payload,
        }))
    }

    /// Replay an event
    ///
    /// Processes it again with a new set of attempts; one that waits after a failure is tried now. Effects that it
    /// already had do not happen twice.
    #[oai(path = "/admin/v1/events/:id/replay", method = "post", operation_id = "admin_replay_event")]
    async fn replay(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The event.
        id: Path<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<EventReplayed>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let event = find(&app, &id.0).await?;
        let found = job::job_find(app.db.read(), &event.job_id).await?.ok_or(Error::NotFound("job"))?;
        replay_job(&app, &found, &auth.0.actor, &reason).await?;
        Ok(Json(EventReplayed { event: EventBody::from(&find(&app, event.id.as_str()).await?) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn client_secrets_are_left_out_wherever_they_are() {
        let mut payload = json!({
            "data": { "object": { "id": "pi_1", "client_secret": "pi_1_secret_x", "list": [{ "client_secret": "y" }] } },
            "client_secret": null,
        });
        leave_out_secrets(&mut payload);
        let object = json!({ "id": "pi_1", "client_secret": LEFT_OUT, "list": [{ "client_secret": LEFT_OUT }] });
        assert_eq!(payload, json!({ "data": { "object": object }, "client_secret": null }));
    }
}
