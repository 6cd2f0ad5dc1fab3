//! Holds and captures through HTTP: one operation is a hold and its capture.

use super::plan::Scenario;
use super::report::Measurement;
use super::server::Server;
use super::{Attempt, http, run_callers, seed, spread};
use anyhow::{Context, Result};

/// Measures callers that hold a credit and capture it.
///
/// # Errors
/// When the server refuses a hold or a capture.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    seed::open(scenario, 4, http::KEYS_MAX).await?.close().await;
    let server = Server::start(scenario).await?;
    let (client, url) = (reqwest::Client::new(), format!("{}/api/v1/holds", server.base));
    let keys = scenario.customers.min(http::KEYS_MAX);
    let operation = move |caller: usize, n: u64| {
        let api_key = seed::api_key(spread(caller, n, keys));
        let (client, url) = (client.clone(), url.clone());
        async move {
            let post = |url: String, key: String, body: &'static str| {
                let request = client.post(url).header("x-api-key", &api_key).header("Idempotency-Key", key);
                request.header("Content-Type", "application/json").body(body).send()
            };
            let held = post(url.clone(), format!("h{caller}-{n}"), r#"{"units":1}"#).await?;
            let held: serde_json::Value = serde_json::from_slice(&http::expect_success(held).await?)?;
            let id = held["hold"]["id"].as_str().context("a hold has an id")?;
            let captured = post(format!("{url}/{id}/capture"), format!("c{caller}-{n}"), "{}").await?;
            http::expect_success(captured).await?;
            Ok(Attempt::Done)
        }
    };
    let (latencies, seconds) = run_callers(scenario.callers, scenario.seconds, operation).await?;
    Ok(Measurement::new(scenario, &latencies, seconds, server.memory_mib()?))
}
