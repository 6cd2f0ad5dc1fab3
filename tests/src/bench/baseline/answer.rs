//! The baseline's answers: Bursar's fields, and a short problem document for a refusal.

use super::debit::Applied;
use bursar_engine::amount::Credits;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::ledger::Burn;
use bursar_engine::error::Refusal;
use bursar_engine::ids::{CustomerId, transaction_id};
use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// Why a request made no debit.
#[derive(Debug)]
pub enum Failure {
    /// The caller's fault: a status and a code.
    Refused(StatusCode, &'static str),
    /// The service's fault.
    Internal(anyhow::Error),
}

impl Failure {
    /// A malformed request.
    pub fn bad_request(code: &'static str) -> Self {
        Self::Refused(StatusCode::BAD_REQUEST, code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InsufficientCredits { .. } => Self::Refused(StatusCode::PAYMENT_REQUIRED, "insufficient_credits"),
            Refusal::KeyReused => Self::Refused(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
            _ => Self::bad_request("invalid_units"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match self {
            Self::Refused(status, code) => (status, code.to_owned()),
            Self::Internal(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        };
        let body = json!({ "type": "about:blank", "status": status.as_u16(), "code": code });
        respond(status, body.to_string().into_bytes())
    }
}

/// A response with a JSON body.
pub fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/json; charset=utf-8").body(body)
}

/// The answer to a debit.
#[derive(Serialize)]
pub struct Usage<'a> {
    transaction: Transaction<'a>,
    credit_balance: Credits,
    held: Credits,
    available: Credits,
    replayed: bool,
}

#[derive(Serialize)]
struct Transaction<'a> {
    id: String,
    kind: &'a str,
    amount: Credits,
    held_change: Credits,
    balance_after: Credits,
    held_after: Credits,
    source: &'a str,
    reference: Option<&'a str>,
    burned: Vec<Burned>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    created_at: String,
}

#[derive(Serialize)]
struct Burned {
    transaction_id: String,
    credits: Credits,
}

impl<'a> Usage<'a> {
    /// Describes a ledger entry.
    pub fn new(customer: &CustomerId, applied: &'a Applied) -> Self {
        let entry = &applied.entry;
        let burned =
            |burn: &Burn| Burned { transaction_id: transaction_id(customer, burn.grant), credits: burn.credits };
        let transaction = Transaction {
            id: transaction_id(customer, entry.seq),
            kind: entry.kind.as_str(),
            amount: entry.amount,
            held_change: entry.held_delta,
            balance_after: entry.balance_after,
            held_after: entry.held_after,
            source: &entry.source,
            reference: entry.reference.as_deref(),
            burned: entry.detail.burned.iter().map(burned).collect(),
            metadata: entry.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            created_at: rfc3339(entry.created_at_ms),
        };
        Self {
            transaction,
            credit_balance: entry.balance_after,
            held: entry.held_after,
            available: entry.balance_after - entry.held_after,
            replayed: applied.replayed,
        }
    }
}
