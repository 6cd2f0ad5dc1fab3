//! Commits under an account's lock, for a customer with several writing nodes.

use super::{Attempt, RunResult, Unit, UnitResult};
use crate::clock::TimeMs;
use crate::domain::ledger::Account;
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::{Db, account};
use sea_orm::DatabaseTransaction;

/// A locked account, until it is committed or dropped.
pub struct LockedAccount {
    /// The stored account.
    pub account: Account,
    tx: DatabaseTransaction,
}

/// Locks an account; `None` if there is no such account.
///
/// # Errors
/// Errors of the database, including a timeout while another transaction holds the lock.
pub async fn lock_account(db: &Db, customer: &CustomerId) -> Result<Option<LockedAccount>> {
    let tx = db.begin().await?;
    let account = account::account_lock(&tx, customer).await?;
    Ok(account.map(|account| LockedAccount { account, tx }))
}

impl LockedAccount {
    /// Commits a unit about this account, which cannot be `Stale`, and unlocks it. Errors are those of
    /// [`super::commit_units`].
    pub async fn commit(self, unit: &Unit, node: &str, now_ms: TimeMs) -> Result<UnitResult> {
        let units = std::slice::from_ref(unit);
        match (Attempt { tx: &self.tx, units, open: vec![0], node, now_ms }).run().await? {
            RunResult::Written { wakes, .. } => {
                self.tx.commit().await?;
                Ok(UnitResult::Committed(wakes.into_iter().flat_map(|(_, wakes)| wakes).collect()))
            }
            RunResult::Nothing(mut impossible) => {
                self.tx.rollback().await?;
                Ok(impossible.remove(&0).unwrap_or(UnitResult::Stale))
            }
        }
    }
}
