//! Turns the framework's document, which is OpenAPI 3.0.0, into OpenAPI 3.1, and adds what the framework cannot say.
//!
//! Sources: OpenAPI Initiative, "Migrating from OpenAPI 3.0 to 3.1.0"; JSON Schema 2020-12.

use super::name::reader_name;
use super::shape::{restrict_fields, restrict_number, restrict_parameter};
use super::used::components_of;
use serde_json::{Map, Value, json};

/// The version of the specification.
const VERSION: &str = "3.1.1";
/// The dialect of the document's schemas: JSON Schema 2020-12 with OpenAPI's own words.
const DIALECT: &str = "https://spec.openapis.org/oas/3.1/dialect/base";
/// The licence: its name and address.
const LICENCE: (&str, &str) = ("Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0");
/// The places of a schema that hold one schema, a list of schemas, or schemas by name.
const ONE: [&str; 3] = ["items", "additionalProperties", "not"];
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Operations that take credentials and work without them, too.
const OPTIONAL_CREDENTIALS: [(&str, &str); 1] = [("onboard", "AdminAuth")];
/// Parameters that the framework takes for optional, because a missing one has an error code of its own.
const REQUIRED: [&str; 3] = ["Idempotency-Key", "Stripe-Signature", "X-Hub-Signature-256"];
/// Prefix of references to schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// Turns a complete document of the framework into OpenAPI 3.1.
pub(super) fn modernize(document: &mut Value) {
    document["openapi"] = VERSION.into();
    document["jsonSchemaDialect"] = DIALECT.into();
    document["servers"] = json!([{ "url": "/", "description": "The server that this document comes from." }]);
    document["info"]["license"] = json!({ "name": LICENCE.0, "url": LICENCE.1 });
    document["info"]["contact"] = json!({ "name": "Whoever operates this server" });
    document["info"]["summary"] = "Credits for companies that sell work by credit.".into();
    modernize_components(document);
    for (_, methods) in document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (_, operation) in methods.as_object_mut().into_iter().flatten() {
            if operation.is_object() {
                modernize_operation(operation);
            }
        }
    }
    rename_references(document);
    close_requests(document);
}

fn modernize_components(document: &mut Value) {
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else { return };
    let renamed = std::mem::take(schemas).into_iter().map(|(name, mut schema)| {
        restrict_fields(&name, &mut schema);
        modernize_schema(&mut schema);
        let name = reader_name(&name);
        if schema.get("title").is_some() {
            schema["title"] = name.as_str().into();
        }
        (name, schema)
    });
    *schemas = renamed.collect();
}

fn modernize_operation(operation: &mut Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    if operation.get("security").is_none() {
        let optional = OPTIONAL_CREDENTIALS.iter().find(|(of, _)| *of == id);
        operation["security"] = optional.map_or(json!([]), |(_, scheme)| json!([{}, { *scheme: [] }]));
    }
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        modernize_parameter(parameter);
    }
    modernize_content(operation.get_mut("requestBody"));
    for (_, response) in operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten() {
        modernize_content(Some(response));
        if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
            let named = std::mem::take(headers).into_iter().map(|(name, mut header)| {
                modernize_parameter(&mut header);
                (header_name(&name), header)
            });
            *headers = named.collect();
        }
    }
}

/// A parameter, or a header of an answer.
fn modernize_parameter(parameter: &mut Value) {
    restrict_parameter(parameter);
    if parameter["name"].as_str().is_some_and(|name| REQUIRED.contains(&name)) {
        parameter["required"] = true.into();
    }
    if let Some(fields) = parameter.as_object_mut() {
        // The defaults of a single value.
        fields.retain(|name, value| name != "explode" && !(name == "deprecated" && *value == false));
    }
    if let Some(schema) = parameter.get_mut("schema") {
        modernize_schema(schema);
    }
}

fn modernize_content(body: Option<&mut Value>) {
    let content = body.and_then(|body| body.get_mut("content")).and_then(Value::as_object_mut);
    for (_, media) in content.into_iter().flatten() {
        if let Some(schema) = media.get_mut("schema") {
            modernize_schema(schema);
        }
    }
}

/// Turns a schema, and those inside it, into JSON Schema 2020-12.
fn modernize_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    restrict_number(fields);
    if let Some(example) = fields.remove("example") {
        fields.insert("examples".to_owned(), json!([example]));
    }
    for limit in ["minimum", "maximum"] {
        modernize_limit(fields, limit);
    }
    unwrap_reference(fields);
    allow_null(fields);
    for name in ONE {
        if let Some(inner) = fields.get_mut(name) {
            modernize_schema(inner);
        }
    }
    for name in LISTS {
        fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().for_each(modernize_schema);
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, property)| modernize_schema(property));
}

/// Makes an exclusive limit a number, and a limit of whole numbers a whole number.
fn modernize_limit(fields: &mut Map<String, Value>, limit: &str) {
    let exclusive = if limit == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
    let is_exclusive = fields.get(exclusive).and_then(Value::as_bool);
    if is_exclusive.is_some() {
        fields.remove(exclusive);
    }
    let Some(value) = fields.remove(limit) else { return };
    let name = if is_exclusive == Some(true) { exclusive } else { limit };
    fields.insert(name.to_owned(), whole(value));
}

/// A number without a fraction as a whole number.
fn whole(value: Value) -> Value {
    // Limits are far smaller than what a float holds exactly.
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => format!("{number:.0}").parse().unwrap_or(value),
        _ => value,
    }
}

/// Says of the objects that requests consist of that they have no other fields, because a request with others is refused.
/// Answers say nothing of that: whoever reads them has to expect fields of a later version.
fn close_requests(document: &mut Value) {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.filter_map(|(_, methods)| methods.as_object()).flatten();
    let bodies: Vec<&Value> = operations.map(|(_, operation)| &operation["requestBody"]).collect();
    for reference in components_of(document, bodies).iter().filter(|reference| reference.starts_with(SCHEMAS)) {
        document.pointer_mut(reference.trim_start_matches('#')).into_iter().for_each(close);
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    let operations = paths.filter_map(|(_, methods)| methods.as_object_mut()).flatten();
    for (_, operation) in operations {
        operation.get_mut("requestBody").into_iter().for_each(close);
    }
}

/// Says of each object with known fields within a schema that it has no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.iter_mut().filter(|(name, _)| *name != "examples").for_each(|(_, inner)| close(inner));
        }
        _ => {}
    }
}

/// Puts a reference directly beside its description, which OpenAPI 3.1 allows.
fn unwrap_reference(fields: &mut Map<String, Value>) {
    let reference = match fields.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([part]) if part.as_object().is_some_and(|part| part.len() == 1) => part.get("$ref").cloned(),
        _ => None,
    };
    if let Some(reference) = reference {
        fields.remove("allOf");
        fields.insert("$ref".to_owned(), reference);
    }
}

/// Replaces `nullable` by a type.
fn allow_null(fields: &mut Map<String, Value>) {
    if fields.remove("nullable") != Some(json!(true)) {
        return;
    }
    if let Some(reference) = fields.remove("$ref") {
        fields.insert("oneOf".to_owned(), json!([{ "$ref": reference }, { "type": "null" }]));
    } else if let Some(kind) = fields.get("type").filter(|kind| kind.is_string()).cloned() {
        fields.insert("type".to_owned(), json!([kind, "null"]));
        if let Some(values) = fields.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
    }
    // Without a type any value is allowed, null too.
}

/// Names of header fields as people write them: the framework has them in capital letters.
fn header_name(name: &str) -> String {
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return name.to_owned();
    }
    let parts = name.split('-').map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        format!("{first}{}", rest.to_ascii_lowercase())
    });
    parts.collect::<Vec<_>>().join("-")
}

/// Makes references lead to the schemas under their new names.
fn rename_references(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(rename_references),
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner.as_str().and_then(|text| text.strip_prefix(SCHEMAS)).filter(|_| name == "$ref") {
                    Some(old) => *inner = format!("{SCHEMAS}{}", reader_name(old)).into(),
                    None => rename_references(inner),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
