//! Support: payments, invoices and operations of all customers, and refunds.

pub(super) mod body;
mod refund_body;

use self::body::{
    AdminInvoice, AdminInvoicePage, AdminOperationPage, OperationRow, PaymentBody, PaymentDetail, PaymentPage,
};
use self::refund_body::{RefundAnswer, RefundRequestBody};
use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::operation::wait_for_end;
use crate::routes::page::PageQuery;
use crate::routes::path_id::parse_id;
use crate::routes::{Tag, input};
use bursar_engine::Error;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::operation::State;
use bursar_engine::domain::payment::{Invoice, InvoiceCredits, Payment};
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::payment::{
    OperationFilter, PaymentFilter, PaymentStateFilter, invoice_list, operation_list_all, payment_list,
};
use bursar_engine::usecase::payment::{explain, find, invoice_credits, why_not_found};
use bursar_engine::usecase::refund::{self, RefundDeed, RefundRequest};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, OpenApi};
use std::sync::Arc;

/// Routes of payments for staff.
pub struct AdminPaymentApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_payments", &["invalid_time", "not_found"]),
    OperationDoc::new("admin_get_payment", &["not_found", "stripe_not_configured", "stripe_unavailable"]),
    OperationDoc::new("admin_list_invoices", &["invalid_time", "not_found"]),
    OperationDoc::new("admin_list_operations", &["invalid_time", "not_found"]),
    OperationDoc::new(
        "admin_refund_payment",
        &[
            "busy",
            "invalid_amount",
            "invalid_reason",
            "not_found",
            "payment_disputed",
            "payment_not_refundable",
            "refund_credited",
            "refund_too_large",
            "refund_unclear",
            "refund_under_way",
            "stripe_not_configured",
            "stripe_unavailable",
        ],
    ),
];

/// A state of payments.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum PaymentStateParameter {
    /// Under way.
    Processing,
    /// Waits for the customer's authentication.
    RequiresAction,
    /// Declined, or not carried out.
    Failed,
    /// Paid, and nothing was given back.
    Paid,
    /// Paid, and some or all of it was given back.
    Refunded,
    /// Paid, and a dispute holds or has taken some or all of it.
    Disputed,
}

impl From<PaymentStateParameter> for PaymentStateFilter {
    fn from(state: PaymentStateParameter) -> Self {
        match state {
            PaymentStateParameter::Processing => Self::Processing,
            PaymentStateParameter::RequiresAction => Self::RequiresAction,
            PaymentStateParameter::Failed => Self::Failed,
            PaymentStateParameter::Paid => Self::Paid,
            PaymentStateParameter::Refunded => Self::Refunded,
            PaymentStateParameter::Disputed => Self::Disputed,
        }
    }
}

/// A state of operations.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum OperationStateParameter {
    /// Under way.
    Processing,
    /// Waits for the customer.
    RequiresAction,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
}

impl From<OperationStateParameter> for State {
    fn from(state: OperationStateParameter) -> Self {
        match state {
            OperationStateParameter::Processing => Self::Processing,
            OperationStateParameter::RequiresAction => Self::RequiresAction,
            OperationStateParameter::Succeeded => Self::Succeeded,
            OperationStateParameter::Failed => Self::Failed,
        }
    }
}

fn filter(
    customer: Option<String>,
    state: Option<PaymentStateParameter>,
    (from, to): (Option<&str>, Option<&str>),
    reason: Option<String>,
) -> Result<PaymentFilter, ApiError> {
    Ok(PaymentFilter {
        customer: customer.as_deref().map(parse_id::<CustomerId>).transpose()?,
        state: state.map(Into::into),
        from_ms: input::time("from", from)?,
        to_ms: input::time("to", to)?,
        reason: input::text(reason),
    })
}

/// The key of a cursor: the time of a row, and its id.
fn cursor_key(at_ms: TimeMs, id: &str) -> String {
    format!("{at_ms} {id}")
}

/// Parses what [`cursor_key`] makes.
fn parse_key(key: &str) -> Option<(TimeMs, String)> {
    let (at_ms, id) = key.split_once(' ')?;
    Some((at_ms.parse().ok()?, id.to_owned()))
}

async fn find_payment(app: &App, id: &str) -> Result<Payment, ApiError> {
    let deps = app.for_support();
    if let Some(payment) = find(&deps, id).await? {
        return Ok(payment);
    }
    match why_not_found(&deps, id).await? {
        Some(why) => Err(ApiError::with_code("not_found", why)),
        None => Err(Error::NotFound("payment").into()),
    }
}

#[OpenApi]
impl AdminPaymentApi {
    /// Find payments
    ///
    /// Charges that operations made, and payments of invoices, latest first. What Stripe refused is listed as well.
    #[oai(path = "/admin/v1/payments", method = "get", operation_id = "admin_list_payments", tag = "Tag::Admin")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only of this customer.
        customer: Query<Option<String>>,
        /// Only in this state.
        state: Query<Option<PaymentStateParameter>>,
        /// Only those asked for at this time or later.
        from: Query<Option<String>>,
        /// Only those asked for before this time.
        to: Query<Option<String>>,
        /// Only those that failed for a reason that contains this text, such as `card_declined`.
        reason: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<PaymentPage>, ApiError> {
        let page = PageQuery::parse_by(cursor.0, limit.0, parse_key)?;
        let filter = filter(customer.0, state.0, (from.0.as_deref(), to.0.as_deref()), reason.0)?;
        let before = page.cursor.as_ref().map(|(at_ms, id)| (*at_ms, id.as_str()));
        let found = payment_list(app.db.read(), &filter, before, page.rows_to_query()).await?;
        Ok(page.answer(found, |row| cursor_key(row.created_at_ms, &row.id), PaymentBody::from))
    }

    /// Look at a payment
    ///
    /// By the id of its operation, its PaymentIntent, its invoice or its charge. With everything that happened to it,
    /// in plain words. An invoice is a payment once it is paid or a payment of it fails. Of another one, 404
    /// `not_found` says where it stands at Stripe, if its Stripe customer belongs to a customer.
    #[oai(path = "/admin/v1/payments/:id", method = "get", operation_id = "admin_get_payment", tag = "Tag::Admin")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The payment.
        id: Path<String>,
    ) -> Result<Json<PaymentDetail>, ApiError> {
        let payment = find_payment(&app, &id.0).await?;
        let steps = explain(&app.for_support(), &payment).await?;
        Ok(Json(PaymentDetail::new(payment, steps)))
    }

    /// Refund a payment
    ///
    /// Gives money of a card payment back: of a charge, or of an invoice. `credits` says what becomes of the credits
    /// that this money bought: `unspent` takes their share as far as it is not spent, `all` takes it even if the
    /// customer then owes credits, `none` leaves them. The choice is written into the refund at Stripe, so that every
    /// event about it leads to the same credits. With `dry_run` nothing is changed, and the answer says what would be.
    ///
    /// Money that later changes of the subscription have credited to the customer at Stripe is not given back once
    /// more: 422 `refund_credited`, unless `beyond_credited` says so.
    ///
    /// A refund that takes longer is answered with the state `processing`: look at the payment.
    #[oai(
        path = "/admin/v1/payments/:id/refund",
        method = "post",
        operation_id = "admin_refund_payment",
        tag = "Tag::Admin"
    )]
    async fn refund(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The payment: the id of its operation, its PaymentIntent, its invoice or its charge.
        id: Path<String>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<RefundRequestBody>,
    ) -> Result<Json<RefundAnswer>, ApiError> {
        let key = format!("admin:{}", input::idempotency_key(&idempotency_key.0)?);
        let reason = check_reason(&body.0.reason)?;
        let payment = find_payment(&app, &id.0).await?;
        let request_hash = input::request_hash(&format!("refund {}", payment.id), &body.0);
        let asked = RefundRequest {
            payment: &payment,
            amount: body.0.amount_minor.map(MoneyMinor),
            beyond_credited: body.0.beyond_credited.unwrap_or(false),
            credits: body.0.choice(),
        };
        let deed =
            RefundDeed { actor: &auth.0.actor, reason: &reason, idempotency_key: &key, request_hash: &request_hash };
        let deps = &app.for_support();
        let is_dry_run = body.0.dry_run.unwrap_or(false);
        if !is_dry_run && let Some(earlier) = refund::find_earlier(deps, &payment, deed).await? {
            return Ok(Json(RefundAnswer::of(&payment, &earlier.operation, None)));
        }
        let plan = refund::plan(deps, asked, app.clock.now_ms()).await?;
        if is_dry_run {
            return Ok(Json(RefundAnswer::planned(&payment, body.0.choice(), &plan)));
        }
        let made = refund::ask(deps, asked, &plan, deed, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(made.wakes);
        let operation = wait_for_end(&app, made.operation, State::Processing).await?;
        Ok(Json(RefundAnswer::of(&payment, &operation, Some(&plan))))
    }

    /// Find invoices
    ///
    /// Invoices for what is sold here that were paid or whose payment failed, latest first.
    #[oai(path = "/admin/v1/invoices", method = "get", operation_id = "admin_list_invoices", tag = "Tag::Admin")]
    #[allow(clippy::too_many_arguments)]
    async fn invoices(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only of this customer.
        customer: Query<Option<String>>,
        /// Only in this state.
        state: Query<Option<PaymentStateParameter>>,
        /// Only those made at this time or later.
        from: Query<Option<String>>,
        /// Only those made before this time.
        to: Query<Option<String>>,
        /// Only those that failed for a reason that contains this text, such as `card_declined`.
        reason: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<AdminInvoicePage>, ApiError> {
        let page = PageQuery::parse_by(cursor.0, limit.0, parse_key)?;
        let filter = filter(customer.0, state.0, (from.0.as_deref(), to.0.as_deref()), reason.0)?;
        let before = page.cursor.as_ref().map(|(at_ms, id)| (*at_ms, id.as_str()));
        let found = invoice_list(app.db.read(), &filter, before, page.rows_to_query()).await?;
        let credits = invoice_credits(&app.db, &found).await?;
        let found: Vec<_> = found.into_iter().zip(credits).collect();
        let key = |(row, _): &(Invoice, InvoiceCredits)| cursor_key(row.created_at_ms, &row.id);
        Ok(page.answer(found, key, |(row, credits)| AdminInvoice::new(row, credits)))
    }

    /// Find operations
    ///
    /// Everything that only Stripe can carry out, of all customers, latest first: charges, changes of payment methods
    /// and subscriptions, refunds.
    #[oai(path = "/admin/v1/operations", method = "get", operation_id = "admin_list_operations", tag = "Tag::Admin")]
    #[allow(clippy::too_many_arguments)]
    async fn operations(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only of this customer.
        customer: Query<Option<String>>,
        /// Only of this kind, such as `usage_charge`.
        kind: Query<Option<String>>,
        /// Only in this state.
        state: Query<Option<OperationStateParameter>>,
        /// Only those asked for at this time or later.
        from: Query<Option<String>>,
        /// Only those asked for before this time.
        to: Query<Option<String>>,
        /// Only those that failed for a reason that contains this text, such as `card_declined`.
        reason: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<AdminOperationPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let filter = OperationFilter {
            customer: customer.0.as_deref().map(parse_id::<CustomerId>).transpose()?,
            kind: kind.0,
            state: state.0.map(|state| State::from(state).as_str().to_owned()),
            from_ms: input::time("from", from.0.as_deref())?,
            to_ms: input::time("to", to.0.as_deref())?,
            reason: input::text(reason.0),
        };
        let before = page.cursor.as_deref();
        let found = operation_list_all(app.db.read(), &filter, before, page.rows_to_query()).await?;
        Ok(page.answer(found, |row| row.id.to_string(), |row| OperationRow::from(&row)))
    }
}
