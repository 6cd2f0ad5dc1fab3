//! Support: the timeline of a customer.

use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::PathId;
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::customer;
use bursar_engine::infra::store::timeline::timeline_list;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes of timelines for staff.
pub struct AdminTimelineApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] =
    &[OperationDoc::new("admin_customer_timeline", &["not_found"])];

/// A row of a timeline.
#[derive(Debug, Object)]
#[oai(example)]
struct TimelineRow {
    /// When it happened.
    at: String,
    /// What happened: `ledger.debit`, `event.invoice.paid`, `invoice.paid`, `mail.welcome`, `operation.usage_charge`,
    /// `job.account.settle`, `audit.customer.onboard` …
    what: String,
    /// More about it.
    details: Value,
}

impl Example for TimelineRow {
    fn example() -> Self {
        let details = json!({
            "amount": -1, "balance_after": 4, "source": "usage", "reference": "deploy-4711", "reason": null,
            "idempotency_key": "deploy-4711",
        });
        Self { at: sample::AT.to_owned(), what: "ledger.debit".to_owned(), details }
    }
}

page! {
    /// A page of a timeline, latest first.
    Timeline of TimelineRow
}

/// Parses a cursor: the time of a row, and the key that orders rows of the same time.
fn parse_key(key: &str) -> Option<(TimeMs, String)> {
    let (at_ms, sort) = key.split_once(' ')?;
    Some((at_ms.parse().ok()?, sort.to_owned()))
}

#[OpenApi]
impl AdminTimelineApi {
    /// A customer's timeline
    ///
    /// Ledger, Stripe events, invoices, mails, operations, jobs and audit log in one list, latest first. Mails and jobs
    /// are listed at the time of their creation; their details contain their due time and their outcome.
    #[oai(
        path = "/admin/v1/customers/:id/timeline",
        method = "get",
        operation_id = "admin_customer_timeline",
        tag = "Tag::Admin"
    )]
    async fn timeline(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<Timeline>, ApiError> {
        let page = PageQuery::parse_by(cursor.0, limit.0, parse_key)?;
        let before = page.cursor.as_ref().map(|(at_ms, sort)| (*at_ms, sort.as_str()));
        let db = app.db.read();
        let found = customer::customer_find(db, &id.0.parsed()?).await?.ok_or(Error::NotFound("customer"))?;
        let rows = timeline_list(db, &found, before, page.rows_to_query(), app.clock.now_ms()).await?;
        Ok(page.answer(
            rows,
            |row| format!("{} {}", row.at_ms, row.sort),
            |row| TimelineRow { at: rfc3339(row.at_ms), what: row.what, details: row.details },
        ))
    }
}
