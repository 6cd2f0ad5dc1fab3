//! Sending test webhooks, for the Stripe and GitHub commands.

use super::client::Client;
use super::{Cli, Session, output};
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Maximum number of times that a file can be sent.
const COUNT_MAX: u64 = 1_000_000;

/// Options of sending a webhook.
#[derive(Debug, Args)]
pub struct SendOptions {
    /// File with the event, sent unchanged; `-` for the standard input.
    pub file: String,
    /// How often to send it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    pub count: u64,
    /// Change the body after signing it, as a forger would.
    #[arg(long)]
    pub tamper: bool,
}

impl SendOptions {
    /// Posts the file to `path` with the headers that `sign` makes for its bytes, and prints the answers.
    ///
    /// # Errors
    /// See [`super::error::Error`]; or the file cannot be read.
    pub async fn run(
        &self,
        cli: &Cli,
        path: &str,
        sign: impl Fn(&[u8]) -> Vec<(&'static str, String)>,
    ) -> anyhow::Result<ExitCode> {
        let session = Session { client: Client::anonymous(cli)?, json: cli.json };
        let body = read(&self.file)?;
        let mut answers: Vec<Value> = Vec::new();
        let mut accepted = true;
        for _ in 0..self.count {
            let signed = sign(&body);
            let headers: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut sent = body.clone();
            if self.tamper {
                // A trailing space leaves the JSON valid, so only the signature check can fail.
                sent.push(b' ');
            }
            let answer = session.client.post_bytes(path, sent, &headers).await?;
            accepted &= answer.status.is_success();
            if cli.json {
                let body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
                answers.push(json!({ "status": answer.status.as_u16(), "body": body }));
            } else {
                output::print(format!("{}  {}", answer.status, output::sanitize(answer.body.trim())).trim_end())?;
            }
        }
        if cli.json {
            output::print_json(&json!({ "answers": answers }))?;
        }
        Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    if file == "-" {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body).context("cannot read the standard input")?;
        return Ok(body);
    }
    std::fs::read(file).with_context(|| format!("cannot read {file}"))
}
