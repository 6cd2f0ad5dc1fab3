//! Completes the OpenAPI document that the framework generates from the routes.
//!
//! The framework gives every operation every error status, and examples only to schemas. This module lists the error
//! codes that each operation can answer: those that follow from its credentials, body and parameters, and those in
//! `OPERATION_DOCS` of its file. Tests compare the document with the answers of the running application. At the end the
//! document becomes OpenAPI 3.1 (`modern`), with restrictions of fields (`shape`) and names for readers (`name`), and
//! says of every request and response what the middleware does with its identifier (`request_id`).

mod modern;
mod name;
mod request_id;
mod shape;
mod used;

pub(crate) use name::reader_name;

use crate::problem::Problem;
use crate::problem::code::{self, Code};
use crate::sample;
use crate::scope::scope_of;
use poem_openapi::types::ToJSON;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Documentation of an operation that its types do not contain.
#[derive(Debug)]
pub struct OperationDoc {
    /// Its `operation_id`.
    pub operation: &'static str,
    /// Its error codes, without those that follow from its credentials, body and parameters.
    pub codes: &'static [&'static str],
    /// An example of the request's body, if its type has none.
    pub request: Option<&'static str>,
    /// An example of the answer's body, if its type has none.
    pub answer: Option<&'static str>,
}

impl OperationDoc {
    /// Documents the codes of an operation.
    pub const fn new(operation: &'static str, codes: &'static [&'static str]) -> Self {
        Self { operation, codes, request: None, answer: None }
    }

    /// Adds an example of the request's body.
    #[must_use]
    pub const fn request(self, text: &'static str) -> Self {
        Self { request: Some(text), ..self }
    }

    /// Adds an example of the answer's body.
    #[must_use]
    pub const fn answer(self, text: &'static str) -> Self {
        Self { answer: Some(text), ..self }
    }
}

/// Examples of parameters by name, for parameters whose types have none.
const PARAMETERS: &[(&str, &str)] = &[
    ("Idempotency-Key", "deploy-4711"),
    ("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
    ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ("X-GitHub-Event", "marketplace_purchase"),
    ("Stripe-Signature", "t=1795334400,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"),
    ("at", sample::AT),
    ("cursor", sample::CURSOR),
    ("customer", sample::CUSTOMER),
    ("error", "customer_unknown"),
    ("event_type", "invoice.paid"),
    ("from", "2026-11-01T00:00:00Z"),
    ("key", sample::STREAM),
    ("key_id", sample::API_KEY),
    ("kind", "stripe.event"),
    ("login", "example-org"),
    ("reason", "card_declined"),
    ("search", sample::EMAIL),
    ("source", "stripe"),
    ("stream", sample::STREAM),
    ("target", sample::STREAM),
    ("to", "2026-12-01T00:00:00Z"),
    ("type", "invoice.paid"),
];

/// Examples of `id` in a path, by the segment before it.
const PATH_IDS: &[(&str, &str)] = &[
    ("api-keys", sample::API_KEY),
    ("customers", sample::CUSTOMER),
    ("events", sample::EVENT),
    ("holds", sample::HOLD),
    ("jobs", sample::JOB),
    ("mails", sample::MAIL),
    ("operations", sample::OPERATION),
    ("payment-methods", sample::PAYMENT_METHOD),
    ("payments", sample::OPERATION),
    ("prices", sample::PRICE),
    ("reconciliations", sample::RECONCILIATION),
    ("replays", sample::REPLAY),
    ("tokens", sample::ADMIN_TOKEN),
];

/// The fields that say what is left of limits: name, description, example.
const LIMIT_FIELDS: [(&str, &str, &str); 2] = [
    (
        "RateLimit-Policy",
        "The limits that the request counted against: name, units (`q`), window in seconds (`w`).",
        "\"requests\";q=30000;w=60, \"writes\";q=3000;w=300",
    ),
    (
        "RateLimit",
        "What is left of them: name, units (`r`), and for how many seconds there are no more (`t`).",
        "\"requests\";r=29871;t=60, \"writes\";r=2998;t=300",
    ),
];

/// Adds `docs` and examples to the framework's document, and makes it OpenAPI 3.1. Returns it pretty-printed, with a
/// final line break.
pub fn complete(document: String, docs: &[&OperationDoc]) -> String {
    // Parsed and written again, so that the order of keys and the layout are always the same.
    let mut value: Value = serde_json::from_str(&document).unwrap_or_default();
    // Only `get_mut` and `pointer_mut` here: indexing a missing key would insert a null.
    let schemas = value.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    schemas.into_iter().flatten().for_each(|(_, schema)| {
        merge_descriptions(schema);
        mark_nullable(schema);
    });
    let schemas = value["components"]["schemas"].clone();
    for (path, methods) in value.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            if operation.get("operationId").is_some_and(Value::is_string) {
                complete_operation(operation, path, method, docs, &schemas);
            }
        }
    }
    value["components"]["examples"] =
        code::CODES.iter().map(|code| (code.name.to_owned(), json!({ "value": example(code) }))).collect();
    used::retain_used(&mut value);
    order_tags(&mut value);
    modern::modernize(&mut value);
    request_id::declare(&mut value);
    print(&value)
}

/// The document without what is for staff only: their routes and credentials, and components that no other route uses.
pub fn for_customers(document: &str) -> String {
    let mut value: Value = serde_json::from_str(document).unwrap_or_default();
    if let Some(paths) = value.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|path, _| !is_for_staff(path));
    }
    used::drop_credentials(&mut value, "AdminAuth");
    used::retain_used(&mut value);
    if let Some(tags) = value.get_mut("tags").and_then(Value::as_array_mut) {
        tags.retain(|tag| tag["name"] != "Admin");
    }
    print(&value)
}

fn is_for_staff(path: &str) -> bool {
    path.starts_with("/admin/")
}

/// What is for customers first, what is for staff last.
fn rank(path: &str) -> usize {
    let first = ["/api/", "/webhooks/", "/health"];
    first.iter().position(|start| path.starts_with(start)).unwrap_or(if is_for_staff(path) { 4 } else { 3 })
}

fn order_tags(document: &mut Value) {
    const ORDER: [&str; 8] = ["Customers", "Credits", "Billing", "Holds", "ApiKeys", "Webhooks", "Health", "Admin"];
    if let Some(tags) = document.get_mut("tags").and_then(Value::as_array_mut) {
        // A tag that is not listed comes before the last three.
        let place = |tag: &Value| ORDER.iter().position(|name| tag["name"] == *name).unwrap_or(4);
        tags.sort_by_key(place);
    }
}

/// Prints a document with its paths in the order of readers, and with a final line break.
fn print(document: &Value) -> String {
    serde_json::to_string_pretty(&InOrder(document)).unwrap_or_default() + "\n"
}

/// A document whose paths are written in the order of readers; everything else is in alphabetical order.
struct InOrder<'a>(&'a Value);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(fields) = self.0.as_object() else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in fields {
            match value.as_object().filter(|_| name == "paths") {
                Some(paths) => map.serialize_entry(name, &Paths(paths))?,
                None => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

struct Paths<'a>(&'a Map<String, Value>);

impl Serialize for Paths<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut paths: Vec<_> = self.0.iter().collect();
        paths.sort_by_key(|(path, _)| rank(path));
        serializer.collect_map(paths)
    }
}

/// Moves the description of a field with a `$ref` beside the reference. The framework puts it into a second part of
/// `allOf`, which has no type, so client generators skip the whole schema and its operations.
fn merge_descriptions(schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        let Some(parts) = property.get_mut("allOf").and_then(Value::as_array_mut) else { continue };
        let untyped: Vec<Value> = parts.extract_if(.., |part| part.get("$ref").is_none()).collect();
        for (name, text) in untyped.iter().filter_map(Value::as_object).flatten() {
            if let Some(property) = property.as_object_mut() {
                property.entry(name.as_str()).or_insert_with(|| text.clone());
            }
        }
    }
}

/// Marks optional fields as nullable, because requests and answers may set them to null. The framework omits this.
fn mark_nullable(schema: &mut Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if required.iter().any(|required| required == name) {
            continue;
        }
        if let Some(reference) = property.get("$ref").cloned() {
            *property = json!({ "allOf": [{ "$ref": reference }] });
        }
        property["nullable"] = true.into();
    }
}

fn complete_operation(operation: &mut Value, path: &str, method: &str, docs: &[&OperationDoc], schemas: &Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let doc = docs.iter().find(|doc| doc.operation == id);
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(example) = parameter_example(parameter, path, schemas) {
            parameter["example"] = example;
        }
    }
    let request = doc.and_then(|doc| doc.request);
    if let Some(body) = operation.get_mut("requestBody") {
        set_example(body, request, schemas);
    }
    let summary = operation["summary"].clone();
    let answer = doc.and_then(|doc| doc.answer);
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (_, response) in responses.into_iter().flatten().filter(|(status, _)| status.as_str() < "400") {
        set_example(response, answer, schemas);
        if response.get("description").is_some_and(|text| text == "") {
            response["description"] = summary.clone();
        }
    }
    if let Some(scope) = scope_of(&id) {
        let described = operation["description"].as_str().unwrap_or_default();
        operation["description"] = format!("{described}\n\nNeeds an admin token with the scope `{scope}`.").into();
    }
    // The health operations report errors in a format of their own.
    if has_problem_responses(operation) {
        let codes = list_codes(operation, method, doc.map_or(&[], |doc| doc.codes));
        set_problems(operation, &codes);
        if codes.iter().any(|code| code.name == "rate_limited") {
            add_limit_fields(operation);
        }
    }
}

/// Adds the fields that say what is left of limits to the answers of a limited operation.
fn add_limit_fields(operation: &mut Value) {
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (_, response) in
        responses.into_iter().flatten().filter(|(status, _)| status.as_str() < "400" || *status == "429")
    {
        if !response["headers"].is_object() {
            response["headers"] = json!({});
        }
        for (name, description, example) in LIMIT_FIELDS {
            response["headers"][name] =
                json!({ "description": description, "schema": { "type": "string" }, "example": example });
        }
    }
}

/// Sets the example of a body: `text`, or else the example of its type.
fn set_example(body: &mut Value, text: Option<&str>, schemas: &Value) {
    for (_, media) in body.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten() {
        let example = match text {
            Some(text) => Value::from(text),
            None => resolve(&media["schema"], schemas)["example"].clone(),
        };
        if !example.is_null() {
            media["example"] = example;
        }
    }
}

/// Follows a reference to a schema.
fn resolve<'a>(schema: &'a Value, schemas: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/components/schemas/"));
    name.map_or(schema, |name| &schemas[name])
}

fn parameter_example(parameter: &Value, path: &str, schemas: &Value) -> Option<Value> {
    let schema = resolve(&parameter["schema"], schemas);
    let name = parameter["name"].as_str()?;
    if !schema["example"].is_null() {
        return Some(schema["example"].clone());
    }
    if let Some(first) = schema["enum"].get(0) {
        return Some(first.clone());
    }
    match (name, schema["type"].as_str()?) {
        ("limit", _) => Some(50.into()),
        ("version", _) => Some(2.into()),
        ("after", _) => Some(0.into()),
        ("upto", _) => Some(42.into()),
        ("github_account_id", _) => Some(18_404_719.into()),
        (_, "boolean") => Some(true.into()),
        ("id", _) => {
            let (before, _) = path.split_once("/{id}")?;
            let noun = before.rsplit('/').next()?;
            PATH_IDS.iter().find(|(of, _)| *of == noun).map(|(_, id)| (*id).into())
        }
        _ => PARAMETERS.iter().find(|(of, _)| *of == name).map(|(_, text)| (*text).into()),
    }
}

fn has_problem_responses(operation: &Value) -> bool {
    operation["responses"]["500"]["content"]["application/problem+json"].is_object()
}

/// Lists the codes of an operation: those that follow from its shape, and its own.
fn list_codes(operation: &Value, method: &str, own: &[&'static str]) -> Vec<&'static Code> {
    let mut names = vec!["internal", "overloaded", "timeout", "unavailable"];
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        names.extend(match (parameter["in"].as_str(), parameter["name"].as_str()) {
            (_, Some("Idempotency-Key")) => {
                &["missing_idempotency_key", "invalid_idempotency_key", "idempotency_key_reused"][..]
            }
            (_, Some("cursor")) => &["invalid_parameter", "invalid_cursor"],
            (_, Some("limit")) => &["invalid_parameter", "invalid_limit"],
            // Bytes in a path that are not UTF-8.
            (Some("path"), _) => &["bad_request", "invalid_parameter"],
            (Some("query"), _) => &["invalid_parameter"],
            _ => &[],
        });
    }
    if method != "get" {
        names.push("body_too_large");
    }
    // A query parameter that a route does not have is refused, except on webhooks, whose senders choose the address.
    if operation["tags"][0] != "Webhooks" {
        names.push("invalid_parameter");
    }
    // Webhooks are read as bytes, so their bodies have no such errors.
    let content = operation["requestBody"]["content"].as_object();
    if content.is_some_and(|content| content.keys().any(|kind| kind.starts_with("application/json"))) {
        names.extend(["invalid_body", "unsupported_media_type"]);
    }
    let schemes = operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
    for scheme in schemes.flat_map(Map::keys) {
        names.push("missing_credentials");
        match scheme.as_str() {
            "AdminAuth" => names.extend(["invalid_token", "insufficient_scope"]),
            _ => names.extend(["invalid_api_key", "rate_limited"]),
        }
    }
    names.extend(own);
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(code::find).collect()
}

/// Replaces the framework's error responses by those of `codes`.
fn set_problems(operation: &mut Value, codes: &[&Code]) {
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let retry_after = responses.get("503").map(|response| response["headers"].clone()).unwrap_or_default();
    responses.retain(|status, _| status.as_str() < "400");
    let mut by_status = BTreeMap::<u16, Vec<&str>>::new();
    for code in codes {
        by_status.entry(code.status).or_default().push(code.name);
    }
    for (status, names) in by_status {
        let examples: Map<String, Value> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/examples/{name}") })))
            .collect();
        let media = json!({ "schema": { "$ref": "#/components/schemas/Problem" }, "examples": examples });
        let listed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut response = json!({
            "description": format!("{}: {listed}.", describe_status(status)),
            "content": { "application/problem+json": media },
        });
        if matches!(status, 429 | 503) {
            response["headers"] = retry_after.clone();
        }
        responses.insert(status.to_string(), response);
    }
}

/// Describes a status, whatever the code.
fn describe_status(status: u16) -> &'static str {
    match status {
        400 => "The request is invalid",
        401 => "The credentials are missing or wrong",
        402 => "There are not enough credits, or the payment for them failed",
        403 => "The customer may not do this now, or the admin token may not do it",
        404 => "It does not exist, or belongs to another customer",
        409 => "The current state does not allow it",
        413 => "The body is larger than allowed",
        415 => "The body is not JSON",
        422 => "The request is valid but refused",
        429 => "Too many requests, or too much work is waiting. Try again after `Retry-After`",
        500 => "An internal error",
        _ => "Temporarily unavailable. Try again after `Retry-After`, with the same idempotency key",
    }
}

/// An example of a problem with this code.
fn example(code: &Code) -> Value {
    Problem::example(code).to_json().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::routes;
    use serde_json::Value;

    #[test]
    fn every_line_of_the_restrictions_is_for_a_field_of_the_api() {
        let framework: Value = serde_json::from_str(&routes::service().spec()).unwrap();
        let unused = super::shape::unused(&framework["components"]["schemas"]);
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn no_two_types_have_the_same_name_in_the_document() {
        let framework: Value = serde_json::from_str(&routes::service().spec()).unwrap();
        let mut names: Vec<_> = framework["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
            .map(|name| super::reader_name(name))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
