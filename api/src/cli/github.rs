//! `bursar github`: plays GitHub towards a server.

use super::connection::{Connection, GITHUB_SECRET, Secret, webhook_secret};
use super::send::Sending;
use bursar_engine::domain::github;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Where a server takes GitHub's events.
const PATH: &str = "/webhooks/github";
/// What GitHub's user agent begins with. Source: GitHub, "Webhook events and payloads", delivery headers.
const USER_AGENT: &str = "GitHub-Hookshot/bursar";

/// Plays GitHub towards a server.
#[derive(Debug, Subcommand)]
pub enum GithubCommand {
    /// Sign an event and post it as GitHub would.
    Send(SendArgs),
}

/// What is sent, and how.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// What is sent.
    #[command(flatten)]
    pub sending: Sending,
    /// Secret of the webhook, the first if there are several; the one in the data folder's `secrets.json`
    /// if there is none.
    #[arg(long, env = "GITHUB_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
    /// Name of the event.
    #[arg(long, value_name = "NAME", default_value = github::PURCHASE_EVENT)]
    pub event: String,
    /// Id of the delivery, the same each time; a new one if there is none.
    #[arg(long, value_name = "ID")]
    pub delivery: Option<String>,
}

/// Does it.
///
/// # Errors
/// See [`super::error::Error`]; or there is no secret, or the file cannot be read.
pub async fn run(connection: &Connection, json: bool, command: &GithubCommand) -> anyhow::Result<ExitCode> {
    let GithubCommand::Send(args) = command;
    let secret = webhook_secret(args.secret.as_ref(), GITHUB_SECRET)?;
    let delivery = args.delivery.clone().unwrap_or_else(github::new_delivery_id);
    let sign = |body: &[u8]| {
        vec![
            ("Content-Type", "application/json".to_owned()),
            ("User-Agent", USER_AGENT.to_owned()),
            ("X-GitHub-Event", args.event.clone()),
            ("X-GitHub-Delivery", delivery.clone()),
            ("X-Hub-Signature-256", github::sign(secret.reveal(), body)),
        ]
    };
    args.sending.run(connection, json, PATH, sign).await
}
