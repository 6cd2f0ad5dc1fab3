//! Holds: reserve credits before work is done, capture on success, release on failure.

use super::bodies::Transaction;
use super::path_id::PathId;
use super::text::Text;
use super::usage::{TransactionResult, transaction_result};
use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::{ApiError, advised};
use crate::sample;
use crate::write_limit::{HOLD_COST, WriteCost, metadata_cost};
use bursar_engine::amount::Credits;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::ledger::{Command, EntryKind, Op};
use bursar_engine::error::Refusal;
use bursar_engine::ids::{CustomerId, HoldId};
use bursar_engine::infra::store::account;
use bursar_engine::{Error, Result as EngineResult};
use poem::web::Data;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of holds.
pub struct HoldApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "create_hold",
        &[
            "busy",
            "insufficient_credits",
            "invalid_hold_time",
            "invalid_metadata",
            "invalid_reference",
            "invalid_units",
            "rate_limited",
            "too_many_open",
        ],
    ),
    OperationDoc::new(
        "capture_hold",
        &["busy", "capture_exceeds_hold", "hold_closed", "hold_not_found", "invalid_units"],
    ),
    OperationDoc::new("release_hold", &["busy", "hold_closed", "hold_not_found"]),
];

/// What to do where a hold finds too few credits.
const ADVICE: &str = "A hold uses existing credits only; a usage request charges the customer's card for missing ones.";

/// Credits to reserve.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct HoldRequest {
    /// Credits, 1 to 1000000.
    units: i64,
    /// Seconds after which the hold expires and is released; 15 minutes if not given.
    expires_in_s: Option<i64>,
    /// The caller's own reference, at most 200 characters.
    reference: Option<Text>,
    /// Any JSON object of at most 4 KiB.
    metadata: Option<serde_json::Value>,
}

impl Example for HoldRequest {
    fn example() -> Self {
        Self { units: 3, expires_in_s: Some(600), reference: Some("job-17".into()), metadata: None }
    }
}

/// How much of a hold to spend.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct CaptureRequest {
    /// Credits to spend, at most what the hold reserves; the whole hold if not given. The rest is released.
    units: Option<i64>,
}

impl Example for CaptureRequest {
    fn example() -> Self {
        Self { units: Some(2) }
    }
}

/// A hold.
#[derive(Debug, Object)]
struct HoldBody {
    /// Its identifier.
    id: String,
    /// `open`, `captured` or `released`.
    state: String,
    /// Credits that it reserved.
    units: i64,
    /// Credits of it that were spent.
    captured: i64,
    /// When it expires and is released.
    #[oai(skip_serializing_if_is_none)]
    expires_at: Option<String>,
}

/// A hold, with the transaction that opened or closed it.
#[derive(Debug, Object)]
#[oai(example)]
struct HoldResult {
    /// The hold.
    hold: HoldBody,
    #[oai(flatten)]
    result: TransactionResult,
}

impl Example for HoldResult {
    fn example() -> Self {
        let transaction = Transaction {
            kind: "hold".to_owned(),
            amount: 0,
            held_change: 3,
            balance_after: 5,
            held_after: 3,
            source: "hold".to_owned(),
            reference: sample::text("job-17"),
            hold_id: sample::text(sample::HOLD),
            expires_at: sample::text("2026-11-22T08:10:00.000Z"),
            burned: Vec::new(),
            ..Transaction::example()
        };
        let hold = HoldBody {
            id: sample::HOLD.to_owned(),
            state: "open".to_owned(),
            units: 3,
            captured: 0,
            expires_at: transaction.expires_at.clone(),
        };
        Self {
            hold,
            result: TransactionResult {
                transaction,
                credit_balance: 5,
                held: 3,
                available: 2,
                ..TransactionResult::example()
            },
        }
    }
}

#[derive(ApiResponse)]
enum HoldResponse {
    /// The credits are reserved.
    #[oai(status = 201)]
    Created(Json<HoldResult>),
}

/// Tells why a hold is not open: it was closed before, or does not exist.
async fn explain_not_open(app: &App, customer: &CustomerId, error: Error) -> ApiError {
    if let Error::Refused(Refusal::HoldNotFound(id)) = &error
        && let Ok(Some(entry)) = account::entry_last_of_hold(app.db.read(), customer, id).await
    {
        let how = match (entry.kind, entry.detail.reason.as_deref()) {
            // Its expiry is not in the ledger yet.
            (EntryKind::Hold, _) if entry.detail.expires_at_ms.is_some_and(|at_ms| at_ms <= app.clock.now_ms()) => {
                "released because its time ran out"
            }
            (EntryKind::Hold, _) => return Error::Busy("this hold").into(),
            (EntryKind::Capture, _) => "captured",
            (_, Some("expired")) => "released because its time ran out",
            _ => "released",
        };
        return ApiError::with_code("hold_closed", format!("The hold was {how} already."));
    }
    error.into()
}

#[OpenApi]
impl HoldApi {
    /// Reserve credits
    ///
    /// Before the work is done. The credits cannot be spent otherwise until the hold is captured, released or
    /// expires.
    #[oai(path = "/api/v1/holds", method = "post", operation_id = "create_hold", tag = "Tag::Holds")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<HoldRequest>,
    ) -> Result<HoldResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let request_hash = Some(input::request_hash("hold", &body.0));
        let Json(HoldRequest { units, expires_in_s, reference, metadata }) = body;
        let credits = &app.config.credits;
        let lasts_s = expires_in_s.unwrap_or(credits.hold_default_s);
        if !(1..=credits.hold_max_s).contains(&lasts_s) {
            let detail = format!("expires_in_s must be from 1 to {}.", credits.hold_max_s);
            return Err(ApiError::bad_request("invalid_hold_time", detail));
        }
        let (reference, metadata) = (input::reference(reference)?, input::metadata(metadata)?);
        let cost = take_write_cost(&app, &auth.0, HOLD_COST + metadata_cost(metadata.as_deref()), &key).await?;
        let id = HoldId::new();
        let expires_at_ms = app.clock.now_ms() + lasts_s * 1_000;
        let command = Command {
            op: Op::Hold { id: id.clone(), amount: Credits(units), expires_at_ms },
            source: "hold".to_owned(),
            reference,
            idempotency_key: Some(key),
            request_hash,
            metadata,
        };
        let applied = match app.runtime.customers.apply(&auth.0, command).await {
            Ok(applied) => applied,
            Err(error) => {
                cost.settle(&error);
                return Err(advised(error, ADVICE));
            }
        };
        if applied.replayed {
            cost.give_back();
        }
        let entry = &applied.entry;
        let hold = HoldBody {
            id: entry.hold_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            state: "open".to_owned(),
            units: entry.held_delta.0,
            captured: 0,
            expires_at: entry.detail.expires_at_ms.map(rfc3339),
        };
        Ok(HoldResponse::Created(Json(HoldResult { hold, result: transaction_result(&app, &auth.0, applied).await? })))
    }

    /// Spend a hold
    ///
    /// In full or in part; the rest is released.
    #[oai(path = "/api/v1/holds/:id/capture", method = "post", operation_id = "capture_hold", tag = "Tag::Holds")]
    async fn capture(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The hold.
        id: Path<PathId<HoldId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<CaptureRequest>,
    ) -> Result<Json<HoldResult>, ApiError> {
        let id = id.0.parsed()?;
        let hash = input::request_hash(&format!("capture:{id}"), &body.0);
        let op = Op::Capture { id: id.clone(), amount: body.0.units.map(Credits) };
        close(&app, &auth.0, id, op, &idempotency_key.0, hash).await
    }

    /// Release a hold
    ///
    /// For work that was not done. The credits can be spent again.
    #[oai(path = "/api/v1/holds/:id/release", method = "post", operation_id = "release_hold", tag = "Tag::Holds")]
    async fn release(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The hold.
        id: Path<PathId<HoldId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
    ) -> Result<Json<HoldResult>, ApiError> {
        let id = id.0.parsed()?;
        let hash = input::request_hash(&format!("release:{id}"), &String::new());
        close(&app, &auth.0, id.clone(), Op::Release { id }, &idempotency_key.0, hash).await
    }
}

/// Counts a hold against the customer's write limit. A repeated request always passes, because it writes nothing.
async fn take_write_cost(app: &App, customer: &CustomerId, cost: u32, key: &str) -> EngineResult<WriteCost> {
    let taken = app.write_limits.writes.take(customer, cost, app.clock.now_ms()).await;
    if taken.is_err() && account::entry_find_by_key(app.db.read(), customer, key).await?.is_some() {
        return Ok(WriteCost::none());
    }
    taken
}

async fn close(
    app: &App,
    customer: &CustomerId,
    id: HoldId,
    op: Op,
    idempotency_key: &str,
    request_hash: String,
) -> Result<Json<HoldResult>, ApiError> {
    let command = Command {
        op,
        source: "hold".to_owned(),
        reference: None,
        idempotency_key: Some(input::idempotency_key(idempotency_key)?),
        request_hash: Some(request_hash),
        metadata: None,
    };
    let applied = match app.runtime.customers.apply(customer, command).await {
        Ok(applied) => applied,
        Err(error) => return Err(explain_not_open(app, customer, error).await),
    };
    if applied.entry.kind == EntryKind::Capture && !applied.replayed {
        // A capture costs credits, which limit it.
        app.write_limits.writes.give_back(customer, HOLD_COST).await;
    }
    let entry = &applied.entry;
    let state = if entry.kind == EntryKind::Capture { "captured" } else { "released" };
    let hold = HoldBody {
        id: id.to_string(),
        state: state.to_owned(),
        units: -entry.held_delta.0,
        captured: -entry.amount.0,
        expires_at: None,
    };
    Ok(Json(HoldResult { hold, result: transaction_result(app, customer, applied).await? }))
}
