//! The document, and the page that shows it.

use super::*;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation with its name.
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

both! {
    async fn the_document_that_is_served_is_the_one_that_is_committed(app: &TestApp) {
        let (content_type, served) = text(app, "/openapi.json").await;
        assert_eq!(content_type, "application/json");
        assert_eq!(served, bursar::routes::openapi_document());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/bursar.json");
        // `./dev openapi` writes it; `./dev check` asks for it.
        if let Ok(committed) = std::fs::read_to_string(path) {
            assert!(served == committed, "openapi/bursar.json is old: run ./dev openapi");
        }
    }

    async fn the_documentation_page_needs_no_other_host(app: &TestApp) {
        let (content_type, page) = text(app, "/docs").await;
        assert!(content_type.starts_with("text/html"), "{content_type}");
        assert!(page.contains("create_usage"), "the document is in the page");
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

/// The tags of a page, but not what looks like one inside a script or a style sheet.
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

#[test]
fn every_operation_has_an_id_a_summary_and_a_group() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() > 35);
    let mut ids = std::collections::HashSet::new();
    for (name, operation) in operations {
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty() && summary.len() < 80, "{name}: {summary}");
        assert!(ids.insert(operation["operationId"].as_str().expect(&name)), "{name}");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let is_described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_described, "{name}: {parameter}");
        }
    }
}

#[test]
fn every_operation_documents_its_error_bodies() {
    let document = document();
    for (name, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        if name.starts_with("get /health") {
            // What is down is said in the same body as what is up.
            assert_eq!(responses.keys().collect::<Vec<_>>(), ["200", "503"], "{name}");
            continue;
        }
        let mut expected = vec!["400", "413", "415", "429", "500", "503"];
        if operation["security"].is_array() {
            expected.push("401");
        }
        for status in expected {
            assert!(responses.contains_key(status), "{name} does not document {status}");
        }
        for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(*schema, "#/components/schemas/Problem", "{name} {status}: {response}");
            assert!(!response["description"].as_str().unwrap().is_empty(), "{name} {status}");
        }
    }
}

#[test]
fn an_idempotency_key_without_which_a_request_is_refused_is_documented_as_required() {
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
fn every_operation_but_those_for_everybody_asks_for_credentials() {
    let document = document();
    let open = [
        "post /api/v1/customers/onboard",
        "post /webhooks/stripe",
        "post /webhooks/github",
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
fn every_schema_that_is_referred_to_exists_and_every_field_is_described() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for name in between(&text, "\"#/components/schemas/", "\"") {
        assert!(schemas.contains_key(name), "{name}");
    }
    for (name, schema) in schemas {
        for (field, shape) in schema["properties"].as_object().into_iter().flatten() {
            let described = |shape: &Value| shape["description"].as_str().is_some_and(|text| !text.is_empty());
            let parts = shape["allOf"].as_array().into_iter().flatten();
            assert!(described(shape) || parts.clone().any(described), "{name}.{field}: {shape}");
        }
    }
}
