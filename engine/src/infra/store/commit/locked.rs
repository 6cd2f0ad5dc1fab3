//! Commits under an account's lock, for a customer that several nodes write at once.

use super::{Attempt, Run, Unit, UnitResult};
use crate::clock::TimeMs;
use crate::domain::ledger::Account;
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::{Db, account};
use sea_orm::DatabaseTransaction;

/// An account that nobody else can write until this is committed or dropped.
pub struct LockedAccount {
    /// As it is stored.
    pub account: Account,
    tx: DatabaseTransaction,
}

/// Locks an account; `None` if there is no such account.
///
/// # Errors
/// Of the database, also if somebody keeps the account locked for longer than statements wait.
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
            Run::Written { wakes, .. } => {
                self.tx.commit().await?;
                Ok(UnitResult::Committed(wakes.into_iter().flat_map(|(_, wakes)| wakes).collect()))
            }
            Run::Nothing(mut impossible) => {
                self.tx.rollback().await?;
                Ok(impossible.remove(&0).unwrap_or(UnitResult::Stale))
            }
        }
    }
}
