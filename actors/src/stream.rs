//! Streams: the jobs of a stream run one at a time, in sequence; streams run in parallel.

mod actor;
mod claim;
mod router;
mod runner;

use crate::customer::Customers;
use crate::dispatch::Dispatcher;
use crate::ledger::Ledger;
use crate::root::Child;
use crate::waker::StreamWaker;
use bursar_engine::clock::Clock;
use bursar_engine::config::JobsConfig;
use bursar_engine::usecase::handler::Deps;
use claim::Claims;
pub(crate) use claim::claims;
use router::Router;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

/// The leases that this process holds: streams and their epochs.
#[derive(Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<String, i64>>>);

impl Leases {
    pub(crate) fn all(&self) -> Vec<(String, i64)> {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.iter().map(|(key, epoch)| (key.clone(), *epoch)).collect()
    }

    fn hold(&self, key: &str, epoch: i64) -> Lease {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), epoch);
        Lease { leases: self.clone(), key: key.to_owned() }
    }
}

/// A lease that is renewed until this is dropped.
struct Lease {
    leases: Leases,
    key: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The dependencies of stream actors.
pub(crate) struct StreamDeps {
    pub(crate) handlers: Deps,
    pub(crate) clock: Clock,
    pub(crate) claims: Claims,
    pub(crate) ledger: Ledger,
    pub(crate) customers: Customers,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) leases: Leases,
    pub(crate) workers: Arc<Semaphore>,
    /// Read-locked by jobs that run side by side; write-locked by a suspect job, which runs alone.
    pub(crate) isolation: RwLock<()>,
    pub(crate) jobs: JobsConfig,
    /// Cancelled when the process stops: running jobs end, and no other starts.
    pub(crate) draining: CancellationToken,
}

/// Describes the stream router as a child of the root. `waker` reaches it.
pub(crate) fn child(waker: &StreamWaker, deps: Arc<StreamDeps>) -> Child {
    Child::new("stream_router", waker.slot(), move || (Router { deps: deps.clone() }, ()))
}
