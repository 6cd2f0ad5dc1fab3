//! What requests say beside JSON that the framework reads: cursors, forms, times, names of query parameters; and the
//! explanations of bodies that were refused. The input is a text, which is read as each of them.

use bursar::routes::input::{idempotency_key, metadata, moment, parameter, time};
use bursar::routes::page::{PageQuery, encode_cursor};
use bursar::routes::text::Text;
use bursar::routes::{body_problem, query_problem};
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::github;
use bursar_engine::ids::{CustomerId, HoldId, OperationId};
use bursar_sandbox::form_to_json;
use serde_json::Value;
use std::sync::LazyLock;

/// Routes whose query parameters are checked, and one that does not exist.
const ROUTES: [(&str, &str); 4] = [
    ("GET", "/api/v1/credits/transactions"),
    ("DELETE", "/api/v1/subscription"),
    ("GET", "/admin/v1/jobs"),
    ("GET", "/nowhere"),
];
/// Longest explanation of a refused body or query, in characters.
const EXPLANATION_LEN_MAX: usize = 2_000;

/// The operations that take a body.
static OPERATIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    const DOCUMENT: &str = include_str!("../../openapi/bursar.json");
    let document: Value = serde_json::from_str(DOCUMENT).expect("the committed document is JSON");
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, operations)| operations.as_object().into_iter().flatten());
    let taking = operations.filter(|(_, operation)| operation["requestBody"].is_object());
    taking.filter_map(|(_, operation)| operation["operationId"].as_str().map(str::to_owned)).collect()
});

/// Checks the claims. Returns whether one of the parsers took the text.
pub fn run(data: &[u8]) -> bool {
    let is_form = check_form(data);
    let Ok(text) = std::str::from_utf8(data) else { return is_form };
    check_query(text);
    check_identifiers(text);
    let accepted = [check_cursor(text), check_time(text), check_body(text), idempotency_key(text).is_ok()];
    is_form || accepted.contains(&true)
}

/// A cursor is the text that an earlier answer had, and no other.
fn check_cursor(text: &str) -> bool {
    let parse = |cursor: &str| PageQuery::parse(Some(cursor.to_owned()), None).ok().and_then(|page| page.cursor);
    let key = parse(text);
    if let Some(key) = &key {
        assert_eq!(encode_cursor(key), text, "another text for the same place");
    }
    let is_sound = !text.is_empty() && !text.contains('\0') && encode_cursor(text).len() <= 1_024;
    assert_eq!(parse(&encode_cursor(text)).as_deref(), is_sound.then_some(text));
    let numbered = PageQuery::parse_numbered(Some(encode_cursor(text)), Some(100));
    assert_eq!(numbered.ok().and_then(|page| page.cursor), text.parse().ok());
    key.is_some()
}

/// A time is shown as it was meant.
fn check_time(text: &str) -> bool {
    let given = time("from", Some(text)).ok().flatten();
    let meant = moment("from", Some(Text(text.to_owned()))).ok().flatten();
    assert!(given.is_none() || given == meant);
    for at_ms in given.into_iter().chain(meant) {
        assert_eq!(time("from", Some(&rfc3339(at_ms))).ok().flatten(), Some(at_ms), "{text}");
    }
    meant.is_some()
}

/// The form of the page on which addresses are confirmed, of GitHub's webhooks, and of Stripe's clients.
fn check_form(data: &[u8]) -> bool {
    if let Some(token) = parameter(data, "token") {
        let form = String::from_utf8_lossy(data);
        let named = form.split('&').filter(|part| part.split('=').next() == Some("token")).count();
        assert!(named <= 1, "one of {named} values was taken: {token}");
    }
    let purchase = github::parse_body(data);
    assert!(purchase.as_ref().map_or_else(|reason| !reason.is_empty(), Value::is_object));
    let parameters = std::str::from_utf8(data).ok().and_then(form_to_json);
    assert!(parameters.is_none_or(|parameters| parameters.is_object() || parameters.is_array()));
    purchase.is_ok()
}

fn check_query(text: &str) {
    for (method, path) in ROUTES {
        let problem = query_problem(method, path, text).unwrap_or_default();
        assert!(problem.len() <= EXPLANATION_LEN_MAX && !problem.chars().any(char::is_control), "{problem}");
    }
}

fn check_identifiers(text: &str) {
    let parsed = [
        CustomerId::parse(text).ok().map(|id| id.to_string()),
        HoldId::parse(text).ok().map(|id| id.to_string()),
        OperationId::parse(text).ok().map(|id| id.to_string()),
    ];
    assert!(parsed.into_iter().flatten().all(|id| id == text && id.is_ascii()));
}

/// Metadata is kept as a bounded object, and every explanation of a refused body is bounded.
fn check_body(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    let kept = metadata(Some(value.clone())).ok().flatten();
    if let Some(kept) = &kept {
        assert!(kept.len() <= 4_096 && !kept.contains("\\u0000"));
        let read: Value = serde_json::from_str(kept).expect("what was kept is JSON");
        assert!(read.is_object() && value.is_object());
    }
    for operation in OPERATIONS.iter() {
        let problem = body_problem(operation, text.as_bytes()).unwrap_or_default();
        assert!(problem.chars().count() <= EXPLANATION_LEN_MAX, "{operation}: {problem}");
    }
    kept.is_some()
}
