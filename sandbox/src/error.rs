//! Errors: those that Stripe would answer with, and failures of the sandbox itself.

use serde_json::{Map, Value, json};

/// Why the sandbox does not start or refuses a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An invalid option.
    #[error("{0}")]
    Options(String),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the sandbox cannot be read or written.
    #[error("{path} cannot be used")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A command was refused.
    #[error("{0}")]
    Refused(String),
    /// The HTTP client for webhooks cannot be built.
    #[error("the client for webhooks cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// An error response in Stripe's format. Source: Stripe, "Errors".
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    /// Further fields, such as `decline_code` and `payment_intent`.
    pub(crate) details: Map<String, Value>,
    /// Whether execution had begun, so that the answer is stored under the idempotency key.
    pub(crate) is_stored: bool,
    /// Whether changes made before the error are committed, as with a declined payment.
    pub(crate) commits_changes: bool,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, code: Option<&str>, message: &str) -> Self {
        Self {
            status,
            kind,
            code: code.map(str::to_owned),
            message: message.to_owned(),
            param: None,
            details: Map::new(),
            is_stored: true,
            commits_changes: false,
        }
    }

    /// An error that is found before execution begins.
    fn early(status: u16, kind: &'static str, code: Option<&str>, message: &str) -> Self {
        Self { is_stored: false, ..Self::new(status, kind, code, message) }
    }

    /// An invalid parameter, found before execution begins.
    pub(crate) fn invalid(code: &str, param: Option<&str>, message: &str) -> Self {
        let error = Self::early(400, "invalid_request_error", Some(code), message);
        Self { param: param.map(str::to_owned), ..error }
    }

    /// A missing parameter.
    pub(crate) fn missing(param: &str) -> Self {
        Self::invalid("parameter_missing", Some(param), &format!("Missing required param: {param}."))
    }

    /// The object's state does not allow the call.
    pub(crate) fn refused(code: &str, message: &str) -> Self {
        Self::new(400, "invalid_request_error", Some(code), message)
    }

    /// The same for errors to which Stripe gives no code.
    pub(crate) fn refused_without_code(message: &str) -> Self {
        Self::new(400, "invalid_request_error", None, message)
    }

    /// An unknown id: 404 in the path, 400 in a parameter.
    pub(crate) fn no_such(kind: &str, id: &str, param: Option<&str>) -> Self {
        let status = if param.is_none() { 404 } else { 400 };
        let message = format!("No such {kind}: '{id}'");
        let error = Self::new(status, "invalid_request_error", Some("resource_missing"), &message);
        error.with_param(param.unwrap_or("id"))
    }

    /// An address that Stripe does not have, or the sandbox does not imitate.
    pub(crate) fn no_such_url(method: &str, path: &str) -> Self {
        let message =
            format!("Unrecognized request URL ({method}: {path}). The SANDBOX imitates a part of Stripe only.");
        Self::early(404, "invalid_request_error", None, &message)
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::early(401, "invalid_request_error", None, message)
    }

    /// A restricted key that lacks a permission, such as `rak_charge_read`.
    pub(crate) fn forbidden(permission: &str) -> Self {
        let message = format!(
            "The provided key 'rk_test_***' does not have the required permissions for this endpoint on account \
             'acct_SANDBOX'. Having the '{permission}' permission would allow this request to continue."
        );
        Self::early(403, "invalid_request_error", None, &message)
    }

    pub(crate) fn key_reused(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        );
        Self::early(400, "idempotency_error", None, &message)
    }

    pub(crate) fn key_in_use(key: &str) -> Self {
        let message =
            format!("There is currently another in-progress request using this Stripe-Idempotency key ('{key}').");
        Self::early(409, "idempotency_error", Some("idempotency_key_in_use"), &message)
    }

    pub(crate) fn rate_limited() -> Self {
        Self::early(429, "invalid_request_error", Some("rate_limit"), "Too many requests. SANDBOX.")
    }

    /// An API error: a requested fault, or an internal one.
    pub(crate) fn api(status: u16, message: &str) -> Self {
        let kind = if status < 500 { "invalid_request_error" } else { "api_error" };
        Self::new(status, kind, None, message)
    }

    /// A declined payment. Changes made before it are committed.
    pub(crate) fn card(code: &str, message: &str) -> Self {
        Self { commits_changes: true, ..Self::new(402, "card_error", Some(code), message) }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Replaces the message.
    pub(crate) fn with_message(mut self, message: &str) -> Self {
        message.clone_into(&mut self.message);
        self
    }

    /// Names the parameter.
    pub(crate) fn with_param(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    /// The `error` object alone, as in `last_payment_error`.
    pub(crate) fn object(&self) -> Value {
        let mut error = self.details.clone();
        error.insert("type".to_owned(), self.kind.into());
        error.insert("message".to_owned(), self.message.as_str().into());
        if let Some(code) = &self.code {
            error.insert("code".to_owned(), code.as_str().into());
            error.insert(
                "doc_url".to_owned(),
                format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into(),
            );
        }
        if let Some(param) = &self.param {
            error.insert("param".to_owned(), param.as_str().into());
        }
        Value::Object(error)
    }

    /// The body of the answer.
    pub(crate) fn body(&self) -> Value {
        json!({ "error": self.object() })
    }
}
