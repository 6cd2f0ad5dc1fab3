//! The history of one customer, from all tables, latest first.

use super::mail::mail_state;
use super::marketplace::marketplace_find_by_customer;
use super::{from_json, get, query_all};
use crate::clock::{TimeMs, rfc3339};
use crate::domain::customer::Customer;
use crate::domain::github;
use crate::domain::job::JobState;
use crate::domain::mail::MailArgs;
use crate::domain::webhook::stripe_stream;
use crate::error::{Error, Result};
use crate::ids::{JobId, MailId};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use serde_json::json;

/// One event in the history.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// When it happened.
    pub at_ms: TimeMs,
    /// Distinguishes and orders events of one moment.
    pub sort: String,
    /// Its type: `ledger.debit`, `event.invoice.paid`, `mail.welcome` …
    pub what: String,
    /// Details.
    pub details: serde_json::Value,
}

/// A query over tables with a customer's history.
struct Source {
    /// A query for the rows of customer `$1`, with `at_ms` and `sort`.
    rows: &'static str,
    /// Their order, latest first, as in an index.
    order: &'static str,
    /// Whether the query uses the customer's event streams, `$5` and `$6`.
    has_stream: bool,
    /// Converts a row to its type and details, as they are at this moment.
    read: fn(&QueryResult, TimeMs) -> Result<(String, serde_json::Value)>,
}

const LATEST_FIRST: &str = "s.at_ms DESC, s.sort DESC";

const SOURCES: [Source; 7] = [
    Source {
        // Numbers of equal length, so that they sort as text.
        rows: "SELECT created_at_ms AS at_ms, 'l' || (1000000000000 + seq) AS sort, seq, kind, amount, \
               balance_after, source, reference, idempotency_key, detail FROM ledger_entries WHERE customer_id = $1",
        // A ledger's times never go back, so its numbers have the same order.
        order: "s.seq DESC",
        has_stream: false,
        read: |row, _| read_ledger(row),
    },
    Source {
        rows: "SELECT e.received_at_ms AS at_ms, 'e' || e.id AS sort, e.id AS id, e.type AS type, j.state AS state, \
               j.last_error AS last_error FROM events e JOIN jobs j ON j.event_id = e.id \
               WHERE e.id IN (SELECT id FROM events WHERE stream_key IN ($5, $6) \
               UNION SELECT event_id FROM jobs WHERE customer_id = $1 AND event_id IS NOT NULL)",
        order: LATEST_FIRST,
        has_stream: true,
        read: |row, _| read_event(row),
    },
    Source {
        rows: "SELECT at_ms, 'a' || id AS sort, actor, action, details FROM audit_log WHERE target = $1",
        order: LATEST_FIRST,
        has_stream: false,
        read: |row, _| read_audit(row),
    },
    Source {
        rows: "SELECT j.created_at_ms AS at_ms, 'm' || j.id AS sort, j.id AS id, j.args AS args, j.state AS state, \
               m.state AS kept, j.run_at_ms AS run_at_ms, j.last_error AS last_error \
               FROM jobs j LEFT JOIN mails m ON m.job_id = j.id WHERE j.customer_id = $1 AND j.kind = 'mail.send'",
        order: LATEST_FIRST,
        has_stream: false,
        read: |row, _| read_mail(row),
    },
    Source {
        rows: "SELECT created_at_ms AS at_ms, 'o' || id AS sort, id, kind, state, problem, request, stripe_id, \
               idempotency_key, refunded FROM operations WHERE customer_id = $1",
        order: LATEST_FIRST,
        has_stream: false,
        read: |row, _| read_operation(row),
    },
    Source {
        rows: "SELECT created_at_ms AS at_ms, 'i' || id AS sort, id, is_paid, amount, currency, credits, failure, \
               refunded FROM invoices WHERE customer_id = $1",
        order: LATEST_FIRST,
        has_stream: false,
        read: |row, _| read_invoice(row),
    },
    Source {
        rows: "SELECT created_at_ms AS at_ms, 'j' || id AS sort, id, kind, state, run_at_ms, last_error FROM jobs \
               WHERE customer_id = $1 AND kind <> 'mail.send' AND event_id IS NULL",
        order: LATEST_FIRST,
        has_stream: false,
        read: read_job,
    },
];

/// The history of a customer, latest first, before this moment (its time and `sort`).
pub async fn timeline_list(
    db: &impl ConnectionTrait,
    customer: &Customer,
    before: Option<(TimeMs, &str)>,
    limit: u64,
    now_ms: TimeMs,
) -> Result<Vec<HistoryEntry>> {
    let bought = marketplace_find_by_customer(db, &customer.id).await?;
    let streams = [
        customer.stripe_customer_id.as_ref().map(|id| stripe_stream(id)),
        bought.map(|account| github::stream_key(account.github_account_id)),
    ];
    let (before_ms, before_sort) = before.unwrap_or((TimeMs::MAX, ""));
    let mut found = Vec::new();
    for source in &SOURCES {
        // All of the latest may come from one source.
        let sql = format!(
            "SELECT * FROM ({}) s WHERE s.at_ms < $2 OR (s.at_ms = $2 AND s.sort < $3) \
             ORDER BY {} LIMIT $4",
            source.rows, source.order
        );
        let mut values: Vec<Value> =
            vec![customer.id.as_str().into(), before_ms.into(), before_sort.into(), limit.cast_signed().into()];
        if source.has_stream {
            // No stream has an empty key.
            values.extend(streams.iter().map(|stream| stream.clone().unwrap_or_default().into()));
        }
        for row in query_all(db, &sql, values).await? {
            let (what, details) = (source.read)(&row, now_ms)?;
            found.push(HistoryEntry { at_ms: get(&row, "at_ms")?, sort: get(&row, "sort")?, what, details });
        }
    }
    found.sort_by(|a, b| (b.at_ms, &b.sort).cmp(&(a.at_ms, &a.sort)));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

fn text(row: &QueryResult, column: &str) -> Result<String> {
    get(row, column)
}

fn optional(row: &QueryResult, column: &str) -> Result<Option<String>> {
    get(row, column)
}

fn read_ledger(row: &QueryResult) -> Result<(String, serde_json::Value)> {
    let (amount, balance_after): (i64, i64) = (get(row, "amount")?, get(row, "balance_after")?);
    let detail: serde_json::Value = from_json(&text(row, "detail")?)?;
    let details = json!({
        "amount": amount, "balance_after": balance_after, "source": text(row, "source")?,
        "reference": optional(row, "reference")?, "reason": detail["reason"],
        "idempotency_key": own_key(optional(row, "idempotency_key")?),
    });
    Ok((format!("ledger.{}", text(row, "kind")?), details))
}

fn read_event(row: &QueryResult) -> Result<(String, serde_json::Value)> {
    // The same states as in lists of events.
    let state = match text(row, "state")?.as_str() {
        "succeeded" => "processed",
        "cancelled" => "skipped",
        "dead" => "dead",
        _ => "waiting",
    };
    let details = json!({ "id": text(row, "id")?, "state": state, "last_error": optional(row, "last_error")? });
    Ok((format!("event.{}", text(row, "type")?), details))
}

fn read_audit(row: &QueryResult) -> Result<(String, serde_json::Value)> {
    let details: serde_json::Value = serde_json::from_str(&text(row, "details")?).unwrap_or_default();
    Ok((format!("audit.{}", text(row, "action")?), json!({ "actor": text(row, "actor")?, "details": details })))
}

fn read_mail(row: &QueryResult) -> Result<(String, serde_json::Value)> {
    let args: MailArgs = from_json(&text(row, "args")?)?;
    let job_id = JobId::parse(&text(row, "id")?).map_err(|error| Error::Corrupt(error.to_string()))?;
    let state = mail_state(optional(row, "kept")?.as_deref(), &text(row, "state")?)?;
    let details = json!({
        "id": MailId::of(&job_id).as_str(), "state": state.as_str(), "due_at": rfc3339(get(row, "run_at_ms")?),
        "last_error": optional(row, "last_error")?,
    });
    Ok((format!("mail.{}", args.template.as_str()), details))
}

fn read_operation(row: &QueryResult) -> Result<(String, serde_json::Value)> {
    let problem: Option<serde_json::Value> = optional(row, "problem")?.map(|text| from_json(&text)).transpose()?;
    // The link that finishes a payment is only for the customer.
    let code = problem.as_ref().map(|problem| problem["code"].clone());
    let request: serde_json::Value = from_json(&text(row, "request")?)?;
    let mut details = json!({
        "id": text(row, "id")?, "state": text(row, "state")?, "problem": code,
        "idempotency_key": own_key(optional(row, "idempotency_key")?), "stripe_id": optional(row, "stripe_id")?,
    });
    if let Some(reason) = problem.as_ref().map(|problem| &problem["decline_code"]).filter(|reason| reason.is_string()) {
        details["decline_code"] = reason.clone();
    }
    if request["amount_minor"].is_i64() {
        details["amount_minor"] = request["amount_minor"].clone();
        details["currency"] = request["currency"].clone();
        details["credits"] = request["credits"].clone();
        details["refunded_minor"] = get::<i64>(row, "refunded")?.into();
    }
    Ok((format!("operation.{}", text(row, "kind")?), details))
}

/// The key that the customer chose; none if it is one of ours.
fn own_key(stored: Option<String>) -> Option<String> {
    stored.and_then(|key| key.strip_prefix("api:").map(str::to_owned))
}

fn read_invoice(row: &QueryResult) -> Result<(String, serde_json::Value)> {
    let (amount, credits): (Option<i64>, i64) = (get(row, "amount")?, get(row, "credits")?);
    let details = json!({
        "id": text(row, "id")?, "amount_minor": amount, "currency": optional(row, "currency")?, "credits": credits,
        "refunded_minor": get::<i64>(row, "refunded")?, "reason": optional(row, "failure")?,
    });
    let what = match (get(row, "is_paid")?, amount) {
        (true, Some(..0)) => "invoice.credited",
        (true, _) => "invoice.paid",
        (false, _) => "invoice.failed",
    };
    Ok((what.to_owned(), details))
}

fn read_job(row: &QueryResult, now_ms: TimeMs) -> Result<(String, serde_json::Value)> {
    let (state, run_at_ms) = (text(row, "state")?, get(row, "run_at_ms")?);
    let shown = JobState::parse(&state).map_or(state.as_str(), |state| state.shown(run_at_ms, now_ms));
    let details = json!({
        "id": text(row, "id")?, "state": shown, "due_at": rfc3339(run_at_ms),
        "last_error": optional(row, "last_error")?,
    });
    Ok((format!("job.{}", text(row, "kind")?), details))
}
