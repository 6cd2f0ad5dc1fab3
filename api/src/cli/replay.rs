//! `bursar replays`: ended jobs that run again, at a capped rate.

use super::client::admin_path;
use super::customer::new_idempotency_key;
use super::job::ENDED_STATES;
use super::list::{self, Paging};
use super::replay_view::{dry_run_report, items_table, preview, render, unsettled};
use super::table::Column;
use super::watch::{self, Watched};
use super::{Session, output, usage};
use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

/// The default rate, in jobs per second.
pub const RATE_DEFAULT: i64 = 50;
/// The highest rate that the server accepts.
const RATE_MAX: i64 = 1_000;

const REPLAYS: &[Column] = &[
    Column::fixed("id"),
    Column::fixed("state"),
    Column::number("done"),
    Column::number("total"),
    Column::fixed("dry_run"),
    Column::wrapped("created_at"),
    Column::wrapped("created_by"),
    Column::wrapped("reason"),
];

/// The parser of `--rate`.
pub fn rate_parser() -> RangedI64ValueParser<i64> {
    clap::value_parser!(i64).range(1..=RATE_MAX)
}

/// Replays: ended jobs that run again, at a capped rate.
#[derive(Debug, Subcommand)]
pub enum ReplayCommand {
    /// List replays, the latest first.
    List {
        /// Made at this time or later: a span before now such as 90m, 24h or 7d, a day or a time.
        #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
        since: Option<String>,
        /// Only those whose reason contains this text.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a replay.
    Show {
        /// The replay.
        id: String,
        /// List its jobs and their results.
        #[arg(long)]
        items: bool,
        /// Paging options of its jobs.
        #[command(flatten)]
        paging: ItemPaging,
    },
    /// Prepare a replay of a fixed set of ended jobs, to be started later.
    Create(CreateArgs),
    /// Start a replay.
    Start {
        /// The replay.
        id: String,
    },
    /// Pause a replay.
    Pause {
        /// The replay.
        id: String,
    },
    /// Resume a paused replay.
    Resume {
        /// The replay.
        id: String,
    },
    /// Cancel a replay. Jobs that already ran are not undone.
    Cancel {
        /// The replay.
        id: String,
    },
    /// Follow a replay until its jobs have ended. The exit code is 1 if any of them failed again.
    Watch {
        /// The replay.
        id: String,
    },
}

/// Paging options of the jobs of a replay.
#[derive(Debug, Clone, Args)]
pub struct ItemPaging {
    /// Maximum number of jobs.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(requires = "items")]
    limit: u64,
    /// All jobs.
    #[arg(long, conflicts_with = "limit", requires = "items")]
    all: bool,
    /// Start at this `next_cursor` of an earlier answer.
    #[arg(long, requires = "items")]
    cursor: Option<String>,
}

impl ItemPaging {
    fn paging(&self) -> Paging {
        Paging { limit: self.limit, all: self.all, cursor: self.cursor.clone() }
    }
}

/// Arguments of `replays create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The replay.
    #[command(flatten)]
    pub replay: NewReplay,
    /// Start it at once.
    #[arg(long)]
    pub start: bool,
}

/// A request for a replay. Fields without a value match everything.
#[derive(Debug, Clone, Args)]
pub struct NewReplay {
    /// Jobs in this state.
    #[arg(long, default_value = "dead", value_parser = ENDED_STATES)]
    pub state: Option<String>,
    /// Of this kind only, such as `stripe.event`.
    #[arg(long)]
    pub kind: Option<String>,
    /// Jobs of events of this type only, such as `invoice.paid`.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// In this stream only.
    #[arg(long, value_name = "KEY")]
    pub stream: Option<String>,
    /// Only jobs whose last error contains this text.
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Only jobs with this cause, as `failures list` shows it.
    #[arg(long, value_name = "CAUSE")]
    pub cause: Option<String>,
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
    #[arg(long, value_name = "N", default_value_t = RATE_DEFAULT, value_parser = rate_parser())]
    pub rate: i64,
}

impl NewReplay {
    /// The body of the request; the customer is given by its id.
    fn body(&self, customer: Option<&String>) -> Value {
        let fields = [
            ("state", &self.state),
            ("kind", &self.kind),
            ("event_type", &self.event_type),
            ("stream", &self.stream),
            ("error", &self.error),
            ("cause", &self.cause),
            ("from", &self.since),
        ];
        let given = fields.into_iter().map(|(name, value)| (name, value.as_ref())).chain([("customer", customer)]);
        let given = given.filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        let filter: serde_json::Map<String, Value> = given.collect();
        json!({ "filter": filter, "dry_run": self.dry_run, "rate_per_second": self.rate, "reason": self.reason })
    }
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &ReplayCommand) -> anyhow::Result<ExitCode> {
    match command {
        ReplayCommand::List { since, reason, paging } => {
            let query = [("from", since.as_deref()), ("reason", reason.as_deref())];
            list::show(session, &admin_path(&["replays"])?, &query, paging, REPLAYS).await
        }
        ReplayCommand::Show { id, items, paging } => show(session, id, items.then(|| paging.paging()).as_ref()).await,
        ReplayCommand::Create(args) => create(session, args).await,
        ReplayCommand::Start { id } => session.show(&act(session, id, "start").await?, render),
        ReplayCommand::Pause { id } => session.show(&act(session, id, "pause").await?, render),
        ReplayCommand::Resume { id } => session.show(&act(session, id, "resume").await?, render),
        ReplayCommand::Cancel { id } => session.show(&act(session, id, "cancel").await?, render),
        ReplayCommand::Watch { id } => {
            let answer = session.client.get(&admin_path(&["replays", id])?, &[]).await?;
            show_outcome(session, watch::watch(&session.client, id, answer).await?).await
        }
    }
}

/// Creates a replay, shows a preview, asks for confirmation unless `yes` is set, starts it and follows it to its end.
///
/// # Errors
/// See [`super::error::Error`]; a usage error if confirmation is needed but there is no terminal.
pub async fn run_now(session: &Session, new: &NewReplay, yes: bool) -> anyhow::Result<ExitCode> {
    // A dry run changes nothing, so there is nothing to ask.
    let ask = !yes && !new.dry_run;
    if ask && !output::can_ask() {
        return Err(usage("there is no terminal to confirm on: check it with --dry-run, then pass --yes"));
    }
    let mut created = post(session, new).await?;
    let id = id_of(&created)?;
    let total = created["replay"]["total"].as_u64().unwrap_or(0);
    if total == 0 {
        abandon(session, &mut created, &id).await;
        return session.show(&created, |_| "Nothing matches.".to_owned());
    }
    output::note(&preview(&created, total));
    if ask && !output::confirm(&format!("Replay {total}, at most {} in a second?", new.rate))? {
        abandon(session, &mut created, &id).await;
        return session.show(&created, |_| "Nothing was replayed.".to_owned());
    }
    let started = act(session, &id, "start").await?;
    show_outcome(session, watch::watch(&session.client, &id, started).await?).await
}

async fn post(session: &Session, new: &NewReplay) -> anyhow::Result<Value> {
    let customer = session.customer_of(new.customer.as_deref()).await?;
    let (path, body) = (admin_path(&["replays"])?, new.body(customer.as_ref()));
    Ok(session.client.post_with_key(&path, &body, Some(&new_idempotency_key())).await?)
}

async fn create(session: &Session, args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let mut answer = post(session, &args.replay).await?;
    let id = id_of(&answer)?;
    let next = if args.start { "watch" } else { "start" };
    if args.start {
        answer["replay"] = act(session, &id, "start").await?["replay"].take();
    }
    let code = session.show(&answer, |answer| {
        let replay = &answer["replay"];
        format!("{}\n\n{}", render(answer), preview(answer, replay["total"].as_u64().unwrap_or(0)))
    })?;
    output::note(&format!("\nNext: {}", output::hint(&format!("replays {next} {id}"))));
    Ok(code)
}

async fn show(session: &Session, id: &str, items: Option<&Paging>) -> anyhow::Result<ExitCode> {
    let mut answer = session.client.get(&admin_path(&["replays", id])?, &[]).await?;
    let Some(paging) = items else {
        return session.show(&answer, render);
    };
    let page = list::fetch(&session.client, &admin_path(&["replays", id, "items"])?, &[], paging).await?;
    if session.json {
        answer["items"] = page.to_json();
        return output::print_json(&answer);
    }
    output::print(&format!("{}\n", render(&answer)))?;
    list::print(&page, &items_table(&page.data))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(session: &Session, id: &str, action: &str) -> anyhow::Result<Value> {
    Ok(session.client.post(&admin_path(&["replays", id, action])?, &json!({})).await?)
}

/// Cancels a replay that was not confirmed. If that fails it stays a preview, which runs nothing.
async fn abandon(session: &Session, created: &mut Value, id: &str) {
    match act(session, id, "cancel").await {
        Ok(mut answer) => created["replay"] = answer["replay"].take(),
        Err(error) => output::note(&format!("replay {id} stays a preview: {error}")),
    }
}

/// Shows how a followed replay ended. For a dry run, also shows what would have happened.
async fn show_outcome(session: &Session, watched: Watched) -> anyhow::Result<ExitCode> {
    let mut answer = match watched {
        Watched::Ended(answer) => answer,
        Watched::Interrupted => return Ok(ExitCode::from(watch::INTERRUPTED)),
    };
    let done = answer["replay"]["state"] == "done";
    let dry_run = answer["replay"]["dry_run"] == true;
    if dry_run {
        let path = admin_path(&["replays", &id_of(&answer)?, "items"])?;
        let page = list::fetch(&session.client, &path, &[], &Paging::unlimited()).await?;
        if session.json {
            answer["items"] = page.to_json();
        } else {
            output::print(&dry_run_report(&page))?;
        }
    }
    let code = session.show(&answer, render)?;
    if !done {
        return Ok(ExitCode::FAILURE);
    }
    let unsettled = unsettled(&answer["outcomes"]);
    if dry_run || unsettled.is_empty() {
        return Ok(code);
    }
    output::note("");
    unsettled.iter().for_each(|line| output::note(line));
    Ok(ExitCode::FAILURE)
}

fn id_of(answer: &Value) -> anyhow::Result<String> {
    let id = answer["replay"]["id"].as_str();
    id.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("the server's answer holds no replay"))
}
