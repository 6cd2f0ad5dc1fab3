//! Seals the audit log: a chain of hashes in the order of sealing ([`chain`](crate::domain::audit::chain)).
//!
//! Whoever acts only appends its row, so no command waits for another. The rows are chained afterwards, by one node at
//! a time: two that seal at once compute the same numbers, and the database takes those of one.

use crate::clock::TimeMs;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::audit::{audit_head, audit_seal_insert_many, audit_unsealed_list};

/// Rows that are sealed in one transaction.
pub const SEALS_MAX: u64 = 500;

/// Seals rows that wait, oldest first, at most [`SEALS_MAX`]. Returns whether more may wait.
///
/// # Errors
/// The database's. Nothing is sealed then.
pub async fn seal(db: &Db, now_ms: TimeMs) -> Result<bool> {
    // Not the connection for reads: its planner may read the whole log when it believes that nothing waits.
    let waiting = audit_unsealed_list(db.write(), SEALS_MAX).await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let more = waiting.len() as u64 == SEALS_MAX;
    let tx = db.begin().await?;
    let mut head = audit_head(&tx).await?;
    let mut sealed = Vec::with_capacity(waiting.len());
    for row in waiting {
        let next = head.seal(row, now_ms);
        head = next.head();
        sealed.push(next);
    }
    if audit_seal_insert_many(&tx, &sealed).await? {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(more)
}
