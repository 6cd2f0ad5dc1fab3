//! Streams: the jobs of a stream run one at a time, in sequence; streams run in parallel.

mod actor;
mod claim;
mod lease;
mod router;
mod runner;

use crate::customer::Customers;
use crate::dispatch::Dispatcher;
use crate::ledger::Ledger;
use crate::root::Child;
use crate::waker::StreamWaker;
use crate::workers::Workers;
use bursar_engine::clock::Clock;
use bursar_engine::config::JobsConfig;
use bursar_engine::usecase::handler::Deps;
use claim::Claims;
pub(crate) use claim::claims;
pub(crate) use lease::{Leases, renew_interval};
use router::Router;
use std::sync::Arc;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

/// The dependencies of stream actors.
pub(crate) struct StreamDeps {
    pub(crate) handlers: Deps,
    pub(crate) clock: Clock,
    pub(crate) claims: Claims,
    pub(crate) ledger: Ledger,
    pub(crate) customers: Customers,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) leases: Leases,
    pub(crate) workers: Arc<Workers>,
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
