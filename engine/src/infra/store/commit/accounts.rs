//! Writes the accounts of a transaction's units, with their entries.

use super::{Unit, UnitResult};
use crate::domain::ledger::Entry;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::account::{self, AccountWrite};
use sea_orm::{ConnectionTrait, DbBackend};
use std::collections::{HashMap, HashSet};

/// Units that are left out, by index, each with the reason.
pub(super) type LeftOut = HashMap<usize, UnitResult>;

/// An account's change with the index of its unit.
type Placed<'a> = (usize, &'a AccountWrite);

/// The result of writing the accounts.
#[derive(Default)]
pub(super) struct Accounts {
    /// The units left out.
    pub(super) left: LeftOut,
    /// Whether a part of them was written nevertheless, so that the transaction must be rolled back.
    pub(super) must_roll_back: bool,
}

/// Writes the accounts of units with their entries.
pub(super) async fn write_accounts<'a>(
    db: &impl ConnectionTrait,
    units: impl Iterator<Item = (usize, &'a Unit)>,
) -> Result<Accounts> {
    let writes = writes(units);
    if writes.is_empty() {
        return Ok(Accounts::default());
    }
    if db.get_database_backend() == DbBackend::Postgres {
        let left = write_at_once(db, writes).await?;
        let left = if left.is_empty() { LeftOut::new() } else { explain_left_out(db, &left).await? };
        return Ok(Accounts { left, must_roll_back: false });
    }
    let updated = account::account_update_many(db, &list(&writes)).await?;
    let (written, left) = split_written(writes, &updated);
    let mut left: LeftOut = left.into_iter().map(|(at, _)| (at, UnitResult::Stale)).collect();
    let used = append_entries(db, &written).await?;
    let must_roll_back = !used.is_empty();
    left.extend(used);
    Ok(Accounts { left, must_roll_back })
}

/// The account changes of units, in the order in which every transaction locks accounts.
pub(super) fn writes<'a>(units: impl Iterator<Item = (usize, &'a Unit)>) -> Vec<Placed<'a>> {
    let mut writes: Vec<_> = units.filter_map(|(at, unit)| Some((at, unit.account.as_ref()?))).collect();
    writes.sort_unstable_by(|(_, a), (_, b)| a.customer_id.cmp(&b.customer_id));
    writes
}

/// Writes accounts and their entries in one statement of Postgres. Returns those left out.
pub(super) async fn write_at_once<'a>(db: &impl ConnectionTrait, writes: Vec<Placed<'a>>) -> Result<Vec<Placed<'a>>> {
    let written = account::account_commit_many(db, &list(&writes)).await.map_err(|error| {
        // Used keys are left out, so this is one unit's own fault, and retries would never end.
        if error.is_unique_violation() { duplicate_key() } else { error }
    })?;
    Ok(split_written(writes, &written).1)
}

/// Finds out why Postgres left accounts out.
pub(super) async fn explain_left_out(db: &impl ConnectionTrait, left: &[Placed<'_>]) -> Result<LeftOut> {
    let found = account::entry_find_by_keys(db, &keys(left)).await?;
    let why = |write: &AccountWrite| match select_entries(&found, write, i64::MAX) {
        used if used.is_empty() => UnitResult::Stale,
        used => UnitResult::KeysUsed(used),
    };
    Ok(left.iter().map(|(at, write)| (*at, why(write))).collect())
}

/// Appends the entries of accounts on SQLite. Returns the units with an idempotency key that was already used; some
/// of their entries may then be appended.
async fn append_entries(db: &impl ConnectionTrait, writes: &[Placed<'_>]) -> Result<LeftOut> {
    let expected: u64 = writes.iter().map(|(_, write)| write.entries.len() as u64).sum();
    if expected == 0 || account::entry_append_many(db, &list(writes)).await? == expected {
        return Ok(LeftOut::new());
    }
    // Rare: find the keys that were already used. Entries that this transaction appended have a sequence number
    // above the expected version.
    let found = account::entry_find_by_keys(db, &keys(writes)).await?;
    let used = writes.iter().map(|(at, write)| (*at, select_entries(&found, write, write.expected_version)));
    let used: LeftOut =
        used.filter(|(_, used)| !used.is_empty()).map(|(at, used)| (at, UnitResult::KeysUsed(used))).collect();
    if used.is_empty() {
        // The caller must not do that, and retries would never end.
        return Err(duplicate_key());
    }
    Ok(used)
}

fn list<'a>(writes: &[Placed<'a>]) -> Vec<&'a AccountWrite> {
    writes.iter().map(|(_, write)| *write).collect()
}

/// Splits accounts into those written and the others.
fn split_written<'a>(writes: Vec<Placed<'a>>, written: &[String]) -> (Vec<Placed<'a>>, Vec<Placed<'a>>) {
    if written.len() == writes.len() {
        return (writes, Vec::new());
    }
    let written: HashSet<&str> = written.iter().map(String::as_str).collect();
    writes.into_iter().partition(|(_, write)| written.contains(write.customer_id.as_str()))
}

/// Two entries of one unit have the same key, which no caller may do.
fn duplicate_key() -> Error {
    Error::Corrupt("an idempotency key twice in one unit".to_owned())
}

/// The idempotency keys of entries, each with its customer.
fn keys<'a>(writes: &[Placed<'a>]) -> Vec<(&'a CustomerId, &'a str)> {
    let entries = writes.iter().flat_map(|(_, write)| write.entries.iter().map(|entry| (&write.customer_id, entry)));
    entries.filter_map(|(customer, entry)| Some((customer, entry.idempotency_key.as_deref()?))).collect()
}

/// The found entries of a write's customer, up to a sequence number.
fn select_entries(found: &[(String, Entry)], write: &AccountWrite, upto: i64) -> Vec<Entry> {
    let own = found.iter().filter(|(customer, entry)| customer == write.customer_id.as_str() && entry.seq <= upto);
    own.map(|(_, entry)| entry.clone()).collect()
}
