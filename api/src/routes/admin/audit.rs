//! Support: the audit log.

use crate::app::App;
use crate::audit_lines;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::audit::AuditRow;
use bursar_engine::infra::store::audit::{AuditFilter, audit_head, audit_list};
use poem::Body;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::{Binary, Json};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes of the audit log for staff.
pub struct AdminAuditApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_audit", &["invalid_time"]),
    OperationDoc::new("admin_get_audit_head", &[]),
    OperationDoc::new("admin_export_audit", &["busy"]).answer(LINES),
];

/// An example of an export.
const LINES: &str = include_str!("audit/example.jsonl");

/// A line of the audit log.
#[derive(Debug, Object)]
#[oai(example)]
struct AuditBody {
    /// Its identifier.
    id: String,
    /// When it happened.
    at: String,
    /// Who did it: `admin:<name>/<token's id>`, `admin:bootstrap`, `customer:cst_…`, `system` …
    actor: String,
    /// What was done: `stream.pause`, `replay.create`, `customer.adjust` …
    action: String,
    /// What it was done to: the id of a customer, a job, a replay …, or the key of a stream.
    target: String,
    /// More about it, such as the reason.
    details: Value,
}

impl Example for AuditBody {
    fn example() -> Self {
        Self {
            id: sample::AUDIT.to_owned(),
            at: sample::AT.to_owned(),
            actor: "admin:bootstrap".to_owned(),
            action: "stream.pause".to_owned(),
            target: sample::STREAM.to_owned(),
            details: json!({ "reason": "ticket 4711" }),
        }
    }
}

impl From<AuditRow> for AuditBody {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: rfc3339(row.at_ms),
            actor: row.actor,
            action: row.action,
            target: row.target,
            // Details that are not JSON are shown as text, because the log cannot be corrected.
            details: serde_json::from_str(&row.details).unwrap_or(Value::String(row.details)),
        }
    }
}

/// The last seal of the audit log.
#[derive(Debug, Object)]
#[oai(example)]
struct AuditHeadBody {
    /// Its number and its hash, as `bursar verify --audit-head` takes them.
    head: String,
    /// Its number; 0 if nothing is sealed yet.
    seal: i64,
    /// Its hash, a SHA-256 in hexadecimal.
    hash: String,
}

impl Example for AuditHeadBody {
    fn example() -> Self {
        Self { head: format!("1:{}", sample::HASH), seal: 1, hash: sample::HASH.to_owned() }
    }
}

#[derive(ApiResponse)]
enum LinesResponse {
    /// One line for each row, oldest seal first.
    #[oai(status = 200, content_type = "application/jsonl")]
    Lines(Binary<Body>),
}

page! {
    /// A page of the audit log, latest first.
    AuditPage of AuditBody
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminAuditApi {
    /// The audit log
    ///
    /// Actions of support, and of customers on their API keys, latest first. It cannot be changed.
    #[oai(path = "/admin/v1/audit", method = "get", operation_id = "admin_list_audit")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only actions on this target: the id of a customer, a job, a replay …, or the key of a stream.
        target: Query<Option<String>>,
        /// Only actions whose details, such as the reason, contain this text.
        reason: Query<Option<String>>,
        /// Only actions at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<AuditPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let before = page.cursor.as_deref();
        let filter = AuditFilter {
            target: input::text(target.0),
            from_ms: input::time("from", from.0.as_deref())?,
            details: input::text(reason.0),
        };
        let rows = audit_list(app.db.read(), &filter, before, page.rows_to_query()).await?;
        Ok(page.answer(rows, |row| row.id.clone(), AuditBody::from))
    }

    /// The head of the audit log
    ///
    /// Rows are sealed in a chain of hashes, within 10 s while a worker runs. The head is the last seal. Keep it
    /// outside of the database: it proves later that no row up to it was changed.
    #[oai(path = "/admin/v1/audit/head", method = "get", operation_id = "admin_get_audit_head")]
    async fn head(&self, app: Data<&Arc<App>>, _auth: AdminAuth) -> Result<Json<AuditHeadBody>, ApiError> {
        let head = audit_head(app.db.read()).await?;
        Ok(Json(AuditHeadBody { head: head.to_string(), seal: head.seal, hash: head.hash }))
    }

    /// The sealed audit log as JSON lines
    ///
    /// In the order of the seals, streamed: one object on each line, with all that the hash of its seal covers.
    /// `details` is a text, byte for byte as it is stored.
    #[oai(path = "/admin/v1/audit/export", method = "get", operation_id = "admin_export_audit")]
    async fn export(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only rows with a later seal than this.
        #[oai(validator(minimum(value = "0")))]
        after: Query<Option<i64>>,
        /// Only rows up to this seal; by default up to the last one.
        #[oai(validator(minimum(value = "0")))]
        upto: Query<Option<i64>>,
    ) -> Result<LinesResponse, ApiError> {
        let body = audit_lines::export(&app, after.0.unwrap_or(0), upto.0).await?;
        Ok(LinesResponse::Lines(Binary(body)))
    }
}
