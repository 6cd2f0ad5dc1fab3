//! Bodies without what differs from run to run, for snapshots.

use serde_json::Value;

/// Asserts what a body looks like, but for what differs from run to run. The same assertion is made
/// on each backend, which one process may run one after the other.
macro_rules! assert_body {
    ($body:expr, @$snapshot:literal) => {
        insta::allow_duplicates! {
            insta::assert_json_snapshot!($crate::snapshot::scrubbed(&$body), @$snapshot)
        }
    };
}
pub(crate) use assert_body;

/// Ids and keys hold a run of this many characters of lower-case base32 at least.
const RANDOM_LEN_MIN: usize = 26;
/// Length of a time such as `2026-11-22T08:00:00.000Z`.
const TIME_LEN: usize = 24;

/// The same body with `…` for everything random and `[time]` for times.
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
