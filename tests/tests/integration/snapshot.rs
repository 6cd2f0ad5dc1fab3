//! Snapshots of bodies, without values that differ from run to run.

use serde_json::Value;

/// Compares a body with an inline snapshot, except values that differ from run to run. Both backends make the same
/// assertion, one after the other if one process runs them.
macro_rules! assert_body {
    ($body:expr, @$snapshot:literal) => {
        insta::allow_duplicates! {
            insta::assert_json_snapshot!($crate::snapshot::scrubbed(&$body), @$snapshot)
        }
    };
}
pub(crate) use assert_body;

/// Ids and keys contain at least this many consecutive characters of lower-case base32.
const RANDOM_LEN_MIN: usize = 26;
/// Length of a time such as `2026-11-22T08:00:00.000Z`.
const TIME_LEN: usize = 24;

/// The body with `…` for random values and `[time]` for times.
pub fn scrubbed(body: &Value) -> Value {
    match body {
        Value::Array(items) => items.iter().map(scrubbed).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), field(name, value))).collect(),
        Value::String(text) => Value::String(scrubbed_text(text)),
        other => other.clone(),
    }
}

fn field(name: &str, value: &Value) -> Value {
    match name {
        "duration_ms" | "latency_ms" if value.is_number() => Value::String("[ms]".to_owned()),
        "node" | "hint" | "version" | "epoch" => Value::String(format!("[{name}]")),
        _ => scrubbed(value),
    }
}

fn scrubbed_text(text: &str) -> String {
    if text.len() == TIME_LEN && text.ends_with('Z') && text.as_bytes()[10] == b'T' {
        return "[time]".to_owned();
    }
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() || ('a'..='v').contains(&c) {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() < RANDOM_LEN_MIN { &run } else { "…" });
        run.clear();
        out.push(c);
    }
    out.trim_end_matches('\0').to_owned()
}
