//! Staff changes what a node logs. The filter itself is the process's; the database has only the deed.

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::audit::audit_append;
use serde_json::json;

/// The target of the changes in the audit log.
pub const TARGET: &str = "log-filter";

/// A change of a node's log filter.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The node.
    pub node: &'a str,
    /// The filter until now.
    pub before: &'a str,
    /// The new filter.
    pub after: &'a str,
    /// Who changes it.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Records a change in the audit log. It is done only afterwards, so that no node logs more than the audit log tells.
///
/// # Errors
/// The database's. The filter must not change then.
pub async fn record(db: &Db, change: Change<'_>, now_ms: TimeMs) -> Result<()> {
    let Change { node, before, after, actor, reason } = change;
    let details = json!({ "node": node, "before": before, "after": after, "reason": reason });
    audit_append(db.write(), &Audit::new(actor, "log_filter.set", TARGET, &details), now_ms).await
}
