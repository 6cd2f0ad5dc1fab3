//! Classifies failed calls by what the caller must do.

use serde_json::Value;

/// The longest text kept of Stripe's messages, in characters.
const MESSAGE_LEN_MAX: usize = 500;

/// Why a payment method was declined. Source: Stripe, "Errors" and "Decline codes".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decline {
    /// `card_declined`, `expired_card`, `authentication_required` …
    pub code: String,
    /// The issuer's reason, `insufficient_funds` …
    pub decline_code: Option<String>,
    /// The network's advice: `try_again_later`, `do_not_try_again`, `confirm_card_data`.
    pub advice_code: Option<String>,
    /// Stripe's message, written for the payer.
    pub message: String,
    /// The PaymentIntent that the call created or tried to confirm.
    pub payment_intent: Value,
}

/// Why a call failed. Callers handle each class differently.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StripeError {
    /// The payment method was declined. Final for this idempotency key.
    #[error("declined: {}", .0.message)]
    Declined(Box<Decline>),
    /// The bank requires authentication. The customer must confirm on session; retries are pointless.
    #[error("authentication is required: {}", .0.message)]
    AuthenticationRequired(Box<Decline>),
    /// The object does not exist.
    #[error("no such object at Stripe: {message}")]
    NotFound {
        /// Stripe's message.
        message: String,
    },
    /// Stripe refuses the request itself.
    #[error("stripe refused the request ({code}): {message}")]
    Invalid {
        /// Stripe's code.
        code: String,
        /// The invalid parameter.
        param: Option<String>,
        /// Stripe's message.
        message: String,
    },
    /// The idempotency key was used with other parameters, which is a bug.
    #[error("an idempotency key was used for another request: {message}")]
    KeyReused {
        /// Stripe's message.
        message: String,
    },
    /// The secret key is wrong or lacks a permission. A person must act.
    #[error("stripe does not accept the secret key: {message}")]
    Unauthorized {
        /// Stripe's message.
        message: String,
    },
    /// No secret key is configured.
    #[error("no Stripe key is configured")]
    NotConfigured,
    /// Stripe did nothing, for a temporary reason.
    #[error("stripe did not process the call: {reason}")]
    NotDone {
        /// The reason.
        reason: String,
    },
    /// It is unknown whether Stripe did it. Retrying with the same key finds out, for 24 hours.
    #[error("the outcome is unknown: {reason}")]
    Unknown {
        /// The reason.
        reason: String,
        /// Whether Stripe stored this failure under the key, so that the key always returns it.
        is_stored: bool,
    },
}

impl StripeError {
    /// Whether the same call under the same key may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotDone { .. } | Self::Unknown { .. })
    }

    /// Whether Stripe may have carried out the call.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Its label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Declined(_) => "declined",
            Self::AuthenticationRequired(_) => "authentication_required",
            Self::NotFound { .. } => "not_found",
            Self::Invalid { .. } => "invalid",
            Self::KeyReused { .. } => "key_reused",
            Self::Unauthorized { .. } => "unauthorized",
            Self::NotConfigured => "not_configured",
            Self::NotDone { .. } => "not_done",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Parses an answer without success. `is_replay`: Stripe says that it is stored under the key
    /// (`Idempotent-Replayed`).
    ///
    /// Source: Stripe, "Errors" and "Idempotent requests": 402 is about the payment method, 409 with
    /// `idempotency_key_in_use` means that the key is in use now, 429 is not stored, other 4xx and 5xx are.
    pub fn read(status: u16, body: &[u8], is_replay: bool) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return match status {
                429 => Self::NotDone { reason: "too many requests (429)".to_owned() },
                // The answer is from a proxy and not from Stripe, so nothing is stored.
                _ => Self::Unknown { reason: format!("status {status} without an explanation"), is_stored: false },
            };
        };
        let error = &body["error"];
        let text = |key: &str| error[key].as_str().map(clean);
        let code = text("code").or_else(|| text("type")).unwrap_or_else(|| format!("status_{status}"));
        let message = text("message").unwrap_or_else(|| format!("status {status}"));
        let kind = error["type"].as_str().unwrap_or_default();
        match status {
            402 => Self::classify_payment(error, code, message),
            401 | 403 => Self::Unauthorized { message },
            404 => Self::NotFound { message },
            409 | 423 | 429 => Self::NotDone { reason: format!("{code}: {message}") },
            _ if kind == "idempotency_error" => Self::KeyReused { message },
            _ if kind == "card_error" => Self::classify_payment(error, code, message),
            _ if code == "resource_missing" && error["param"] == "id" => Self::NotFound { message },
            400..=499 => Self::Invalid { code, param: text("param"), message },
            _ => Self::Unknown { reason: format!("status {status}: {message}"), is_stored: is_replay },
        }
    }

    fn classify_payment(error: &Value, code: String, message: String) -> Self {
        let text = |key: &str| error[key].as_str().map(clean);
        let is_authentication = code == "authentication_required"
            || code == "subscription_payment_intent_requires_action"
            || error["decline_code"] == "authentication_required"
            || error["payment_intent"]["status"] == "requires_action";
        let decline = Box::new(Decline {
            code,
            decline_code: text("decline_code"),
            advice_code: text("advice_code"),
            message,
            payment_intent: error["payment_intent"].clone(),
        });
        if is_authentication { Self::AuthenticationRequired(decline) } else { Self::Declined(decline) }
    }
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_LEN_MAX).collect()
}

/// The object as Stripe has it now; `None` if it no longer exists, or if no API key is configured.
pub fn found(answer: Result<Value, StripeError>) -> Result<Option<Value>, StripeError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(StripeError::NotFound { .. } | StripeError::NotConfigured) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(status: u16, error: Value) -> StripeError {
        StripeError::read(status, json!({ "error": error }).to_string().as_bytes(), false)
    }

    #[test]
    fn a_decline_keeps_its_reason_and_its_advice() {
        let error = read(
            402,
            json!({"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
                   "advice_code": "try_again_later", "message": "Your card has insufficient funds."}),
        );
        let StripeError::Declined(decline) = error else { panic!("{error:?}") };
        assert_eq!(decline.decline_code.as_deref(), Some("insufficient_funds"));
        assert_eq!(decline.advice_code.as_deref(), Some("try_again_later"));
    }

    #[test]
    fn a_wanted_authentication_is_no_decline_and_keeps_the_payment_intent() {
        let error = read(
            402,
            json!({"type": "card_error", "code": "authentication_required", "message": "m",
                   "payment_intent": {"id": "pi_1", "client_secret": "s"}}),
        );
        let StripeError::AuthenticationRequired(decline) = error else { panic!("{error:?}") };
        assert_eq!(decline.payment_intent["id"], "pi_1");
    }

    #[test]
    fn what_stripe_certainly_did_not_do_is_told_from_what_it_may_have_done() {
        assert!(!read(429, json!({"code": "rate_limit"})).may_have_happened());
        assert!(!read(409, json!({"code": "idempotency_key_in_use"})).may_have_happened());
        assert!(read(500, json!({"type": "api_error"})).may_have_happened());
        assert!(StripeError::read(502, b"<html>bad gateway</html>", false).may_have_happened());
    }

    #[test]
    fn a_stored_failure_is_told_from_one_that_a_retry_may_mend() {
        let body = br#"{"error": {"type": "api_error", "message": "m"}}"#;
        let stored = StripeError::read(500, body, true);
        assert!(matches!(stored, StripeError::Unknown { is_stored: true, .. }), "{stored:?}");
        let first = StripeError::read(500, body, false);
        assert!(matches!(first, StripeError::Unknown { is_stored: false, .. }), "{first:?}");
    }

    #[test]
    fn a_key_used_for_another_request_is_never_retried() {
        let error = read(400, json!({"type": "idempotency_error", "message": "m"}));
        assert!(matches!(error, StripeError::KeyReused { .. }));
        assert!(!error.is_retryable());
    }

    #[test]
    fn too_many_requests_are_not_done_whoever_says_so() {
        let error = StripeError::read(429, b"slow down", false);
        assert!(matches!(error, StripeError::NotDone { .. }), "{error:?}");
        assert!(error.is_retryable() && !error.may_have_happened());
    }

    #[test]
    fn a_cards_fault_is_one_whatever_the_status() {
        let error = read(400, json!({"type": "card_error", "code": "expired_card", "message": "m"}));
        assert!(matches!(&error, StripeError::Declined(decline) if decline.code == "expired_card"), "{error:?}");
    }

    #[test]
    fn every_way_in_which_stripe_asks_for_authentication_is_understood() {
        for error in [
            json!({"code": "subscription_payment_intent_requires_action"}),
            json!({"code": "card_declined", "decline_code": "authentication_required"}),
            json!({"code": "card_declined", "payment_intent": {"status": "requires_action"}}),
        ] {
            assert!(matches!(read(402, error.clone()), StripeError::AuthenticationRequired(_)), "{error}");
        }
    }

    #[test]
    fn something_else_that_is_missing_is_a_fault_of_the_request() {
        let missing = |param: &str| read(400, json!({"code": "resource_missing", "param": param, "message": "m"}));
        assert!(matches!(missing("id"), StripeError::NotFound { .. }));
        assert!(matches!(missing("payment_method"), StripeError::Invalid { .. }));
    }
}
