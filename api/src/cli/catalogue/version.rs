//! `bursar catalogue plan`, `apply`, `versions` and `export --version`: the catalogue of a server.

use super::super::client::admin_path;
use super::super::customer::new_idempotency_key;
#[cfg(doc)]
use super::super::error::Error;
use super::super::list::{self, Paging};
use super::super::progress::Progress;
use super::super::table::{Column, Table};
use super::super::watch::{INTERRUPTED, ctrl_c, retry_message};
use super::super::{Session, output, view};
use bursar_engine::config::read_catalogue_text;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often the server is polled.
const INTERVAL_MS: u64 = 500;
/// Maximum number of consecutive failures: at two polls a second, long enough for the server to restart.
const FAILURES_MAX: u32 = 120;

const VERSIONS: &[Column] = &[
    Column::number("version"),
    Column::wrapped("applied_at"),
    Column::wrapped("applied_by"),
    Column::wrapped("reason"),
];
const CHANGES: &[Column] = &[
    Column::fixed("kind"),
    Column::fixed("key"),
    Column::fixed("field"),
    Column::wrapped("before"),
    Column::wrapped("after"),
    Column::wrapped("effect"),
];
const AT_STRIPE: &[Column] = &[Column::fixed("price"), Column::wrapped("what")];

/// Arguments of `catalogue apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file.
    pub file: PathBuf,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Makes repeating this safe: the same file and reason under the same key are never applied a second time.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Prints what applying a file would do. The exit code is 1 if it would be refused.
///
/// # Errors
/// The file cannot be read, or [`Error`].
pub async fn plan(session: &Session, file: &Path) -> anyhow::Result<ExitCode> {
    let plan = session.client.post(&path("plan")?, &json!({ "catalogue": text_of(file)? })).await?;
    session.show(&plan, render_plan)?;
    Ok(if view::items(&plan, "refusals").is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plans a file, applies it and waits for the end. The exit code is 1 if it was not applied.
///
/// # Errors
/// The file cannot be read, the server refuses it, or [`Error`].
pub async fn apply(session: &Session, args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let catalogue = text_of(&args.file)?;
    let plan = session.client.post(&path("plan")?, &json!({ "catalogue": catalogue })).await?;
    let is_refused = !view::items(&plan, "refusals").is_empty();
    if !session.json {
        output::print(&render_plan(&plan))?;
    } else if is_refused {
        output::print_json(&plan)?;
    }
    anyhow::ensure!(!is_refused, "nothing was applied: the catalogue is refused");
    let body = json!({ "catalogue": catalogue, "reason": args.reason, "expected_version": plan["version"] });
    let key = args.idempotency_key.clone().unwrap_or_else(new_idempotency_key);
    let answer = session.client.post_with_key(&path("apply")?, &body, Some(&key)).await?;
    let id = answer["job"]["id"].as_str().unwrap_or_default().to_owned();
    let was_applied = answer["job"]["state"] == "succeeded";
    let job = tokio::select! {
        ended = follow(session, &id) => ended?,
        () = ctrl_c() => {
            let hint = output::hint(&format!("jobs show {id}"));
            output::note(&format!("\nThe catalogue is still being applied on the server. Look at it: {hint}"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    if job["job"]["state"] != "succeeded" {
        let why = view::full(&job["job"]["last_error"]);
        if session.json {
            output::print_json(&json!({ "job": job["job"] }))?;
        }
        anyhow::bail!("nothing was put into force: job {id} is {}: {why}", view::full(&job["job"]["state"]));
    }
    if was_applied {
        output::note("This was applied before, under the same idempotency key: nothing was done again.");
    }
    let present = session.client.get(&admin_path(&["catalogue"])?, &[]).await?;
    let answer = json!({ "job": job["job"], "version": present["version"] });
    session.show(&answer, |answer| {
        format!("Version {} is in force.", view::full(&view::part(view::part(answer, "version"), "version").clone()))
    })
}

/// Lists the versions, latest first.
///
/// # Errors
/// See [`Error`].
pub async fn versions(session: &Session, paging: &Paging) -> anyhow::Result<ExitCode> {
    list::show(session, &path("versions")?, &[], paging, VERSIONS).await
}

/// Prints a version as TOML.
///
/// # Errors
/// See [`Error`].
pub async fn export(session: &Session, version: i64) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["catalogue", "versions", &version.to_string()])?;
    let answer = session.client.get(&path, &[]).await?;
    output::print(answer["catalogue"].as_str().unwrap_or_default().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn path(last: &str) -> anyhow::Result<String> {
    admin_path(&["catalogue", last])
}

fn text_of(file: &Path) -> anyhow::Result<String> {
    read_catalogue_text(file).map_err(anyhow::Error::msg)
}

/// Polls a job until it ends.
async fn follow(session: &Session, id: &str) -> anyhow::Result<Value> {
    let path = admin_path(&["jobs", id])?;
    let progress = Progress::spinner("Applying");
    let mut failures = 0;
    loop {
        match session.client.get(&path, &[]).await {
            Ok(answer) if matches!(answer["job"]["state"].as_str(), Some("succeeded" | "cancelled" | "dead")) => {
                return Ok(answer);
            }
            Ok(answer) => {
                failures = 0;
                progress.set_message(answer["job"]["last_error"].as_str().unwrap_or_default());
            }
            Err(error) => progress.set_message(&retry_message(error, &mut failures, FAILURES_MAX)?),
        }
        tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
    }
}

fn render_plan(plan: &Value) -> String {
    let version = view::full(&plan["version"]);
    let has = |key: &str| !view::items(plan, key).is_empty();
    let table = |title: &str, columns: &'static [Column], key: &str| {
        has(key).then(|| format!("{title}\n{}", Table::of(columns, view::items(plan, key)).render(output::width())))
    };
    let list = |title: &str, lines: Vec<String>| (!lines.is_empty()).then(|| format!("{title}\n{}", lines.join("\n")));
    let mut parts = Vec::new();
    let made = match (has("changes"), has("stripe")) {
        (true, _) => "Made at Stripe".to_owned(),
        (false, true) => {
            format!("The catalogue is that of version {version}, and applying it makes the prices that Stripe lacks")
        }
        (false, false) => {
            parts.push(format!("Nothing differs from version {version}."));
            String::new()
        }
    };
    parts.extend(table(&format!("Changes of version {version}"), CHANGES, "changes"));
    parts.extend(table(&made, AT_STRIPE, "stripe"));
    parts.extend(plan["stripe_note"].as_str().map(output::sanitize));
    parts.extend(list("Warnings", view::items(plan, "warnings").iter().map(view::full).collect()));
    let reasons = view::items(plan, "refusals").iter().map(|refusal| view::full(&refusal["reason"]));
    parts.extend(list("Refused", reasons.collect()));
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shows_what_changes_what_is_made_and_why_it_is_refused() {
        let change = json!({ "kind": "price", "key": "pro_monthly", "field": "amount", "before": "$599.00",
            "after": "$699.00", "customers": 2, "effect": "2 subscribers keep the old amount." });
        let plan = json!({ "version": 3, "changes": [change], "stripe_note": null,
            "refusals": [{ "kind": "plan", "key": "pro", "reason": "plan pro cannot be removed" }],
            "warnings": ["line 3: packs.hundred.amount is $2000.00"],
            "stripe": [{ "price": "pro_monthly", "what": "$699.00 each month" }] });
        let text = render_plan(&plan);
        for part in [
            "Changes of version 3",
            "$699.00  2 subscribers keep",
            "Made at Stripe",
            "Warnings\nline 3: packs.hundred",
            "plan pro cannot be",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let nothing = render_plan(&json!({ "version": 3, "stripe_note": "This server has no Stripe key." }));
        assert_eq!(nothing, "Nothing differs from version 3.\n\nThis server has no Stripe key.");
    }

    #[test]
    fn a_plan_that_only_makes_what_stripe_lacks_says_so_and_not_that_nothing_differs() {
        let made = json!([{ "price": "pro_monthly", "what": "$599.00 each month" }]);
        let text = render_plan(&json!({ "version": 1, "changes": [], "stripe": made, "stripe_note": null }));
        let start = "The catalogue is that of version 1, and applying it makes the prices that Stripe lacks\n";
        assert!(text.starts_with(start) && text.contains("$599.00 each month"), "{text}");
        assert!(!text.contains("Nothing differs"), "{text}");
    }
}
