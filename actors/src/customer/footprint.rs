//! Estimates the memory of all customer actors.
//!
//! A few customers with a thousand open grants take as much memory as thousands with one, so memory is limited instead
//! of the number of actors.

use bursar_engine::domain::ledger::Account;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of an actor without its account, in bytes: its task, its mailboxes, its router entry. Measured as 7.8 KiB
/// per actor with 30,000 actors, and rounded up.
pub(super) const ACTOR_BYTES: usize = 8 * 1_024;

/// The size of all customer actors. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Footprint(Arc<AtomicUsize>);

impl Footprint {
    /// The current size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a new actor, until its share is dropped.
    pub(crate) fn add_actor(&self) -> MemoryShare {
        self.0.fetch_add(ACTOR_BYTES, Ordering::Relaxed);
        MemoryShare { all: self.clone(), bytes: ACTOR_BYTES }
    }
}

/// One actor's part of the [`Footprint`].
#[derive(Debug)]
pub(crate) struct MemoryShare {
    all: Footprint,
    bytes: usize,
}

impl MemoryShare {
    /// Replaces the counted size of the actor's account.
    pub(crate) fn set_account(&mut self, account: &Account) {
        let bytes = ACTOR_BYTES + account.heap_bytes();
        self.all.0.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::amount::Credits;
    use bursar_engine::domain::ledger::{GrantKind, OpenGrant};

    #[test]
    fn the_footprint_follows_accounts_and_dropped_actors() {
        let footprint = Footprint::default();
        let (small, mut large) = (footprint.add_actor(), footprint.add_actor());
        assert_eq!(footprint.bytes(), 2 * ACTOR_BYTES);
        let mut account = Account::default();
        let grant = OpenGrant { seq: 1, kind: GrantKind::Promotional, remaining: Credits(1), expires_at_ms: None };
        account.open.grants = vec![grant; 1_000];
        large.set_account(&account);
        assert!(footprint.bytes() > 2 * ACTOR_BYTES + 1_000 * size_of::<OpenGrant>() - 1);
        large.set_account(&Account::default());
        assert_eq!(footprint.bytes(), 2 * ACTOR_BYTES);
        drop((small, large));
        assert_eq!(footprint.bytes(), 0);
    }
}
