//! Group commit of plain units in one statement of Postgres.

use super::accounts::{LeftOut, explain_left_out, write_at_once, writes};
use super::{Unit, UnitResult, reject_duplicates};
use crate::error::Result;
use crate::infra::store::Db;

/// Commits plain units in one statement, which is a transaction by itself: one round trip instead of four, and
/// units that cannot be written do not affect the others.
pub(super) async fn commit_plain(db: &Db, units: &[Unit]) -> Result<Vec<UnitResult>> {
    let mut results = reject_duplicates(units);
    let open = units.iter().enumerate().filter(|(at, _)| results[*at].is_none());
    let left = write_at_once(db.ledger(), writes(open)).await?;
    // The others are committed even if this look-up fails: an error here would repeat their decisions. A stale unit
    // reloads its account, is soon decided alone, and then gets its own error.
    let mut left = if left.is_empty() {
        LeftOut::new()
    } else {
        let why = explain_left_out(db.ledger(), &left).await;
        why.unwrap_or_else(|_| left.iter().map(|(at, _)| (*at, UnitResult::Stale)).collect())
    };
    for (at, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_none()) {
        *result = Some(left.remove(&at).unwrap_or(UnitResult::Committed(Vec::new())));
    }
    Ok(results.into_iter().flatten().collect())
}
