//! `bursar log-filter`: what a node logs.

use super::client::admin_path;
use super::table::Listing;
use super::{Session, output};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

const KEYS: &[&str] = &["node", "filter", "at_start", "set_at", "set_by"];

/// The log filter of the node that answers.
#[derive(Debug, Subcommand)]
pub enum LogFilterCommand {
    /// Show it.
    Show,
    /// Change it, until it is changed again or the node restarts.
    Set {
        /// Directives separated by commas, such as `warn,bursar=debug`.
        filter: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Put the filter of the node's start into force again.
    Reset {
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &LogFilterCommand) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["log-filter"])?;
    let (filter, reason) = match command {
        LogFilterCommand::Show => return session.show(&session.client.get(&path, &[]).await?, render),
        LogFilterCommand::Set { filter, reason } => (Value::from(filter.as_str()), reason),
        LogFilterCommand::Reset { reason } => (session.client.get(&path, &[]).await?["at_start"].take(), reason),
    };
    let answer = session.client.post(&path, &json!({ "filter": filter, "reason": reason })).await?;
    session.show(&answer, render)
}

fn render(answer: &Value) -> String {
    Listing::of(answer, KEYS).render(output::width())
}
