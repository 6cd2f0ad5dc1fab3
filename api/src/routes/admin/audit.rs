//! Support: the audit log.

use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::page::{PageQuery, page};
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::infra::store::audit::{AuditRow, audit_page};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes of the audit log for staff.
pub struct AdminAuditApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[OperationDoc::new("admin_list_audit", &[])];

/// A line of the audit log.
#[derive(Debug, Object)]
#[oai(example)]
struct AuditBody {
    /// Its identifier.
    id: String,
    /// When it happened.
    at: String,
    /// Who did it: `admin:bootstrap`, `customer:cst_…` …
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
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only actions on this target: the id of a customer, a job, a replay …, or the key of a stream.
        target: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<AuditPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let before = page.cursor.as_deref();
        let rows = audit_page(app.db.read(), target.0.as_deref(), before, page.rows_to_query()).await?;
        Ok(page.answer(rows, |row| row.id.clone(), AuditBody::from))
    }
}
