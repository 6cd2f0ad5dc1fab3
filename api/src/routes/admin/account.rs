//! Support: debts, credit limits, and suspended customers.

use super::customer::AdjustedBody;
use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::bodies::Transaction;
use crate::routes::path_id::PathId;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use bursar_actors::{Applied, Request};
use bursar_engine::Error;
use bursar_engine::amount::{Credits, UNITS_MAX};
use bursar_engine::domain::audit::Audit;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::ledger::{Command, Op};
use bursar_engine::error::Refusal;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::account;
use poem::web::Data;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes of customers' accounts for staff.
pub struct AdminAccountApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_write_off", &["busy", "invalid_reason", "not_found", "nothing_to_do", "too_many_open"]),
    OperationDoc::new("admin_set_credit_limit", &["busy", "invalid_credit_limit", "invalid_reason", "not_found"]),
    OperationDoc::new("admin_suspend_customer", &["busy", "invalid_reason", "not_found"]),
    OperationDoc::new("admin_resume_customer", &["busy", "invalid_reason", "not_found"]),
];

/// A credit limit.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct CreditLimitRequest {
    /// How many credits below zero the customer may go, 0 to 1000000.
    credits: i64,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for CreditLimitRequest {
    fn example() -> Self {
        Self { credits: 100, reason: "pays by invoice each quarter, ticket 4711".into() }
    }
}

/// What a customer may do.
#[derive(Debug, Object)]
#[oai(example)]
struct AccountTerms {
    /// The customer.
    customer_id: String,
    /// All credits; negative is debt.
    credit_balance: i64,
    /// How many credits below zero it may go.
    credit_limit: i64,
    /// Whether it is suspended.
    suspended: bool,
}

impl Example for AccountTerms {
    fn example() -> Self {
        Self { customer_id: crate::sample::CUSTOMER.to_owned(), credit_balance: 5, credit_limit: 100, suspended: false }
    }
}

/// Has a customer's account decide a command of staff, with its line in the audit log.
async fn decide(
    app: &App,
    id: &CustomerId,
    op: Op,
    (actor, act): (&str, &'static str),
    details: &Value,
    key: Option<(String, String)>,
) -> Result<Applied, Error> {
    let (idempotency_key, request_hash) = key.unzip();
    let command =
        Command { op, source: "support".to_owned(), reference: None, idempotency_key, request_hash, metadata: None };
    let audit = Audit::new(actor, act, id, details);
    let request = Request { command, finish: None, effects: vec![Effect::Audit(audit)] };
    app.runtime.customers.apply(id, request).await
}

/// The terms after a change. What is so already is no error: the request was repeated.
async fn terms(app: &App, id: &CustomerId, changed: Result<Applied, Error>) -> Result<Json<AccountTerms>, ApiError> {
    match changed {
        Ok(_) | Err(Error::Refused(Refusal::NothingToDo)) => {}
        Err(error) => return Err(error.into()),
    }
    let account = account::account_find(app.db.write(), id).await?.ok_or(Error::NotFound("customer"))?;
    Ok(Json(AccountTerms {
        customer_id: id.to_string(),
        credit_balance: account.balance.0,
        credit_limit: -account.floor.0,
        suspended: account.open.suspended,
    }))
}

#[OpenApi]
impl AdminAccountApi {
    /// Write a debt off
    ///
    /// Brings a balance below zero to zero. The reason is kept with the transaction and in the audit log.
    #[oai(
        path = "/admin/v1/customers/:id/write-off",
        method = "post",
        operation_id = "admin_write_off",
        tag = "Tag::Admin"
    )]
    async fn write_off(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<AdjustedBody>, ApiError> {
        let id = id.0.parsed()?;
        let key = format!("admin:{}", input::idempotency_key(&idempotency_key.0)?);
        let hash = input::request_hash("write_off", &body.0);
        let reason = check_reason(&body.0.reason)?;
        let act = (auth.0.actor.as_str(), "customer.write_off");
        let op = Op::WriteOff { reason: reason.clone() };
        let applied = decide(&app, &id, op, act, &json!({ "reason": reason }), Some((key, hash))).await?;
        Ok(Json(AdjustedBody {
            transaction: Transaction::new(&id, &applied.entry),
            credit_balance: applied.entry.balance_after.0,
            replayed: applied.replayed,
        }))
    }

    /// Set a credit limit
    ///
    /// The customer may then go below zero, down to this many credits, before it is refused or charged. What it gets
    /// later pays the debt first. A debt that is larger than a lower limit stays.
    #[oai(
        path = "/admin/v1/customers/:id/credit-limit",
        method = "post",
        operation_id = "admin_set_credit_limit",
        tag = "Tag::Admin"
    )]
    async fn set_credit_limit(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<CreditLimitRequest>,
    ) -> Result<Json<AccountTerms>, ApiError> {
        let id = id.0.parsed()?;
        let Json(CreditLimitRequest { credits, reason }) = body;
        let reason = check_reason(&reason)?;
        if !(0..=UNITS_MAX.0).contains(&credits) {
            let detail = format!("credits must be from 0 to {UNITS_MAX}");
            return Err(ApiError::bad_request("invalid_credit_limit", detail));
        }
        let details = json!({ "credits": credits, "reason": reason });
        let act = (auth.0.actor.as_str(), "customer.credit_limit");
        let op = Op::SetLimit { limit: Credits(credits), reason };
        let changed = decide(&app, &id, op, act, &details, None).await;
        terms(&app, &id, changed).await
    }

    /// Suspend a customer
    ///
    /// It can spend and reserve no credits, and nothing is charged by its requests: they are refused with 403
    /// `customer_suspended`. What was reserved before can be captured. It can read everything, and Stripe's events
    /// count as before. Follow-up mails stop. Its subscription at Stripe goes on: cancel it if it should not be paid.
    #[oai(
        path = "/admin/v1/customers/:id/suspend",
        method = "post",
        operation_id = "admin_suspend_customer",
        tag = "Tag::Admin"
    )]
    async fn suspend(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<AccountTerms>, ApiError> {
        set_suspended(&app, &auth.0.actor, id.0.parsed()?, true, &body.0.reason).await
    }

    /// End a suspension
    ///
    /// The customer can do everything as before.
    #[oai(
        path = "/admin/v1/customers/:id/resume",
        method = "post",
        operation_id = "admin_resume_customer",
        tag = "Tag::Admin"
    )]
    async fn resume(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<AccountTerms>, ApiError> {
        set_suspended(&app, &auth.0.actor, id.0.parsed()?, false, &body.0.reason).await
    }
}

async fn set_suspended(
    app: &App,
    actor: &str,
    id: CustomerId,
    suspended: bool,
    reason: &Text,
) -> Result<Json<AccountTerms>, ApiError> {
    let reason = check_reason(reason)?;
    let act = (actor, if suspended { "customer.suspend" } else { "customer.resume" });
    let details = json!({ "reason": reason });
    let changed = decide(app, &id, Op::SetSuspended { suspended, reason }, act, &details, None).await;
    terms(app, &id, changed).await
}
