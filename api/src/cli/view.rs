//! Rendering of JSON values.

use serde_json::Value;

/// Renders a value for a cell: times to the second, objects as `key=value`.
pub fn short(value: &Value) -> String {
    match value {
        Value::String(text) => shorten_time(text),
        Value::Object(map) if map.values().all(|value| !value.is_object() && !value.is_array()) => {
            map.iter().map(|(key, value)| format!("{key}={}", short(value))).collect::<Vec<_>>().join(" ")
        }
        other => full(other),
    }
}

/// Renders a value in full.
pub fn full(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        other => other.to_string(),
    }
}

/// The fields of an object whose values are neither lists nor objects.
pub fn flat_fields(object: &Value) -> Value {
    let fields = object.as_object().into_iter().flatten();
    let flat = fields.filter(|(_, value)| !value.is_array() && !value.is_object());
    Value::Object(flat.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The part of an answer under this key, or all of it if there is none.
pub fn part<'a>(answer: &'a Value, key: &str) -> &'a Value {
    answer.get(key).unwrap_or(answer)
}

/// The items under this key.
pub fn items<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Shortens an RFC 3339 time in UTC to the second, with a space in the middle, where it may wrap. Other text is
/// unchanged.
fn shorten_time(text: &str) -> String {
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let fits = text.len() > shape.len()
        && text.ends_with('Z')
        && text
            .bytes()
            .zip(shape)
            .all(|(byte, shape)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == *shape })
        && text.bytes().skip(shape.len()).all(|byte| matches!(byte, b'.' | b'Z') || byte.is_ascii_digit());
    if fits { format!("{} {}Z", &text[..10], &text[11..shape.len()]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_times_are_shortened() {
        assert_eq!(short(&json!("2026-03-01T10:20:30.456Z")), "2026-03-01 10:20:30Z");
        assert_eq!(short(&json!("2026-03-01T10:20:30Z")), "2026-03-01 10:20:30Z");
        for text in ["2026-03-01T10:20:30+02:00", "2026-03-01T10:20:30 for Z", "ü026-03-01T10:20:30Z", "Z", ""] {
            assert_eq!(short(&json!(text)), text);
        }
    }

    #[test]
    fn flat_objects_are_shown_as_pairs_and_nested_ones_as_json() {
        assert_eq!(short(&json!({ "amount": 5, "kind": "grant" })), "amount=5 kind=grant");
        assert_eq!(short(&json!({ "a": { "b": 1 } })), r#"{"a":{"b":1}}"#);
    }
}
