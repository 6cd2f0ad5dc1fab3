//! Debits through HTTP, with the same client for Bursar and the baseline.

use super::plan::{Scenario, Workload};
use super::report::Measurement;
use super::server::Server;
use super::{Attempt, run_callers, seed, spread};
use anyhow::Result;
use reqwest::{Client, RequestBuilder, Response};

/// API keys in use where a scenario has many customers.
pub const KEYS_MAX: u64 = 10_000;

/// Measures debits, one after another for each caller.
///
/// # Errors
/// When the server does not start or refuses a debit.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    seed::open(scenario, 4, KEYS_MAX).await?.close().await;
    let server = match scenario.workload {
        Workload::Baseline => Server::start_baseline(scenario).await?,
        _ => Server::start(scenario).await?,
    };
    let client = reqwest::Client::new();
    let keys = scenario.customers.min(KEYS_MAX);
    let url = format!("{}/api/v1/usage", server.base);
    let operation = move |caller: usize, n: u64| {
        let customer = spread(caller, n, keys);
        let request = debit(&client, &url, customer, &format!("{caller}-{n}"));
        async move {
            expect_success(request.send().await?).await?;
            Ok(Attempt::Done)
        }
    };
    let (latencies, seconds) = run_callers(scenario.callers, scenario.seconds, operation).await?;
    Ok(Measurement::new(scenario, &latencies, seconds, server.memory_mib()?))
}

/// Builds a debit of one credit for customer number `customer`.
pub fn debit(client: &Client, url: &str, customer: u64, key: &str) -> RequestBuilder {
    let request = client.post(url).header("x-api-key", seed::api_key(customer)).header("Idempotency-Key", key);
    request.header("Content-Type", "application/json").body(r#"{"units":1}"#)
}

/// Reads the body of a successful answer.
///
/// # Errors
/// With the body, if the answer is not a success.
pub async fn expect_success(response: Response) -> Result<Vec<u8>> {
    let status = response.status();
    let body = response.bytes().await?;
    anyhow::ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(body.to_vec())
}
