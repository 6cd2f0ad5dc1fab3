//! `bursar events`: received events, and replaying them.

use super::client::admin_path;
use super::job::{attempts, with_why};
use super::list::{self, Narrowing, Paging};
use super::replay::{self, NewReplay};
use super::table::{Column, Listing};
use super::{Session, output, view};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

const EVENTS: &[Column] = &[
    Column::fixed("id"),
    Column::wrapped("type"),
    Column::fixed("state"),
    Column::number("attempts"),
    Column::wrapped("received_at"),
    Column::fixed("source"),
    Column::wrapped("stream"),
    Column::wrapped("last_error"),
];
const EVENT_KEYS: &[&str] = &[
    "id",
    "source",
    "external_id",
    "type",
    "state",
    "attempts",
    "last_error",
    "received_at",
    "processed_at",
    "deliveries",
    "stream",
    "job_id",
];
/// The senders of events.
const SOURCES: [&str; 2] = ["stripe", "github"];

/// Events that came in.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// List events, the latest first.
    List {
        /// In this state only.
        #[arg(long, value_parser = ["waiting", "processed", "dead", "skipped"])]
        state: Option<String>,
        /// From this sender only.
        #[arg(long, value_parser = SOURCES)]
        source: Option<String>,
        /// Of this type only, such as `invoice.paid`.
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// In this stream only, such as `stripe:cus_…`.
        #[arg(long, value_name = "KEY")]
        stream: Option<String>,
        /// Whose, since when, and why.
        #[command(flatten)]
        narrowing: Narrowing,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show an event, the attempts to process it, and its payload.
    Show {
        /// The event.
        id: String,
    },
    /// Process one event again, or all that match.
    Replay(EventReplayArgs),
}

/// Arguments of `events replay`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "state"]))]
pub struct EventReplayArgs {
    /// This event.
    pub id: Option<String>,
    /// All events in this state, after a preview.
    #[arg(long, value_parser = ["dead", "skipped", "processed"])]
    pub state: Option<String>,
    /// From this sender.
    #[arg(long, value_parser = SOURCES, default_value = "stripe")]
    pub source: String,
    /// Of this type only, such as `invoice.paid`.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "id")]
    pub event_type: Option<String>,
    /// In this stream only, such as `stripe:cus_…`.
    #[arg(long, value_name = "KEY", conflicts_with = "id")]
    pub stream: Option<String>,
    /// Of this customer only, by its id or e-mail address.
    #[arg(long, value_name = "CUSTOMER", conflicts_with = "id")]
    pub customer: Option<String>,
    /// Received at this time or later: a span before now such as 24h, a day or a time.
    #[arg(long, value_name = "TIME", conflicts_with = "id", value_parser = super::since::parse)]
    pub since: Option<String>,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Show what would happen, and change nothing.
    #[arg(long, conflicts_with = "id")]
    pub dry_run: bool,
    /// Maximum number of events per second.
    #[arg(long, value_name = "N", conflicts_with = "id", default_value_t = replay::RATE_DEFAULT)]
    #[arg(value_parser = replay::rate_parser())]
    pub rate: i64,
    /// Start without asking.
    #[arg(long, conflicts_with = "id")]
    pub yes: bool,
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &EventCommand) -> anyhow::Result<ExitCode> {
    match command {
        EventCommand::List { state, source, event_type, stream, narrowing, paging } => {
            let narrowed = narrowing.query(session, "error").await?;
            let mut query = vec![
                ("state", state.as_deref()),
                ("source", source.as_deref()),
                ("type", event_type.as_deref()),
                ("stream", stream.as_deref()),
            ];
            query.extend(list::borrowed(&narrowed));
            list::show(session, &admin_path(&["events"])?, &query, paging, EVENTS).await
        }
        EventCommand::Show { id } => {
            session.show(&session.client.get(&admin_path(&["events", id])?, &[]).await?, render)
        }
        EventCommand::Replay(args) => match &args.id {
            Some(id) => replay_one(session, id, &args.reason).await,
            None => replay::run_now(session, &bulk_replay(args), args.yes).await,
        },
    }
}

async fn replay_one(session: &Session, id: &str, reason: &str) -> anyhow::Result<ExitCode> {
    let answer = session.client.post(&admin_path(&["events", id, "replay"])?, &json!({ "reason": reason })).await?;
    session.show(&answer, |answer| Listing::of(view::part(answer, "event"), EVENT_KEYS).render(output::width()))
}

fn bulk_replay(args: &EventReplayArgs) -> NewReplay {
    // An event's state is its job's, under another name.
    let state = args.state.as_deref().map(|state| match state {
        "processed" => "succeeded",
        "skipped" => "cancelled",
        other => other,
    });
    NewReplay {
        state: state.map(str::to_owned),
        // Limits a bulk replay to jobs that process events.
        kind: Some(format!("{}.event", args.source)),
        event_type: args.event_type.clone(),
        stream: args.stream.clone(),
        error: None,
        cause: None,
        customer: args.customer.clone(),
        since: args.since.clone(),
        dry_run: args.dry_run,
        rate: args.rate,
        reason: args.reason.clone(),
    }
}

fn render(answer: &Value) -> String {
    let payload = match answer.get("payload") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => format!("\n\nPayload\n{}", output::sanitize(text)),
        Some(json) => format!("\n\nPayload\n{}", output::sanitize(&format!("{json:#}"))),
    };
    format!("{}{}{payload}", with_why(answer, "event", EVENT_KEYS), attempts(answer))
}
