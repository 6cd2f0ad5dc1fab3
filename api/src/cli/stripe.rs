//! `bursar stripe`: compares with Stripe, and plays Stripe towards a server.

use super::client::{Answer, Client};
use super::connection::{Connection, Secret, webhook_secret};
use super::reconcile::{self, ReconcileArgs, ReconciliationCommand};
use super::{Session, output};
use anyhow::Context;
use bursar_engine::clock::Clock;
use bursar_engine::webhook;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Where a server takes Stripe's events.
const PATH: &str = "/webhooks/stripe";
/// What Stripe says that it is. Source: the headers of its deliveries.
const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";
/// Most times that a file is sent.
const COUNT_MAX: u64 = 1_000_000;

/// Compares with Stripe, and plays Stripe towards a server.
#[derive(Debug, Subcommand)]
pub enum StripeCommand {
    /// Sign an event and post it as Stripe would.
    Send(SendArgs),
    /// Compare what is known here with what Stripe has, and repair what is safe.
    Reconcile(ReconcileArgs),
    /// Earlier reconciliations.
    #[command(subcommand)]
    Reconciliations(ReconciliationCommand),
}

/// What is sent, and how.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// File with the event, sent byte for byte; `-` for the standard input.
    pub file: String,
    /// Signing secret of the endpoint (`whsec_…`), the first if there are several; the one in the data
    /// folder's `secrets.json` if there is none.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true)]
    pub secret: Option<Secret>,
    /// How often it is sent.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    pub count: u64,
    /// Time of the signature, in seconds since 1970; now if there is none.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub timestamp: Option<i64>,
    /// Change the body after it was signed, as a forger would.
    #[arg(long)]
    pub tamper: bool,
}

/// Does it.
///
/// # Errors
/// See [`super::error::Error`]; or there is no secret, or the file cannot be read.
pub async fn run(connection: &Connection, json: bool, command: &StripeCommand) -> anyhow::Result<ExitCode> {
    match command {
        StripeCommand::Send(args) => send_all(connection, json, args).await,
        StripeCommand::Reconcile(args) => {
            reconcile::reconcile(&Session { client: Client::new(connection)?, json }, args).await
        }
        StripeCommand::Reconciliations(command) => {
            reconcile::run(&Session { client: Client::new(connection)?, json }, command).await
        }
    }
}

async fn send_all(connection: &Connection, json: bool, args: &SendArgs) -> anyhow::Result<ExitCode> {
    let session = Session { client: Client::anonymous(connection)?, json };
    let secret = webhook_secret(args.secret.as_ref())?;
    let body = read(&args.file)?;
    let mut answers: Vec<Value> = Vec::new();
    let mut accepted = true;
    for _ in 0..args.count {
        let answer = send(&session.client, &secret, &body, args).await?;
        accepted &= answer.status.is_success();
        if json {
            let body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
            answers.push(json!({ "status": answer.status.as_u16(), "body": body }));
        } else {
            output::print(format!("{}  {}", answer.status, output::visible(answer.body.trim())).trim_end())?;
        }
    }
    if json {
        session.show(&json!({ "answers": answers }), |_| String::new())?;
    }
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn send(client: &Client, secret: &Secret, body: &[u8], args: &SendArgs) -> anyhow::Result<Answer> {
    let timestamp_s = args.timestamp.unwrap_or_else(|| Clock::System.now_ms() / 1_000);
    let signature = webhook::sign(secret.reveal(), body, timestamp_s);
    let mut sent = body.to_vec();
    if args.tamper {
        // One blank leaves the JSON the same; only the signature can tell.
        sent.push(b' ');
    }
    let headers = [
        ("Content-Type", "application/json; charset=utf-8"),
        ("User-Agent", USER_AGENT),
        ("Stripe-Signature", signature.as_str()),
    ];
    Ok(client.post_bytes(PATH, sent, &headers).await?)
}

fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    if file == "-" {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body).context("cannot read the standard input")?;
        return Ok(body);
    }
    std::fs::read(file).with_context(|| format!("cannot read {file}"))
}
