//! Errors of the framework, which arise before a route is reached, as problem documents.

use super::{ApiError, code, respond};
use poem::http::StatusCode;
use poem::{Request, Response};
use poem_openapi::error::{AuthorizationError, ContentTypeError, ParseParamError, ParseRequestPayloadError};

/// Facts of a request that the framework's errors leave out.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    is_admin: bool,
    has_idempotency_key: bool,
}

impl Asked {
    /// The facts of a request.
    pub fn new(request: &Request) -> Self {
        Self {
            is_admin: request.uri().path().starts_with("/admin/"),
            has_idempotency_key: request.headers().contains_key("Idempotency-Key"),
        }
    }
}

/// Converts any error: one of ours is its response, and one of the framework is converted.
pub fn from_framework_or_own(
    error: poem::Error,
    asked: Asked,
    required_fields: fn(&str) -> Option<&'static [String]>,
) -> Response {
    if error.is_from_response() { error.into_response() } else { from_framework(&error, asked, required_fields) }
}

/// Converts an error of the framework, raised before a route was reached. `required_fields` gives those of an object of
/// the API.
pub fn from_framework(
    error: &poem::Error,
    asked: Asked,
    required_fields: fn(&str) -> Option<&'static [String]>,
) -> Response {
    let status = error.status();
    let detail = error.to_string();
    let problem = if error.is::<ParseRequestPayloadError>() {
        ApiError::bad_request("invalid_body", why_body_is_refused(&detail, required_fields))
    } else if let Some(parameter) = error.downcast_ref::<ParseParamError>() {
        if parameter.name == "Idempotency-Key" && asked.has_idempotency_key {
            // The framework ignores a header that is not ASCII.
            documented("invalid_idempotency_key")
        } else if parameter.name == "Idempotency-Key" {
            ApiError::bad_request(
                "missing_idempotency_key",
                "This request needs the header Idempotency-Key, so that repeating it does nothing twice.",
            )
        } else {
            ApiError::bad_request("invalid_parameter", without_types(&detail))
        }
    } else if error.is::<ContentTypeError>() {
        ApiError::new(415, "unsupported_media_type", "The body must be application/json.")
    } else if error.is::<AuthorizationError>() && asked.is_admin {
        ApiError::new(
            401,
            "missing_credentials",
            "This route needs an admin token in the header Authorization: Bearer.",
        )
    } else if error.is::<AuthorizationError>() {
        documented("missing_credentials")
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
                ApiError::internal()
            }
        }
    };
    respond(problem)
}

/// A problem with the documented text of its code.
fn documented(name: &'static str) -> ApiError {
    ApiError::with_code(name, code::find(name).map_or("", |code| code.detail))
}

/// What is wrong with a body, in words. If a field is missing, the framework names only the types of the field and of
/// its object; the object's required fields are named instead.
pub(super) fn why_body_is_refused(detail: &str, required_fields: fn(&str) -> Option<&'static [String]>) -> String {
    let object = detail.split("found null. (occurred while parsing \"").nth(1).and_then(|rest| rest.split('"').next());
    match object.and_then(required_fields) {
        Some(names) => format!("A required field is missing or null. Required fields: {}.", names.join(", ")),
        None => format!("The body cannot be used: {}", without_types(detail)),
    }
}

/// A message of the framework without the names of types, which mean nothing outside of this program.
pub(super) fn without_types(detail: &str) -> String {
    let mut text = detail.strip_prefix("parse request payload error: ").unwrap_or(detail).to_owned();
    for (start, end) in [("failed to parse \"", "\": "), (" (occurred while parsing \"", "\")")] {
        while let Some(at) = text.find(start)
            && let Some(len) = text[at + start.len()..].find(end)
        {
            text.replace_range(at..at + start.len() + len + end.len(), "");
        }
    }
    text
}
