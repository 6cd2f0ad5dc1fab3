//! `bursar jobs`: everything that is deferred, retried or ordered.

use super::client::admin_path;
use super::list::{self, Narrowing, Paging};
use super::table::{Column, Listing, Table};
use super::{Session, output, view};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Columns of a list of jobs.
pub const JOBS: &[Column] = &[
    Column::fixed("id"),
    Column::wrapped("kind"),
    Column::fixed("state"),
    Column::number("attempt"),
    Column::wrapped("run_at"),
    Column::wrapped("stream"),
    Column::wrapped("last_error"),
];
const ATTEMPTS: &[Column] = &[
    Column::number("attempt"),
    Column::fixed("outcome"),
    Column::wrapped("started_at"),
    Column::number("duration_ms"),
    Column::wrapped("reason"),
    Column::wrapped("node"),
    Column::number("epoch"),
];
/// Keys of a job, in the order shown.
pub const JOB_KEYS: &[&str] = &[
    "id",
    "kind",
    "state",
    "stream",
    "seq",
    "attempt",
    "attempts_max",
    "run_at",
    "unique_key",
    "event_id",
    "customer_id",
    "last_error",
    "created_at",
    "finished_at",
];
/// The states of jobs.
pub const JOB_STATES: [&str; 6] = ["scheduled", "available", "running", "succeeded", "cancelled", "dead"];
/// The states of jobs that can be replayed.
pub const ENDED_STATES: [&str; 3] = ["succeeded", "cancelled", "dead"];

/// Jobs: everything that is deferred, retried or ordered.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, the latest first.
    List {
        /// In this state only.
        #[arg(long, value_parser = JOB_STATES)]
        state: Option<String>,
        /// Of this kind only, such as `stripe.event`.
        #[arg(long)]
        kind: Option<String>,
        /// In this stream only.
        #[arg(long, value_name = "KEY")]
        stream: Option<String>,
        /// Of an event of this type only, such as `invoice.paid`.
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// Whose, since when, and why.
        #[command(flatten)]
        narrowing: Narrowing,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a job, its attempts, and the reason for its state.
    Show {
        /// The job.
        id: String,
    },
    /// Cancel a job that has not started.
    Cancel {
        /// The job.
        id: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Run an ended job again, or try one now that waits after a failure.
    Replay {
        /// The job.
        id: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &JobCommand) -> anyhow::Result<ExitCode> {
    match command {
        JobCommand::List { state, kind, stream, event_type, narrowing, paging } => {
            let narrowed = narrowing.query(session, "error").await?;
            let mut query = vec![
                ("state", state.as_deref()),
                ("kind", kind.as_deref()),
                ("stream", stream.as_deref()),
                ("event_type", event_type.as_deref()),
            ];
            query.extend(list::borrowed(&narrowed));
            list::show(session, &admin_path(&["jobs"])?, &query, paging, JOBS).await
        }
        JobCommand::Show { id } => session.show(&session.client.get(&admin_path(&["jobs", id])?, &[]).await?, render),
        JobCommand::Cancel { id, reason } => act(session, id, "cancel", reason).await,
        JobCommand::Replay { id, reason } => act(session, id, "replay", reason).await,
    }
}

async fn act(session: &Session, id: &str, action: &str, reason: &str) -> anyhow::Result<ExitCode> {
    let answer = session.client.post(&admin_path(&["jobs", id, action])?, &json!({ "reason": reason })).await?;
    session.show(&answer, |answer| Listing::of(view::part(answer, "job"), JOB_KEYS).render(output::width()))
}

fn render(answer: &Value) -> String {
    format!("{}{}", with_why(answer, "job", JOB_KEYS), attempts(answer))
}

/// Renders the part of an answer under this key, and the reason for its state.
pub fn with_why(answer: &Value, key: &str, keys: &[&str]) -> String {
    let mut listing = Listing::of(view::part(answer, key), keys);
    if let Some(why) = answer.get("why").filter(|why| !why.is_null()) {
        listing.line("why", view::full(why));
    }
    listing.render(output::width())
}

/// Renders the attempts in an answer as a paragraph; empty if there are none.
pub fn attempts(answer: &Value) -> String {
    match view::items(answer, "attempts") {
        [] => String::new(),
        attempts => format!("\n\nAttempts\n{}", Table::of(ATTEMPTS, attempts).render(output::width())),
    }
}
