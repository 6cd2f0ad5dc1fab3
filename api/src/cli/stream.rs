//! `bursar streams`: jobs that run one at a time, in order.

use super::client::admin_path;
use super::job::JOB_KEYS;
use super::list::{self, Paging};
use super::table::{Column, Listing};
use super::{Session, output, view};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

const STREAMS: &[Column] = &[
    Column::fixed("key"),
    Column::number("unfinished"),
    Column::number("last_seq"),
    Column::wrapped("paused_at"),
    Column::wrapped("paused_reason"),
    Column::wrapped("owner"),
    Column::wrapped("lease_until"),
];
const STREAM_KEYS: &[&str] =
    &["key", "unfinished", "last_seq", "paused_at", "paused_reason", "owner", "epoch", "lease_until"];

/// Streams: jobs that run one at a time, in order.
#[derive(Debug, Subcommand)]
pub enum StreamCommand {
    /// List streams.
    List {
        /// Paused ones only.
        #[arg(long)]
        paused: bool,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a stream and the job at its head.
    Show {
        /// The stream, such as `stripe:cus_…`.
        key: String,
    },
    /// Pause a stream: no further job of it starts.
    Pause {
        /// The stream.
        key: String,
        /// Reason, shown with the stream and kept in the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Resume a paused stream.
    Resume {
        /// The stream.
        key: String,
    },
    /// Cancel the job at the head of a stream, so that the next one runs.
    Skip {
        /// The stream.
        key: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The job expected at the head; if another one is there, nothing is skipped.
        #[arg(long, value_name = "ID")]
        job: Option<String>,
    },
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &StreamCommand) -> anyhow::Result<ExitCode> {
    match command {
        StreamCommand::List { paused, paging } => {
            let query = [("paused", paused.then_some("true"))];
            list::show(session, &admin_path(&["streams"])?, &query, paging, STREAMS).await
        }
        StreamCommand::Show { key } => {
            session.show(&session.client.get(&admin_path(&["streams", key])?, &[]).await?, render)
        }
        StreamCommand::Pause { key, reason } => act(session, key, "pause", &json!({ "reason": reason })).await,
        StreamCommand::Resume { key } => act(session, key, "resume", &json!({})).await,
        StreamCommand::Skip { key, reason, job } => {
            act(session, key, "skip", &json!({ "reason": reason, "job_id": job })).await
        }
    }
}

async fn act(session: &Session, key: &str, action: &str, body: &Value) -> anyhow::Result<ExitCode> {
    session.show(&session.client.post(&admin_path(&["streams", key, action])?, body).await?, render)
}

fn render(answer: &Value) -> String {
    let width = output::width();
    let stream = Listing::of(view::part(answer, "stream"), STREAM_KEYS).render(width);
    match answer.get("head") {
        None => stream,
        Some(Value::Null) => format!("{stream}\n\nNo job is waiting or running."),
        Some(job) => format!("{stream}\n\nHead\n{}", Listing::of(job, JOB_KEYS).render(width)),
    }
}
