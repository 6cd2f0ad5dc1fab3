//! The log filter of the node that answers: look at it, change it.

use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::logging::filter::{self, FilterControl, InForce};
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::text::Text;
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::usecase::log_filter::{self, Change};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of the log filter for staff.
pub struct AdminLogFilterApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_get_log_filter", &[]),
    OperationDoc::new("admin_set_log_filter", &["invalid_log_filter", "invalid_reason"]),
];

/// A log filter to put into force.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct LogFilterRequest {
    /// Directives such as `warn` or `bursar=debug`, separated by commas; at most 1000 characters.
    filter: Text,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for LogFilterRequest {
    fn example() -> Self {
        Self { filter: "warn,bursar=debug".into(), reason: "ticket 4711".into() }
    }
}

/// The log filter of a node.
#[derive(Debug, Object)]
#[oai(example)]
struct LogFilterBody {
    /// The node that answered. Each node has a filter of its own.
    node: String,
    /// The filter in force.
    filter: String,
    /// The filter that the node started with.
    at_start: String,
    /// When the filter was set; null if it is that of the start.
    set_at: Option<String>,
    /// Who set it; null if it is that of the start.
    set_by: Option<String>,
}

impl Example for LogFilterBody {
    fn example() -> Self {
        Self {
            node: sample::NODE.to_owned(),
            filter: "warn,bursar=debug".to_owned(),
            at_start: filter::DEFAULT.to_owned(),
            set_at: sample::text(sample::AT),
            set_by: sample::text("admin:bootstrap"),
        }
    }
}

impl LogFilterBody {
    fn new(app: &App, control: &FilterControl, in_force: InForce) -> Self {
        let (set_by, set_at) = in_force.set_by.map(|(by, at_ms)| (by, rfc3339(at_ms))).unzip();
        Self {
            node: app.node.clone(),
            filter: in_force.filter,
            at_start: control.at_start().to_owned(),
            set_at,
            set_by,
        }
    }
}

fn control() -> Result<&'static FilterControl, ApiError> {
    filter::control().ok_or_else(|| Error::Unavailable("the log filter").into())
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminLogFilterApi {
    /// The log filter
    ///
    /// That of the node which answers. Workers and the operators' listener have this route, too.
    #[oai(path = "/admin/v1/log-filter", method = "get", operation_id = "admin_get_log_filter")]
    async fn get(&self, app: Data<&Arc<App>>, _auth: AdminAuth) -> Result<Json<LogFilterBody>, ApiError> {
        let control = control()?;
        Ok(Json(LogFilterBody::new(&app, control, control.in_force())))
    }

    /// Change the log filter
    ///
    /// Of the node which answers, at once, until it is changed again or the node restarts. The change is in the audit
    /// log. A wrong filter is refused, and the one before stays in force.
    #[oai(path = "/admin/v1/log-filter", method = "post", operation_id = "admin_set_log_filter")]
    async fn set(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        body: Json<LogFilterRequest>,
    ) -> Result<Json<LogFilterBody>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let wanted = body.0.filter.0.trim();
        let refused = |why: String| ApiError::bad_request("invalid_log_filter", why);
        filter::parse(wanted).map_err(refused)?;
        let (control, now_ms) = (control()?, app.clock.now_ms());
        let (before, actor) = (control.in_force().filter, auth.0.actor);
        let change = Change { node: &app.node, before: &before, after: wanted, actor: &actor, reason: &reason };
        log_filter::record(&app.db, change, now_ms).await?;
        // The filter before decides about this line, so that the log says where the new one begins.
        tracing::warn!(%actor, %before, after = wanted, "the log filter is changed");
        let in_force = control.set(wanted, &actor, now_ms).map_err(refused)?;
        Ok(Json(LogFilterBody::new(&app, control, in_force)))
    }
}
