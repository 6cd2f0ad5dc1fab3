//! Signups that arrive at a constant rate, however long each takes, on a database without planner statistics.

use super::plan::Scenario;
use super::report::Measurement;
use super::server::Server;
use super::{http, micros, new_histogram};
use anyhow::Result;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Time between two arrivals: 100 signups a second.
const INTERVAL: Duration = Duration::from_millis(10);

/// Measures signups over HTTP. Latency counts from the time a signup is due, so that a server that falls behind
/// cannot hide it.
///
/// # Errors
/// When a signup fails.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    let server = Server::start(scenario).await?;
    let (client, url) = (reqwest::Client::new(), format!("{}/api/v1/customers/onboard", server.base));
    let started = Instant::now();
    let until = started + Duration::from_secs(scenario.seconds);
    let (mut due, mut n, mut tasks) = (started, 0_u64, JoinSet::new());
    while due < until {
        sleep_until(due).await;
        let body = format!(r#"{{"email":"signup-{n}@example.com","name":"Bench","source":"direct"}}"#);
        let request = client.post(&url).header("Content-Type", "application/json").body(body);
        tasks.spawn(async move {
            http::expect_success(request.send().await?).await?;
            anyhow::Ok(micros(due))
        });
        (due, n) = (due + INTERVAL, n + 1);
    }
    let mut latencies = new_histogram()?;
    while let Some(latency) = tasks.join_next().await {
        latencies.saturating_record(latency??);
    }
    Ok(Measurement::new(scenario, &latencies, started.elapsed().as_secs_f64(), server.memory_mib()?))
}
