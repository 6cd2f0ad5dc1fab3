//! Support: customers' mails, sent and scheduled, and sending one again.

use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::{PathId, parse_id};
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::mail::MailState;
use bursar_engine::ids::{CustomerId, MailId};
use bursar_engine::infra::store::customer;
use bursar_engine::infra::store::mail::{MailFilter, MailRow, mail_find, mail_kept, mail_list};
use bursar_engine::usecase::mail::{Resend, resend};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// Routes of mail for staff.
pub struct AdminMailApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_mails", &["invalid_time", "not_found"]),
    OperationDoc::new("admin_get_mail", &["not_found"]),
    OperationDoc::new(
        "admin_resend_mail",
        &["busy", "invalid_reason", "job_not_ended", "mail_holds_link", "mail_not_sent", "not_found"],
    ),
    OperationDoc::new("admin_list_customer_emails", &["not_found"]),
];

/// The state of a mail.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case", remote = "MailState")]
enum MailStateBody {
    /// Not due yet, or waiting for its turn or its next attempt.
    Queued,
    /// The SMTP server accepted it.
    Sent,
    /// No SMTP server is configured; it can be read here.
    Stored,
    /// Given up.
    Failed,
    /// Not relevant any more, or cancelled by support.
    Cancelled,
}

/// A mail.
#[derive(Debug, Object)]
#[oai(example)]
struct MailBody {
    /// Its identifier.
    id: String,
    /// The customer.
    customer_id: String,
    /// Its template: `welcome`, `followup_day_1`, `low_credit` …
    template: String,
    /// `queued`, `sent`, `stored`, `failed` or `cancelled`.
    state: String,
    /// Number of attempts to send it.
    attempts: i64,
    /// Why it was not sent.
    last_error: Option<String>,
    /// When it is due.
    due_at: String,
    /// The mail that it repeats.
    copy_of: Option<String>,
    /// The address, once it is sent or stored.
    recipient: Option<String>,
    /// Its subject, once it is sent or stored.
    subject: Option<String>,
    /// Its Message-ID, the same for each attempt to send it.
    message_id: Option<String>,
    /// The job that sends it.
    job_id: String,
    /// When it was created.
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

/// A mail with its content.
#[derive(Debug, Object)]
#[oai(example)]
struct MailDetail {
    /// The mail.
    mail: MailBody,
    /// The plain text, once it is sent or stored. A link in a mail that was sent is masked.
    text: Option<String>,
    /// The HTML, once it is sent or stored. A link in a mail that was sent is masked.
    html: Option<String>,
}

impl Example for MailDetail {
    fn example() -> Self {
        Self { mail: MailBody::example(), text: sample::text("You have 1 fix left."), html: None }
    }
}

async fn find(app: &App, id: &MailId) -> Result<MailRow, Error> {
    mail_find(app.db.read(), id).await?.ok_or(Error::NotFound("mail"))
}

async fn detail(app: &App, row: &MailRow) -> Result<Json<MailDetail>, ApiError> {
    let kept = mail_kept(app.db.read(), &row.id).await?.map(|(_, kept)| kept);
    let (text, html) = kept.map(|kept| (kept.text, kept.html)).unzip();
    Ok(Json(MailDetail { mail: row.into(), text, html }))
}

async fn mail_page(app: &App, filter: MailFilter, page: PageQuery) -> Result<Json<MailPage>, ApiError> {
    let rows = mail_list(app.db.read(), &filter, page.cursor_or_empty(), page.rows_to_query()).await?;
    Ok(page.answer(rows, |row| row.id.to_string(), |row| MailBody::from(&row)))
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminMailApi {
    /// Find mails
    ///
    /// Including mails that are not due yet, such as the follow-ups of a new customer.
    #[oai(path = "/admin/v1/mails", method = "get", operation_id = "admin_list_mails")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only mails of this customer.
        customer: Query<Option<String>>,
        /// Only mails in this state.
        state: Query<Option<MailStateBody>>,
        /// Only mails that were not sent for a reason that contains this text.
        error: Query<Option<String>>,
        /// Only mails that were made at this time or later, whenever they are due.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<MailPage>, ApiError> {
        let customer = customer.0.as_deref().map(parse_id).transpose()?;
        let filter = MailFilter {
            customer,
            state: state.0.map(MailState::from),
            from_ms: input::time("from", from.0.as_deref())?,
            error: input::text(error.0),
        };
        mail_page(&app, filter, PageQuery::parse(cursor.0, limit.0)?).await
    }

    /// Look at a mail
    ///
    /// With its content, once it was sent or stored.
    #[oai(path = "/admin/v1/mails/:id", method = "get", operation_id = "admin_get_mail")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The mail.
        id: Path<PathId<MailId>>,
    ) -> Result<Json<MailDetail>, ApiError> {
        detail(&app, &find(&app, &id.0.parsed()?).await?).await
    }

    /// Send a mail again
    ///
    /// A mail that was sent or stored is sent again unchanged, as a new mail. The answer is that new mail. A mail that
    /// failed is tried again. A mail with a link cannot be sent again once it was sent or stored (409
    /// `mail_holds_link`): send a new link.
    #[oai(path = "/admin/v1/mails/:id/resend", method = "post", operation_id = "admin_resend_mail")]
    async fn resend(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The mail.
        id: Path<PathId<MailId>>,
        /// Makes repeating this safe: the same key never sends twice.
        #[oai(name = "Idempotency-Key")]
        key: Header<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<MailDetail>, ApiError> {
        let key = input::idempotency_key(&key.0)?;
        let hash = input::request_hash("admin_resend_mail", &body.0);
        let reason = check_reason(&body.0.reason)?;
        let row = find(&app, &id.0.parsed()?).await?;
        let request = Resend { key: &key, request_hash: &hash, actor: &auth.0.actor, reason: &reason };
        let (row, wakes) = resend(&app.db, row, request, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(wakes);
        detail(&app, &row).await
    }

    /// A customer's mails
    ///
    /// The latest first, including mails that are not due yet.
    #[oai(path = "/admin/v1/customers/:id/emails", method = "get", operation_id = "admin_list_customer_emails")]
    async fn of_customer(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<MailPage>, ApiError> {
        let id = id.0.parsed()?;
        customer::customer_find(app.db.read(), &id).await?.ok_or(Error::NotFound("customer"))?;
        let filter = MailFilter { customer: Some(id), ..MailFilter::default() };
        mail_page(&app, filter, PageQuery::parse(cursor.0, limit.0)?).await
    }
}
