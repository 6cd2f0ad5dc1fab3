//! Holds: reserve credits before work is done, capture on success, release on failure.

use super::bodies::Transaction;
use super::operation::{
    AcceptedOperation, CREDITS_SPENT, Checked, RequestOutcome, accepted, check_purchase, refuse_uncharged,
    request_operation,
};
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
use bursar_engine::domain::idempotency::check_same_request;
use bursar_engine::domain::ledger::{Command, EntryKind, Op};
use bursar_engine::domain::operation::{HoldCharge, Request};
use bursar_engine::domain::pricing;
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

/// Maximum number of decisions on one request. It is decided again if credits arrive before it is charged.
const DECISIONS_MAX: usize = 5;

/// Routes of holds.
pub struct HoldApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "create_hold",
        &[
            "address_unconfirmed",
            "authentication_required",
            "busy",
            "card_paused",
            "charge_too_large",
            "credits_owed",
            "credits_spent_meanwhile",
            "customer_suspended",
            "insufficient_credits",
            "invalid_hold_time",
            "invalid_metadata",
            "invalid_reference",
            "invalid_units",
            "payment_declined",
            "payment_method_missing",
            "plan_without_unit_price",
            "purchases_waiting",
            "rate_limited",
            "refused_by_stripe",
            "spend_cap_reached",
            "stripe_unavailable",
            "too_many_open",
        ],
    ),
    OperationDoc::new(
        "capture_hold",
        &["busy", "capture_exceeds_hold", "hold_closed", "hold_not_found", "invalid_units"],
    ),
    OperationDoc::new("release_hold", &["busy", "hold_closed", "hold_not_found"]),
];

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
    Created(Json<Box<HoldResult>>),
    /// The missing credits are being bought, and there is no result yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
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
    ///
    /// If there are not enough credits, a customer without a payment method gets 402 `insufficient_credits`, and one
    /// with a payment method is charged for the missing ones, by the rules of `POST /api/v1/usage`. The time of the
    /// hold begins when it is opened. If there is no result in time: 202 with an operation to poll, or repeat the
    /// request.
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
        let asked = HoldCharge {
            units: Credits(units),
            lasts_ms: lasts_s * 1_000,
            reference: reference.clone(),
            metadata: metadata.clone(),
            charge: None,
        };
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
        for _ in 0..DECISIONS_MAX {
            match app.runtime.customers.apply(&auth.0, command.clone()).await {
                Ok(applied) => {
                    if applied.replayed {
                        cost.give_back();
                    }
                    return opened(&app, &auth.0, applied).await;
                }
                Err(error @ Error::Refused(Refusal::InsufficientCredits { .. })) => {
                    let bought = buy_missing(&app, &auth.0, &asked, &command, error).await;
                    match bought {
                        Ok(None) => {}
                        Ok(Some(response)) => {
                            cost.give_back();
                            return Ok(response);
                        }
                        Err(error) => {
                            cost.give_back();
                            return Err(error);
                        }
                    }
                }
                Err(error) => {
                    cost.settle(&error);
                    return Err(error.into());
                }
            }
        }
        Err(Error::Busy("this account").into())
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

/// The answer for a hold that was opened.
async fn opened(app: &App, customer: &CustomerId, applied: bursar_actors::Applied) -> Result<HoldResponse, ApiError> {
    let entry = &applied.entry;
    let hold = HoldBody {
        id: entry.hold_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: "open".to_owned(),
        units: entry.held_delta.0,
        captured: 0,
        expires_at: entry.detail.expires_at_ms.map(rfc3339),
    };
    let result = transaction_result(app, customer, applied).await?;
    Ok(HoldResponse::Created(Json(Box::new(HoldResult { hold, result }))))
}

/// Charges the customer for the credits that a hold lacks. `None` if its credits suffice by now.
async fn buy_missing(
    app: &App,
    customer: &CustomerId,
    asked: &HoldCharge,
    command: &Command,
    refusal: Error,
) -> Result<Option<HoldResponse>, ApiError> {
    let key = command.idempotency_key.as_deref().unwrap_or_default();
    let hash = command.request_hash.as_deref().unwrap_or_default();
    let request = Request::HoldCharge(asked.clone());
    match check_purchase(app, customer, &request, key, hash).await? {
        Checked::MayCharge => {}
        Checked::Covered => return Ok(None),
        Checked::NoPaymentMethod => return Err(refuse_uncharged(app, customer, refusal).await),
        Checked::Unconfirmed => return Err(advised(refusal, pricing::CONFIRM_FIRST)),
    }
    match request_operation(app, customer, request, key, hash).await? {
        RequestOutcome::Pending(operation) => {
            let (body, address) = accepted(&operation);
            Ok(Some(HoldResponse::Accepted(body, address)))
        }
        RequestOutcome::Succeeded { is_new, .. } => {
            match account::entry_find_by_key(app.db.read(), customer, key).await? {
                Some(entry) => {
                    check_same_request(entry.request_hash.as_deref(), Some(hash)).map_err(Error::Refused)?;
                    let applied = bursar_actors::Applied { entry, replayed: !is_new };
                    Ok(Some(opened(app, customer, applied).await?))
                }
                // Another request used the key for itself during the charge; the credits are in the balance.
                None => Err(ApiError::with_code(CREDITS_SPENT.0, CREDITS_SPENT.1)),
            }
        }
    }
}

/// Counts a hold against the customer's write limit. A repeated request always passes, because it writes nothing.
async fn take_write_cost(app: &App, customer: &CustomerId, cost: u32, key: &str) -> EngineResult<WriteCost> {
    let taken = app.write_limits.writes.take(customer, cost).await;
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
