//! `bursar github`: sends test events as GitHub.

use super::Cli;
use super::connection::{GITHUB_SECRET, Secret, webhook_secret};
use super::send::SendOptions;
use bursar_engine::domain::github;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// The path that receives GitHub's events.
const PATH: &str = "/webhooks/github";
/// GitHub's user agent begins with `GitHub-Hookshot/`. Source: GitHub, "Webhook events and payloads", delivery headers.
const USER_AGENT: &str = "GitHub-Hookshot/bursar";

/// Sends test events as GitHub.
#[derive(Debug, Subcommand)]
pub enum GithubCommand {
    /// Sign an event and post it as GitHub would.
    Send(SendArgs),
}

/// What to send, and with which signature and headers.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The file to send, and how often.
    #[command(flatten)]
    pub options: SendOptions,
    /// The webhook's secret. If there are several, separated by commas, the first is used. Default: the one in the data
    /// folder's `secrets.json`.
    #[arg(long, env = "GITHUB_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
    /// Name of the event.
    #[arg(long, value_name = "NAME", default_value = github::PURCHASE_EVENT)]
    pub event: String,
    /// Id of the delivery, the same for each repetition; by default a new one.
    #[arg(long, value_name = "ID")]
    pub delivery: Option<String>,
}

/// Signs the event, posts it, and prints the server's answers.
///
/// # Errors
/// See [`super::error::Error`]; or there is no secret, or the file cannot be read.
pub async fn run(cli: &Cli, command: &GithubCommand) -> anyhow::Result<ExitCode> {
    let GithubCommand::Send(args) = command;
    let secret = webhook_secret(args.secret.as_ref(), cli.config.as_deref(), GITHUB_SECRET)?;
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
    args.options.run(cli, PATH, sign).await
}
