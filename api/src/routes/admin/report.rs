//! Support: a customer's own reports, for staff.

use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::path_id::PathId;
use crate::routes::summary::{UsageSummary, usage_summary};
use crate::routes::transaction::{BalanceBody, CSV, CsvResponse, balance, csv};
use bursar_engine::ids::CustomerId;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use std::sync::Arc;

/// Routes of reports for staff.
pub struct AdminReportApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_usage_summary", &["not_found"]),
    OperationDoc::new("admin_export_transactions", &["busy", "invalid_time", "not_found"]).answer(CSV),
    OperationDoc::new("admin_get_balance", &["invalid_time", "not_found"]),
];

#[OpenApi(tag = "Tag::Admin")]
impl AdminReportApi {
    /// A customer's usage summary
    ///
    /// As the customer sees it: credits in total and in the current period, charges, usage by day, warnings.
    #[oai(path = "/admin/v1/customers/:id/usage-summary", method = "get", operation_id = "admin_usage_summary")]
    async fn summary(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
    ) -> Result<Json<UsageSummary>, ApiError> {
        usage_summary(&app, &id.0.parsed()?).await
    }

    /// A customer's ledger as CSV
    ///
    /// Oldest first, streamed. Text that a spreadsheet would run as a formula gets an apostrophe in front.
    #[oai(
        path = "/admin/v1/customers/:id/transactions.csv",
        method = "get",
        operation_id = "admin_export_transactions"
    )]
    async fn export(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// Only transactions at this time or later (RFC 3339).
        from: Query<Option<String>>,
        /// Only transactions before this time (RFC 3339).
        to: Query<Option<String>>,
    ) -> Result<CsvResponse, ApiError> {
        csv(&app, &id.0.parsed()?, from.0.as_deref(), to.0.as_deref()).await
    }

    /// A customer's balance at a past moment
    ///
    /// After the last transaction by then, as the customer sees it.
    #[oai(path = "/admin/v1/customers/:id/balance", method = "get", operation_id = "admin_get_balance")]
    async fn balance(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// The moment (RFC 3339); now if not given.
        at: Query<Option<String>>,
    ) -> Result<Json<BalanceBody>, ApiError> {
        balance(&app, &id.0.parsed()?, at.0.as_deref()).await
    }
}
