//! Group commit of plain decisions in one statement of Postgres.

use super::accounts::{Left, why_left, write_at_once, writes};
use super::{Unit, UnitResult, twins};
use crate::error::Result;
use crate::infra::store::Db;

/// Commits plain units in one statement, which is a transaction by itself: one round trip instead of four,
/// and a unit that is impossible leaves the others alone.
pub(super) async fn commit_plain(db: &Db, units: &[Unit]) -> Result<Vec<UnitResult>> {
    let mut results = twins(units);
    let open = units.iter().enumerate().filter(|(at, _)| results[*at].is_none());
    let left = write_at_once(db.ledger(), writes(open)).await?;
    // The others are committed, whatever becomes of this look: an error now would have them decided again. Who
    // is stale loads the account, and decides alone before long, where the error is its own.
    let mut left = if left.is_empty() {
        Left::new()
    } else {
        let why = why_left(db.ledger(), &left).await;
        why.unwrap_or_else(|_| left.iter().map(|(at, _)| (*at, UnitResult::Stale)).collect())
    };
    for (at, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_none()) {
        *result = Some(left.remove(&at).unwrap_or(UnitResult::Committed(Vec::new())));
    }
    Ok(results.into_iter().flatten().collect())
}
