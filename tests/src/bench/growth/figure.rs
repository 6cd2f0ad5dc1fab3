//! The figures that the growth run measures on each database.

use super::super::plan::{Scenario, Workload};
use super::super::report::Measurement;
use super::super::server::Server;
use super::super::{http, micros, new_histogram, quantile_ms, seed, signups, webhooks};
use super::MeasuredDatabase;
use crate::app::ADMIN_TOKEN;
use anyhow::Result;
use bursar_engine::clock::Clock;
use bursar_engine::infra::store::{job, stream};
use tokio::time::Instant;

/// Jobs deleted by one run of the retention.
const PRUNED_MAX: u64 = 1_000;
/// Repetitions of measurements that take milliseconds; the median counts.
const REPETITIONS: usize = 3;
/// Timelines read.
const TIMELINES: u64 = 200;
/// Callers that deliver webhooks.
const WEBHOOK_CALLERS: usize = 64;

/// A name, a unit and a value.
pub type Value = (&'static str, &'static str, f64);

/// A measurement that gives one or more figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The queries behind the queue gauges.
    Gauges,
    /// Deleting old jobs.
    Retention,
    /// The first page of a customer's timeline.
    Timeline,
    /// Debits through HTTP.
    Debits,
    /// Webhooks from delivery to processed.
    Webhooks,
    /// Signups at a constant rate.
    Signups,
}

impl Measure {
    /// All measurements in order. Those that start no server come first, because a server deletes old jobs when it
    /// starts.
    pub const ALL: [Self; 6] =
        [Self::Gauges, Self::Retention, Self::Timeline, Self::Debits, Self::Webhooks, Self::Signups];

    /// Its name in the progress bar.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauges => "gauges",
            Self::Retention => "retention",
            Self::Timeline => "timelines",
            Self::Debits => "debits",
            Self::Webhooks => "webhooks",
            Self::Signups => "signups",
        }
    }

    /// Runs the measurement on one database.
    pub async fn run(self, database: &MeasuredDatabase) -> Result<Vec<Value>> {
        match self {
            Self::Gauges => gauges(database).await,
            Self::Retention => retention(database).await,
            Self::Timeline => timelines(database).await,
            Self::Debits => {
                let measured = http::run(&database.scenario).await?;
                Ok(vec![("debits", "per second", measured.per_second), ("debits, p95", "ms", measured.p95_ms)])
            }
            Self::Webhooks => {
                let scenario =
                    Scenario { workload: Workload::Webhooks, callers: WEBHOOK_CALLERS, ..database.scenario.clone() };
                let measured = webhooks::run(&scenario).await?;
                Ok(vec![("webhooks to processed", "per second", measured.per_second)])
            }
            Self::Signups => {
                let measured: Measurement = signups::run(&database.scenario).await?;
                Ok(vec![
                    ("signups at 100/s, p50", "ms", measured.p50_ms),
                    ("signups at 100/s, p95", "ms", measured.p95_ms),
                ])
            }
        }
    }
}

async fn gauges(database: &MeasuredDatabase) -> Result<Vec<Value>> {
    let db = database.db.read();
    let mut times_ms = Vec::new();
    for _ in 0..REPETITIONS {
        let started = Instant::now();
        job::job_queue(db, Clock::System.now_ms()).await?;
        stream::stream_count_paused(db).await?;
        times_ms.push(elapsed_ms(started));
    }
    Ok(vec![("gauges of queues", "ms", median(times_ms))])
}

async fn retention(database: &MeasuredDatabase) -> Result<Vec<Value>> {
    let mut times_ms = Vec::new();
    let before_ms = Clock::System.now_ms() / 2;
    let empty_ms = loop {
        let started = Instant::now();
        let tx = database.db.begin().await?;
        let deleted = job::job_prune(&tx, before_ms, PRUNED_MAX).await?;
        tx.commit().await?;
        if deleted == 0 {
            break elapsed_ms(started);
        }
        times_ms.push(elapsed_ms(started));
    };
    Ok(vec![("retention, 1,000 jobs", "ms", median(times_ms)), ("retention, nothing to delete", "ms", empty_ms)])
}

async fn timelines(database: &MeasuredDatabase) -> Result<Vec<Value>> {
    let server = Server::start(&database.scenario).await?;
    let client = reqwest::Client::new();
    let mut latencies = new_histogram()?;
    for n in 0..TIMELINES.min(database.scenario.customers) {
        let url = format!("{}/admin/v1/customers/{}/timeline", server.base, seed::customer_id(n));
        let started = Instant::now();
        http::expect_success(client.get(url).bearer_auth(ADMIN_TOKEN).send().await?).await?;
        latencies.saturating_record(micros(started));
    }
    Ok(vec![
        ("timeline, first page, p50", "ms", quantile_ms(&latencies, 0.5)),
        ("timeline, first page, p95", "ms", quantile_ms(&latencies, 0.95)),
    ])
}

fn elapsed_ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
