//! Limits the memory of bodies that are being read.
//!
//! Bytes count when they arrive, not when they are announced, so a sender that announces a large body and sends nothing
//! blocks nobody. Small bodies have a share of their own, which large ones cannot fill. A full share evicts its oldest
//! incomplete body: honest senders finish within moments, so the oldest bodies are those that senders withhold. The
//! incomplete bodies of one client have a limit within each share, beyond which that client's own oldest is evicted.

use bursar_engine::config::WEBHOOK_SMALL_MAX_BYTES;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The memory limit, in two shares.
pub struct BodyLimit {
    small: Share,
    large: Share,
}

impl BodyLimit {
    /// Allows `small_bytes` for small bodies and `large_bytes` for others, and of each share `client_bytes` for the
    /// incomplete bodies of one client: a quarter of the share if that is less, and the largest body, `body_max`, in
    /// any case.
    pub fn new(small_bytes: usize, large_bytes: usize, client_bytes: usize, body_max: usize) -> Self {
        let share = |bytes: usize, body_max| Share::new(bytes, client_bytes.min(bytes / 4).max(body_max));
        Self { small: share(small_bytes, WEBHOOK_SMALL_MAX_BYTES), large: share(large_bytes, body_max) }
    }

    /// Begins a body of a client, if it has limits. A body of unknown length begins as a small one.
    pub fn begin(&self, announced_bytes: usize, client: Option<IpAddr>) -> BodyMemory<'_> {
        let share = if announced_bytes > WEBHOOK_SMALL_MAX_BYTES { &self.large } else { &self.small };
        let (id, eviction) = (share.begin(), Arc::default());
        BodyMemory { limit: self, share, id, client, bytes: 0, eviction, is_complete: false }
    }
}

/// Bytes of bodies, up to a limit.
struct Share {
    bytes_max: usize,
    client_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    last_id: u64,
    /// Incomplete bodies, oldest first.
    incomplete: BTreeMap<u64, Incomplete>,
    /// The bytes of each client's incomplete bodies.
    clients: HashMap<IpAddr, usize>,
}

struct Incomplete {
    bytes: usize,
    client: Option<IpAddr>,
    eviction: Arc<Notify>,
}

impl State {
    /// Takes a body off the incomplete ones. Its bytes still count.
    fn take(&mut self, id: u64) -> Option<Incomplete> {
        let body = self.incomplete.remove(&id)?;
        if let Some(client) = body.client
            && let Some(bytes) = self.clients.get_mut(&client)
        {
            *bytes -= body.bytes;
            if *bytes == 0 {
                self.clients.remove(&client);
            }
        }
        Some(body)
    }

    fn evict(&mut self, id: u64) {
        if let Some(body) = self.take(id) {
            self.bytes -= body.bytes;
            body.eviction.notify_one();
        }
    }

    /// The oldest incomplete body, or that of a client.
    fn oldest(&self, client: Option<IpAddr>) -> Option<u64> {
        let mut bodies = self.incomplete.iter();
        let found = bodies.find(|(_, body)| body.bytes > 0 && (client.is_none() || body.client == client));
        found.map(|(id, _)| *id)
    }
}

impl Share {
    fn new(bytes_max: usize, client_max: usize) -> Self {
        Self { bytes_max, client_max, state: Mutex::default() }
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
    fn add(&self, id: u64, bytes: usize, client: Option<IpAddr>, eviction: &Arc<Notify>) -> bool {
        let mut state = self.state();
        let new = || Incomplete { bytes: 0, client, eviction: eviction.clone() };
        state.incomplete.entry(id).or_insert_with(new).bytes += bytes;
        state.bytes += bytes;
        if let Some(client) = client {
            *state.clients.entry(client).or_default() += bytes;
        }
        loop {
            let of_client = client.filter(|client| state.clients.get(client).is_some_and(|b| *b > self.client_max));
            if of_client.is_none() && state.bytes <= self.bytes_max {
                return true;
            }
            let Some(oldest) = state.oldest(of_client) else { return false };
            state.evict(oldest);
            if oldest == id {
                return false;
            }
        }
    }

    /// Removes an incomplete body. Returns its bytes, or `None` if it was evicted.
    fn end(&self, id: u64) -> Option<usize> {
        let mut state = self.state();
        let Incomplete { bytes, .. } = state.take(id)?;
        state.bytes -= bytes;
        Some(bytes)
    }
}

/// The memory of one body, released on drop.
pub struct BodyMemory<'a> {
    limit: &'a BodyLimit,
    share: &'a Share,
    id: u64,
    client: Option<IpAddr>,
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
        if self.bytes > WEBHOOK_SMALL_MAX_BYTES && !std::ptr::eq(self.share, &raw const self.limit.large) {
            // It has outgrown the small share.
            self.share.end(self.id);
            self.share = &self.limit.large;
            self.id = self.share.begin();
            more = self.bytes;
        }
        self.share.add(self.id, more, self.client, &self.eviction)
    }

    /// Marks the body as complete, which protects it from eviction. Returns false if it was just evicted.
    pub fn complete(&mut self) -> bool {
        let mut state = self.share.state();
        self.is_complete = self.bytes == 0 || state.take(self.id).is_some();
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

    fn bodies() -> BodyLimit {
        BodyLimit::new(SMALL, LARGE, LARGE, 0)
    }

    fn used(bodies: &BodyLimit) -> (usize, usize) {
        (bodies.small.state().bytes, bodies.large.state().bytes)
    }

    #[test]
    fn large_bodies_leave_small_ones_their_share() {
        let bodies = bodies();
        let mut large: Vec<_> = (0..100).map(|_| bodies.begin(HALF, None)).collect();
        assert!(large.iter_mut().all(|body| body.grow(HALF)));
        assert_eq!(used(&bodies), (0, LARGE));
        let mut small = bodies.begin(WEBHOOK_SMALL_MAX_BYTES, None);
        assert!(small.grow(WEBHOOK_SMALL_MAX_BYTES) && small.complete());
        assert_eq!(used(&bodies), (WEBHOOK_SMALL_MAX_BYTES, LARGE));
        drop((large, small));
        assert_eq!(used(&bodies), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_incomplete_body_is_evicted() {
        let bodies = bodies();
        let [mut complete, mut withheld, mut new] = [(); 3].map(|()| bodies.begin(HALF, None));
        assert!(complete.grow(HALF) && complete.complete());
        assert!(withheld.grow(HALF) && new.grow(HALF));
        withheld.evicted().await;
        assert!(!withheld.grow(1) && !withheld.complete());
        drop(withheld);
        assert_eq!(used(&bodies), (0, LARGE));
        assert!(new.complete());
        // Complete bodies use all of the memory.
        let mut late = bodies.begin(HALF, None);
        assert!(!late.grow(1));
        drop((complete, new, late));
        assert_eq!(used(&bodies), (0, 0));
    }

    #[test]
    fn a_slow_body_evicts_no_younger_one() {
        let bodies = bodies();
        let [mut old, mut young] = [(); 2].map(|()| bodies.begin(HALF, None));
        assert!(old.grow(HALF) && young.grow(HALF));
        assert!(!old.grow(1));
        assert!(young.complete());
    }

    #[test]
    fn a_body_of_unknown_length_begins_small_and_moves_when_it_grows() {
        let bodies = bodies();
        let mut chunked = bodies.begin(0, None);
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
        let mut empty = bodies.begin(0, None);
        assert!(empty.complete());
        drop(empty);
        assert_eq!(used(&bodies), (0, 0));
    }

    #[test]
    fn a_client_evicts_its_own_bodies_and_no_others() {
        let bodies = BodyLimit::new(SMALL, 16 * HALF, 4 * HALF, HALF);
        let client = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let mut other = bodies.begin(HALF, client(2));
        assert!(other.grow(HALF - 1));
        let mut withheld: Vec<_> = (0..16).map(|_| bodies.begin(HALF, client(1))).collect();
        assert!(withheld.iter_mut().all(|body| body.grow(HALF)));
        assert_eq!(used(&bodies), (0, 4 * HALF + HALF - 1), "four of sixteen are kept");
        assert!(!withheld[11].complete() && withheld[12].complete());
        // What is complete no longer counts for its client.
        let mut last = bodies.begin(HALF, client(1));
        assert!(last.grow(HALF) && withheld[13].complete());
        assert!(other.grow(1) && other.complete());
        drop((other, withheld, last));
        assert_eq!(used(&bodies), (0, 0));
        assert!(bodies.large.state().clients.is_empty());
    }

    #[test]
    fn a_body_larger_than_its_clients_limit_has_no_room() {
        let bodies = BodyLimit::new(SMALL, 16 * HALF, HALF, HALF);
        let mut body = bodies.begin(2 * HALF, Some(IpAddr::from([192, 0, 2, 1])));
        assert!(body.grow(HALF) && !body.grow(1) && !body.complete());
    }
}
