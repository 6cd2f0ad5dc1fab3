//! Compares the machine's clock with the database's.

use crate::clock::Clock;
use crate::error::Result;
use crate::infra::store::{Db, clock};

/// The smallest correction that is logged, in milliseconds.
const MOVED_MAX_MS: i64 = 1_000;

/// Compares the clock with the database's and corrects it. Does nothing on SQLite, which uses the machine's clock,
/// or to a manual clock.
///
/// # Errors
/// If the database cannot be read; the clock continues uncorrected.
pub async fn compare(db: &Db, clock: &Clock) -> Result<()> {
    if !db.is_postgres() || !clock.is_corrected() {
        return Ok(());
    }
    let moved_ms = clock.correct(&clock::clock_read(db).await?);
    if moved_ms.abs() > MOVED_MAX_MS {
        tracing::warn!(moved_ms, "the clock was corrected: this machine slept, or the database's clock was set");
    }
    Ok(())
}
