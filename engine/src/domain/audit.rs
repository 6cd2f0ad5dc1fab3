//! The audit log: who did what to what.

pub mod chain;

use crate::clock::TimeMs;
use serde_json::Value;

/// A line of the audit log.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Who: `admin:<name>/<token's id>`, `customer:<id>`, `mailbox:<id>` (whoever opened a link in a mail to that
    /// customer), `system`.
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

/// A stored line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its identifier.
    pub id: String,
    /// Who acted.
    pub actor: String,
    /// The action.
    pub action: String,
    /// Its target.
    pub target: String,
    /// Details, as JSON.
    pub details: String,
    /// When it happened.
    pub at_ms: TimeMs,
}
