//! The memory for webhooks that are being read, whose senders are not known yet.
//!
//! Bytes count when they arrive, not when they are announced, so a sender that announces much and sends nothing keeps
//! nobody out. Small bodies have a share of their own, which large ones cannot fill. In a full share the oldest
//! unfinished body is dropped: an honest sender is done within moments, so the oldest bodies are the withheld ones.

use bursar_engine::config::WEBHOOK_SMALL_MAX_BYTES;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The memory for bodies, in two shares.
pub struct WebhookBodies {
    small: Share,
    large: Share,
}

impl WebhookBodies {
    /// `bytes_max` in all, of which `small_bytes` are for small bodies.
    pub fn new(bytes_max: usize, small_bytes: usize) -> Self {
        Self { small: Share::new(small_bytes), large: Share::new(bytes_max.saturating_sub(small_bytes)) }
    }

    /// Begins a body. One of unknown length begins as a small one.
    pub fn begin(&self, announced_bytes: usize) -> Place<'_> {
        let share = if announced_bytes > WEBHOOK_SMALL_MAX_BYTES { &self.large } else { &self.small };
        Place { bodies: self, share, id: share.begin(), bytes: 0, gives_way: Arc::default(), is_whole: false }
    }
}

/// Bytes of bodies, up to a bound.
struct Share {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    last_id: u64,
    /// Unfinished bodies, oldest first: their bytes, and how they are told to give way.
    begun: BTreeMap<u64, (usize, Arc<Notify>)>,
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

    /// Adds bytes to a body; older bodies give way for it. Returns whether there is room.
    fn add(&self, id: u64, bytes: usize, gives_way: &Arc<Notify>) -> bool {
        let mut state = self.state();
        state.begun.entry(id).or_insert_with(|| (0, gives_way.clone())).0 += bytes;
        state.bytes += bytes;
        while state.bytes > self.bytes_max {
            let Some((oldest, (freed, notify))) = state.begun.pop_first() else { return false };
            state.bytes -= freed;
            notify.notify_one();
            if oldest == id {
                return false;
            }
        }
        true
    }

    /// Removes an unfinished body; returns its bytes unless it gave way.
    fn end(&self, id: u64) -> Option<usize> {
        let mut state = self.state();
        let (bytes, _) = state.begun.remove(&id)?;
        state.bytes -= bytes;
        Some(bytes)
    }
}

/// The memory of one body, until this is dropped.
pub struct Place<'a> {
    bodies: &'a WebhookBodies,
    share: &'a Share,
    id: u64,
    bytes: usize,
    gives_way: Arc<Notify>,
    is_whole: bool,
}

impl Place<'_> {
    /// Waits until the body has to give way.
    pub async fn must_end(&self) {
        self.gives_way.notified().await;
    }

    /// Makes room for this many bytes more; returns whether there is any. Without room the body must be dropped.
    pub fn grow(&mut self, bytes: usize) -> bool {
        if self.has_given_way() {
            return false;
        }
        self.bytes += bytes;
        let mut more = bytes;
        if self.bytes > WEBHOOK_SMALL_MAX_BYTES && !std::ptr::eq(self.share, &raw const self.bodies.large) {
            // It turned out to be a large one.
            self.share.end(self.id);
            self.share = &self.bodies.large;
            self.id = self.share.begin();
            more = self.bytes;
        }
        self.share.add(self.id, more, &self.gives_way)
    }

    /// Marks the body as whole, after which it does not give way; returns false if it just did.
    pub fn complete(&mut self) -> bool {
        let mut state = self.share.state();
        self.is_whole = self.bytes == 0 || state.begun.remove(&self.id).is_some();
        drop(state);
        self.is_whole
    }

    fn has_given_way(&self) -> bool {
        self.bytes > 0 && !self.share.state().begun.contains_key(&self.id)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_whole {
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
        assert!(large.iter_mut().all(|place| place.grow(HALF)));
        assert_eq!(used(&bodies), (0, LARGE));
        let mut small = bodies.begin(WEBHOOK_SMALL_MAX_BYTES);
        assert!(small.grow(WEBHOOK_SMALL_MAX_BYTES) && small.complete());
        assert_eq!(used(&bodies), (WEBHOOK_SMALL_MAX_BYTES, LARGE));
        drop((large, small));
        assert_eq!(used(&bodies), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_body_gives_way_and_a_whole_one_does_not() {
        let bodies = bodies();
        let [mut whole, mut withheld, mut new] = [(); 3].map(|()| bodies.begin(HALF));
        assert!(whole.grow(HALF) && whole.complete());
        assert!(withheld.grow(HALF) && new.grow(HALF));
        withheld.must_end().await;
        assert!(!withheld.grow(1) && !withheld.complete());
        drop(withheld);
        assert_eq!(used(&bodies), (0, LARGE));
        assert!(new.complete());
        // All there is belongs to bodies that are whole.
        let mut late = bodies.begin(HALF);
        assert!(!late.grow(1));
        drop((whole, new, late));
        assert_eq!(used(&bodies), (0, 0));
    }

    #[test]
    fn a_body_that_drips_makes_no_younger_one_give_way() {
        let bodies = bodies();
        let [mut old, mut young] = [(); 2].map(|()| bodies.begin(HALF));
        assert!(old.grow(HALF) && young.grow(HALF));
        assert!(!old.grow(1));
        assert!(young.complete());
    }

    #[test]
    fn a_body_of_unknown_length_begins_small_and_moves_when_it_is_not() {
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
