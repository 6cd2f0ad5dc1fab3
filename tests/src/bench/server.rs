//! Measured servers, each in its own process.

use super::memory_mib;
use super::plan::Scenario;
use crate::app::{ADMIN_TOKEN, SECRET_KEY, WEBHOOK_SECRETS};
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A server process that is killed when this is dropped.
pub struct Server {
    /// `http://127.0.0.1:…`.
    pub base: String,
    child: Child,
}

impl Server {
    /// Starts `bursar serve` on the scenario's database and waits until it is ready.
    ///
    /// # Errors
    /// When the program is missing.
    pub async fn start(scenario: &Scenario) -> Result<Self> {
        Self::start_node(scenario, 0).await
    }

    /// Starts `bursar serve` with further settings from the environment.
    ///
    /// # Errors
    /// When the program is missing.
    pub async fn start_with(scenario: &Scenario, settings: &[(&str, &str)]) -> Result<Self> {
        let (mut command, address) = Self::command(scenario, 0)?;
        command.envs(settings.iter().copied());
        Self::spawn(command, &address).await
    }

    /// Starts one of several nodes on the scenario's database, each with its own folder.
    ///
    /// # Errors
    /// When the program is missing.
    pub async fn start_node(scenario: &Scenario, node: usize) -> Result<Self> {
        let (command, address) = Self::command(scenario, node)?;
        Self::spawn(command, &address).await
    }

    /// The command that starts a node, and the address on which it will listen.
    fn command(scenario: &Scenario, node: usize) -> Result<(Command, String)> {
        let address = free_address()?;
        let folder = scenario.folder.join(node.to_string());
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(std::env::current_exe()?.with_file_name("bursar"));
        command
            .arg("serve")
            .env("BURSAR_LISTEN", &address)
            .env("BURSAR_DATA_DIR", &folder)
            .env("BURSAR_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("BURSAR_SECRET_KEY", SECRET_KEY)
            .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRETS[0])
            .env("BURSAR_STRIPE__SANDBOX", "false")
            // All customers sign up from one address.
            .env("BURSAR_ONBOARDING__PER_IP_PER_MINUTE", "0")
            // Counted, but never reached.
            .env("BURSAR_LIMITS__REQUESTS_PER_MINUTE", "1000000")
            .env("BURSAR_LOG", "error")
            .env("DATABASE_URL", &scenario.database_url)
            .env("AMQP_URL", &scenario.amqp_url)
            .env("BURSAR_AMQP__PREFIX", scenario.queue_prefix());
        Ok((command, address))
    }

    /// Starts the baseline, a mode of this program, on the scenario's database and waits until it is ready.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub async fn start_baseline(scenario: &Scenario) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--baseline").arg(&address).env("DATABASE_URL", &scenario.database_url);
        Self::spawn(command, &address).await
    }

    async fn spawn(mut command: Command, address: &str) -> Result<Self> {
        let child = command
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?} does not start; build it in the same profile"))?;
        let server = Self { base: format!("http://{address}"), child };
        let client = reqwest::Client::new();
        crate::wait::until("the server is ready", || async {
            let ready = client.get(format!("{}/health", server.base)).send().await.ok()?;
            let health: serde_json::Value = ready.json().await.ok()?;
            (health["status"] == "ok").then_some(())
        })
        .await;
        Ok(server)
    }

    /// Peak and current memory of the server.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn memory_mib(&self) -> Result<(f64, f64)> {
        memory_mib(self.child.id())
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
