//! Rendering of replays and their results.

use super::job::JOBS;
use super::list::Page;
use super::table::{Column, Listing, Table};
use super::{output, view};
use bursar_engine::count::counted;
use serde_json::Value;
use std::collections::BTreeMap;

const ITEMS: &[Column] = &[
    Column::number("n"),
    Column::fixed("job_id"),
    Column::fixed("state"),
    Column::number("credits"),
    Column::wrapped("result"),
];
const REPLAY_KEYS: &[&str] = &[
    "id",
    "state",
    "dry_run",
    "done",
    "total",
    "rate_per_second",
    "reason",
    "created_by",
    "created_at",
    "finished_at",
];
/// Maximum number of items of a dry run that are shown; all are counted.
const DRY_RUN_SHOWN_MAX: usize = 50;

/// What may become of a job of a replay, in the order shown.
const OUTCOMES: [&str; 8] =
    ["succeeded", "cancelled", "dead", "retrying", "waiting", "not_started", "skipped", "deleted"];

/// Renders a replay, and what became of its jobs.
pub fn render(answer: &Value) -> String {
    let mut listing = Listing::of(view::part(answer, "replay"), REPLAY_KEYS);
    let outcomes = &answer["outcomes"];
    if outcomes.is_object() {
        let counts = OUTCOMES.iter().filter_map(|name| match outcomes[*name].as_i64() {
            None | Some(0) => None,
            Some(count) => Some(format!("{count} {}", name.replace('_', " "))),
        });
        let counts: Vec<String> = counts.collect();
        listing.line("outcomes", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") });
    }
    listing.render(output::width())
}

/// Sentences about the jobs of an ended replay that are not done with: those that died or failed again, and those that
/// have not run. Empty if there are none.
pub fn unsettled(outcomes: &Value) -> Vec<String> {
    let jobs = |name: &str| outcomes[name].as_i64().filter(|count| *count > 0).map(|count| counted(count, "job"));
    let lines = [
        jobs("dead").map(|jobs| format!("{jobs} died again: {}", output::hint("failures list"))),
        jobs("retrying").map(|jobs| {
            format!("{jobs} failed again, to be tried later: {}", output::hint("jobs list --state scheduled"))
        }),
        jobs("waiting")
            .map(|jobs| format!("{jobs} wait in their streams, which may be paused: {}", output::hint("streams list"))),
    ];
    lines.into_iter().flatten().collect()
}

/// Renders the number of jobs that a new replay would run, and some of them.
pub fn preview(answer: &Value, total: u64) -> String {
    let sample = view::items(answer, "sample");
    let jobs = if total == 1 { "1 job matches".to_owned() } else { format!("{total} jobs match") };
    let some = if (sample.len() as u64) < total { format!(", {} of them", sample.len()) } else { String::new() };
    match sample {
        [] => format!("{jobs}."),
        sample => format!("{jobs}{some}:\n{}", Table::of(JOBS, sample).render(output::width())),
    }
}

/// A table of a replay's jobs and their results.
pub fn items_table(items: &[Value]) -> Table {
    let mut table = Table::new(ITEMS);
    for item in items {
        let result = result_of(item);
        let credits = result["ledger"]["amount"].as_i64().map(|amount| format!("{amount:+}"));
        let (n, job, state) = (view::short(&item["n"]), view::short(&item["job_id"]), view::short(&item["state"]));
        table.row([n, job, state, credits.unwrap_or_default(), summary(&result)]);
    }
    table
}

/// The result of an item, which the server may send as JSON in a string.
fn result_of(item: &Value) -> Value {
    match &item["result"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| item["result"].clone()),
        other => other.clone(),
    }
}

fn summary(result: &Value) -> String {
    if !result.is_object() {
        return view::short(result);
    }
    let ledger = &result["ledger"];
    let texts = [&result["outcome"], &result["reason"], &ledger["refused"]];
    let mut parts: Vec<String> = texts.iter().filter_map(|text| text.as_str()).map(str::to_owned).collect();
    if !ledger["already"].is_null() {
        let booked = match ledger["already"].as_i64() {
            Some(1) => "1 credit was".to_owned(),
            Some(credits) => format!("{} were", counted(credits, "credit")),
            None => format!("{} credits were", view::short(&ledger["already"])),
        };
        parts.push(format!("{booked} booked before"));
    }
    if let Some(customer) = ledger["customer_id"].as_str() {
        parts.push(format!("balance of {customer} would be {}", view::short(&ledger["balance_after"])));
    }
    if parts.is_empty() { view::short(result) } else { parts.join(": ") }
}

/// Renders the results of a dry run.
pub fn dry_run_report(page: &Page) -> String {
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut credits = 0_i64;
    for (state, result) in page.data.iter().map(|item| (&item["state"], result_of(item))) {
        let outcome = if state == "waiting" { "not tried" } else { result["outcome"].as_str().unwrap_or("unknown") };
        *outcomes.entry(output::sanitize(outcome)).or_default() += 1;
        credits = credits.saturating_add(result["ledger"]["amount"].as_i64().unwrap_or(0));
    }
    let shown = &page.data[..page.data.len().min(DRY_RUN_SHOWN_MAX)];
    let mut text = items_table(shown).render(output::width());
    if shown.len() < page.data.len() {
        text.push_str(&format!("\n… and {} more", page.data.len() - shown.len()));
    }
    let counts: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    format!("{text}\n\nNothing was changed. Outcomes: {}. Credits: {credits:+}.\n", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_became_of_the_jobs_is_shown_with_the_replay() {
        let outcomes = json!({
            "succeeded": 10, "cancelled": 0, "dead": 1, "retrying": 2, "waiting": 0, "not_started": 0, "skipped": 0,
            "deleted": 0,
        });
        let text = render(&json!({ "replay": { "id": "rpl_1", "state": "done" }, "outcomes": outcomes }));
        assert_eq!(text, "id        rpl_1\nstate     done\noutcomes  10 succeeded, 1 dead, 2 retrying");
        assert!(render(&json!({ "replay": { "id": "rpl_1" }, "outcomes": null })).ends_with("rpl_1"), "a dry run");
    }

    #[test]
    fn jobs_that_died_or_failed_again_or_did_not_run_are_named() {
        assert!(unsettled(&json!({ "succeeded": 3, "cancelled": 1, "skipped": 1, "dead": 0 })).is_empty());
        assert!(unsettled(&Value::Null).is_empty(), "a server without outcomes");
        let lines = unsettled(&json!({ "dead": 1, "retrying": 2, "waiting": 3 }));
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("1 job died again: bursar failures list"), "{lines:?}");
        assert!(lines[1].starts_with("2 jobs failed again"), "{lines:?}");
    }

    #[test]
    fn a_dry_run_adds_up_what_would_have_happened() {
        let granted =
            json!({ "outcome": "done", "ledger": { "customer_id": "cst_1", "amount": 60, "balance_after": 65 } });
        let already = json!({ "outcome": "done", "ledger": { "amount": 0, "already": 60 } });
        let page = Page {
            data: vec![
                json!({ "n": 1, "job_id": "job_1", "state": "tried", "result": granted.to_string() }),
                json!({ "n": 2, "job_id": "job_2", "state": "tried", "result": already }),
                json!({ "n": 3, "job_id": "job_3", "state": "waiting", "result": null }),
            ],
            next_cursor: None,
        };
        let text = dry_run_report(&page);
        assert!(text.contains("Outcomes: 2 done, 1 not tried. Credits: +60."), "{text}");
        assert!(text.contains("done: balance of cst_1 would be 65"), "{text}");
        assert!(text.contains("done: 60 credits were booked before"), "{text}");
    }
}
