//! Support: look a customer up, explain a balance, adjust credits.

use super::check_reason;
use super::event::EventState;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::problem::ApiError;
use crate::routes::shapes::{CustomerBody, Transaction, TransactionPage};
use crate::routes::text::Text;
use crate::routes::usage::{CreditsBody, transaction_page};
use crate::routes::{Tag, input};
use bursar_actors::Request;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::effect::{Audit, Effect};
use bursar_engine::github;
use bursar_engine::ids::CustomerId;
use bursar_engine::ledger::{Command, Op};
use bursar_engine::store::event::{EventFilter, event_list};
use bursar_engine::store::marketplace::marketplace_find_by_customer;
use bursar_engine::store::{account, audit, customer, subscription};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Rows of each kind that a timeline is made of.
const TIMELINE_MAX: u64 = 100;

/// Routes of customers for staff.
pub struct AdminCustomerApi;

/// A page of customers.
#[derive(Debug, Object)]
struct CustomerPage {
    /// The rows, newest first.
    data: Vec<CustomerBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// A subscription as last heard of.
#[derive(Debug, Object)]
struct CustomerSubscription {
    /// Its id at Stripe.
    id: String,
    /// Stripe's status.
    status: String,
    /// Whether its price is Pro's.
    is_pro: bool,
    /// Whether it ends with the period.
    cancel_at_period_end: bool,
    /// When the paid period ends.
    current_period_end: Option<String>,
    /// Since when a payment is missing.
    past_due_since: Option<String>,
    /// Why it is missing.
    past_due_reason: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
}

/// Everything about a customer.
#[derive(Debug, Object)]
struct CustomerDetail {
    /// The customer.
    customer: CustomerBody,
    /// Its credits.
    credits: CreditsBody,
    /// Its subscriptions, latest first.
    subscriptions: Vec<CustomerSubscription>,
}

/// One thing that happened.
#[derive(Debug, Object)]
struct TimelineRow {
    /// When.
    at: String,
    /// What: `ledger.debit`, `event.invoice.paid`, `audit.customer.onboard` …
    what: String,
    /// More about it.
    details: serde_json::Value,
}

/// What happened, latest first.
#[derive(Debug, Object)]
struct Timeline {
    /// The rows.
    data: Vec<TimelineRow>,
}

/// Credits to give or take.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct AdjustRequest {
    /// Credits, positive to give, negative to take, at most 1000000 either way.
    amount: i64,
    /// Why, in words; kept with the transaction and in the audit log.
    reason: Text,
}

impl Example for AdjustRequest {
    fn example() -> Self {
        Self { amount: 3, reason: "goodwill, ticket 4711".into() }
    }
}

/// The adjustment, and what is left.
#[derive(Debug, Object)]
struct AdjustedBody {
    /// The line in the ledger.
    transaction: Transaction,
    /// All credits afterwards.
    credit_balance: i64,
    /// Whether this is the answer to an earlier request with the same key.
    replayed: bool,
}

pub(super) fn customer_id(text: &str) -> Result<CustomerId, ApiError> {
    CustomerId::parse(text).map_err(|_| Error::NotFound("customer").into())
}

#[OpenApi]
impl AdminCustomerApi {
    /// Find customers
    #[oai(path = "/admin/v1/customers", method = "get", operation_id = "admin_list_customers", tag = "Tag::Admin")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Part of an address or a name, or a whole id or Stripe id.
        search: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<CustomerPage>, ApiError> {
        let limit = input::limit(limit.0)?;
        let before = input::cursor(cursor.0.as_deref())?;
        let text = search.0.unwrap_or_default();
        let mut found = customer::customer_search(app.db.read(), text.trim(), before.as_deref(), limit + 1).await?;
        let next_cursor = input::next_cursor(&mut found, limit, |customer| customer.id.to_string());
        let data = found.iter().map(|customer| CustomerBody::new(customer, None)).collect();
        Ok(Json(CustomerPage { data, next_cursor }))
    }

    /// Look at a customer
    #[oai(path = "/admin/v1/customers/:id", method = "get", operation_id = "admin_get_customer", tag = "Tag::Admin")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<String>,
    ) -> Result<Json<CustomerDetail>, ApiError> {
        let id = customer_id(&id.0)?;
        let found = customer::customer_find(app.db.read(), &id).await?.ok_or(Error::NotFound("customer"))?;
        let account = account::account_find(app.db.read(), &id).await?.ok_or(Error::NotFound("account"))?;
        let subscriptions = subscription::subscription_list(app.db.read(), &id).await?;
        Ok(Json(CustomerDetail {
            customer: CustomerBody::new(&found, Some(&account)),
            credits: CreditsBody::new(&app, &found, &account),
            subscriptions: subscriptions
                .into_iter()
                .map(|subscription| CustomerSubscription {
                    id: subscription.id,
                    status: subscription.status,
                    is_pro: subscription.is_pro,
                    cancel_at_period_end: subscription.cancel_at_period_end,
                    current_period_end: subscription.current_period_end_ms.map(rfc3339),
                    past_due_since: subscription.past_due_since_ms.map(rfc3339),
                    past_due_reason: subscription.past_due_reason,
                    ended_at: subscription.ended_at_ms.map(rfc3339),
                })
                .collect(),
        }))
    }

    /// A customer's ledger
    #[oai(
        path = "/admin/v1/customers/:id/transactions",
        method = "get",
        operation_id = "admin_list_transactions",
        tag = "Tag::Admin"
    )]
    async fn transactions(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<String>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<TransactionPage>, ApiError> {
        transaction_page(&app, &customer_id(&id.0)?, cursor.0.as_deref(), limit.0).await
    }

    /// What happened to a customer
    ///
    /// The latest of ledger, events and privileged acts, in one list.
    #[oai(
        path = "/admin/v1/customers/:id/timeline",
        method = "get",
        operation_id = "admin_customer_timeline",
        tag = "Tag::Admin"
    )]
    async fn timeline(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<String>,
    ) -> Result<Json<Timeline>, ApiError> {
        let id = customer_id(&id.0)?;
        let db = app.db.read();
        let found = customer::customer_find(db, &id).await?.ok_or(Error::NotFound("customer"))?;
        let mut rows: Vec<(i64, TimelineRow)> = Vec::new();
        let mut add = |at_ms: i64, what: String, details: serde_json::Value| {
            rows.push((at_ms, TimelineRow { at: rfc3339(at_ms), what, details }));
        };
        for entry in account::entry_list(db, &id, None, TIMELINE_MAX).await? {
            let details = serde_json::json!({
                "amount": entry.amount, "balance_after": entry.balance_after, "source": entry.source,
                "reference": entry.reference, "reason": entry.detail.reason,
            });
            add(entry.created_at_ms, format!("ledger.{}", entry.kind.as_str()), details);
        }
        let bought = marketplace_find_by_customer(db, &id).await?;
        let streams = [
            found.stripe_customer_id.as_ref().map(|stripe_id| format!("stripe:{stripe_id}")),
            bought.map(|account| github::stream_key(account.github_account_id)),
        ];
        for stream in streams.into_iter().flatten() {
            let filter = EventFilter { stream: Some(stream), ..EventFilter::default() };
            for event in event_list(db, &filter, "", TIMELINE_MAX).await? {
                let details = serde_json::json!({
                    "id": event.id.as_str(), "state": EventState::of(event.state).as_str(), "last_error": event.last_error,
                });
                add(event.received_at_ms, format!("event.{}", event.event_type), details);
            }
        }
        for line in audit::audit_list(db, id.as_str(), TIMELINE_MAX).await? {
            let details = serde_json::json!({
                "actor": line.actor,
                "details": serde_json::from_str::<serde_json::Value>(&line.details).unwrap_or_default(),
            });
            add(line.at_ms, format!("audit.{}", line.action), details);
        }
        rows.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
        Ok(Json(Timeline { data: rows.into_iter().map(|(_, row)| row).collect() }))
    }

    /// Give or take credits
    #[oai(
        path = "/admin/v1/customers/:id/adjustments",
        method = "post",
        operation_id = "admin_adjust_credits",
        tag = "Tag::Admin"
    )]
    async fn adjust(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<String>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<AdjustRequest>,
    ) -> Result<Json<AdjustedBody>, ApiError> {
        let id = customer_id(&id.0)?;
        let key = input::idempotency_key(&idempotency_key.0)?;
        let request_hash = Some(input::request_hash("adjust", &body.0));
        let Json(AdjustRequest { amount, reason }) = body;
        let reason = check_reason(&reason)?;
        let audit = Audit {
            actor: auth.0.actor,
            action: "customer.adjust",
            target: id.to_string(),
            details: serde_json::json!({ "amount": amount, "reason": reason }).to_string(),
        };
        let command = Command {
            op: Op::Adjust { amount, reason },
            source: "support".to_owned(),
            reference: None,
            // Another space of keys than the customer's own.
            idempotency_key: Some(format!("admin:{key}")),
            request_hash,
            metadata: None,
        };
        let request = Request { command, finish: None, effects: vec![Effect::Audit(audit)] };
        let applied = app.runtime.customers.apply(&id, request).await?;
        Ok(Json(AdjustedBody {
            transaction: Transaction::new(&id, &applied.entry),
            credit_balance: applied.entry.balance_after,
            replayed: applied.replayed,
        }))
    }
}
