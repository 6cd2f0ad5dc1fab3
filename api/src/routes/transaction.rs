//! The ledger as CSV, and the balance at a past moment.

use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::transaction_csv;
use bursar_engine::clock::rfc3339;
use bursar_engine::ids::{CustomerId, transaction_id};
use bursar_engine::usecase::summary::balance_at;
use poem::Body;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::{Binary, Json};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// An example of a file.
pub(super) const CSV: &str = include_str!("transaction/example.csv");

/// Routes of the CSV export and the balance.
pub struct TransactionApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("export_transactions", &["busy", "invalid_time"]).answer(CSV),
    OperationDoc::new("get_balance", &["invalid_time"]),
];

#[derive(ApiResponse)]
pub(super) enum CsvResponse {
    /// A header line, then one line for each transaction, oldest first.
    #[oai(status = 200, content_type = "text/csv; charset=utf-8")]
    Csv(
        Binary<Body>,
        /// The name of the file.
        #[oai(header = "Content-Disposition")]
        String,
    ),
}

/// A balance at a moment.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct BalanceBody {
    /// The moment.
    at: String,
    /// All credits then.
    balance: i64,
    /// The part that holds reserved.
    held: i64,
    /// The part that could be spent.
    available: i64,
    /// The last transaction by then; null if there was none.
    transaction_id: Option<String>,
}

impl Example for BalanceBody {
    fn example() -> Self {
        Self {
            at: "2026-12-01T00:00:00.000Z".to_owned(),
            balance: 4,
            held: 0,
            available: 4,
            transaction_id: Some("txn_06bv1k2m8x0q3d5r7t9w1y3z5b_2".to_owned()),
        }
    }
}

/// Exports a customer's ledger.
pub(super) async fn csv(
    app: &App,
    customer: &CustomerId,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<CsvResponse, ApiError> {
    let (from_ms, to_ms) = (input::time("from", from)?, input::time("to", to)?);
    let body = transaction_csv::export(app, customer, from_ms, to_ms).await?;
    let disposition = format!("attachment; filename=\"transactions_{customer}.csv\"");
    Ok(CsvResponse::Csv(Binary(body), disposition))
}

/// Reads a customer's balance.
pub(super) async fn balance(app: &App, customer: &CustomerId, at: Option<&str>) -> Result<Json<BalanceBody>, ApiError> {
    let now_ms = app.clock.now_ms();
    let at_ms = input::time("at", at)?.unwrap_or(now_ms);
    let found = balance_at(&app.db, customer, at_ms, now_ms).await?;
    Ok(Json(BalanceBody {
        at: rfc3339(at_ms),
        balance: found.balance.0,
        held: found.held.0,
        available: (found.balance - found.held).0,
        transaction_id: (found.seq > 0).then(|| transaction_id(customer, found.seq)),
    }))
}

#[OpenApi(tag = "Tag::Credits")]
impl TransactionApi {
    /// My transactions as CSV
    ///
    /// All lines of the ledger, oldest first, streamed. New columns are only added at the end. Text that begins
    /// with `=`, `+`, `-` or `@` gets an apostrophe in front, so that spreadsheets do not run it as a formula.
    /// A customer may export 60 times in any hour, as configured (429 `rate_limited`).
    #[oai(path = "/api/v1/credits/transactions.csv", method = "get", operation_id = "export_transactions")]
    async fn export(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Only transactions at this time or later (RFC 3339).
        from: Query<Option<String>>,
        /// Only transactions before this time (RFC 3339).
        to: Query<Option<String>>,
    ) -> Result<CsvResponse, ApiError> {
        // Kept whatever becomes of it: a client that hangs up made the database read, too.
        let _kept = app.write_limits.exports.take(&auth.0, 1).await?;
        csv(&app, &auth.0, from.0.as_deref(), to.0.as_deref()).await
    }

    /// My balance at a past moment
    ///
    /// The balance after the last transaction by then; zero before the first one. An expired hold or grant counts
    /// until its expiry is in the ledger, which is usually moments later. Transactions of the last few seconds may
    /// still be missing.
    #[oai(path = "/api/v1/credits/balance", method = "get", operation_id = "get_balance")]
    async fn balance(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The moment (RFC 3339); now if not given.
        at: Query<Option<String>>,
    ) -> Result<Json<BalanceBody>, ApiError> {
        balance(&app, &auth.0, at.0.as_deref()).await
    }
}
