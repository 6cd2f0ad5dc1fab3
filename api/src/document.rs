//! The OpenAPI document: what the framework makes of the routes, and what it cannot know.
//!
//! The framework gives every operation every status of its error type, and examples to nothing but
//! schemas. Here each operation gets the statuses that it answers, each with the codes that come with
//! it: those that follow from its shape (credentials, body, parameters), and those that its file lists
//! in `DESCRIBED`. Tests hold the answers of the running application to it.

use crate::problem::Problem;
use crate::problem::code::{self, Code};
use crate::sample;
use poem_openapi::types::ToJSON;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What an operation's types do not say.
#[derive(Debug)]
pub struct Described {
    /// Its `operation_id`.
    pub operation: &'static str,
    /// Codes that it answers beyond those of its shape, which `codes` adds.
    pub codes: &'static [&'static str],
    /// A body that it takes, where that is no JSON of a type with an example.
    pub request: Option<&'static str>,
    /// A body that it answers, where that is no JSON of a type with an example.
    pub answer: Option<&'static str>,
}

impl Described {
    /// An operation with its codes; both bodies are JSON with an example, or there is none.
    pub const fn new(operation: &'static str, codes: &'static [&'static str]) -> Self {
        Self { operation, codes, request: None, answer: None }
    }

    /// With an example of what it takes.
    #[must_use]
    pub const fn request(self, text: &'static str) -> Self {
        Self { request: Some(text), ..self }
    }

    /// With an example of what it answers.
    #[must_use]
    pub const fn answer(self, text: &'static str) -> Self {
        Self { answer: Some(text), ..self }
    }
}

/// Examples of parameters by name, for all operations. One with an example of its own keeps that.
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
    ("kind", "stripe.event"),
    ("login", "example-org"),
    ("search", sample::EMAIL),
    ("source", "stripe"),
    ("stream", sample::STREAM),
    ("target", sample::STREAM),
    ("to", "2026-12-01T00:00:00Z"),
    ("type", "invoice.paid"),
];

/// Examples of `id` in a path, by what stands before it.
const PATH_IDS: &[(&str, &str)] = &[
    ("api-keys", sample::API_KEY),
    ("customers", sample::CUSTOMER),
    ("events", sample::EVENT),
    ("holds", sample::HOLD),
    ("jobs", sample::JOB),
    ("mails", sample::MAIL),
    ("operations", sample::OPERATION),
    ("payment-methods", sample::PAYMENT_METHOD),
    ("reconciliations", sample::RECONCILIATION),
    ("replays", sample::REPLAY),
];

/// The framework's document with what these say of its operations, pretty, with a final line break.
pub fn complete(document: String, described: &[&Described]) -> String {
    // Parsed and written again, so that the order of keys and the layout are always the same.
    let mut value: Value = serde_json::from_str(&document).unwrap_or_default();
    // Only `get_mut` and `pointer_mut` here: to index what is not there would insert a null.
    let schemas = value.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    schemas.into_iter().flatten().for_each(|(_, schema)| {
        merge_descriptions(schema);
        mark_nullable(schema);
    });
    let schemas = value["components"]["schemas"].clone();
    for (path, methods) in value.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            if operation.get("operationId").is_some_and(Value::is_string) {
                complete_operation(operation, path, method, described, &schemas);
            }
        }
    }
    value["components"]["examples"] =
        code::CODES.iter().map(|code| (code.name.to_owned(), json!({ "value": example(code) }))).collect();
    serde_json::to_string_pretty(&value).unwrap_or(document) + "\n"
}

/// The framework describes a field of another type by a second part of its `allOf`. That part says no type,
/// so generators of clients leave out the whole schema and its operations: the words move beside the reference.
fn merge_descriptions(schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        let Some(parts) = property.get_mut("allOf").and_then(Value::as_array_mut) else { continue };
        let words: Vec<Value> = parts.extract_if(.., |part| part.get("$ref").is_none()).collect();
        for (name, word) in words.iter().filter_map(Value::as_object).flatten() {
            if let Some(property) = property.as_object_mut() {
                property.entry(name.as_str()).or_insert_with(|| word.clone());
            }
        }
    }
}

/// A field that is not required may be null: that is how it is answered and taken. The framework does
/// not say so in the document.
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

fn complete_operation(operation: &mut Value, path: &str, method: &str, described: &[&Described], schemas: &Value) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let described = described.iter().find(|described| described.operation == id);
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(example) = parameter_example(parameter, path, schemas) {
            parameter["example"] = example;
        }
    }
    let request = described.and_then(|described| described.request);
    if let Some(body) = operation.get_mut("requestBody") {
        show(body, request, schemas);
    }
    let summary = operation["summary"].clone();
    let answer = described.and_then(|described| described.answer);
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (_, response) in responses.into_iter().flatten().filter(|(status, _)| status.as_str() < "400") {
        show(response, answer, schemas);
        if response.get("description").is_some_and(|text| text == "") {
            response["description"] = summary.clone();
        }
    }
    // What answers no problem documents says what is wrong in its own way.
    if answers_problems(operation) {
        let codes = codes(operation, method, described.map_or(&[], |described| described.codes));
        set_problems(operation, &codes);
    }
}

/// Puts an example beside the schema of each body: this one, or that of its type.
fn show(body: &mut Value, text: Option<&str>, schemas: &Value) {
    for (_, media) in body.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten() {
        let example = match text {
            Some(text) => Value::from(text),
            None => resolved(&media["schema"], schemas)["example"].clone(),
        };
        if !example.is_null() {
            media["example"] = example;
        }
    }
}

/// The schema itself, where it is only referred to.
fn resolved<'a>(schema: &'a Value, schemas: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/components/schemas/"));
    name.map_or(schema, |name| &schemas[name])
}

fn parameter_example(parameter: &Value, path: &str, schemas: &Value) -> Option<Value> {
    let schema = resolved(&parameter["schema"], schemas);
    let name = parameter["name"].as_str()?;
    if !schema["example"].is_null() {
        return Some(schema["example"].clone());
    }
    if let Some(first) = schema["enum"].get(0) {
        return Some(first.clone());
    }
    match (name, schema["type"].as_str()?) {
        ("limit", _) => Some(50.into()),
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

fn answers_problems(operation: &Value) -> bool {
    operation["responses"]["500"]["content"]["application/problem+json"].is_object()
}

/// Every code of an operation: those of its shape, then its own.
fn codes(operation: &Value, method: &str, own: &[&'static str]) -> Vec<&'static Code> {
    let mut names = vec!["internal", "overloaded", "timeout", "unavailable"];
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        names.extend(match (parameter["in"].as_str(), parameter["name"].as_str()) {
            (_, Some("Idempotency-Key")) => {
                &["missing_idempotency_key", "invalid_idempotency_key", "idempotency_key_reused"][..]
            }
            (_, Some("cursor")) => &["invalid_parameter", "invalid_cursor"],
            (_, Some("limit")) => &["invalid_parameter", "invalid_limit"],
            // Bytes in a path that are no text.
            (Some("path"), _) => &["bad_request", "invalid_parameter"],
            (Some("query"), _) => &["invalid_parameter"],
            _ => &[],
        });
    }
    if method != "get" {
        names.push("body_too_large");
    }
    // Webhooks are bytes: nothing about them is wrong before their signature is.
    let content = operation["requestBody"]["content"].as_object();
    if content.is_some_and(|content| content.keys().any(|kind| kind.starts_with("application/json"))) {
        names.extend(["invalid_body", "unsupported_media_type"]);
    }
    let schemes = operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
    for scheme in schemes.flat_map(Map::keys) {
        names.push("missing_credentials");
        names.push(if scheme == "AdminAuth" { "invalid_token" } else { "invalid_api_key" });
    }
    names.extend(own);
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(code::find).collect()
}

/// The framework's error responses are replaced by those of these codes.
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
            "description": format!("{}: {listed}.", meaning(status)),
            "content": { "application/problem+json": media },
        });
        if matches!(status, 429 | 503) {
            response["headers"] = retry_after.clone();
        }
        responses.insert(status.to_string(), response);
    }
}

/// What a status says, whichever code comes with it.
fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is wrong",
        401 => "The credentials are missing or wrong",
        402 => "There are not enough credits, or the payment for them was not made",
        404 => "There is no such thing, or it is not the caller's",
        409 => "The state does not allow it",
        413 => "The body is larger than allowed",
        415 => "The body is not JSON",
        422 => "Understood but refused",
        429 => "Too much is waiting, or was asked for lately. Try again after `Retry-After`",
        500 => "Our fault",
        _ => "Cannot be done just now. Try again after `Retry-After`, with the same idempotency key",
    }
}

/// A problem with this code as it may look.
fn example(code: &Code) -> Value {
    Problem::example(code).to_json().unwrap_or_default()
}
