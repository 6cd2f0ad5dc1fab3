//! The reason for an action of staff, for the audit log.

use crate::problem::ApiError;
use crate::routes::text::Text;
use poem_openapi::Object;
use poem_openapi::types::Example;

/// Longest reason, in bytes.
const REASON_LEN_MAX: usize = 500;

/// The reason for an action.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct ReasonRequest {
    /// The reason, for the audit log.
    pub(super) reason: Text,
}

impl Example for ReasonRequest {
    fn example() -> Self {
        Self { reason: "ticket 4711".into() }
    }
}

pub(super) fn check_reason(reason: &Text) -> Result<String, ApiError> {
    let reason = reason.0.trim();
    if reason.is_empty() || reason.len() > REASON_LEN_MAX {
        let detail = format!("reason must have 1 to {REASON_LEN_MAX} characters.");
        return Err(ApiError::bad_request("invalid_reason", detail));
    }
    Ok(reason.to_owned())
}
