//! Limits the memory of webhook bodies that are being read, whose signatures cannot be checked yet.
//!
//! Bytes count when they arrive, not when they are announced, so a sender that announces a large body and sends nothing
//! blocks nobody. Small bodies have a share of their own, which large ones cannot fill. A full share evicts its oldest
//! incomplete body: honest senders finish within moments, so the oldest bodies are those that senders withhold.

use bursar_engine::config::WEBHOOK_SMALL_MAX_BYTES;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The memory limit, in two shares.
pub struct WebhookBodies {
    small: Share,
    large: Share,
}

impl WebhookBodies {
    /// Allows `bytes_max` in total, of which `small_bytes` are for small bodies.
    pub fn new(bytes_max: usize, small_bytes: usize) -> Self {
        Self { small: Share::new(small_bytes), large: Share::new(bytes_max.saturating_sub(small_bytes)) }
    }

    /// Begins a body. A body of unknown length begins as a small one.
    pub fn begin(&self, announced_bytes: usize) -> BodyMemory<'_> {
        let share = if announced_bytes > WEBHOOK_SMALL_MAX_BYTES { &self.large } else { &self.small };
        BodyMemory { bodies: self, share, id: share.begin(), bytes: 0, eviction: Arc::default(), is_complete: false }
    }
}

/// Bytes of bodies, up to a limit.
struct Share {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    last_id: u64,
    /// Incomplete bodies, oldest first.
    incomplete: BTreeMap<u64, Incomplete>,
}

struct Incomplete {
    bytes: usize,
    eviction: Arc<Notify>,
}

impl Share {
    fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> u64 {
        let mut state = self.state();
        state.last_id += 1;
        state.last_id
    }

    /// Adds bytes to a body, evicting older ones if needed. Returns whether there is room.
    fn add(&self, id: u64, bytes: usize, eviction: &Arc<Notify>) -> bool {
        let mut state = self.state();
        state.incomplete.entry(id).or_insert_with(|| Incomplete { bytes: 0, eviction: eviction.clone() }).bytes +=
            bytes;
        state.bytes += bytes;
        while state.bytes > self.bytes_max {
            let Some((oldest, evicted)) = state.incomplete.pop_first() else { return false };
            state.bytes -= evicted.bytes;
            evicted.eviction.notify_one();
            if oldest == id {
                return false;
            }
        }
        true
    }

    /// Removes an incomplete body. Returns its bytes, or `None` if it was evicted.
    fn end(&self, id: u64) -> Option<usize> {
        let mut state = self.state();
        let Incomplete { bytes, .. } = state.incomplete.remove(&id)?;
        state.bytes -= bytes;
        Some(bytes)
    }
}

/// The memory of one body, released on drop.
pub struct BodyMemory<'a> {
    bodies: &'a WebhookBodies,
    share: &'a Share,
    id: u64,
    bytes: usize,
    eviction: Arc<Notify>,
    is_complete: bool,
}

impl BodyMemory<'_> {
    /// Waits until the body is evicted.
    pub async fn evicted(&self) {
        self.eviction.notified().await;
    }

    /// Adds `bytes`. Returns whether there is room for them; without it the body must be dropped.
    pub fn grow(&mut self, bytes: usize) -> bool {
        if self.is_evicted() {
            return false;
        }
        self.bytes += bytes;
        let mut more = bytes;
        if self.bytes > WEBHOOK_SMALL_MAX_BYTES && !std::ptr::eq(self.share, &raw const self.bodies.large) {
            // It has outgrown the small share.
            self.share.end(self.id);
            self.share = &self.bodies.large;
            self.id = self.share.begin();
            more = self.bytes;
        }
        self.share.add(self.id, more, &self.eviction)
    }

    /// Marks the body as complete, which protects it from eviction. Returns false if it was just evicted.
    pub fn complete(&mut self) -> bool {
        let mut state = self.share.state();
        self.is_complete = self.bytes == 0 || state.incomplete.remove(&self.id).is_some();
        drop(state);
        self.is_complete
    }

    fn is_evicted(&self) -> bool {
        self.bytes > 0 && !self.share.state().incomplete.contains_key(&self.id)
    }
}

impl Drop for BodyMemory<'_> {
    fn drop(&mut self) {
        if self.is_complete {
            self.share.state().bytes -= self.bytes;
        } else {
            self.share.end(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 2 * WEBHOOK_SMALL_MAX_BYTES;
    const LARGE: usize = 4 * WEBHOOK_SMALL_MAX_BYTES;
    const HALF: usize = LARGE / 2;

    fn bodies() -> WebhookBodies {
        WebhookBodies::new(SMALL + LARGE, SMALL)
    }

    fn used(bodies: &WebhookBodies) -> (usize, usize) {
        (bodies.small.state().bytes, bodies.large.state().bytes)
    }

    #[test]
    fn large_bodies_leave_small_ones_their_share() {
        let bodies = bodies();
        let mut large: Vec<_> = (0..100).map(|_| bodies.begin(HALF)).collect();
        assert!(large.iter_mut().all(|body| body.grow(HALF)));
        assert_eq!(used(&bodies), (0, LARGE));
        let mut small = bodies.begin(WEBHOOK_SMALL_MAX_BYTES);
        assert!(small.grow(WEBHOOK_SMALL_MAX_BYTES) && small.complete());
        assert_eq!(used(&bodies), (WEBHOOK_SMALL_MAX_BYTES, LARGE));
        drop((large, small));
        assert_eq!(used(&bodies), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_incomplete_body_is_evicted() {
        let bodies = bodies();
        let [mut complete, mut withheld, mut new] = [(); 3].map(|()| bodies.begin(HALF));
        assert!(complete.grow(HALF) && complete.complete());
        assert!(withheld.grow(HALF) && new.grow(HALF));
        withheld.evicted().await;
        assert!(!withheld.grow(1) && !withheld.complete());
        drop(withheld);
        assert_eq!(used(&bodies), (0, LARGE));
        assert!(new.complete());
        // Complete bodies use all of the memory.
        let mut late = bodies.begin(HALF);
        assert!(!late.grow(1));
        drop((complete, new, late));
        assert_eq!(used(&bodies), (0, 0));
    }

    #[test]
    fn a_slow_body_evicts_no_younger_one() {
        let bodies = bodies();
        let [mut old, mut young] = [(); 2].map(|()| bodies.begin(HALF));
        assert!(old.grow(HALF) && young.grow(HALF));
        assert!(!old.grow(1));
        assert!(young.complete());
    }

    #[test]
    fn a_body_of_unknown_length_begins_small_and_moves_when_it_grows() {
        let bodies = bodies();
        let mut chunked = bodies.begin(0);
        assert!(chunked.grow(WEBHOOK_SMALL_MAX_BYTES));
        assert_eq!(used(&bodies), (WEBHOOK_SMALL_MAX_BYTES, 0));
        assert!(chunked.grow(1));
        assert_eq!(used(&bodies), (0, WEBHOOK_SMALL_MAX_BYTES + 1));
        assert!(chunked.complete());
        drop(chunked);
        assert_eq!(used(&bodies), (0, 0));
    }

    #[test]
    fn an_empty_body_needs_no_room() {
        let bodies = bodies();
        let mut empty = bodies.begin(0);
        assert!(empty.complete());
        drop(empty);
        assert_eq!(used(&bodies), (0, 0));
    }
}
