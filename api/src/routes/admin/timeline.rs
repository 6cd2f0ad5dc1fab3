//! Support: what happened to a customer.

use super::customer::customer_id;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::Described;
use crate::problem::ApiError;
use crate::routes::page::page;
use crate::routes::{Tag, input, sample};
use bursar_engine::Error;
use bursar_engine::clock::{TimeMs, rfc3339};
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

pub(super) const DESCRIBED: &[Described] = &[Described::new("admin_customer_timeline", &["not_found"])];

/// One thing that happened.
#[derive(Debug, Object)]
#[oai(example)]
struct TimelineRow {
    /// When.
    at: String,
    /// What: `ledger.debit`, `event.invoice.paid`, `mail.welcome`, `operation.usage_charge`,
    /// `job.account.settle`, `audit.customer.onboard` …
    what: String,
    /// More about it.
    details: Value,
}

impl Example for TimelineRow {
    fn example() -> Self {
        let details = json!({
            "amount": -1, "balance_after": 4, "source": "usage", "reference": "deploy-4711", "reason": null,
        });
        Self { at: sample::AT.to_owned(), what: "ledger.debit".to_owned(), details }
    }
}

page! {
    /// A page of what happened, latest first.
    Timeline of TimelineRow
}

/// A cursor holds the time of a row and what tells it from others of that time.
fn before(cursor: Option<&str>) -> Result<Option<(TimeMs, String)>, ApiError> {
    let Some(key) = input::cursor(cursor)? else { return Ok(None) };
    let parts = key.split_once(' ').and_then(|(at_ms, sort)| Some((at_ms.parse().ok()?, sort.to_owned())));
    let invalid = "cursor must be a next_cursor of an earlier answer of this list.";
    Ok(Some(parts.ok_or_else(|| ApiError::bad_request("invalid_cursor", invalid))?))
}

#[OpenApi]
impl AdminTimelineApi {
    /// What happened to a customer
    ///
    /// Ledger, Stripe events, mails, operations, jobs and privileged acts in one list, latest first. A mail and
    /// a job stand where they were made; their details say when they are due and what became of them.
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
        id: Path<String>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<Timeline>, ApiError> {
        let limit = input::limit(limit.0)?;
        let before = before(cursor.0.as_deref())?;
        let before = before.as_ref().map(|(at_ms, sort)| (*at_ms, sort.as_str()));
        let db = app.db.read();
        let found = customer::customer_find(db, &customer_id(&id.0)?).await?.ok_or(Error::NotFound("customer"))?;
        let mut rows = timeline_list(db, &found, before, limit + 1).await?;
        let next_cursor = input::next_cursor(&mut rows, limit, |row| format!("{} {}", row.at_ms, row.sort));
        let data = rows
            .into_iter()
            .map(|row| TimelineRow { at: rfc3339(row.at_ms), what: row.what, details: row.details })
            .collect();
        Ok(Json(Timeline { data, next_cursor }))
    }
}
