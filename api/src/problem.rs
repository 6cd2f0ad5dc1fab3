//! HTTP errors: problem documents (RFC 9457) with a stable `code`.
//!
//! This is the one place that maps errors to statuses and codes.

pub mod code;
mod framework;
mod plain;

pub use framework::{Asked, from_framework, from_framework_or_own};
pub(crate) use plain::plain;

use crate::request_id;
use crate::throttle::Throttle;
use bursar_engine::Error;
use bursar_engine::amount::{Credits, UNITS_MAX};
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::admin_token::{Scope, Scopes};
use bursar_engine::domain::operation::{self, Operation, State};
use bursar_engine::error::Refusal;
use bursar_engine::infra::stripe::StripeError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};
use std::time::Duration;
use tokio::time::Instant;

/// The default `Retry-After`, in seconds.
const RETRY_AFTER_S: u64 = 1;
/// The code for what cannot be bought before an operator has corrected its price: no `Retry-After` goes with it.
const PRICE_MISSING_CODE: &str = "payment_unavailable";
/// `Retry-After` for a feature that an operator has switched off.
const SWITCHED_OFF_RETRY_AFTER_S: u64 = 60;

/// During an outage every request fails, so only one failure per second is logged, with the number of the others.
static OUTAGE: Throttle = Throttle::new(Duration::from_secs(1));

/// What went wrong (RFC 9457). `code` is stable; `detail` is for people and may change.
#[derive(Debug, Clone, Object)]
pub struct Problem {
    /// Always `about:blank`: the code identifies the problem.
    #[oai(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Identifies the problem; stable.
    pub code: String,
    /// What happened and what to do about it.
    pub detail: String,
    /// Credits that can be spent, if there are not enough.
    #[oai(skip_serializing_if_is_none)]
    pub available: Option<i64>,
    /// Why a payment failed, such as `card_declined` or `expired_card`.
    #[oai(skip_serializing_if_is_none)]
    pub reason: Option<String>,
    /// The issuer's reason for declining a payment, such as `insufficient_funds`.
    #[oai(skip_serializing_if_is_none)]
    pub decline_code: Option<String>,
    /// The card network's advice after a decline: `try_again_later`, `do_not_try_again` or `confirm_card_data`.
    #[oai(skip_serializing_if_is_none)]
    pub advice_code: Option<String>,
    /// The PaymentIntent of a payment that requires authentication.
    #[oai(skip_serializing_if_is_none)]
    pub payment_intent: Option<String>,
    /// The client secret with which Stripe.js authenticates that payment.
    #[oai(skip_serializing_if_is_none)]
    pub client_secret: Option<String>,
    /// From when the same request may succeed.
    #[oai(skip_serializing_if_is_none)]
    pub retry_at: Option<String>,
    /// The operation that the problem belongs to.
    #[oai(skip_serializing_if_is_none)]
    pub operation_id: Option<String>,
    /// The scope that the admin token lacks.
    #[oai(skip_serializing_if_is_none)]
    pub required_scope: Option<String>,
    /// The request's identifier in the log, if the server failed. Every answer has it in `X-Request-Id`.
    #[oai(skip_serializing_if_is_none)]
    pub request_id: Option<String>,
}

impl Problem {
    fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let title = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
        Self {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            available: None,
            reason: None,
            decline_code: None,
            advice_code: None,
            payment_intent: None,
            client_secret: None,
            retry_at: None,
            operation_id: None,
            required_scope: None,
            request_id: None,
        }
    }

    /// An example of a problem with this code.
    pub fn example(code: &code::Code) -> Self {
        let text = |text: &str| Some(text.to_owned());
        let plain = Self::new(code.status, code.name, code.detail);
        let operation_id = text(crate::sample::OPERATION);
        match code.name {
            "insufficient_credits" => Self { available: Some(1), ..plain },
            "payment_declined" => Self {
                reason: text("card_declined"),
                decline_code: text("lost_card"),
                advice_code: text("do_not_try_again"),
                operation_id,
                ..plain
            },
            "authentication_required" => Self {
                reason: text("authentication_required"),
                payment_intent: text("pi_3MtwBwLkdIwHu7ix28a3tqPa"),
                client_secret: text("pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH"),
                operation_id,
                ..plain
            },
            "card_paused" | "spend_cap_reached" => {
                Self { retry_at: text("2026-12-01T00:00:00.000Z"), operation_id, ..plain }
            }
            "internal" => Self { request_id: text(crate::sample::REQUEST), ..plain },
            "insufficient_scope" => Self { required_scope: text("refund"), ..plain },
            "refused_by_stripe" => Self { reason: text("stripe_refused"), operation_id, ..plain },
            "payment_unavailable" => Self { reason: text("price_missing"), operation_id, ..plain },
            _ => plain,
        }
    }
}

macro_rules! api_error {
    ($($(#[$doc:meta])* $name:ident = $status:literal),* $(,)?) => {
        /// Every error that a route can answer.
        #[derive(Debug, ApiResponse)]
        pub enum ApiError {
            $(
                $(#[$doc])*
                #[oai(status = $status, content_type = "application/problem+json")]
                $name(
                    Json<Box<Problem>>,
                    /// Seconds to wait before trying again.
                    #[oai(header = "Retry-After")]
                    Option<u64>,
                ),
            )*
        }

        impl ApiError {
            /// Creates an error with a status, a code and a detail.
            pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
                Self::of(Problem::new(status, code, detail))
            }

            /// Creates an error with a code and its status in [`code::CODES`].
            pub fn with_code(code: &str, detail: impl Into<String>) -> Self {
                let status = code::find(code).map_or(500, |code| code.status);
                Self::new(status, code, detail)
            }

            /// Sets `Retry-After`.
            #[must_use]
            fn after(self, seconds: u64) -> Self {
                match self {
                    $(Self::$name(problem, _) => Self::$name(problem, Some(seconds)),)*
                }
            }

            fn of(problem: Problem) -> Self {
                let status = problem.status;
                debug_assert!(
                    code::find(&problem.code).is_some_and(|code| code.status == status),
                    "{status} {} is not among the codes",
                    problem.code
                );
                let problem = Json(Box::new(problem));
                let passes = matches!(status, 429 | 503) && problem.code != PRICE_MISSING_CODE;
                let retry_after = passes.then_some(RETRY_AFTER_S);
                match status {
                    $($status => Self::$name(problem, retry_after),)*
                    _ => Self::Internal(problem, None),
                }
            }
        }
    };
}

// The OpenAPI document lists the statuses and codes of each operation.
api_error! {
    /// The request is invalid.
    BadRequest = 400,
    /// The credentials are missing or wrong.
    Unauthorized = 401,
    /// There are not enough credits, or the payment for them failed.
    PaymentRequired = 402,
    /// The customer may not do this now.
    Forbidden = 403,
    /// It does not exist, or belongs to another customer.
    NotFound = 404,
    /// The route has no such method.
    MethodNotAllowed = 405,
    /// The current state does not allow it.
    Conflict = 409,
    /// The body is larger than allowed.
    PayloadTooLarge = 413,
    /// The body is not JSON.
    UnsupportedMediaType = 415,
    /// The request is valid but refused.
    Unprocessable = 422,
    /// Too many requests, or too much work is waiting.
    TooManyRequests = 429,
    /// An internal error.
    Internal = 500,
    /// Temporarily unavailable.
    Unavailable = 503,
}

impl ApiError {
    /// Creates an error with status 400.
    pub fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(400, code, detail)
    }
}

impl ApiError {
    /// The server failed. The caller has logged why.
    pub(crate) fn internal() -> Self {
        let detail = "Something went wrong on our side. It has been logged.";
        Self::of(Problem { request_id: request_id::current(), ..Problem::new(500, "internal", detail) })
    }

    /// An admin token lacks the scope that the route needs.
    pub fn insufficient_scope(needed: Scope, held: &Scopes) -> Self {
        let detail = format!("This needs an admin token with the scope {needed}. This one has: {held}.");
        let required_scope = Some(needed.to_string());
        Self::of(Problem { required_scope, ..Problem::new(403, "insufficient_scope", detail) })
    }

    /// A customer is not charged, and no operation was begun.
    pub fn not_charged(problem: &operation::Problem) -> Self {
        let name = match problem.code.as_str() {
            "payment_method_gone" => "payment_method_missing",
            name => name,
        };
        let status = code::find(name).map_or(402, |code| code.status);
        let retry_at = problem.retry_at_ms.map(rfc3339);
        Self::of(Problem { retry_at, ..Problem::new(status, name, problem.message.as_str()) })
    }
}

impl ApiError {
    /// Stripe has no usable price for what is asked.
    pub fn price_missing() -> Self {
        let problem = operation::Problem::price_missing();
        Self::of(Problem { reason: Some(problem.code), ..Problem::new(503, PRICE_MISSING_CODE, problem.message) })
    }
}

/// Why an operation did not succeed, as its caller sees it.
impl From<&Operation> for ApiError {
    fn from(operation: &Operation) -> Self {
        let problem = operation.problem.clone().unwrap_or_default();
        let reason = problem.code.clone();
        let (status, code) = match (operation.state, problem.code.as_str()) {
            (State::RequiresAction, _) => (402, "authentication_required"),
            (_, "payment_method_invalid") => (400, "payment_method_invalid"),
            (_, "stripe_refused" | "stripe_not_found") => (422, "refused_by_stripe"),
            (_, "price_missing") => (503, PRICE_MISSING_CODE),
            (_, own @ ("stripe_unavailable" | "prices_changing")) => (503, own),
            (_, "subscription_paid_meanwhile") => (409, "subscription_paid_meanwhile"),
            (_, "payment_method_gone") => (402, "payment_method_missing"),
            (_, own @ ("card_paused" | "spend_cap_reached" | "credits_owed" | "plan_without_unit_price")) => (402, own),
            (_, "nothing_owed") => (409, "nothing_owed"),
            (_, own @ ("customer_suspended" | "address_unconfirmed")) => (403, own),
            (_, "charge_too_large") => (422, "charge_too_large"),
            (_, "too_many_open") => (409, "too_many_open"),
            (_, "subscription_exists") => (409, "already_subscribed"),
            (_, "subscription_ended") => (409, "subscription_ended"),
            (_, code) => change_refusal(code).unwrap_or((402, "payment_declined")),
        };
        let advice = match problem.advice_code.as_deref() {
            Some("try_again_later") => " Try again later, or with another card.",
            Some("do_not_try_again") => " Use another card.",
            Some("confirm_card_data") => " Check the card's data, or use another card.",
            _ => "",
        };
        Self::of(Problem {
            retry_at: problem.retry_at_ms.map(rfc3339),
            reason: Some(reason),
            decline_code: problem.decline_code,
            advice_code: problem.advice_code,
            payment_intent: problem.payment_intent_id,
            client_secret: problem.client_secret,
            operation_id: Some(operation.id.to_string()),
            ..Problem::new(status, code, format!("{}{advice}", problem.message))
        })
    }
}

/// The code of a change, of a subscription or of the payment methods, that turned out not to be possible when its turn
/// came.
fn change_refusal(code: &str) -> Option<(u16, &'static str)> {
    let is_refusal = matches!(
        code,
        "change_pending"
            | "grant_too_large"
            | "invalid_quantity"
            | "not_subscribed"
            | "payment_method_in_use"
            | "period_refunded"
            | "period_unpaid"
            | "price_currency_differs"
            | "price_not_offered"
            | "subscription_ending"
            | "subscription_inactive"
            | "subscription_paid_elsewhere"
            | "subscription_unchanged"
    );
    code::find(code).filter(|_| is_refusal).map(|code| (code.status, code.name))
}

/// A read from Stripe failed.
impl From<StripeError> for ApiError {
    fn from(error: StripeError) -> Self {
        if error == StripeError::NotConfigured {
            return Self::new(503, "stripe_not_configured", "This server has no Stripe key: it charges nobody.");
        }
        tracing::warn!(%error, "a read from Stripe failed");
        Self::new(503, "stripe_unavailable", "Stripe cannot be reached just now. Try again shortly.")
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused(refusal) => refused(refusal),
            Error::Invalid { code, message } => Self::new(400, code, message.as_str()),
            Error::NotFound(what) => Self::new(404, "not_found", format!("There is no such {what}.")),
            Error::Conflict { code, message } => Self::new(409, code, message.as_str()),
            Error::NotAccepted { code, message } => Self::new(422, code, message.as_str()),
            Error::Unauthorized { code, message } => Self::new(401, code, message.as_str()),
            Error::Forbidden { code, message } => Self::new(403, code, message.as_str()),
            Error::SwitchedOff { code, message } => Self::new(503, code, *message).after(SWITCHED_OFF_RETRY_AFTER_S),
            Error::RateLimited { retry_after_ms } => {
                let seconds = retry_after_ms.unsigned_abs().div_ceil(1_000).max(RETRY_AFTER_S);
                let detail = format!("There were too many such requests lately. Try again in {seconds} s.");
                Self::new(429, "rate_limited", detail).after(seconds)
            }
            Error::TooMany { code, message } => Self::new(429, code, message.as_str()),
            Error::Busy(_) => Self::new(429, "busy", "Too much is waiting just now. Try again shortly."),
            Error::Timeout(_) => Self::new(
                503,
                "timeout",
                "There was no answer in time. Try again with the same Idempotency-Key: nothing happens twice.",
            ),
            // All but the first are logged where they happen.
            Error::DatabaseUnavailable(_) | Error::Unavailable(_) | Error::Stuck(_) | Error::Broker(_) => {
                if matches!(error, Error::DatabaseUnavailable(_))
                    && let Some(suppressed) = OUTAGE.pass(Instant::now())
                {
                    tracing::warn!(error = %error.chain(), suppressed, "a request could not reach the database");
                }
                let detail = "The server cannot reach what it needs just now. Try again with the same Idempotency-Key.";
                Self::new(503, "unavailable", detail)
            }
            Error::Database(_) | Error::Corrupt(_) | Error::Config(_) | Error::Io { .. } => {
                tracing::error!(error = %error.chain(), "a request failed");
                Self::internal()
            }
        }
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::InsufficientCredits { available, requested } => {
            insufficient(*available, *requested, "Add billing to continue.")
        }
        Refusal::InvalidAmount => {
            ApiError::bad_request("invalid_units", format!("units must be a whole number from 1 to {UNITS_MAX}."))
        }
        Refusal::HoldNotFound(_) => ApiError::new(404, "hold_not_found", "There is no such hold."),
        Refusal::CaptureExceedsHold { .. } => ApiError::new(422, "capture_exceeds_hold", refusal.to_string()),
        Refusal::HoldAlreadyOver => ApiError::bad_request("invalid_hold_time", refusal.to_string()),
        Refusal::GrantAlreadyOver => ApiError::bad_request("invalid_expiry", refusal.to_string()),
        Refusal::TooManyOpen { .. } => ApiError::new(409, "too_many_open", refusal.to_string()),
        Refusal::KeyReused => ApiError::new(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used before for a different request. Use a new key.",
        ),
        Refusal::Suspended => ApiError::with_code("customer_suspended", "The customer is suspended. Contact support."),
        Refusal::NothingToDo => ApiError::new(409, "nothing_to_do", refusal.to_string()),
    }
}

fn insufficient(available: Credits, requested: Credits, advice: &str) -> ApiError {
    let detail = format!("Credits needed: {requested}, available: {available}. {advice}");
    ApiError::of(Problem { available: Some(available.0), ..Problem::new(402, "insufficient_credits", detail) })
}

/// Converts an error of a route whose advice differs where credits are missing.
pub fn advised(error: Error, advice: &str) -> ApiError {
    match error {
        Error::Refused(Refusal::InsufficientCredits { available, requested }) => {
            insufficient(available, requested, advice)
        }
        error => error.into(),
    }
}

/// Converts an error outside a route into a response.
pub fn respond(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[cfg(test)]
mod tests;
