//! Parsing of values that many requests contain: idempotency keys, references, metadata, times.

use super::text::Text;
use crate::problem::ApiError;
use bursar_engine::clock::{TimeMs, parse_day, parse_rfc3339};
use bursar_engine::domain::api_key::secret_hash;
use poem_openapi::types::ToJSON;
use serde_json::Value;

/// Longest idempotency key, in characters.
pub(crate) const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;
/// Longest reference, in characters.
pub(crate) const REFERENCE_LEN_MAX: usize = 200;
/// Maximum size of the metadata, in bytes of JSON.
const METADATA_LEN_MAX: usize = 4_096;

/// Checks an idempotency key: 1 to 255 visible ASCII characters. Adds a prefix, so that no caller can use one of the
/// engine's own keys.
pub fn idempotency_key(key: &str) -> Result<String, ApiError> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_LEN_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::bad_request(
            "invalid_idempotency_key",
            format!("Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_LEN_MAX} visible ASCII characters."),
        ));
    }
    Ok(format!("api:{key}"))
}

/// Hashes a request, to tell its repetition from another request with the same key.
pub fn request_hash(operation: &str, body: &impl ToJSON) -> String {
    let body = body.to_json().unwrap_or(Value::Null);
    secret_hash(&format!("{operation}\n{body}"))
}

/// Checks a caller's reference.
pub fn reference(text: Option<Text>) -> Result<Option<String>, ApiError> {
    match text.map(|text| text.0) {
        Some(text) if text.chars().count() > REFERENCE_LEN_MAX => Err(ApiError::bad_request(
            "invalid_reference",
            format!("reference must have at most {REFERENCE_LEN_MAX} characters."),
        )),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

/// Checks a caller's metadata: a JSON object of limited size.
pub fn metadata(value: Option<Value>) -> Result<Option<String>, ApiError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let text = value.to_string();
    if !value.is_object() || text.len() > METADATA_LEN_MAX || text.contains("\\u0000") {
        return Err(ApiError::bad_request(
            "invalid_metadata",
            format!("metadata must be a JSON object of at most {METADATA_LEN_MAX} bytes."),
        ));
    }
    Ok(Some(text))
}

/// Parses the time in a query parameter.
pub fn time(name: &str, text: Option<&str>) -> Result<Option<TimeMs>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let invalid = || {
        let detail = format!("{name} must be a time such as 2026-12-01T00:00:00Z (RFC 3339); in a URL, + is %2B.");
        ApiError::bad_request("invalid_time", detail)
    };
    parse_rfc3339(text).map(Some).ok_or_else(invalid)
}

/// A text in a query parameter; an empty one counts as none.
pub fn text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Parses the moment in a body's field: a time, or a day in UTC, from which on its first millisecond counts.
pub fn moment(name: &str, text: Option<Text>) -> Result<Option<TimeMs>, ApiError> {
    let Some(Text(text)) = text else { return Ok(None) };
    let invalid = || {
        let detail = format!("{name} must be a day such as 2026-11-05 or a time such as 2026-11-05T08:00:00Z.");
        ApiError::bad_request("invalid_time", detail)
    };
    parse_rfc3339(&text).or_else(|| parse_day(&text)).map(Some).ok_or_else(invalid)
}

/// Parses the day in a body's field into its first millisecond in UTC.
pub fn day(name: &str, text: Option<Text>) -> Result<Option<TimeMs>, ApiError> {
    let Some(Text(text)) = text else { return Ok(None) };
    let invalid = || ApiError::bad_request("invalid_date", format!("{name} must be a day such as 2026-11-05."));
    parse_day(&text).map(Some).ok_or_else(invalid)
}

/// The value of a parameter of a query or a form, if it is given once.
pub fn parameter(form: &[u8], name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(form).filter(|(known, _)| known == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then(|| value.into_owned())
}
