//! Streams: the jobs of a stream run one at a time, lowest first; streams run side by side.

mod actor;
mod claim;
mod router;
mod runner;

use crate::customer::Customers;
use crate::dispatch::Dispatcher;
use crate::ledger::Ledger;
use crate::root::{Child, Slot};
use bursar_engine::clock::Clock;
use bursar_engine::config::JobsConfig;
use bursar_engine::infra::broker::Delivered;
use bursar_engine::usecase::handler::Deps;
use claim::Claims;
use router::{Router, RouterMsg};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

/// Leases that this process holds: stream and epoch.
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

/// A lease that is renewed for as long as this lives.
struct Lease {
    leases: Leases,
    key: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What actors of streams work with.
pub(crate) struct StreamDeps {
    pub(crate) handlers: Deps,
    pub(crate) clock: Clock,
    pub(crate) claims: Claims,
    pub(crate) ledger: Ledger,
    pub(crate) customers: Customers,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) leases: Leases,
    pub(crate) workers: Arc<Semaphore>,
    /// Shared by jobs that run side by side; a suspect has it alone.
    pub(crate) company: RwLock<()>,
    pub(crate) jobs: JobsConfig,
    /// Set when the process stops: what runs ends, nothing new begins.
    pub(crate) draining: CancellationToken,
}

/// Tells streams that they have something to do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Streams {
    slot: Slot<RouterMsg>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self { slot: Slot::new() }
    }

    pub(crate) fn child(&self, deps: Arc<StreamDeps>) -> Child {
        Child::new("stream_router", self.slot.clone(), move || (Router { deps: deps.clone() }, ()))
    }

    /// Wakes a stream. The message, if one led here, is acknowledged once the stream has looked.
    pub(crate) fn wake(&self, key: &str, message: Option<Delivered>) {
        // While the router is down, the message is acknowledged as it is dropped; the sweeper finds the job.
        let _ = self.slot.send("the streams", RouterMsg::Wake(key.to_owned(), message));
    }
}

pub(crate) use claim::claims;
