//! `bursar stripe`: compares with Stripe, and sends test events as Stripe.

use super::client::Client;
use super::connection::{STRIPE_SECRET, Secret, webhook_secret};
use super::output;
use super::reconcile::{self, ReconcileArgs, ReconciliationCommand};
use super::send::SendOptions;
use super::{Cli, Session};
use bursar_engine::clock::Clock;
use bursar_engine::domain::webhook::{self, WANTED};
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// The path that receives Stripe's events.
const PATH: &str = "/webhooks/stripe";
/// Stripe's user agent. Source: the headers of its deliveries.
const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// Compares with Stripe, and sends test events as Stripe.
#[derive(Debug, Subcommand)]
pub enum StripeCommand {
    /// Sign an event and post it as Stripe would.
    Send(SendArgs),
    /// Compare the database with Stripe, and repair the differences that are safe to repair.
    Reconcile(ReconcileArgs),
    /// Print the event types that a webhook endpoint must send, one per line.
    Events(EventsArgs),
    /// Earlier reconciliations.
    #[command(subcommand)]
    Reconciliations(ReconciliationCommand),
}

/// Arguments of `stripe events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Print the Stripe CLI command that creates the endpoint for this URL, such as
    /// `https://billing.example.com/webhooks/stripe`.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
}

/// Arguments of `stripe send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The file to send, and how often.
    #[command(flatten)]
    pub options: SendOptions,
    /// The endpoint's signing secret (`whsec_…`). If there are several, separated by commas, the first is used.
    /// Default: the one in the data folder's `secrets.json`.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
    /// Time of the signature, in seconds since 1970; by default now.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub timestamp: Option<i64>,
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`]; or there is no secret, or the file cannot be read.
pub async fn run(cli: &Cli, command: &StripeCommand) -> anyhow::Result<ExitCode> {
    let session = || Client::new(cli).map(|client| Session { client, json: cli.json });
    match command {
        StripeCommand::Send(args) => send(cli, args).await,
        StripeCommand::Events(args) => {
            output::print(&events(cli.json, args)?)?;
            Ok(ExitCode::SUCCESS)
        }
        StripeCommand::Reconcile(args) => reconcile::reconcile(&session()?, args).await,
        StripeCommand::Reconciliations(command) => reconcile::run(&session()?, command).await,
    }
}

/// Lists the event types as text, JSON or a Stripe CLI command. Source: Stripe, "Create a webhook endpoint".
fn events(json: bool, args: &EventsArgs) -> anyhow::Result<String> {
    if let Some(url) = &args.endpoint {
        let quoted = url.replace('\'', "'\\''");
        let types = WANTED.iter().map(|name| format!(" \\\n  -d 'enabled_events[]={name}'"));
        return Ok(format!("stripe webhook_endpoints create \\\n  -d 'url={quoted}'{}", types.collect::<String>()));
    }
    Ok(if json { serde_json::to_string_pretty(WANTED)? } else { WANTED.join("\n") })
}

async fn send(cli: &Cli, args: &SendArgs) -> anyhow::Result<ExitCode> {
    let secret = webhook_secret(args.secret.as_ref(), cli.config.as_deref(), STRIPE_SECRET)?;
    let sign = |body: &[u8]| {
        let timestamp_s = args.timestamp.unwrap_or_else(|| Clock::System.now_ms() / 1_000);
        vec![
            ("Content-Type", "application/json; charset=utf-8".to_owned()),
            ("User-Agent", USER_AGENT.to_owned()),
            ("Stripe-Signature", webhook::sign(secret.reveal(), body, timestamp_s)),
        ]
    };
    args.options.run(cli, PATH, sign).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stripe_cli_command_contains_the_url_and_every_type() {
        let endpoint = Some("https://h/webhooks/stripe?it's".to_owned());
        let command = events(false, &EventsArgs { endpoint }).expect("text");
        assert!(
            command.starts_with("stripe webhook_endpoints create \\\n  -d 'url=https://h/webhooks/stripe?it'\\''s'")
        );
        assert_eq!(command.matches("-d 'enabled_events[]=").count(), WANTED.len());
        assert!(command.lines().rev().skip(1).all(|line| line.ends_with('\\')), "{command}");
    }
}
