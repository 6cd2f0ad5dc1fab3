//! Debits through HTTP, against Bursar or the baseline; both meet the same client.

use super::plan::{Scenario, Way};
use super::report::Measured;
use super::server::Server;
use super::{drive, seed};
use anyhow::Result;

/// API keys that the callers of a scenario with many customers use.
const KEYS_MAX: u64 = 10_000;

/// Measures callers that make one debit after the other.
///
/// # Errors
/// When the server does not start or refuses a debit.
pub async fn run(scenario: &Scenario) -> Result<Measured> {
    seed::seed(&scenario.database_url, 4, scenario.customers, KEYS_MAX).await?.close().await;
    let server = match scenario.way {
        Way::Baseline => Server::start_baseline(scenario).await?,
        _ => Server::start(scenario).await?,
    };
    let client = reqwest::Client::new();
    let keys = scenario.customers.min(KEYS_MAX);
    let url = format!("{}/api/v1/usage", server.base);
    let operation = move |caller: usize, n: u64| {
        let customer = (n * 7_919 + caller as u64 * 104_729) % keys;
        let request = client
            .post(&url)
            .header("x-api-key", seed::api_key(customer))
            .header("Idempotency-Key", format!("{caller}-{n}"))
            .header("Content-Type", "application/json")
            .body(r#"{"units":1}"#);
        async move {
            let response = request.send().await?;
            anyhow::ensure!(response.status().is_success(), "{}", response.text().await?);
            response.bytes().await?;
            Ok(())
        }
    };
    let (latencies, seconds) = drive(scenario.callers, scenario.seconds, operation).await?;
    Ok(Measured::new(scenario, &latencies, seconds, server.memory_mib()?))
}
