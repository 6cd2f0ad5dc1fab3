//! The process's metrics recorder.

use anyhow::{Context, Result};
use bursar_engine::metric;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::task::JoinSet;

/// Buckets of all latency histograms, in seconds.
const LATENCY_BUCKETS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// Buckets of batch sizes.
const SIZE_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// How often recorded values are moved into the histograms' buckets. Until then each is kept in memory.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// A handle to the recorder, which does its upkeep until it is dropped.
pub struct Recorder {
    handle: PrometheusHandle,
    _upkeep: JoinSet<()>,
}

impl Recorder {
    /// Gets the process's recorder, installing it at first, and starts its upkeep.
    ///
    /// # Errors
    /// Another recorder is installed.
    pub fn start() -> Result<Self> {
        let handle = handle()?;
        let kept = handle.clone();
        Ok(Self { handle, _upkeep: upkeep(UPKEEP_EVERY, move || kept.run_upkeep()) })
    }

    /// Renders all metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        metrics_process::Collector::default().collect();
        self.handle.render()
    }
}

/// The process has one recorder, even if tests start several applications in it.
fn handle() -> Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), SIZE_BUCKETS)?
        .install_recorder();
    match handle {
        Ok(handle) => {
            metrics_process::Collector::default().describe();
            metric::describe();
            let revision = option_env!("BUILD_REVISION").unwrap_or("unknown");
            metrics::gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "revision" => revision)
                .set(1.0);
            Ok(HANDLE.get_or_init(|| handle).clone())
        }
        // Another thread was first.
        Err(error) => HANDLE.get().cloned().ok_or(error).context("metrics could not be set up"),
    }
}

/// Repeats `work` until the returned set is dropped. Rendering does the same work, but metrics may never be scraped.
fn upkeep(every: Duration, work: impl Fn() + Clone + Send + 'static) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            // Sorting a million values takes a while and must not block requests.
            if tokio::task::spawn_blocking(work.clone()).await.is_err() {
                tracing::warn!("the upkeep of metrics failed");
            }
        }
    });
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn upkeep_repeats_until_its_handle_is_dropped() {
        let (done, mut seen) = mpsc::unbounded_channel();
        let tasks = upkeep(Duration::from_millis(1), move || {
            // The receiver may be gone.
            let _ = done.send(());
        });
        for _ in 0..3 {
            assert!(seen.recv().await.is_some());
        }
        drop(tasks);
        while seen.recv().await.is_some() {}
    }
}
