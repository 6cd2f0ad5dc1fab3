//! The reason for an action of staff, for the audit log.

use crate::problem::ApiError;
use crate::routes::text::Text;
use poem_openapi::Object;
use poem_openapi::types::Example;

/// Longest reason, in characters.
pub(crate) const REASON_LEN_MAX: usize = 500;
/// The bytes of the longest reason. A character has at most four in UTF-8.
const REASON_MAX_BYTES: usize = 4 * REASON_LEN_MAX;

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
    if reason.is_empty() || reason.len() > REASON_MAX_BYTES || reason.chars().count() > REASON_LEN_MAX {
        let detail = format!("reason must have 1 to {REASON_LEN_MAX} characters.");
        return Err(ApiError::bad_request("invalid_reason", detail));
    }
    Ok(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_up_to_500_characters_of_any_length() {
        for character in ["x", "é", "字", "😀"] {
            let longest = character.repeat(500);
            assert_eq!(check_reason(&Text(format!(" {longest} "))).ok(), Some(longest));
            assert!(check_reason(&Text(character.repeat(501))).is_err(), "{character}");
        }
        assert!(check_reason(&" ".into()).is_err());
    }
}
