//! Group commit of plain decisions in one statement of Postgres.

use super::{Unit, UnitResult, entries_of, key_twice, keys, twins};
use crate::error::Result;
use crate::store::Db;
use crate::store::account::{self, AccountWrite};
use std::collections::HashSet;

/// Commits plain units in one statement, which is a transaction by itself: one round trip instead of four,
/// and a unit that is impossible leaves the others alone.
pub(super) async fn commit_plain(db: &Db, units: &[Unit]) -> Result<Vec<UnitResult>> {
    let mut results = twins(units);
    let plain = |at: usize| units[at].account.as_ref().map(|write| (at, write));
    let mut open: Vec<(usize, &AccountWrite)> =
        (0..units.len()).filter(|at| results[*at].is_none()).filter_map(plain).collect();
    // Every transaction locks accounts in this order.
    open.sort_unstable_by(|(_, a), (_, b)| a.customer_id.cmp(&b.customer_id));
    let list: Vec<&AccountWrite> = open.iter().map(|(_, write)| *write).collect();
    let written = account::account_commit_many(db.ledger(), &list).await.map_err(|error| {
        // Keys used before are left out: this is one unit's own fault, and a retry would not end.
        if error.is_unique_violation() { key_twice() } else { error }
    })?;
    let written: HashSet<&str> = written.iter().map(String::as_str).collect();
    let (done, left): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|(_, write)| written.contains(write.customer_id.as_str()));
    for (at, _) in done {
        results[at] = Some(UnitResult::Committed(Vec::new()));
    }
    if !left.is_empty() {
        let found = account::entry_find_by_keys(db.ledger(), &keys(left.iter().map(|(_, write)| *write))).await?;
        for (at, write) in left {
            let used = entries_of(&found, write, i64::MAX);
            results[at] = Some(if used.is_empty() { UnitResult::Stale } else { UnitResult::KeysUsed(used) });
        }
    }
    Ok(results.into_iter().flatten().collect())
}
