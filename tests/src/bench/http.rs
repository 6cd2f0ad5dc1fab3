//! Debits through HTTP, against a server in a process of its own.

use super::plan::Scenario;
use super::report::Measured;
use super::{drive, memory_mib, seed};
use crate::app::{ADMIN_TOKEN, SECRET_KEY, WEBHOOK_SECRETS};
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// API keys that the callers of a scenario with many customers use.
const KEYS_MAX: u64 = 10_000;

/// A server that ends with this value.
pub struct Server {
    /// `http://127.0.0.1:…`.
    pub base: String,
    child: Child,
}

impl Server {
    /// Starts `bursar serve` on the scenario's database and waits until it is ready.
    pub async fn start(scenario: &Scenario) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let program = std::env::current_exe()?.with_file_name("bursar");
        let child = Command::new(program)
            .arg("serve")
            .env("BURSAR_LISTEN", format!("127.0.0.1:{port}"))
            .env("BURSAR_DATA_DIR", &scenario.folder)
            .env("BURSAR_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("BURSAR_SECRET_KEY", SECRET_KEY)
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRETS[0])
            .env("BURSAR_STRIPE__SANDBOX", "false")
            .env("BURSAR_LOG", "error")
            .env("DATABASE_URL", &scenario.database_url)
            .env("AMQP_URL", &scenario.amqp_url)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("bursar does not start; build it in the same profile")?;
        let server = Self { base: format!("http://127.0.0.1:{port}"), child };
        let client = reqwest::Client::new();
        crate::wait::until("the server is ready", || async {
            let ready = client.get(format!("{}/health", server.base)).send().await.ok()?;
            let health: serde_json::Value = ready.json().await.ok()?;
            (health["status"] == "ok").then_some(())
        })
        .await;
        Ok(server)
    }

    /// Peak and present memory of the server.
    pub fn memory_mib(&self) -> Result<(f64, f64)> {
        memory_mib(self.child.id())
    }
}

/// Measures it.
pub async fn run(scenario: &Scenario) -> Result<Measured> {
    seed::seed(&scenario.database_url, 4, scenario.customers, KEYS_MAX).await?.close().await;
    let server = Server::start(scenario).await?;
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
