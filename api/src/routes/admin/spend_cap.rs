//! Support raises or lowers a customer's spend caps.

use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::path_id::PathId;
use crate::routes::spend_cap::SpendCapsBody;
use crate::routes::text::Text;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::charge::cap::PerSpan;
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::spend_cap;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of spend caps for staff.
pub struct AdminSpendCapApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_get_spend_caps", &["not_found"]),
    OperationDoc::new("admin_set_spend_caps", &["invalid_reason", "invalid_spend_cap", "not_found"]),
];

/// The highest caps of a customer.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct AdminSpendCapsRequest {
    /// The most that may be charged in a calendar day in UTC, in minor units; the plan's if it is null or left out.
    day_minor: Option<i64>,
    /// The same for a calendar month.
    month_minor: Option<i64>,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for AdminSpendCapsRequest {
    fn example() -> Self {
        Self { day_minor: None, month_minor: Some(500_000), reason: "agreed in ticket 4711".into() }
    }
}

#[OpenApi]
impl AdminSpendCapApi {
    /// A customer's spend caps
    ///
    /// With what was charged and what is left, as the customer sees them.
    #[oai(
        path = "/admin/v1/customers/:id/spend-caps",
        method = "get",
        operation_id = "admin_get_spend_caps",
        tag = "Tag::Admin"
    )]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
    ) -> Result<Json<SpendCapsBody>, ApiError> {
        let (catalogue, now_ms) = (app.config.catalogue.now(), app.clock.now_ms());
        let standings = spend_cap::read(app.db.read(), &id.0.parsed()?, &catalogue, now_ms).await?;
        Ok(Json(SpendCapsBody::new(&standings, now_ms)))
    }

    /// Set a customer's highest spend caps
    ///
    /// Sets both, in place of the plan's, in the currency of units; the same numbers hold in every other currency. The
    /// customer's own caps stay, and the lower one counts. The change is in the audit log.
    #[oai(
        path = "/admin/v1/customers/:id/spend-caps",
        method = "post",
        operation_id = "admin_set_spend_caps",
        tag = "Tag::Admin"
    )]
    async fn set(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<AdminSpendCapsRequest>,
    ) -> Result<Json<SpendCapsBody>, ApiError> {
        let id = id.0.parsed()?;
        let reason = check_reason(&body.0.reason)?;
        let (catalogue, now_ms) = (app.config.catalogue.now(), app.clock.now_ms());
        let new = PerSpan { day: body.0.day_minor.map(MoneyMinor), month: body.0.month_minor.map(MoneyMinor) };
        let by = (auth.0.actor.as_str(), reason.as_str());
        let standings = spend_cap::set_highest(&app.db, &id, new, by, &catalogue, now_ms).await?;
        Ok(Json(SpendCapsBody::new(&standings, now_ms)))
    }
}
