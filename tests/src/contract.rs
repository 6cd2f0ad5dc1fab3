//! Checks answers against the OpenAPI document. Every answer that a test gets through [`crate::TestApp`] is checked,
//! so a code that its operation does not list fails the test that gets it.

use crate::answer::Answer;
use serde_json::Value;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&bursar::routes::openapi_document()).expect("the document is JSON"));

/// Panics if the document does not list this answer for the request's operation.
pub(crate) fn check(method: &str, address: &str, answer: &Answer) {
    let path = address.split('?').next().unwrap_or_default();
    let Some(operation) = operation(method, path) else { return };
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {path} does not document {}: {}", answer.status, answer.body);
    let problem = &response["content"]["application/problem+json"];
    let is_listed = problem.is_null() || problem["examples"][answer.code()].is_object();
    assert!(is_listed, "{method} {path} does not document {} {}: list it", answer.status, answer.code());
}

/// Finds the operation at a path; a path without parameters precedes one with parameters.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().expect("the document has paths");
    let fitting = paths.iter().filter(|(template, _)| fits(template, path));
    let (_, methods) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
    methods.get(method.to_lowercase())
}

fn fits(template: &str, path: &str) -> bool {
    let (mut parts, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), given.next()) {
            (None, None) => return true,
            (Some(part), Some(text)) if part == text || (part.starts_with('{') && !text.is_empty()) => {}
            _ => return false,
        }
    }
}
