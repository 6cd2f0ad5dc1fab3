//! How every error looks over HTTP: a problem document (RFC 9457) with a stable `code`.
//!
//! This is the one place that maps errors to statuses and codes.

use bursar_engine::Error;
use bursar_engine::ledger::{Refusal, UNITS_MAX};
use bursar_engine::operation::{Operation, State};
use bursar_engine::stripe::StripeError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::error::{AuthorizationError, ContentTypeError, ParseParamError, ParseRequestPayloadError};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object};

/// Seconds after which a caller is asked to come again.
const RETRY_AFTER_S: u64 = 1;
/// The same where an operator has to switch something on again.
const SWITCHED_OFF_RETRY_AFTER_S: u64 = 60;

/// What went wrong (RFC 9457). `code` is stable; `detail` is for people and may change.
#[derive(Debug, Clone, Object)]
pub struct Problem {
    /// Always `about:blank`: the code says which problem it is.
    #[oai(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Which problem it is; stable.
    pub code: String,
    /// What happened and what to do about it.
    pub detail: String,
    /// Credits that can be spent, where that is the problem.
    #[oai(skip_serializing_if_is_none)]
    pub available: Option<i64>,
    /// Of a payment: why it was not made, such as `card_declined` or `expired_card`.
    #[oai(skip_serializing_if_is_none)]
    pub reason: Option<String>,
    /// Of a declined payment: the issuer's reason, such as `insufficient_funds`.
    #[oai(skip_serializing_if_is_none)]
    pub decline_code: Option<String>,
    /// Of a declined payment: what the network advises: `try_again_later`, `do_not_try_again` or
    /// `confirm_card_data`.
    #[oai(skip_serializing_if_is_none)]
    pub advice_code: Option<String>,
    /// Of a payment that wants authentication: the PaymentIntent to finish on session.
    #[oai(skip_serializing_if_is_none)]
    pub payment_intent: Option<String>,
    /// Of a payment that wants authentication: what Stripe.js needs to finish it.
    #[oai(skip_serializing_if_is_none)]
    pub client_secret: Option<String>,
    /// The operation that the problem belongs to.
    #[oai(skip_serializing_if_is_none)]
    pub operation_id: Option<String>,
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
            operation_id: None,
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
                    /// Seconds to wait before trying again, where that helps.
                    #[oai(header = "Retry-After")]
                    Option<u64>,
                ),
            )*
        }

        impl ApiError {
            /// The answer for a status, a code and a sentence.
            pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
                Self::of(Problem::new(status, code, detail))
            }

            /// The same answer with another time after which to come again.
            #[must_use]
            fn after(self, seconds: u64) -> Self {
                match self {
                    $(Self::$name(problem, _) => Self::$name(problem, Some(seconds)),)*
                }
            }

            fn of(problem: Problem) -> Self {
                let status = problem.status;
                let problem = Json(Box::new(problem));
                let retry_after = matches!(status, 429 | 503).then_some(RETRY_AFTER_S);
                match status {
                    $($status => Self::$name(problem, retry_after),)*
                    _ => Self::Internal(problem, None),
                }
            }
        }
    };
}

api_error! {
    /// The request is wrong: `invalid_body`, `invalid_parameter`, `invalid_units`, `invalid_email`,
    /// `missing_idempotency_key`, `invalid_idempotency_key`, `invalid_cursor`, `invalid_limit`,
    /// `invalid_reference`, `invalid_metadata`, `invalid_hold_time`, `signature_*` …
    BadRequest = 400,
    /// The credentials are missing or wrong: `missing_credentials`, `invalid_api_key`, `invalid_token`.
    Unauthorized = 401,
    /// There are not enough credits, or the payment for them was not made: `insufficient_credits`,
    /// `credits_owed`, `payment_declined`, `authentication_required`.
    PaymentRequired = 402,
    /// There is no such thing, or it is not the caller's: `not_found`, `hold_not_found`.
    NotFound = 404,
    /// The route has no such method: `method_not_allowed`.
    MethodNotAllowed = 405,
    /// The state does not allow it: `customer_exists`, `hold_closed`, `last_api_key`, `replay_state`,
    /// `mail_holds_key`, `mail_not_sent` …
    Conflict = 409,
    /// The body is larger than allowed: `body_too_large`.
    PayloadTooLarge = 413,
    /// The body is not JSON: `unsupported_media_type`.
    UnsupportedMediaType = 415,
    /// Understood but refused: `idempotency_key_reused`, `capture_exceeds_hold`, `email_disposable`.
    Unprocessable = 422,
    /// Too much is waiting for this customer or this server: `busy`. Too much was asked for lately:
    /// `rate_limited`. Try again.
    TooManyRequests = 429,
    /// Our fault: `internal`.
    Internal = 500,
    /// Cannot be done just now: `unavailable`, `timeout`, `onboarding_disabled`. Try again with the same
    /// idempotency key.
    Unavailable = 503,
}

impl ApiError {
    /// Wrong input.
    pub fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(400, code, detail)
    }
}

/// Why an operation did not succeed, as its caller sees it.
impl From<&Operation> for ApiError {
    fn from(operation: &Operation) -> Self {
        let problem = operation.problem.clone().unwrap_or_default();
        let (status, code) = match (operation.state, problem.code.as_str()) {
            (State::RequiresAction, _) => (402, "authentication_required"),
            (_, "payment_method_invalid") => (400, "payment_method_invalid"),
            (_, "stripe_refused" | "stripe_not_found") => (422, "refused_by_stripe"),
            (_, "price_missing") => (503, "payment_unavailable"),
            (_, "payment_method_gone") => (402, "payment_method_missing"),
            (_, "subscription_exists") => (409, "already_subscribed"),
            (_, "subscription_ended") => (409, "subscription_ended"),
            _ => (402, "payment_declined"),
        };
        let advice = match problem.advice_code.as_deref() {
            Some("try_again_later") => " Try again later, or with another card.",
            Some("do_not_try_again") => " Use another card.",
            Some("confirm_card_data") => " Check the card's data, or use another card.",
            _ => "",
        };
        Self::of(Problem {
            reason: Some(problem.code),
            decline_code: problem.decline_code,
            advice_code: problem.advice_code,
            payment_intent: problem.payment_intent_id,
            client_secret: problem.client_secret,
            operation_id: Some(operation.id.to_string()),
            ..Problem::new(status, code, format!("{}{advice}", problem.message))
        })
    }
}

/// Stripe could not be asked for something that is only read.
impl From<StripeError> for ApiError {
    fn from(error: StripeError) -> Self {
        if error == StripeError::NotConfigured {
            return Self::new(503, "stripe_not_configured", "This server has no Stripe key: it charges nobody.");
        }
        tracing::warn!(%error, "stripe could not be asked");
        Self::new(503, "stripe_unavailable", "Stripe cannot be asked just now. Try again shortly.")
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
            Error::SwitchedOff { code, message } => Self::new(503, code, *message).after(SWITCHED_OFF_RETRY_AFTER_S),
            Error::RateLimited { retry_after_ms } => {
                let seconds = retry_after_ms.unsigned_abs().div_ceil(1_000).max(RETRY_AFTER_S);
                let detail = format!("There were too many such requests lately. Try again in {seconds} s.");
                Self::new(429, "rate_limited", detail).after(seconds)
            }
            Error::Busy(_) => Self::new(429, "busy", "Too much is waiting just now. Try again shortly."),
            Error::Timeout(_) => Self::new(
                503,
                "timeout",
                "There was no answer in time. Try again with the same Idempotency-Key: nothing happens twice.",
            ),
            Error::DatabaseUnavailable(_) | Error::Unavailable(_) | Error::Broker(_) => Self::new(
                503,
                "unavailable",
                "The server cannot reach what it needs just now. Try again with the same Idempotency-Key.",
            ),
            Error::Database(_) | Error::Corrupt(_) | Error::Config(_) | Error::Io { .. } => {
                tracing::error!(error = %error.chain(), "a request failed");
                Self::new(500, "internal", "Something went wrong on our side. It has been logged.")
            }
        }
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::InsufficientCredits { available, requested } => {
            let detail = format!("Credits needed: {requested}, available: {available}. Add billing to continue.");
            ApiError::of(Problem { available: Some(*available), ..Problem::new(402, "insufficient_credits", detail) })
        }
        Refusal::InvalidAmount => {
            ApiError::bad_request("invalid_units", format!("units must be a whole number from 1 to {UNITS_MAX}."))
        }
        Refusal::HoldNotFound(_) => ApiError::new(404, "hold_not_found", "There is no such hold."),
        Refusal::CaptureExceedsHold { .. } => ApiError::new(422, "capture_exceeds_hold", refusal.to_string()),
        Refusal::HoldAlreadyOver => ApiError::bad_request("invalid_hold_time", refusal.to_string()),
        Refusal::TooManyOpen { .. } => ApiError::new(409, "too_many_open", refusal.to_string()),
        Refusal::KeyReused => ApiError::new(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used before for a different request. Use a new key.",
        ),
        Refusal::NothingToDo => ApiError::new(409, "nothing_to_do", refusal.to_string()),
    }
}

/// The answer to an error that the framework raised before a route was reached.
pub fn from_framework(error: &poem::Error) -> Response {
    let status = error.status();
    let detail = error.to_string();
    let problem = if error.is::<ParseRequestPayloadError>() {
        ApiError::bad_request("invalid_body", detail)
    } else if let Some(parameter) = error.downcast_ref::<ParseParamError>() {
        if parameter.name == "Idempotency-Key" {
            ApiError::bad_request(
                "missing_idempotency_key",
                "This request needs the header Idempotency-Key, so that repeating it does nothing twice.",
            )
        } else {
            ApiError::bad_request("invalid_parameter", detail)
        }
    } else if error.is::<ContentTypeError>() {
        ApiError::new(415, "unsupported_media_type", "The body must be application/json.")
    } else if error.is::<AuthorizationError>() {
        ApiError::new(401, "missing_credentials", "This route needs credentials; see the documentation at /docs.")
    } else {
        match status {
            StatusCode::NOT_FOUND => ApiError::new(404, "not_found", "There is no such route."),
            StatusCode::METHOD_NOT_ALLOWED => {
                ApiError::new(405, "method_not_allowed", "This route has no such method.")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(413, "body_too_large", "The body is too large."),
            status if status.is_client_error() => ApiError::new(400, "bad_request", detail),
            _ => {
                tracing::error!(%error, "a request failed");
                ApiError::new(500, "internal", "Something went wrong on our side. It has been logged.")
            }
        }
    };
    respond(problem)
}

/// The HTTP response of an error outside a route.
pub fn respond(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
