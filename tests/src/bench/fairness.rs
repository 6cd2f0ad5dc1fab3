//! One customer that is charged for each unit, alone and beside another one whose card declines and who asks all the
//! time.

use super::plan::Scenario;
use super::report::{Measurement, OtherTraffic};
use super::server::Server;
use super::{Attempt, http, micros, new_histogram, quantile_ms, run_callers};
use anyhow::{Context, Result};
use bursar_sandbox::{Options, Sandbox};
use hdrhistogram::Histogram;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Time between two requests of the flood: 500 a second.
const FLOOD_INTERVAL: Duration = Duration::from_millis(2);
/// Requests of the flood under way at once; a client like this one has no more connections.
const FLOOD_MAX: usize = 256;
/// A unit costs so little that a customer reaches no cap while it is measured.
const CATALOGUE: &str = "currency = \"usd\"\nentry = \"payg\"\n[plans.payg]\nname = \"Pay as you go\"\n\
                         signup_credits = 1\nunit_price = { usd = 50 }\n";

/// A customer with a card and without credits.
#[derive(Clone)]
struct Payer {
    client: Client,
    base: String,
    key: String,
}

impl Payer {
    /// Signs up, adds the card and spends the free credit.
    async fn new(server: &Server, name: &str, card: &str) -> Result<Self> {
        let (client, base) = (Client::new(), server.base.clone());
        let body = json!({ "email": format!("{name}@example.com"), "name": name, "source": "direct" });
        let signup = client.post(format!("{base}/api/v1/customers/onboard")).json(&body);
        let answer: Value = serde_json::from_slice(&http::expect_success(signup.send().await?).await?)?;
        let key = answer["api_key"].as_str().context("an API key")?.to_owned();
        let payer = Self { client, base, key };
        let card = json!({ "payment_method": card, "consent": true });
        crate::wait::until("the card is there", || async {
            let answer = payer.post("payment-methods", "card").json(&card).send().await.ok()?;
            (answer.status() == StatusCode::CREATED).then_some(())
        })
        .await;
        http::expect_success(payer.unit("free").send().await?).await?;
        Ok(payer)
    }

    fn post(&self, path: &str, key: &str) -> RequestBuilder {
        let request = self.client.post(format!("{}/api/v1/{path}", self.base));
        request.header("x-api-key", &self.key).header("Idempotency-Key", key)
    }

    fn unit(&self, key: &str) -> RequestBuilder {
        self.post("usage", key).json(&json!({ "units": 1 }))
    }

    /// Buys and spends one unit after another. Returns the latencies and the elapsed seconds.
    async fn pay(&self, seconds: u64, phase: &'static str) -> Result<(Histogram<u64>, f64)> {
        let payer = self.clone();
        let buy = move |_, n: u64| {
            let unit = payer.unit(&format!("{phase}-{n}"));
            async move {
                http::expect_success(unit.send().await?).await?;
                Ok(Attempt::Done)
            }
        };
        run_callers(1, seconds, buy).await
    }

    /// Asks for units at a constant rate, whatever the answers are. Returns the latencies of the answers.
    async fn flood(&self, seconds: u64) -> Result<Histogram<u64>> {
        let (mut due, mut tasks, mut latencies) = (Instant::now(), JoinSet::new(), new_histogram()?);
        let until = due + Duration::from_secs(seconds);
        let mut n = 0_u64;
        while due < until {
            sleep_until(due).await;
            let (unit, begun) = (self.unit(&format!("flood-{n}")), Instant::now());
            tasks.spawn(async move {
                let response = unit.send().await?;
                anyhow::ensure!(!response.status().is_success() || response.status() == StatusCode::ACCEPTED);
                response.bytes().await?;
                anyhow::Ok(micros(begun))
            });
            while tasks.len() >= FLOOD_MAX {
                latencies.saturating_record(tasks.join_next().await.context("a request is under way")???);
            }
            (due, n) = (due + FLOOD_INTERVAL, n + 1);
        }
        while let Some(latency) = tasks.join_next().await {
            latencies.saturating_record(latency??);
        }
        Ok(latencies)
    }
}

/// Measures how much longer a customer waits for its charges when another one asks all the time with a card that
/// declines.
///
/// # Errors
/// When the server does not start, or a unit of the measured customer is refused.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    let stripe = Sandbox::start(Options { seed: Some(1), ..Options::default() }).await?;
    let catalogue = scenario.folder.join("bursar.catalogue.toml");
    std::fs::write(&catalogue, CATALOGUE)?;
    let settings = [
        ("STRIPE_API_BASE", stripe.url()),
        ("STRIPE_SECRET_KEY", "sk_test_fairness"),
        ("BURSAR_CATALOGUE_FILE", catalogue.to_str().context("a path in UTF-8")?),
    ];
    let server = Server::start_with(scenario, &settings).await?;
    let payer = Payer::new(&server, "payer", "pm_card_visa").await?;
    let flooder = Payer::new(&server, "flooder", "pm_card_chargeCustomerFail").await?;
    let (alone, _) = payer.pay(scenario.seconds, "alone").await?;
    let ((beside, seconds), flood) =
        tokio::try_join!(payer.pay(scenario.seconds, "beside"), flooder.flood(scenario.seconds))?;
    let mut measured = Measurement::new(scenario, &beside, seconds, server.memory_mib()?);
    measured.p95_times = Some(quantile_ms(&beside, 0.95) / quantile_ms(&alone, 0.95));
    #[allow(clippy::cast_precision_loss)]
    let per_second = flood.len() as f64 / seconds;
    measured.others = Some(OtherTraffic { per_second, p95_ms: quantile_ms(&flood, 0.95), refused: flood.len() });
    Ok(measured)
}
