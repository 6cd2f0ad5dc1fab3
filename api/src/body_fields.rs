//! Says which field of a refused body is wrong, and how. The framework's own message names types of this program.
//!
//! It compares the body with the schema of its operation, and only after the framework has refused it: what is found is
//! an explanation and never a refusal.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// Maximum number of characters of a wrong value that are shown.
const SHOWN_LEN_MAX: usize = 40;

/// The bodies of all operations, from the OpenAPI document.
#[derive(Debug, Default)]
pub(crate) struct BodyFields {
    /// The schema of each operation's body.
    bodies: HashMap<String, Value>,
    /// The schemas that others refer to.
    schemas: Map<String, Value>,
}

impl BodyFields {
    /// Reads the operations of an OpenAPI 3.0 document.
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(_, operations)| operations.as_object().into_iter().flatten());
        let body = |(_, operation): (&String, &Value)| {
            let content = operation["requestBody"]["content"].as_object()?;
            let schema = content.iter().find(|(kind, _)| kind.starts_with("application/json"))?.1["schema"].clone();
            Some((operation["operationId"].as_str()?.to_owned(), schema))
        };
        let schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
        Self { bodies: operations.filter_map(body).collect(), schemas }
    }

    /// What is wrong with a body, in a sentence; `None` if nothing is found.
    pub(crate) fn problem(&self, operation: &str, body: &[u8]) -> Option<String> {
        let value = serde_json::from_slice(body).ok()?;
        let schema = self.bodies.get(operation)?;
        self.check(schema, &value, "").or_else(|| self.find_unknown(schema, &value, ""))
    }

    /// The schema that this one refers to, and whether null is allowed in its place.
    fn resolve<'a>(&'a self, schema: &'a Value) -> (&'a Value, bool) {
        let is_nullable = schema["nullable"] == true;
        let target = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        let target = target.and_then(|target| self.schemas.get(target.rsplit('/').next()?));
        (target.unwrap_or(schema), is_nullable || target.is_some_and(|target| target["nullable"] == true))
    }

    fn check(&self, schema: &Value, value: &Value, path: &str) -> Option<String> {
        let (schema, is_nullable) = self.resolve(schema);
        if value.is_null() && (is_nullable || schema["type"].is_null()) {
            return None;
        }
        match (schema["type"].as_str()?, value) {
            ("object", Value::Object(fields)) => self.check_object(schema, fields, path),
            ("object", _) => Some(wrong(path, "an object", value)),
            ("array", Value::Array(items)) => items
                .iter()
                .enumerate()
                .find_map(|(at, item)| self.check(&schema["items"], item, &format!("{path}[{at}]"))),
            ("array", _) => Some(wrong(path, "a list", value)),
            ("string", Value::String(text)) if text.contains('\0') => {
                Some(format!("{} must not contain a NUL character.", name(path)))
            }
            ("string", Value::String(text)) => {
                let words: Vec<&str> = schema["enum"].as_array()?.iter().filter_map(Value::as_str).collect();
                let is_unknown = !words.contains(&text.as_str());
                is_unknown.then(|| wrong(path, &format!("one of {}", words.join(", ")), value))
            }
            ("string", _) => Some(wrong(path, "a text", value)),
            ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
                let is_too_large = !number.is_i64() && schema["format"] != "uint64";
                is_too_large.then(|| wrong(path, "a whole number of at most 63 bits", value))
            }
            ("integer", _) => Some(wrong(path, "a whole number", value)),
            ("number", value) if !value.is_number() => Some(wrong(path, "a number", value)),
            ("boolean", value) if !value.is_boolean() => Some(wrong(path, "true or false", value)),
            _ => None,
        }
    }

    fn check_object(&self, schema: &Value, fields: &Map<String, Value>, path: &str) -> Option<String> {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let is_missing = |field: &&&str| fields.get(**field).is_none_or(Value::is_null);
        if let Some(missing) = required.iter().find(is_missing) {
            let all = required.join(", ");
            return Some(format!("{} is missing or null. Required fields: {all}.", below(path, missing)));
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        // An optional field may be null, which the framework's document does not say.
        let given = |name: &String| fields.get(name).filter(|value| !value.is_null());
        let mut given = properties.filter_map(|(name, schema)| Some((name, schema, given(name)?)));
        given.find_map(|(name, schema, value)| self.check(schema, value, &below(path, name)))
    }

    /// Names a field that a body does not have. It is looked for last, because some bodies may have others.
    fn find_unknown(&self, schema: &Value, value: &Value, path: &str) -> Option<String> {
        let (schema, _) = self.resolve(schema);
        if let Value::Array(items) = value {
            let mut items = items.iter().enumerate();
            return items.find_map(|(at, item)| self.find_unknown(&schema["items"], item, &format!("{path}[{at}]")));
        }
        let (fields, properties) = (value.as_object()?, schema["properties"].as_object()?);
        if let Some(unknown) = fields.keys().find(|name| !properties.contains_key(*name)) {
            // What a stranger sends is shown as far as it looks like a name.
            let shown: String =
                unknown.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(SHOWN_LEN_MAX).collect();
            let names: Vec<&str> = properties.keys().map(String::as_str).collect();
            return Some(format!("unknown field `{}`. Fields: {}.", below(path, &shown), names.join(", ")));
        }
        properties.iter().find_map(|(name, schema)| self.find_unknown(schema, fields.get(name)?, &below(path, name)))
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn name(path: &str) -> &str {
    if path.is_empty() { "the body" } else { path }
}

fn wrong(path: &str, expected: &str, value: &Value) -> String {
    let found = match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(SHOWN_LEN_MAX) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
    };
    format!("{} must be {expected}, not {found}.", name(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(body: &Value) -> Option<String> {
        let document = json!({
            "paths": { "/a": { "post": {
                "operationId": "make",
                "requestBody": { "content": {
                    "application/json; charset=utf-8": { "schema": { "$ref": "#/components/schemas/Make" } },
                } },
            } } },
            "components": { "schemas": {
                "Make": { "type": "object", "required": ["units", "filter"], "properties": {
                    "units": { "type": "integer", "format": "int64" },
                    "reason": { "type": "string" },
                    "filter": { "allOf": [{ "$ref": "#/components/schemas/Filter" }] },
                    "on": { "type": "boolean" },
                    "tags": { "type": "array", "items": { "type": "string" } },
                    "metadata": { "nullable": true },
                } },
                "Filter": { "type": "object", "properties": {
                    "state": { "allOf": [{ "$ref": "#/components/schemas/State" }], "nullable": true },
                } },
                "State": { "type": "string", "enum": ["dead", "cancelled"] },
            } },
        });
        BodyFields::of(&document).problem("make", body.to_string().as_bytes())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = json!({ "units": 1, "filter": {} });
        body[field] = value;
        body
    }

    #[test]
    fn the_field_and_what_is_wrong_with_it_are_named() {
        for (body, expected) in [
            (with("units", json!("1")), "units must be a whole number, not \"1\"."),
            (with("units", json!(1.5)), "units must be a whole number, not 1.5."),
            (
                with("units", json!(u64::MAX)),
                "units must be a whole number of at most 63 bits, not 18446744073709551615.",
            ),
            (with("units", json!(null)), "units is missing or null. Required fields: units, filter."),
            (json!({ "units": 1 }), "filter is missing or null. Required fields: units, filter."),
            (with("reason", json!(7)), "reason must be a text, not 7."),
            (with("reason", json!("a\u{0}")), "reason must not contain a NUL character."),
            (with("filter", json!([])), "filter must be an object, not a list."),
            (with("filter", json!({ "state": "gone" })), "filter.state must be one of dead, cancelled, not \"gone\"."),
            (with("filter", json!({ "stat": "x" })), "unknown field `filter.stat`. Fields: state."),
            (with("on", json!("yes")), "on must be true or false, not \"yes\"."),
            (with("tags", json!(["a", 1])), "tags[1] must be a text, not 1."),
            (json!([1]), "the body must be an object, not a list."),
        ] {
            assert_eq!(problem(&body).as_deref(), Some(expected), "{body}");
        }
        let unknown = problem(&with("unit<script>", json!(1))).expect("a problem");
        assert!(unknown.starts_with("unknown field `unitscript`. Fields: "), "{unknown}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = problem(&with("units", json!("ü".repeat(1_000)))).expect("a problem");
        assert!(text.chars().count() < 100 && text.ends_with("…."), "{text}");
    }

    #[test]
    fn nothing_is_said_of_a_body_that_fits_or_cannot_be_read() {
        for field in ["reason", "metadata"] {
            assert_eq!(problem(&with(field, Value::Null)), None);
        }
        assert_eq!(problem(&with("metadata", json!({ "any": ["thing"] }))), None);
        assert_eq!(problem(&with("filter", json!({ "state": null }))), None);
        assert_eq!(BodyFields::default().problem("make", b"{}"), None);
        assert_eq!(BodyFields::default().problem("make", b"{"), None);
    }
}
