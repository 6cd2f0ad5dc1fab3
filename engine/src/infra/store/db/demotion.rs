//! Closes connections to a server that no longer accepts writes.
//!
//! After a failover the database's address leads to another server, but open connections stay with the old one,
//! which may continue as a standby: it answers, and refuses every write. So after a refused write, all older
//! connections are closed instead of reused.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest interval between closing all connections, for a server that keeps refusing.
const EVERY: Duration = Duration::from_secs(1);

/// When a write was last refused, ignoring those within the interval.
static REFUSED: Mutex<Option<Instant>> = Mutex::new(None);

/// Records that a server refused a write.
pub(crate) fn record_refusal() {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.is_none_or(|at| at.elapsed() >= EVERY) {
        tracing::warn!("the database refuses writes: all connections to it are replaced");
        *refused = Some(Instant::now());
    }
}

/// Whether a connection of this age is older than the last refused write.
pub(super) fn predates_refusal(age: Duration) -> bool {
    let refused = *REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    refused.is_some_and(|at| at.elapsed() <= age)
}
