//! `bursar stripe reconcile` and `bursar stripe reconciliations`: comparing with Stripe.

use super::client::admin_path;
use super::error::Error;
use super::list::{self, Paging};
use super::progress::Progress;
use super::table::{Column, Listing, Table};
use super::watch::{INTERRUPTED, ctrl_c};
use super::{Session, output, view};
use bursar_engine::count::counted;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// How often the server is polled.
const INTERVAL_MS: u64 = 500;
/// Maximum number of consecutive failures: at two polls a second, long enough for the server to restart.
const FAILURES_MAX: u32 = 120;
/// Maximum number of findings that are shown after a run; `reconciliations show` shows the others.
const SHOWN_MAX: u64 = 20;
/// How far back Stripe lists events, in hours.
const HOURS_MAX: i64 = 30 * 24;

const RUNS: &[Column] = &[
    Column::fixed("id"),
    Column::fixed("state"),
    Column::fixed("repair"),
    Column::number("checked"),
    Column::number("drift"),
    Column::number("repaired"),
    Column::number("left"),
    Column::wrapped("created_at"),
    Column::wrapped("requested_by"),
];
const RUN_KEYS: &[&str] = &[
    "id",
    "state",
    "repair",
    "full",
    "customer_id",
    "since",
    "until",
    "phase",
    "checked",
    "drift",
    "repaired",
    "left",
    "reason",
    "job_id",
    "requested_by",
    "created_at",
    "finished_at",
];
const CLASSES: &[Column] = &[
    Column::fixed("class"),
    Column::number("checked"),
    Column::number("drift"),
    Column::number("repaired"),
    Column::number("left"),
];
const FINDINGS: &[Column] = &[
    Column::number("n"),
    Column::fixed("class"),
    Column::wrapped("object_id"),
    Column::wrapped("customer_id"),
    Column::wrapped("ours"),
    Column::wrapped("theirs"),
    Column::fixed("repaired"),
];

/// Arguments of `stripe reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// How far to look back, such as `7d` or `12h`, at most 30 days; by default to the previous run.
    #[arg(long, value_name = "TIME", value_parser = hours)]
    pub since: Option<i64>,
    /// Compare only this customer, and all of its objects: cst_…, its e-mail address, or its Stripe customer, cus_….
    #[arg(long, value_name = "CUSTOMER", conflicts_with_all = ["since", "full"])]
    pub customer: Option<String>,
    /// Compare all customers and subscriptions, and not only what changed since the previous run.
    #[arg(long)]
    pub full: bool,
    /// Change nothing, only report.
    #[arg(long)]
    pub no_repair: bool,
    /// Makes repeating this safe: the same key never starts a second run.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Earlier reconciliations.
#[derive(Debug, Subcommand)]
pub enum ReconciliationCommand {
    /// List reconciliations, the latest first.
    List {
        /// Requested at this time or later: a span before now such as 90m, 24h or 7d, a day or a time.
        #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
        since: Option<String>,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a reconciliation and its findings.
    Show {
        /// The reconciliation.
        id: String,
        /// Paging options of its findings.
        #[command(flatten)]
        paging: Paging,
    },
}

/// Parses `7d` or `12h` into hours.
fn hours(text: &str) -> Result<i64, String> {
    let (number, factor) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => (days, 24),
        (_, Some(hours)) => (hours, 1),
        _ => return Err("give days or hours, such as 7d or 12h".to_owned()),
    };
    let hours = number.parse::<i64>().ok().and_then(|number| number.checked_mul(factor));
    hours.filter(|hours| (1..=HOURS_MAX).contains(hours)).ok_or_else(|| "give 1h to 30d".to_owned())
}

/// Starts a run, follows it to its end and shows its findings. The exit code is 1 if differences are left.
///
/// # Errors
/// See [`Error`].
pub async fn reconcile(session: &Session, args: &ReconcileArgs) -> anyhow::Result<ExitCode> {
    let mut body = json!({ "repair": !args.no_repair, "full": args.full });
    if let Some(customer) = &args.customer {
        body["customer_id"] = session.customer_id(customer).await?.into();
    }
    if let Some(hours) = args.since {
        body["since_hours"] = hours.into();
    }
    let key = args.idempotency_key.clone().unwrap_or_else(super::customer::new_idempotency_key);
    let path = admin_path(&["stripe", "reconciliations"])?;
    let answer = session.client.post_with_key(&path, &body, Some(&key)).await?;
    let id = answer["reconciliation"]["id"].as_str().unwrap_or_default().to_owned();
    let mut answer = tokio::select! {
        ended = follow(session, &id, answer) => ended?,
        () = ctrl_c() => {
            let hint = output::hint(&format!("stripe reconciliations show {id}"));
            output::note(&format!("\nThe reconciliation continues on the server. Show it: {hint}"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    let paging = Paging { limit: SHOWN_MAX, all: session.json, cursor: None };
    let code = show_run(session, &mut answer, &id, &paging, false).await?;
    let run = &answer["reconciliation"];
    let is_clean = run["state"] == "done" && run["left"] == 0;
    Ok(if is_clean { code } else { ExitCode::FAILURE })
}

/// Runs a command on earlier reconciliations.
///
/// # Errors
/// See [`Error`].
pub async fn run(session: &Session, command: &ReconciliationCommand) -> anyhow::Result<ExitCode> {
    match command {
        ReconciliationCommand::List { since, paging } => {
            let query = [("from", since.as_deref())];
            list::show(session, &admin_path(&["stripe", "reconciliations"])?, &query, paging, RUNS).await
        }
        ReconciliationCommand::Show { id, paging } => {
            let mut answer = session.client.get(&admin_path(&["stripe", "reconciliations", id])?, &[]).await?;
            show_run(session, &mut answer, id, paging, true).await
        }
    }
}

/// Polls a run until it ends, starting with the server's last answer.
async fn follow(session: &Session, id: &str, mut answer: Value) -> Result<Value, anyhow::Error> {
    let path = admin_path(&["stripe", "reconciliations", id])?;
    let number = |answer: &Value, key: &str| answer["reconciliation"][key].as_u64().unwrap_or(0);
    let progress = Progress::bar("Comparing with Stripe", number(&answer, "phases"));
    let mut failures = 0;
    loop {
        let run = &answer["reconciliation"];
        if run["state"] != "running" {
            return Ok(answer);
        }
        // The current phase is not done yet.
        progress.set(number(&answer, "phase_number").saturating_sub(1), number(&answer, "phases"));
        if failures == 0 {
            progress.set_message(&format!(
                "{}, {} checked, {} differ",
                view::short(&run["phase"]).replace('_', " "),
                number(&answer, "checked"),
                number(&answer, "drift")
            ));
        }
        tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
        match session.client.get(&path, &[]).await {
            Ok(next) => (answer, failures) = (next, 0),
            Err(error) => retry_or_fail(error, &mut failures, &progress)?,
        }
    }
}

fn retry_or_fail(error: Error, failures: &mut u32, progress: &Progress) -> Result<(), Error> {
    *failures += 1;
    if !error.is_retryable() || *failures > FAILURES_MAX {
        return Err(error);
    }
    let reason = error.to_string();
    progress.set_message(&format!("{}; trying again", reason.lines().next().unwrap_or_default()));
    Ok(())
}

/// Prints the classes and findings of a run. The run itself is listed if `in_full` is set or the run is not done.
async fn show_run(
    session: &Session,
    answer: &mut Value,
    id: &str,
    paging: &Paging,
    in_full: bool,
) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["stripe", "reconciliations", id, "findings"])?;
    let page = list::fetch(&session.client, &path, &[], paging).await?;
    if session.json {
        answer["findings"] = page.to_json();
        return output::print_json(answer);
    }
    let run = view::part(answer, "reconciliation");
    if in_full || run["state"] != "done" {
        output::print(&format!("{}\n", Listing::of(&view::flat_fields(run), RUN_KEYS).render(output::width())))?;
    }
    // Nobody looks for a difference among thirty zeros.
    let is_shown = |class: &&Value| in_full || class["drift"].as_i64() != Some(0);
    let classes: Vec<Value> = view::items(run, "classes").iter().filter(is_shown).cloned().collect();
    if !classes.is_empty() {
        output::print(&Table::of(CLASSES, &classes).render(output::width()))?;
    }
    if !page.data.is_empty() {
        output::print("")?;
        list::print(&page, &page.to_table(FINDINGS))?;
    }
    let result = match (run["state"].as_str(), run["drift"].as_i64(), run["left"].as_i64()) {
        (Some("done"), Some(0), _) => {
            let checked = run["checked"].as_u64().unwrap_or_default();
            format!("Compared {}: there are no differences.", counted(checked, "object"))
        }
        (Some("done"), Some(drift), Some(0)) => format!("{drift} differed; all repairs were started."),
        (Some("done"), Some(drift), Some(1)) => format!("{drift} differed; 1 is left."),
        (Some("done"), Some(drift), Some(left)) => format!("{drift} differed; {left} are left."),
        (state, ..) => format!("The reconciliation is {}.", state.unwrap_or("in an unknown state")),
    };
    output::note(&format!("\n{result}"));
    if run["state"] == "done" {
        let until = view::short(&run["until"]);
        output::note(&format!("What is younger than {until} was left to its webhooks; a later run compares it."));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_days_or_hours_and_at_most_thirty_days() {
        assert_eq!(hours("7d"), Ok(168));
        assert_eq!(hours("12h"), Ok(12));
        for text in ["", "7", "d", "31d", "0h", "-1d", "1w", "99999999999999999999d"] {
            assert!(hours(text).is_err(), "{text}");
        }
    }
}
