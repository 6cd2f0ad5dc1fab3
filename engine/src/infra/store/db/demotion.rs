//! Connections to a server that takes no writes any more.
//!
//! After a failover the address of the database leads to another server, but connections that are open stay
//! with the old one, which may live on as a standby: it answers, and refuses every write. So once a server
//! refuses one, all connections that are older than that are closed instead of used again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A server that goes on refusing has all connections made anew this often at most.
const EVERY: Duration = Duration::from_secs(1);

/// When a write was refused last, of those that count.
static REFUSED: Mutex<Option<Instant>> = Mutex::new(None);

/// A server refused to write.
pub(crate) fn notice() {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.is_none_or(|at| at.elapsed() >= EVERY) {
        tracing::warn!("the database takes no writes; connections to it are made anew");
        *refused = Some(Instant::now());
    }
}

/// Whether a connection of this age was made before a write was refused.
pub(super) fn is_older(age: Duration) -> bool {
    let refused = *REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    refused.is_some_and(|at| at.elapsed() <= age)
}
