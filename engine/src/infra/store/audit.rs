//! Rows of `audit_log`.

use super::{Kind, Rows, get, query_all};
use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::error::Result;
use crate::ids::AuditId;
use sea_orm::ConnectionTrait;

/// A stored line of the audit log.
#[derive(Debug, Clone)]
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

/// Appends a line.
pub async fn audit_append(db: &impl ConnectionTrait, audit: &Audit, now_ms: TimeMs) -> Result<()> {
    audit_append_many(db, std::slice::from_ref(audit), now_ms).await
}

/// Appends lines in one statement.
pub async fn audit_append_many(db: &impl ConnectionTrait, lines: &[Audit], now_ms: TimeMs) -> Result<()> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("actor", Kind::Text),
        ("action", Kind::Text),
        ("target", Kind::Text),
        ("details", Kind::Text),
        ("at_ms", Kind::Int),
    ]);
    for line in lines {
        rows.push([
            AuditId::new().as_str().into(),
            line.actor.as_str().into(),
            line.action.into(),
            line.target.as_str().into(),
            line.details.as_str().into(),
            now_ms.into(),
        ]);
    }
    let columns = "id, actor, action, target, details, at_ms";
    let sql = format!("INSERT INTO audit_log ({columns}) SELECT {columns} FROM {{rows}}");
    db.execute_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    Ok(())
}

/// A page of one target's lines or of all, latest first, before this one.
pub async fn audit_page(
    db: &impl ConnectionTrait,
    target: Option<&str>,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<AuditRow>> {
    let sql = "SELECT id, actor, action, target, details, at_ms FROM audit_log \
               WHERE ($1 = '' OR target = $1) AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3";
    let values = [target.unwrap_or_default().into(), before.unwrap_or_default().into(), limit.cast_signed().into()];
    let rows = query_all(db, sql, values).await?;
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
