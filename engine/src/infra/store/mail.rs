//! Rows of `mails`, and of the jobs that send them.

use super::{ID_LAG_MAX_MS, Kind, Rows, containing, from_json, get, query_all, query_one};
use crate::clock::TimeMs;
use crate::domain::job::JobState;
use crate::domain::mail::{Mail, MailArgs, MailState, Rendered, Template};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, JobId, MailId};
use sea_orm::{ConnectionTrait, QueryResult, Value};

/// A mail with its job.
#[derive(Debug, Clone)]
pub struct MailRow {
    /// Its identifier.
    pub id: MailId,
    /// The job that sends it.
    pub job_id: JobId,
    /// The job's arguments.
    pub args: MailArgs,
    /// Its state.
    pub state: MailState,
    /// Attempts at sending it.
    pub attempts: i64,
    /// The earliest time to send it.
    pub due_at_ms: TimeMs,
    /// Why it was not sent.
    pub last_error: Option<String>,
    /// When it was created.
    pub created_at_ms: TimeMs,
    /// The address, once it is sent or stored.
    pub recipient: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The Message-ID.
    pub message_id: Option<String>,
    /// When it was sent or stored.
    pub sent_at_ms: Option<TimeMs>,
}

const COLUMNS: &str = "j.id AS job_id, j.args AS args, j.state AS job_state, j.attempt AS attempt, \
                       j.run_at_ms AS run_at_ms, j.last_error AS last_error, j.created_at_ms AS created_at_ms, \
                       m.state AS state, m.recipient AS recipient, m.subject AS subject, \
                       m.message_id AS message_id, m.sent_at_ms AS sent_at_ms";
const TABLES: &str = "jobs j LEFT JOIN mails m ON m.job_id = j.id";

/// When the latest mail of a template was sent or stored for a customer.
pub async fn mail_last_sent(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    template: Template,
) -> Result<Option<TimeMs>> {
    let sql = "SELECT MAX(m.sent_at_ms) AS at_ms FROM jobs j JOIN mails m ON m.job_id = j.id \
               WHERE j.kind = 'mail.send' AND j.customer_id = $1 AND m.template = $2";
    let row = query_one(db, sql, [customer.as_str().into(), template.as_str().into()]).await?;
    row.map_or(Ok(None), |row| get(&row, "at_ms"))
}

fn read(row: &QueryResult) -> Result<MailRow> {
    let job_id = JobId::trusted(get(row, "job_id")?);
    let args: String = get(row, "args")?;
    let (state, job_state): (Option<String>, String) = (get(row, "state")?, get(row, "job_state")?);
    Ok(MailRow {
        id: MailId::of(&job_id),
        job_id,
        args: from_json(&args)?,
        state: mail_state(state.as_deref(), &job_state)?,
        attempts: get(row, "attempt")?,
        due_at_ms: get(row, "run_at_ms")?,
        last_error: get(row, "last_error")?,
        created_at_ms: get(row, "created_at_ms")?,
        recipient: get(row, "recipient")?,
        subject: get(row, "subject")?,
        message_id: get(row, "message_id")?,
        sent_at_ms: get(row, "sent_at_ms")?,
    })
}

/// The state of a stored mail, else that of its job.
pub(super) fn mail_state(kept: Option<&str>, job: &str) -> Result<MailState> {
    Ok(match (kept, JobState::parse(job)) {
        (Some("sent"), _) => MailState::Sent,
        (Some("stored"), _) => MailState::Stored,
        (None, Some(JobState::Available | JobState::Running)) => MailState::Queued,
        // No version of Bursar lets a job succeed without storing its mail.
        (None, Some(JobState::Cancelled | JobState::Succeeded)) => MailState::Cancelled,
        (None, Some(JobState::Dead)) => MailState::Failed,
        _ => return Err(Error::Corrupt(format!("mail state {kept:?}, job state {job}"))),
    })
}

/// A search for mails. Empty fields match everything.
#[derive(Debug, Clone, Default)]
pub struct MailFilter {
    /// The customer.
    pub customer: Option<CustomerId>,
    /// The state.
    pub state: Option<MailState>,
    /// Made at or after this.
    pub from_ms: Option<TimeMs>,
    /// Text that the reason contains for which it was not sent.
    pub error: Option<String>,
}

/// Mails newest first, before the cursor (a mail's id; empty for the first page).
pub async fn mail_list(
    db: &impl ConnectionTrait,
    filter: &MailFilter,
    before: &str,
    limit: u64,
) -> Result<Vec<MailRow>> {
    let mut clause = "j.kind = 'mail.send'".to_owned();
    let mut values: Vec<Value> = Vec::new();
    if let Some(customer) = &filter.customer {
        values.push(customer.as_str().into());
        clause.push_str(&format!(" AND j.customer_id = ${}", values.len()));
    }
    if !before.is_empty() {
        values.push(MailId::parse(before).map_err(invalid_cursor)?.job_id().as_str().into());
        clause.push_str(&format!(" AND j.id < ${}", values.len()));
    }
    if let Some(from) = filter.from_ms {
        values.push(from.into());
        values.push(JobId::before(from.saturating_sub(ID_LAG_MAX_MS)).into());
        let at = values.len();
        clause.push_str(&format!(" AND j.created_at_ms >= ${} AND j.id >= ${at}", at - 1));
    }
    if let Some(error) = &filter.error {
        values.push(containing(error).into());
        clause.push_str(&format!(" AND j.last_error LIKE ${} ESCAPE '\\'", values.len()));
    }
    clause.push_str(match filter.state {
        None => "",
        Some(MailState::Sent) => " AND m.state = 'sent'",
        Some(MailState::Stored) => " AND m.state = 'stored'",
        Some(MailState::Queued) => " AND m.id IS NULL AND j.state IN ('available', 'running')",
        Some(MailState::Failed) => " AND m.id IS NULL AND j.state = 'dead'",
        Some(MailState::Cancelled) => " AND m.id IS NULL AND j.state IN ('cancelled', 'succeeded')",
    });
    values.push(limit.cast_signed().into());
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE {clause} ORDER BY j.id DESC LIMIT ${}", values.len());
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

fn invalid_cursor(_: crate::ids::IdError) -> Error {
    Error::invalid("invalid_cursor", "cursor must be a next_cursor of an earlier answer of this list.")
}

/// Finds a mail.
pub async fn mail_find(db: &impl ConnectionTrait, id: &MailId) -> Result<Option<MailRow>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE j.kind = 'mail.send' AND j.id = $1");
    query_one(db, &sql, [id.job_id().as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds a mail by the unique key of its job.
pub async fn mail_find_by_key(db: &impl ConnectionTrait, unique_key: &str) -> Result<Option<MailRow>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE j.kind = 'mail.send' AND j.unique_key = $1");
    query_one(db, &sql, [unique_key.into()]).await?.map(|row| read(&row)).transpose()
}

/// The contents of a mail that was sent or stored, with any API key masked.
pub async fn mail_kept(db: &impl ConnectionTrait, id: &MailId) -> Result<Option<(Template, Rendered)>> {
    let sql = "SELECT template, subject, body_text, body_html FROM mails WHERE id = $1";
    let Some(row) = query_one(db, sql, [id.as_str().into()]).await? else { return Ok(None) };
    let name: String = get(&row, "template")?;
    let template = Template::parse(&name).ok_or_else(|| Error::Corrupt(format!("mail template {name}")))?;
    let kept =
        Rendered { subject: get(&row, "subject")?, text: get(&row, "body_text")?, html: get(&row, "body_html")? };
    Ok(Some((template, kept)))
}

/// Stores mails that were sent or are only stored. Later writes of the same mail are ignored.
pub async fn mail_put_many(db: &impl ConnectionTrait, mails: &[&Mail]) -> Result<()> {
    if mails.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("job_id", Kind::Text),
        ("customer_id", Kind::Text),
        ("template", Kind::Text),
        ("recipient", Kind::Text),
        ("subject", Kind::Text),
        ("body_text", Kind::Text),
        ("body_html", Kind::Text),
        ("state", Kind::Text),
        ("message_id", Kind::Text),
        ("sent_at_ms", Kind::Int),
    ]);
    for mail in mails {
        rows.push([
            mail.id.as_str().into(),
            mail.id.job_id().as_str().into(),
            mail.customer_id.as_str().into(),
            mail.template.as_str().into(),
            mail.recipient.as_str().into(),
            mail.kept.subject.as_str().into(),
            mail.kept.text.as_str().into(),
            mail.kept.html.as_str().into(),
            mail.state.as_str().into(),
            mail.message_id.as_str().into(),
            mail.sent_at_ms.into(),
        ]);
    }
    let columns = "id, job_id, customer_id, template, recipient, subject, body_text, body_html, state, message_id, \
                   sent_at_ms";
    let sql =
        format!("INSERT INTO mails ({columns}) SELECT {columns} FROM {{rows}} WHERE true ON CONFLICT (id) DO NOTHING");
    db.execute_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    Ok(())
}
