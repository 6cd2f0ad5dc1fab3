//! Which components of a document its paths use.

use serde_json::Value;
use std::collections::BTreeSet;

/// Takes these credentials from every operation that works without them, too.
pub(super) fn drop_credentials(document: &mut Value, scheme: &str) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flatten().filter_map(|(_, methods)| methods.as_object_mut()).flatten();
    for (_, operation) in operations {
        let Some(security) = operation.get_mut("security").and_then(Value::as_array_mut) else { continue };
        security.retain(|entry| entry.get(scheme).is_none());
        // Only the entry for no credentials is left.
        if security.iter().all(|entry| entry.as_object().is_some_and(serde_json::Map::is_empty)) {
            security.clear();
        }
    }
}

/// Removes the components that no path uses: schemas, examples of codes that no operation answers, credentials.
pub(super) fn retain_used(document: &mut Value) {
    let used = components_of(document, [&document["paths"]]);
    let schemes: BTreeSet<String> = document["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(_, methods)| methods.as_object().into_iter().flatten())
        .flat_map(|(_, operation)| operation["security"].as_array().into_iter().flatten())
        .flat_map(|scheme| scheme.as_object().into_iter().flatten())
        .map(|(name, _)| name.clone())
        .collect();
    for kind in ["schemas", "examples"] {
        if let Some(components) = document.pointer_mut(&format!("/components/{kind}")).and_then(Value::as_object_mut) {
            components.retain(|name, _| used.contains(&format!("#/components/{kind}/{name}")));
        }
    }
    if let Some(known) = document.pointer_mut("/components/securitySchemes").and_then(Value::as_object_mut) {
        known.retain(|name, _| schemes.contains(name));
    }
}

/// The references to components that these parts of a document contain, directly or not.
pub(super) fn components_of<'a>(document: &'a Value, parts: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut unread: Vec<&Value> = parts.into_iter().collect();
    while let Some(value) = unread.pop() {
        match value {
            Value::Array(items) => unread.extend(items),
            Value::Object(fields) => unread.extend(fields.values()),
            Value::String(text) => {
                if let Some(pointer) = text.strip_prefix('#')
                    && text.starts_with("#/components/")
                    && used.insert(text.clone())
                {
                    unread.extend(document.pointer(pointer));
                }
            }
            _ => {}
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "paths": {
                "/a": { "get": { "security": [{}, { "AdminAuth": [] }], "responses": {
                    "200": { "$ref": "#/components/schemas/A" }, "400": { "$ref": "#/components/examples/bad" },
                } } },
                "/b": { "get": { "security": [{ "CustomerAuth": [] }] } },
            },
            "components": {
                "schemas": { "A": { "items": { "$ref": "#/components/schemas/B" } }, "B": {}, "C": {} },
                "examples": { "bad": {}, "unused": {} },
                "securitySchemes": { "AdminAuth": {}, "CustomerAuth": {}, "Unused": {} },
            },
        })
    }

    #[test]
    fn components_that_a_path_refers_to_directly_or_not_stay() {
        let mut document = document();
        retain_used(&mut document);
        let kept = json!({
            "schemas": { "A": { "items": { "$ref": "#/components/schemas/B" } }, "B": {} },
            "examples": { "bad": {} },
            "securitySchemes": { "AdminAuth": {}, "CustomerAuth": {} },
        });
        assert_eq!(document["components"], kept);
    }

    #[test]
    fn dropped_credentials_leave_an_open_operation_open() {
        let mut document = document();
        drop_credentials(&mut document, "AdminAuth");
        assert_eq!(document["paths"]["/a"]["get"]["security"], json!([]));
        assert_eq!(document["paths"]["/b"]["get"]["security"], json!([{ "CustomerAuth": [] }]));
        retain_used(&mut document);
        assert_eq!(document["components"]["securitySchemes"], json!({ "CustomerAuth": {} }));
    }
}
