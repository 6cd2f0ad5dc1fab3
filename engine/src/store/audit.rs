//! Rows of `audit_log`.

use super::{execute, get, query_all};
use crate::clock::TimeMs;
use crate::effect::Audit;
use crate::error::Result;
use crate::ids::AuditId;
use sea_orm::ConnectionTrait;

/// A line of the audit log as stored.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Its identifier.
    pub id: String,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// More, as JSON.
    pub details: String,
    /// When.
    pub at_ms: TimeMs,
}

/// Appends a line.
pub async fn audit_append(db: &impl ConnectionTrait, audit: &Audit, now_ms: TimeMs) -> Result<()> {
    execute(
        db,
        "INSERT INTO audit_log (id, actor, action, target, details, at_ms) VALUES ($1,$2,$3,$4,$5,$6)",
        [
            AuditId::new().as_str().into(),
            audit.actor.as_str().into(),
            audit.action.into(),
            audit.target.as_str().into(),
            audit.details.as_str().into(),
            now_ms.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The lines of one target, latest first.
pub async fn audit_list(db: &impl ConnectionTrait, target: &str, limit: u64) -> Result<Vec<AuditRow>> {
    let sql = "SELECT id, actor, action, target, details, at_ms FROM audit_log \
               WHERE target = $1 ORDER BY at_ms DESC, id DESC LIMIT $2";
    let rows = query_all(db, sql, [target.into(), limit.cast_signed().into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(AuditRow {
                id: get(row, "id")?,
                actor: get(row, "actor")?,
                action: get(row, "action")?,
                target: get(row, "target")?,
                details: get(row, "details")?,
                at_ms: get(row, "at_ms")?,
            })
        })
        .collect()
}
