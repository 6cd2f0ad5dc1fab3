//! Parsing of what requests have in common: idempotency keys, cursors, limits, references, metadata.

use super::text::Text;
use crate::problem::ApiError;
use bursar_engine::clock::{TimeMs, parse_day, parse_rfc3339};
use bursar_engine::domain::api_key::secret_hash;
use data_encoding::BASE64URL_NOPAD;
use poem_openapi::types::ToJSON;
use serde_json::Value;

/// Longest idempotency key, in characters.
const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;
/// Rows of a page if the request does not say.
const LIMIT_DEFAULT: u64 = 50;
/// Most rows of a page.
const LIMIT_MAX: u64 = 100;
/// Longest reference, in characters.
const REFERENCE_LEN_MAX: usize = 200;
/// Most metadata, in bytes of JSON.
const METADATA_LEN_MAX: usize = 4_096;

/// A key that a caller must give: 1 to 255 visible ASCII characters. Stored under a prefix, so that
/// no caller can use a key of the engine's own.
pub fn idempotency_key(key: &str) -> Result<String, ApiError> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_LEN_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::bad_request(
            "invalid_idempotency_key",
            format!("Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_LEN_MAX} visible ASCII characters."),
        ));
    }
    Ok(format!("api:{key}"))
}

/// What tells a repeated request from another one under the same key.
pub fn request_hash(operation: &str, body: &impl ToJSON) -> String {
    let body = body.to_json().unwrap_or(Value::Null);
    secret_hash(&format!("{operation}\n{body}"))
}

/// A caller's reference.
pub fn reference(text: Option<Text>) -> Result<Option<String>, ApiError> {
    match text.map(|text| text.0) {
        Some(text) if text.chars().count() > REFERENCE_LEN_MAX => Err(ApiError::bad_request(
            "invalid_reference",
            format!("reference must have at most {REFERENCE_LEN_MAX} characters."),
        )),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

/// A caller's metadata: a JSON object of bounded size.
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

/// A time in a query, under the parameter's name.
pub fn time(name: &str, text: Option<&str>) -> Result<Option<TimeMs>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let invalid = || {
        let detail = format!("{name} must be a time such as 2026-12-01T00:00:00Z (RFC 3339); in a URL, + is %2B.");
        ApiError::bad_request("invalid_time", detail)
    };
    parse_rfc3339(text).map(Some).ok_or_else(invalid)
}

/// A day in a body, under the field's name: its first millisecond in UTC.
pub fn day(name: &str, text: Option<Text>) -> Result<Option<TimeMs>, ApiError> {
    let Some(Text(text)) = text else { return Ok(None) };
    let invalid = || ApiError::bad_request("invalid_date", format!("{name} must be a day such as 2026-11-05."));
    parse_day(&text).map(Some).ok_or_else(invalid)
}

/// How many rows a page has.
pub fn limit(limit: Option<u64>) -> Result<u64, ApiError> {
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(ApiError::bad_request("invalid_limit", format!("limit must be from 1 to {LIMIT_MAX}."))),
    }
}

/// Where a page begins: opaque to callers, a key of the last row to us.
pub fn cursor(cursor: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(text) = cursor else { return Ok(None) };
    let invalid = || ApiError::bad_request("invalid_cursor", "cursor must be a next_cursor of an earlier answer.");
    if text.len() > 1_024 {
        return Err(invalid());
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| invalid())?;
    let key = String::from_utf8(bytes).map_err(|_| invalid())?;
    match key.strip_prefix("v1:") {
        Some(key) if !key.is_empty() && !key.contains('\0') => Ok(Some(key.to_owned())),
        _ => Err(invalid()),
    }
}

/// The same for lists that are ordered by number.
pub fn cursor_number(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let key = cursor(text)?;
    key.map(|key| {
        key.parse().map_err(|_| {
            ApiError::bad_request("invalid_cursor", "cursor must be a next_cursor of an earlier answer of this list.")
        })
    })
    .transpose()
}

/// The cursor behind a row.
pub fn cursor_after(key: &str) -> String {
    BASE64URL_NOPAD.encode(format!("v1:{key}").as_bytes())
}

/// One row more was asked for than the page holds: cuts it off and says where the next page begins.
pub fn next_cursor<T>(rows: &mut Vec<T>, limit: u64, key: impl Fn(&T) -> String) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(|row| cursor_after(&key(row)))
}
