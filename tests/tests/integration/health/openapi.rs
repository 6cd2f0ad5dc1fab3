//! The OpenAPI document, and the page that shows it.

use super::*;
use bursar::problem::code::{self, Code};
use std::collections::{BTreeSet, HashSet};

const DOCS: &str = include_str!("../../../../docs/errors.md");
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

pub(super) fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter().filter(|(method, _)| METHODS.contains(&method.as_str()));
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    all.collect()
}

pub(super) fn document() -> Value {
    serde_json::from_str(&bursar::routes::openapi_document()).unwrap()
}

with_app! {
    async fn the_served_document_is_the_committed_one(app: &TestApp) {
        let (content_type, served) = text(app, "/openapi.json").await;
        assert_eq!(content_type, "application/json");
        assert_eq!(served, bursar::routes::openapi_document());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/bursar.json");
        // `./dev openapi` writes it, and `./dev check` compares it.
        if let Ok(committed) = std::fs::read_to_string(path) {
            assert!(served == committed, "openapi/bursar.json is old: run ./dev openapi");
        }
    }

    async fn a_card_on_a_server_without_stripe_is_refused_with_a_documented_code(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "payment_method": "pm_card_visa", "consent": true });
        // Whatever an application answers in tests is compared with the document.
        let answer = app.call(&customer, "POST", "/api/v1/payment-methods", &unique(), Some(&body)).await;
        assert_eq!((answer.status, answer.code()), (503, "stripe_not_configured"), "{}", answer.body);
    }

    async fn the_documentation_page_needs_no_other_host(app: &TestApp) {
        let (content_type, page) = text(app, "/docs").await;
        assert!(content_type.starts_with("text/html"), "{content_type}");
        let shown = between(&page, "let spec = ", ";\n    let oauth2RedirectUrl")[0].replace("<\\/", "</");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert!(shown == document(), "the page shows another document");
        for tag in tags(&page) {
            let foreign = ["http:", "https:", "\"//", "'//", "=//"].iter().any(|sign| tag.contains(sign));
            assert!(!foreign, "<{tag}>");
        }
        let styles = between(&page, "<style", "</style>");
        assert!(!styles.is_empty());
        for style in styles {
            let foreign = style.contains("@import") || style.contains("url(http") || style.contains("url(//");
            assert!(!foreign, "a style sheet refers to another host");
        }
    }
}

/// The texts between two marks.
fn between<'a>(page: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    page.split(from).skip(1).map(|rest| rest.split(to).next().unwrap_or_default()).collect()
}

/// The tags of a page, except those inside scripts and style sheets.
fn tags(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap_or((after, ""));
        found.push(tag.to_owned());
        let raw = ["script", "style"].into_iter().find(|name| tag.split_whitespace().next() == Some(*name));
        rest = match raw {
            Some(name) => after.split_once(&format!("</{name}")).map_or("", |(_, after)| after),
            None => after,
        };
    }
    assert!(found.len() > 5);
    found
}

/// The places of null in a value, except in examples and among the values of an enumeration.
fn nulls(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| nulls(item, &format!("{at}/{n}"), found));
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| !["example", "examples", "enum"].contains(&name.as_str()));
            fields.for_each(|(name, value)| nulls(value, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

/// OpenAPI has no null outside of values, and generators skip operations that contain one. `./dev check` validates
/// the whole document.
#[test]
fn nothing_in_the_document_is_null() {
    let mut found = Vec::new();
    nulls(&document(), "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

/// `openapi-python-client`, for example, skips every operation with anything else.
#[test]
fn every_part_of_a_combined_schema_refers_to_an_object_or_an_enumeration() {
    fn combined(value: &Value, at: &str, found: &mut Vec<String>) {
        let Some(fields) = value.as_object() else { return };
        for part in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            if part["$ref"].is_null() && part["type"].is_null() {
                found.push(format!("{at}: {part}"));
            }
        }
        fields.iter().for_each(|(name, value)| combined(value, &format!("{at}/{name}"), found));
    }
    let mut found = Vec::new();
    combined(&document(), "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

/// Generators, linters and readers are told the version, the dialect and what every schema holds.
#[test]
fn the_document_is_openapi_3_1_and_closes_what_requests_consist_of() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.1");
    assert_eq!(document["servers"][0]["url"], "/");
    assert!(document["info"]["license"]["url"].is_string() && document["jsonSchemaDialect"].is_string());
    assert!(!document.to_string().contains("\"nullable\""));
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(!name.ends_with("Body"), "{name}");
        // Answers may get more fields in a later version.
        if schema["properties"].is_object() && name != "ReplayFilter" {
            assert_eq!(schema["additionalProperties"] == false, name.ends_with("Request"), "{name}");
        }
    }
}

#[test]
fn every_operation_has_an_id_a_summary_a_description_and_a_group() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() > 50);
    let mut ids = HashSet::new();
    for (name, operation) in operations {
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty() && summary.len() < 80, "{name}: {summary}");
        let description = operation["description"].as_str().unwrap_or_default();
        assert!(description.len() > summary.len().min(30), "{name}: {description}");
        assert!(ids.insert(operation["operationId"].as_str().expect(&name)), "{name}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
    }
}

#[test]
fn every_parameter_is_described_and_has_an_example_that_fits() {
    let document = document();
    for (name, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(&document, parameter);
            let is_described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_described, "{name}: {parameter}");
            assert_fits(&document, &name, parameter);
        }
    }
}

#[test]
fn every_body_has_an_example_that_fits() {
    let document = document();
    for (name, operation) in operations(&document) {
        let bodies = operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.as_str() < "400");
        for body in bodies.map(|(_, response)| response).chain(operation.get("requestBody")) {
            for (kind, media) in body["content"].as_object().into_iter().flatten() {
                assert_fits(&document, &format!("{name} {kind}"), media);
            }
        }
    }
}

/// What is meant: the component that something refers to, or itself.
fn resolve<'a>(document: &'a Value, described: &'a Value) -> &'a Value {
    let pointer = described["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    pointer.map_or(described, |pointer| document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing")))
}

#[test]
fn every_request_may_name_its_identifier_and_every_response_has_it() {
    let document = document();
    for (name, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let own: Vec<_> = parameters
            .map(|parameter| resolve(&document, parameter))
            .filter(|parameter| parameter["name"] == "X-Request-Id")
            .collect();
        assert_eq!(own.len(), 1, "{name}");
        assert_eq!((&own[0]["in"], &own[0]["required"]), (&json!("header"), &json!(false)), "{name}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let header = resolve(&document, &response["headers"]["X-Request-Id"]);
            assert_eq!(header["required"], true, "{name} {status}");
            assert_fits(&document, &format!("{name} {status}"), header);
        }
    }
}

/// Asserts that something has a schema and an example that fits it.
fn assert_fits(document: &Value, name: &str, described: &Value) {
    let example = described.get("example").unwrap_or_else(|| panic!("{name} has no example: {described}"));
    let mut problems = BTreeSet::new();
    schema::compare(document, &described["schema"], example, "", &mut problems);
    assert!(problems.is_empty(), "the example of {name}: {problems:#?}");
}

#[test]
fn every_limited_operation_documents_the_fields_of_limits() {
    let document = document();
    for (name, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let examples = &operation["responses"]["429"]["content"]["application/problem+json"]["examples"];
        let is_limited = examples.get("rate_limited").is_some();
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() < "400" || *status == "429") {
            let has_fields = ["RateLimit", "RateLimit-Policy"].map(|field| response["headers"][field].is_object());
            assert_eq!(has_fields, [is_limited; 2], "{name} {status}");
        }
    }
}

#[test]
fn every_operation_has_an_example_for_each_of_its_codes() {
    let document = document();
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for (name, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            if is_health(&name) {
                continue;
            }
            let media = &response["content"]["application/problem+json"];
            assert_eq!(media["schema"], problem, "{name} {status}: {response}");
            let has_wait = response["headers"]["Retry-After"].is_object();
            assert_eq!(has_wait, ["429", "503"].contains(&status.as_str()), "{name} {status}");
            let examples = media["examples"].as_object().unwrap_or_else(|| panic!("{name} {status}: {response}"));
            assert!(!examples.is_empty(), "{name} {status}");
            for (code, example) in examples {
                let kept = example["$ref"].as_str().and_then(|text| text.strip_prefix("#/components/examples/"));
                let value = &document["components"]["examples"][kept.unwrap()]["value"];
                assert_eq!((&value["code"], value["status"].to_string()), (&json!(code), status.clone()), "{name}");
                assert!(response["description"].as_str().unwrap().contains(code), "{name} {status} {code}");
                assert_fits(&document, code, &json!({ "schema": problem, "example": value }));
            }
        }
    }
}

/// Whether an operation needs credentials.
fn has_credentials(operation: &Value) -> bool {
    let ways = operation["security"].as_array().expect("every operation says which credentials it takes");
    !ways.is_empty() && ways.iter().all(|way| way.as_object().is_some_and(|way| !way.is_empty()))
}

fn is_health(name: &str) -> bool {
    // A failing health check has the same body as a good one.
    name.starts_with("get /health")
}

/// An operation's statuses follow from its shape and from the list for it. Every test also checks the running
/// application's answers against the document.
#[test]
fn every_operation_documents_exactly_its_error_statuses() {
    let document = document();
    for (name, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let found: BTreeSet<&str> = responses.keys().map(String::as_str).filter(|status| *status >= "400").collect();
        if is_health(&name) {
            assert_eq!(found, BTreeSet::from(["503"]), "{name}");
            continue;
        }
        // Any route refuses query parameters that it does not have.
        let mut due = BTreeSet::from(["400", "500", "503"]);
        let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
        let has = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
        let takes_json = operation["requestBody"]["content"]["application/json; charset=utf-8"].is_object();
        due.extend(has_credentials(operation).then_some("401"));
        due.extend(name.contains(" /admin/").then_some("403"));
        // The requests of an API key are limited.
        let takes_key = |scheme: &Value| scheme.get("CustomerAuth").is_some();
        due.extend(operation["security"].as_array().into_iter().flatten().any(takes_key).then_some("429"));
        due.extend((!name.starts_with("get ")).then_some("413"));
        due.extend(takes_json.then_some("415"));
        due.extend(has("path").then_some("404"));
        due.extend(parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key").then_some("422"));
        let id = operation["operationId"].as_str().unwrap();
        let docs: Vec<_> = bursar::routes::operation_docs().into_iter().filter(|doc| doc.operation == id).collect();
        assert_eq!(docs.len(), 1, "{id} is to be in OPERATION_DOCS of its file, once");
        let own: Vec<String> = docs[0].codes.iter().map(|code| known(code).status.to_string()).collect();
        due.extend(own.iter().map(String::as_str));
        assert_eq!(found, due, "{name}");
    }
}

fn known(name: &str) -> &'static Code {
    code::find(name).unwrap_or_else(|| panic!("{name} is not in api/src/problem/code.rs"))
}

#[test]
fn every_operation_doc_names_an_operation() {
    let document = document();
    let ids: HashSet<_> = operations(&document).into_iter().map(|(_, operation)| &operation["operationId"]).collect();
    for doc in bursar::routes::operation_docs() {
        assert!(ids.contains(&json!(doc.operation)), "{} is no operation", doc.operation);
    }
}

#[test]
fn every_code_is_explained_in_the_docs_with_its_status() {
    let rows = DOCS.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let code = cells.next()?.trim().trim_end_matches('`');
        Some((code, cells.next()?.trim().parse().ok()?))
    });
    let explained: BTreeSet<(&str, u16)> = rows.collect();
    let codes: BTreeSet<_> = code::CODES.iter().map(|code| (code.name, code.status)).collect();
    assert_eq!(explained, codes);
}

#[test]
fn the_documented_problem_is_the_servers_answer() {
    let block = between(DOCS, "```json\n", "```")[0];
    let shown: Value = serde_json::from_str(block).unwrap();
    let code = known(shown["code"].as_str().unwrap());
    assert_eq!((&shown["detail"], &shown["status"]), (&json!(code.detail), &json!(code.status)));
    assert!(code.detail.contains(&format!("available: {}.", shown["available"])), "{}", code.detail);
}

/// The document's description says the same in words.
#[test]
fn mutations_without_an_idempotency_key_are_listed() {
    let document = document();
    let mut without = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        let has_key = parameters.any(|parameter| parameter["name"] == "Idempotency-Key");
        if !name.starts_with("get ") && !has_key {
            without.insert(name);
        }
    }
    let of_customers = without.iter().filter(|name| !name.contains(" /admin/") && !name.contains(" /webhooks/"));
    let expected = [
        "delete /api/v1/api-keys/{id}",
        "post /api/v1/customers/onboard",
        "post /api/v1/operations/{id}/cancel",
        "post /api/v1/subscription/preview",
        "put /api/v1/credits/auto-top-up",
        "put /api/v1/spend-caps",
    ];
    assert_eq!(of_customers.collect::<Vec<_>>(), expected);
    let admin_with_key: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.contains(" /admin/") && !name.starts_with("get ") && !without.contains(name))
        .collect();
    let expected = [
        "post /admin/v1/catalogue/apply",
        "post /admin/v1/customers",
        "post /admin/v1/customers/{id}/adjustments",
        "post /admin/v1/customers/{id}/api-keys",
        "post /admin/v1/customers/{id}/confirmation-link",
        "post /admin/v1/customers/{id}/write-off",
        "post /admin/v1/mails/{id}/resend",
        "post /admin/v1/payments/{id}/refund",
        "post /admin/v1/replays",
        "post /admin/v1/stripe/reconciliations",
        "post /admin/v1/tokens",
    ];
    assert_eq!(admin_with_key.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_required_idempotency_key_is_documented_as_required() {
    let document = document();
    let mut optional = Vec::new();
    for (name, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["name"] == "Idempotency-Key") {
            if parameter["required"] != true {
                optional.push(name.clone());
            }
        }
    }
    assert!(optional.is_empty(), "{optional:#?}");
}

#[test]
fn every_operation_except_public_ones_documents_credentials() {
    let document = document();
    let open = [
        "post /api/v1/customers/onboard",
        "post /webhooks/stripe",
        "post /webhooks/github",
        "get /api/v1/plans",
        "get /api/v1/packs",
        "get /health",
        "get /health/live",
        "get /health/ready",
    ];
    for (name, operation) in operations(&document) {
        let scheme = operation["security"][0].as_object().and_then(|scheme| scheme.keys().next()).map(String::as_str);
        let expected = match name.as_str() {
            name if open.contains(&name) => None,
            name if name.contains(" /admin/") => Some("AdminAuth"),
            _ => Some("CustomerAuth"),
        };
        assert_eq!(scheme, expected, "{name}");
    }
}

#[test]
fn every_referenced_schema_exists_and_every_field_is_described() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for name in between(&text, "\"#/components/schemas/", "\"") {
        assert!(schemas.contains_key(name), "{name}");
    }
    for (name, schema) in schemas {
        for (field, shape) in schema["properties"].as_object().into_iter().flatten() {
            let described = |shape: &Value| shape["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described(shape), "{name}.{field}: {shape}");
        }
    }
}
