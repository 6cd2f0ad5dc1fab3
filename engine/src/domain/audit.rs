//! The audit log: who did what to what.

use serde_json::Value;

/// A line of the audit log.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Who: `admin:<name>`, `customer:<id>`, `system`.
    pub actor: String,
    /// What: `replay.create`, `stream.pause` …
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// More, as JSON.
    pub details: String,
}

impl Audit {
    /// A line that says that `actor` did `action` to `target`.
    pub fn new(actor: impl Into<String>, action: &'static str, target: impl ToString, details: &Value) -> Self {
        Self { actor: actor.into(), action, target: target.to_string(), details: details.to_string() }
    }
}
