//! The places of a listener: how many connections it has, how many of each peer, and which one makes room for another.
//!
//! A connection waits while its client owes the next bytes of a head or a body. All other work is bounded by the limits
//! of requests, which are lower than that of connections, so a full listener always has connections that wait. For each
//! further connection, the one that has waited longest is closed: honest clients finish within moments, so that is one
//! of those who are slow on purpose. The connections of trusted proxies are closed last.

use bursar_engine::metric;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a connection may wait before it makes room for another: a request that is on its way arrives.
const GRACE: Duration = Duration::from_millis(200);

/// Whom a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// An IPv4 address, or an IPv6 network of 64 bits by its first address.
    Stranger(IpAddr),
    /// A trusted proxy, which has no limit of its own.
    Proxy,
}

/// The places of one listener.
#[derive(Clone)]
pub struct Places(Arc<Inner>);

struct Inner {
    connections_max: usize,
    per_peer_max: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    open: usize,
    /// Connections that were told to close and still have their places.
    closing: usize,
    turns: u64,
    peers: HashMap<IpAddr, usize>,
    /// Those that wait, strangers first, longest first, with since when.
    waiting: BTreeMap<(bool, u64), (Instant, Arc<CancellationToken>)>,
}

impl Places {
    /// Allows `connections_max` connections, of which `per_peer_max` may belong to one stranger.
    pub fn new(connections_max: usize, per_peer_max: usize) -> Self {
        let changed = Notify::new();
        Self(Arc::new(Inner { connections_max, per_peer_max, state: Mutex::default(), changed }))
    }

    /// Waits until there is room for one more connection, and closes one that waits if all places are taken. Only one
    /// caller may wait.
    pub async fn make_room(&self) {
        loop {
            let changed = self.0.changed.notified();
            match self.0.room(Instant::now()) {
                Room::Free => return,
                Room::Later(None) => changed.await,
                // It fails when the time has come.
                Room::Later(Some(at)) => drop(timeout_at(at, changed).await),
            }
        }
    }

    /// Gives a connection its place, unless its peer has too many.
    pub fn take(&self, peer: Peer) -> Option<Place> {
        let mut state = self.0.state();
        if let Peer::Stranger(address) = peer {
            let count = state.peers.entry(address).or_default();
            if *count >= self.0.per_peer_max {
                return None;
            }
            *count += 1;
        }
        state.open += 1;
        drop(state);
        let place = Place { inner: self.0.clone(), peer, closed: Arc::default(), turn: Mutex::default() };
        place.begin_wait();
        Some(place)
    }

    /// The number of open connections.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.0.state().open
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a place is free. If not, tells the connection that has waited longest to close, unless one is closing or
    /// it has waited less than the grace.
    fn room(&self, now: Instant) -> Room {
        let mut state = self.state();
        if state.open < self.connections_max {
            return Room::Free;
        }
        if state.closing > 0 {
            return Room::Later(None);
        }
        let Some(longest) = state.waiting.first_entry() else { return Room::Later(None) };
        let ready_at = longest.get().0 + GRACE;
        if now < ready_at {
            return Room::Later(Some(ready_at));
        }
        let (_, closed) = longest.remove();
        state.closing += 1;
        drop(state);
        metrics::counter!(metric::HTTP_CONNECTIONS_CLOSED, "reason" => "full").increment(1);
        closed.cancel();
        Room::Later(None)
    }
}

/// Whether there is a place for one more connection.
enum Room {
    Free,
    /// Not before something changes, or before this time if one is given.
    Later(Option<Instant>),
}

/// The place of one connection, free again when it is dropped.
pub struct Place {
    inner: Arc<Inner>,
    peer: Peer,
    /// Shared, because a clone of the token itself takes a lock.
    closed: Arc<CancellationToken>,
    /// Its key among those that wait.
    turn: Mutex<Option<(bool, u64)>>,
}

impl Place {
    /// Waits until the connection must close to make room for another.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The connection waits for its client from now on, and may be closed.
    pub fn begin_wait(&self) {
        let mut turn = self.turn();
        let mut state = self.inner.state();
        if turn.is_some() || self.closed.is_cancelled() {
            return;
        }
        state.turns += 1;
        let key = (self.peer == Peer::Proxy, state.turns);
        *turn = Some(key);
        state.waiting.insert(key, (Instant::now(), self.closed.clone()));
        let is_full = state.open >= self.inner.connections_max;
        drop(state);
        if is_full {
            self.inner.changed.notify_one();
        }
    }

    /// The server works for the connection, and does not close it.
    pub fn end_wait(&self) {
        if let Some(key) = self.turn().take() {
            self.inner.state().waiting.remove(&key);
        }
    }

    fn turn(&self) -> MutexGuard<'_, Option<(bool, u64)>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end_wait();
        let mut state = self.inner.state();
        state.open -= 1;
        if self.closed.is_cancelled() {
            state.closing -= 1;
        }
        if let Peer::Stranger(address) = self.peer
            && let Some(count) = state.peers.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                state.peers.remove(&address);
            }
        }
        drop(state);
        self.inner.changed.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::net::Ipv4Addr;

    fn stranger(last: u8) -> Peer {
        Peer::Stranger(Ipv4Addr::new(192, 0, 2, last).into())
    }

    /// Whether there is room at once.
    fn has_room(places: &Places) -> bool {
        places.make_room().now_or_never().is_some()
    }

    #[test]
    fn one_peer_has_its_limit_and_proxies_have_none() {
        let places = Places::new(10, 2);
        let [_first, second] = [(); 2].map(|()| places.take(stranger(1)).unwrap());
        assert!(places.take(stranger(1)).is_none());
        assert!(places.take(stranger(2)).is_some());
        drop(second);
        assert!(places.take(stranger(1)).is_some());
        let proxies: Vec<_> = (0..5).map(|_| places.take(Peer::Proxy).unwrap()).collect();
        assert_eq!(places.open(), proxies.len() + 1);
    }

    /// Whether there is room once all connections have had their grace.
    fn has_room_later(places: &Places) -> bool {
        matches!(places.0.room(Instant::now() + GRACE), Room::Free)
    }

    #[tokio::test]
    async fn the_connection_that_has_waited_longest_makes_room() {
        let places = Places::new(3, 3);
        let proxy = places.take(Peer::Proxy).unwrap();
        let [first, second] = [1, 2].map(|last| places.take(stranger(last)).unwrap());
        // The first one is served and then waits again.
        first.end_wait();
        first.begin_wait();
        assert!(!has_room(&places));
        assert!(!second.closed.is_cancelled(), "its request may be on its way");
        assert!(!has_room_later(&places));
        let told = |place: &Place| place.closed.is_cancelled();
        assert_eq!([&proxy, &first, &second].map(told), [false, false, true]);
        // Only one is closed for one new connection.
        assert!(!has_room_later(&places));
        assert!(!told(&first));
        drop(second);
        assert!(has_room(&places));
        let _third = places.take(stranger(3)).unwrap();
        assert!(!has_room_later(&places));
        assert_eq!([&proxy, &first].map(told), [false, true]);
    }

    #[tokio::test]
    async fn a_connection_that_is_served_is_closed_only_once_it_waits() {
        let places = Places::new(1, 1);
        let place = places.take(stranger(1)).unwrap();
        place.end_wait();
        let room = {
            let places = places.clone();
            tokio::spawn(async move { places.make_room().await })
        };
        tokio::task::yield_now().await;
        assert!(!place.closed.is_cancelled() && !room.is_finished());
        place.begin_wait();
        place.closed().await;
        drop(place);
        room.await.unwrap();
        assert_eq!(places.open(), 0);
    }
}
