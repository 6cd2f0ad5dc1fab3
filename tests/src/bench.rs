//! The benchmark: one module for each workload.

pub mod abuse;
pub mod actors;
pub mod baseline;
pub mod fairness;
pub mod goal;
pub mod growth;
pub mod holds;
pub mod hot;
pub mod http;
pub mod plan;
pub mod report;
pub mod rowlock;
pub mod seed;
pub mod server;
pub mod signups;
pub mod webhooks;

use anyhow::Result;
use hdrhistogram::Histogram;
use plan::{Scenario, Workload};
use report::Measurement;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Runs one scenario in this process.
pub async fn run_scenario(scenario: &Scenario) -> Result<Measurement> {
    match scenario.workload {
        Workload::RowLock => rowlock::run(scenario).await,
        Workload::Actors => actors::run(scenario).await,
        Workload::Touch => actors::touch(scenario).await,
        Workload::Baseline | Workload::Http => http::run(scenario).await,
        Workload::Webhooks => webhooks::run(scenario).await,
        Workload::Signups => signups::run(scenario).await,
        Workload::Holds => holds::run(scenario).await,
        Workload::Hot => hot::run(scenario).await,
        Workload::Fairness => fairness::run(scenario).await,
        Workload::Abuse => abuse::run(scenario).await,
    }
}

/// Histograms that the callers share; one for each caller would dominate the measured memory.
const SHARDS: usize = 8;

/// Latencies of many callers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Latencies(Arc<Vec<Mutex<Histogram<u64>>>>);

impl Latencies {
    /// Creates empty histograms.
    pub fn new() -> Result<Self> {
        let shards = (0..SHARDS).map(|_| Ok(Mutex::new(new_histogram()?))).collect::<Result<_>>()?;
        Ok(Self(Arc::new(shards)))
    }

    /// Records the latency of an operation that began at this time.
    pub fn record(&self, caller: usize, begun: Instant) {
        let shard = &self.0[caller % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros(begun));
    }

    /// Merges all histograms.
    pub fn all(&self) -> Result<Histogram<u64>> {
        let mut all = new_histogram()?;
        for shard in self.0.iter() {
            all.add(&*shard.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        Ok(all)
    }
}

/// The outcome of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It succeeded; its latency counts.
    Done,
    /// The server refused it; the workload counts refusals itself.
    Refused,
}

/// The number of the customer of a caller's operation, below `customers`. Primes spread the operations over customers.
pub fn spread(caller: usize, n: u64, customers: u64) -> u64 {
    (n * 7_919 + caller as u64 * 104_729) % customers
}

/// Runs callers that each make one operation after another until the time is up. `operation` gets the caller's number
/// and a running number. Returns the latencies and the elapsed seconds.
pub async fn run_callers<F, Fut>(callers: usize, seconds: u64, operation: F) -> Result<(Histogram<u64>, f64)>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Attempt>> + Send,
{
    let latencies = Latencies::new()?;
    let started = Instant::now();
    let until = started + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (operation, latencies) = (operation.clone(), latencies.clone());
        tasks.spawn(async move {
            let mut n = 0;
            while Instant::now() < until {
                let begun = Instant::now();
                if operation(caller, n).await? == Attempt::Done {
                    latencies.record(caller, begun);
                }
                n += 1;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok((latencies.all()?, started.elapsed().as_secs_f64()))
}

/// Creates a histogram of microseconds.
pub fn new_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}

/// Microseconds since `since`.
pub fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A quantile in milliseconds of a histogram of microseconds.
#[allow(clippy::cast_precision_loss)]
pub fn quantile_ms(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}

/// The peak and the current resident memory of a process, in MiB.
pub fn memory_mib(pid: Option<u32>) -> Result<(f64, f64)> {
    let who = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let status = std::fs::read_to_string(format!("/proc/{who}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1_024.0
    };
    Ok((field("VmHWM:"), field("VmRSS:")))
}
