//! Support: what mail a customer got or will get, and sending one again.

use super::{ReasonRequest, check_reason, not_ended, replay_line};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::Described;
use crate::problem::ApiError;
use crate::routes::page::page;
use crate::routes::{Tag, input, sample};
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::audit::Audit;
use bursar_engine::domain::mail::{self, MailState, Retry, Template};
use bursar_engine::error::Refusal;
use bursar_engine::ids::{CustomerId, MailId};
use bursar_engine::infra::store::mail::{MailFilter, MailRow, mail_find, mail_find_by_key, mail_kept, mail_list};
use bursar_engine::infra::store::{audit, customer, job};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// Routes of mail for staff.
pub struct AdminMailApi;

pub(super) const DESCRIBED: &[Described] = &[
    Described::new("admin_list_mails", &["not_found"]),
    Described::new("admin_get_mail", &["not_found"]),
    Described::new(
        "admin_resend_mail",
        &["busy", "invalid_reason", "job_not_ended", "mail_holds_key", "mail_not_sent", "not_found"],
    ),
    Described::new("admin_list_customer_emails", &["not_found"]),
];

/// Where a mail stands.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum MailStateBody {
    /// Waits for its time, its turn or its next attempt.
    Queued,
    /// The SMTP server took it.
    Sent,
    /// No SMTP server is configured; it can be read here.
    Stored,
    /// Given up.
    Failed,
    /// Made no sense any more, or was cancelled by support.
    Cancelled,
}

impl From<MailStateBody> for MailState {
    fn from(state: MailStateBody) -> Self {
        match state {
            MailStateBody::Queued => Self::Queued,
            MailStateBody::Sent => Self::Sent,
            MailStateBody::Stored => Self::Stored,
            MailStateBody::Failed => Self::Failed,
            MailStateBody::Cancelled => Self::Cancelled,
        }
    }
}

/// A mail.
#[derive(Debug, Object)]
#[oai(example)]
struct MailBody {
    /// Its identifier.
    id: String,
    /// The customer.
    customer_id: String,
    /// Which mail: `welcome`, `followup_day_1`, `low_credit` …
    template: String,
    /// `queued`, `sent`, `stored`, `failed` or `cancelled`.
    state: String,
    /// Attempts at sending it.
    attempts: i64,
    /// Why it was not sent.
    last_error: Option<String>,
    /// Not sent before this.
    due_at: String,
    /// The mail that it repeats.
    copy_of: Option<String>,
    /// The address, once it is sent or stored.
    recipient: Option<String>,
    /// Its subject, once it is sent or stored.
    subject: Option<String>,
    /// Its Message-ID, the same for each attempt at sending it.
    message_id: Option<String>,
    /// The job that sends it.
    job_id: String,
    /// When it was asked for.
    created_at: String,
    /// When it was sent or stored.
    sent_at: Option<String>,
}

impl Example for MailBody {
    fn example() -> Self {
        Self {
            id: sample::MAIL.to_owned(),
            customer_id: sample::CUSTOMER.to_owned(),
            template: "low_credit".to_owned(),
            state: "sent".to_owned(),
            attempts: 1,
            last_error: None,
            due_at: sample::AT.to_owned(),
            copy_of: None,
            recipient: sample::text(sample::EMAIL),
            subject: sample::text("1 fix left"),
            message_id: sample::text("<mal_06bv1k2m8x0q3d5r7t9w1y3z5b@example.com>"),
            job_id: sample::JOB.to_owned(),
            created_at: sample::AT.to_owned(),
            sent_at: sample::text(sample::AT),
        }
    }
}

impl From<&MailRow> for MailBody {
    fn from(row: &MailRow) -> Self {
        Self {
            id: row.id.to_string(),
            customer_id: row.args.customer.to_string(),
            template: row.args.template.as_str().to_owned(),
            state: row.state.as_str().to_owned(),
            attempts: row.attempts,
            last_error: row.last_error.clone(),
            due_at: rfc3339(row.due_at_ms),
            copy_of: row.args.copy_of.as_ref().map(ToString::to_string),
            recipient: row.recipient.clone(),
            subject: row.subject.clone(),
            message_id: row.message_id.clone(),
            job_id: row.job_id.to_string(),
            created_at: rfc3339(row.created_at_ms),
            sent_at: row.sent_at_ms.map(rfc3339),
        }
    }
}

page! {
    /// A page of mails, the latest first.
    MailPage of MailBody
}

/// A mail with what it said.
#[derive(Debug, Object)]
#[oai(example)]
struct MailDetail {
    /// The mail.
    mail: MailBody,
    /// The plain text, once it is sent or stored. An API key in it is masked.
    text: Option<String>,
    /// The HTML, once it is sent or stored. An API key in it is masked.
    html: Option<String>,
}

impl Example for MailDetail {
    fn example() -> Self {
        Self { mail: MailBody::example(), text: sample::text("You have 1 fix left."), html: None }
    }
}

async fn find(app: &App, id: &str) -> Result<MailRow, Error> {
    let id = MailId::parse(id).map_err(|_| Error::NotFound("mail"))?;
    mail_find(app.db.read(), &id).await?.ok_or(Error::NotFound("mail"))
}

async fn detail(app: &App, row: &MailRow) -> Result<Json<MailDetail>, ApiError> {
    let kept = mail_kept(app.db.read(), &row.id).await?.map(|(_, kept)| kept);
    let (text, html) = kept.map(|kept| (kept.text, kept.html)).unzip();
    Ok(Json(MailDetail { mail: row.into(), text, html }))
}

async fn page(
    app: &App,
    filter: MailFilter,
    cursor: Option<&str>,
    limit: Option<u64>,
) -> Result<Json<MailPage>, ApiError> {
    let limit = input::limit(limit)?;
    let before = input::cursor(cursor)?.unwrap_or_default();
    let mut rows = mail_list(app.db.read(), &filter, &before, limit + 1).await?;
    let next_cursor = input::next_cursor(&mut rows, limit, |row| row.id.to_string());
    Ok(Json(MailPage { data: rows.iter().map(MailBody::from).collect(), next_cursor }))
}

fn customer_id(text: &str) -> Result<CustomerId, Error> {
    CustomerId::parse(text).map_err(|_| Error::NotFound("customer"))
}

/// Makes the job that sends the same once more, with a line in the audit log; both once for a key.
async fn again(
    app: &App,
    row: &MailRow,
    (key, hash): (&str, &str),
    actor: String,
    reason: &str,
) -> Result<MailRow, ApiError> {
    let now_ms = app.clock.now_ms();
    let new = mail::job_again(&row.id, &row.args, (key, hash), now_ms);
    let unique_key = new.unique_key.clone().unwrap_or_default();
    let tx = app.db.begin().await?;
    let wakes = job::job_insert_many(&tx, &[new], now_ms).await?;
    if wakes.is_empty() {
        tx.rollback().await.map_err(Error::from)?;
    } else {
        let line = Audit::new(actor, "mail.resend", &row.id, &serde_json::json!({ "reason": reason }));
        audit::audit_append(&tx, &line, now_ms).await?;
        tx.commit().await.map_err(Error::from)?;
        app.runtime.dispatcher.announce(wakes);
    }
    let copy = mail_find_by_key(app.db.read(), &unique_key).await?.ok_or(Error::NotFound("mail"))?;
    if copy.args.request_hash.as_deref() != Some(hash) {
        return Err(Error::from(Refusal::KeyReused).into());
    }
    Ok(copy)
}

/// Whether this request had the mail tried again before.
fn retried(row: &MailRow, (key, hash): (&str, &str)) -> Result<bool, Error> {
    match row.args.retries.iter().find(|retry| retry.key == key) {
        Some(retry) if retry.request_hash == hash => Ok(true),
        Some(_) => Err(Refusal::KeyReused.into()),
        None => Ok(false),
    }
}

/// Has a mail that was given up tried again, with a line in the audit log; both once for a key, which its job
/// keeps.
async fn retry(
    app: &App,
    row: &MailRow,
    (key, hash): (&str, &str),
    actor: String,
    reason: &str,
) -> Result<MailRow, ApiError> {
    let now_ms = app.clock.now_ms();
    let tx = app.db.begin().await?;
    let wake = job::job_requeue(&tx, &row.job_id, now_ms).await?;
    // Nobody else runs or changes the job until this is committed, so its arguments are read now.
    let mut row = mail_find(&tx, &row.id).await?.ok_or(Error::NotFound("mail"))?;
    if retried(&row, (key, hash))? {
        // The same request came twice at once; the other one was first.
        tx.rollback().await.map_err(Error::from)?;
        return Ok(row);
    }
    let Some(wake) = wake else { return Err(not_ended()) };
    row.args.retries.push(Retry { key: key.to_owned(), request_hash: hash.to_owned() });
    job::job_set_args_many(&tx, &[(&row.job_id, &row.args.to_json())]).await?;
    audit::audit_append(&tx, &replay_line(&row.job_id, actor, reason), now_ms).await?;
    tx.commit().await.map_err(Error::from)?;
    app.runtime.dispatcher.announce(vec![wake]);
    Ok(mail_find(app.db.read(), &row.id).await?.ok_or(Error::NotFound("mail"))?)
}

#[OpenApi]
impl AdminMailApi {
    /// Find mails
    ///
    /// Those that wait for their time are among them, such as the follow-ups of a new customer.
    #[oai(path = "/admin/v1/mails", method = "get", operation_id = "admin_list_mails", tag = "Tag::Admin")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Of this customer.
        customer: Query<Option<String>>,
        /// Where they stand.
        state: Query<Option<MailStateBody>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<MailPage>, ApiError> {
        let customer = customer.0.as_deref().map(customer_id).transpose()?;
        let filter = MailFilter { customer, state: state.0.map(MailState::from) };
        page(&app, filter, cursor.0.as_deref(), limit.0).await
    }

    /// Look at a mail
    ///
    /// With what it said, once it was sent or stored.
    #[oai(path = "/admin/v1/mails/:id", method = "get", operation_id = "admin_get_mail", tag = "Tag::Admin")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The mail.
        id: Path<String>,
    ) -> Result<Json<MailDetail>, ApiError> {
        detail(&app, &find(&app, &id.0).await?).await
    }

    /// Send a mail again
    ///
    /// One that was sent or stored goes out once more as it was, as a mail of its own, which is the
    /// answer. One that was given up is tried again. The welcome cannot be repeated once it was sent or
    /// stored: its API key is forgotten.
    #[oai(path = "/admin/v1/mails/:id/resend", method = "post", operation_id = "admin_resend_mail", tag = "Tag::Admin")]
    async fn resend(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The mail.
        id: Path<String>,
        /// Makes repeating this safe: the same key never sends twice.
        #[oai(name = "Idempotency-Key")]
        key: Header<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<MailDetail>, ApiError> {
        let key = input::idempotency_key(&key.0)?;
        let hash = input::request_hash("admin_resend_mail", &body.0);
        let reason = check_reason(&body.0.reason)?;
        let row = find(&app, &id.0).await?;
        if retried(&row, (&key, &hash))? {
            return detail(&app, &row).await;
        }
        match row.state {
            MailState::Sent | MailState::Stored if row.args.template == Template::Welcome => Err(ApiError::new(
                409,
                "mail_holds_key",
                "The mail told an API key, which is forgotten once the mail is sent. The customer makes a new key \
                 with another one it has.",
            )),
            MailState::Sent | MailState::Stored => {
                let copy = again(&app, &row, (&key, &hash), auth.0.actor, &reason).await?;
                detail(&app, &copy).await
            }
            MailState::Failed => {
                let row = retry(&app, &row, (&key, &hash), auth.0.actor, &reason).await?;
                detail(&app, &row).await
            }
            MailState::Queued => {
                Err(ApiError::new(409, "mail_not_sent", "The mail waits to be sent; its job says for what."))
            }
            MailState::Cancelled => {
                let why = row.last_error.as_deref().unwrap_or("no reason was recorded");
                Err(ApiError::new(409, "mail_not_sent", format!("The mail was cancelled: {why}.")))
            }
        }
    }

    /// A customer's mails
    ///
    /// The latest first, those that wait for their time included.
    #[oai(
        path = "/admin/v1/customers/:id/emails",
        method = "get",
        operation_id = "admin_list_customer_emails",
        tag = "Tag::Admin"
    )]
    async fn of_customer(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<String>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<MailPage>, ApiError> {
        let id = customer_id(&id.0)?;
        customer::customer_find(app.db.read(), &id).await?.ok_or(Error::NotFound("customer"))?;
        let filter = MailFilter { customer: Some(id), state: None };
        page(&app, filter, cursor.0.as_deref(), limit.0).await
    }
}
