//! `bursar failures`: dead jobs and events, grouped by cause.

use super::client::admin_path;
use super::list::Narrowing;
use super::replay::{self, NewReplay};
use super::table::{Column, Table};
use super::{Session, output, view};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::process::ExitCode;

const GROUPS: &[Column] = &[
    Column::number("count"),
    Column::wrapped("cause"),
    Column::fixed("kind"),
    Column::wrapped("event_type"),
    Column::wrapped("last_at"),
    Column::fixed("latest_job_id"),
];

/// Failures: dead jobs and events, grouped by cause.
#[derive(Debug, Subcommand)]
pub enum FailureCommand {
    /// Count dead jobs and events by cause, the largest group first.
    List {
        /// Jobs of this kind only, such as `stripe.event`.
        #[arg(long)]
        kind: Option<String>,
        /// Jobs of events of this type only, such as `invoice.paid`.
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// In this stream only.
        #[arg(long, value_name = "KEY")]
        stream: Option<String>,
        /// Whose, since when, and why.
        #[command(flatten)]
        narrowing: Narrowing,
    },
    /// Replay all dead jobs and events of one cause, after a preview. The exit code is 1 if any of them fails again.
    Replay(FailureReplayArgs),
}

/// Arguments of `failures replay`.
#[derive(Debug, Args)]
pub struct FailureReplayArgs {
    /// The cause, as `failures list` shows it.
    pub cause: String,
    /// Jobs of this kind only, such as `stripe.event`.
    #[arg(long)]
    pub kind: Option<String>,
    /// Jobs of events of this type only, such as `invoice.paid`.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Of this customer only, by its id or e-mail address.
    #[arg(long, value_name = "CUSTOMER")]
    pub customer: Option<String>,
    /// Made at this time or later: a span before now such as 24h, a day or a time.
    #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
    pub since: Option<String>,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Show what would happen, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Maximum number of jobs per second.
    #[arg(long, value_name = "N", default_value_t = replay::RATE_DEFAULT, value_parser = replay::rate_parser())]
    pub rate: i64,
    /// Start without asking.
    #[arg(long)]
    pub yes: bool,
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &FailureCommand) -> anyhow::Result<ExitCode> {
    match command {
        FailureCommand::List { kind, event_type, stream, narrowing } => {
            let mut query = narrowing.query(session, "error").await?;
            let own = [("kind", kind), ("event_type", event_type), ("stream", stream)];
            query.extend(own.map(|(name, value)| (name, value.clone())));
            let given = query.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let given: Vec<(&str, String)> = given.collect();
            let answer = session.client.get(&admin_path(&["failures"])?, &given).await?;
            let code = session.show(&answer, render)?;
            note_what_is_missing(&answer);
            Ok(code)
        }
        FailureCommand::Replay(args) => {
            let new = NewReplay {
                state: Some("dead".to_owned()),
                kind: args.kind.clone(),
                event_type: args.event_type.clone(),
                stream: None,
                error: None,
                cause: Some(args.cause.clone()),
                customer: args.customer.clone(),
                since: args.since.clone(),
                reason: args.reason.clone(),
                dry_run: args.dry_run,
                rate: args.rate,
            };
            replay::run_now(session, &new, args.yes).await
        }
    }
}

fn render(answer: &Value) -> String {
    match view::items(answer, "data") {
        [] => "No job and no event is dead.".to_owned(),
        groups => Table::of(GROUPS, groups).render(output::width()),
    }
}

fn note_what_is_missing(answer: &Value) {
    if answer["is_complete"] == false {
        let looked_at = view::short(&answer["looked_at"]);
        output::note(&format!(
            "Only the latest {looked_at} dead jobs were looked at: there are more. Narrow with --kind."
        ));
    }
    if let Some(left_out @ 1..) = answer["left_out"].as_u64() {
        output::note(&format!("Smaller groups with {left_out} jobs in all are left out."));
    }
    if !view::items(answer, "data").is_empty() {
        let hint = output::hint("failures replay CAUSE --reason …");
        output::note(&format!("\nWhy: {}. Replay a group: {hint}", output::hint("jobs show ID")));
    }
}
