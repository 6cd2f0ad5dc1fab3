//! `bursar streams`: jobs that run one at a time, in order.

use super::client::admin_path;
use super::job::{JOB_KEYS, with_why};
use super::list::{self, Paging};
use super::table::{Column, Listing};
use super::{Session, output, view};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

const STREAMS: &[Column] = &[
    Column::fixed("key"),
    Column::number("unfinished"),
    Column::number("last_seq"),
    Column::wrapped("paused_at"),
    Column::wrapped("paused_reason"),
    Column::wrapped("canary_job_id"),
    Column::wrapped("owner"),
    Column::wrapped("lease_until"),
];
/// How often a canary is asked for.
const INTERVAL_MS: u64 = 500;
/// How long a canary is followed.
const CANARY_TIMEOUT_S: u64 = 60;
const STREAM_KEYS: &[&str] =
    &["key", "unfinished", "last_seq", "paused_at", "paused_reason", "canary_job_id", "owner", "epoch", "lease_until"];

/// Streams: jobs that run one at a time, in order.
#[derive(Debug, Subcommand)]
pub enum StreamCommand {
    /// List streams that are paused, or have a job that is due, runs or has failed.
    List {
        /// Paused ones only.
        #[arg(long)]
        paused: bool,
        /// Also those whose jobs only wait for their time, such as the follow-up mails to new customers.
        #[arg(long, conflicts_with = "paused")]
        scheduled: bool,
        /// Those with jobs of this customer only, by its id or e-mail address.
        #[arg(long, value_name = "CUSTOMER")]
        customer: Option<String>,
        /// Paused ones only whose reason contains this text.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Those that were paused at this time or later: a span before now such as 90m, 24h or 7d, a day or a time.
        #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
        since: Option<String>,
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
    /// Let the job at the head of a paused stream run once, and follow it; the stream stays paused. The exit code is 1
    /// if it failed.
    Canary {
        /// The stream.
        key: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The job expected at the head; if another one is there, nothing runs.
        #[arg(long, value_name = "ID")]
        job: Option<String>,
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
        StreamCommand::List { paused, scheduled, customer, reason, since, paging } => {
            let customer = session.customer_of(customer.as_deref()).await?;
            let query = [
                ("paused", paused.then_some("true")),
                ("due", (!scheduled && !paused).then_some("true")),
                ("customer", customer.as_deref()),
                ("reason", reason.as_deref()),
                ("from", since.as_deref()),
            ];
            list::show(session, &admin_path(&["streams"])?, &query, paging, STREAMS).await
        }
        StreamCommand::Show { key } => {
            session.show(&session.client.get(&admin_path(&["streams", key])?, &[]).await?, render)
        }
        StreamCommand::Pause { key, reason } => act(session, key, "pause", &json!({ "reason": reason })).await,
        StreamCommand::Resume { key } => act(session, key, "resume", &json!({})).await,
        StreamCommand::Canary { key, reason, job } => canary(session, key, reason, job.as_deref()).await,
        StreamCommand::Skip { key, reason, job } => {
            act(session, key, "skip", &json!({ "reason": reason, "job_id": job })).await
        }
    }
}

async fn act(session: &Session, key: &str, action: &str, body: &Value) -> anyhow::Result<ExitCode> {
    session.show(&session.client.post(&admin_path(&["streams", key, action])?, body).await?, render)
}

/// Starts the canary and follows it until its attempt has ended.
async fn canary(session: &Session, key: &str, reason: &str, job: Option<&str>) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["streams", key, "canary"])?;
    let answer = session.client.post(&path, &json!({ "reason": reason, "job_id": job })).await?;
    let head = &answer["job"];
    let id = head["id"].as_str().ok_or_else(|| anyhow::anyhow!("the server's answer holds no job"))?;
    let path = admin_path(&["jobs", id])?;
    let until = Instant::now() + Duration::from_secs(CANARY_TIMEOUT_S);
    let mut detail = session.client.get(&path, &[]).await?;
    while !has_ended(head, &detail["job"]) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        detail = session.client.get(&path, &[]).await?;
    }
    let code = session.show(&detail, |detail| with_why(detail, "job", JOB_KEYS))?;
    if !has_ended(head, &detail["job"]) {
        output::note(&format!("\nIt has not run yet: {}", output::hint(&format!("jobs show {id}"))));
    }
    let is_done = matches!(detail["job"]["state"].as_str(), Some("succeeded" | "cancelled"));
    Ok(if is_done { code } else { ExitCode::FAILURE })
}

/// Whether an attempt at a job has ended since it was as `before`.
fn has_ended(before: &Value, job: &Value) -> bool {
    let is_waiting = matches!(job["state"].as_str(), Some("scheduled" | "available" | "running"));
    !is_waiting || job["attempt"] != before["attempt"]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_has_ended_when_it_is_counted_or_the_job_is_over() {
        let before = json!({ "state": "available", "attempt": 3 });
        for (job, ended) in [
            (json!({ "state": "available", "attempt": 3 }), false),
            (json!({ "state": "running", "attempt": 3 }), false),
            (json!({ "state": "scheduled", "attempt": 4 }), true),
            (json!({ "state": "succeeded", "attempt": 4 }), true),
            (json!({ "state": "cancelled", "attempt": 3 }), true),
        ] {
            assert_eq!(has_ended(&before, &job), ended, "{job}");
        }
    }
}
