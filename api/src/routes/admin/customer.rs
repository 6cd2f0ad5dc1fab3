//! Support: finding customers, their ledger, and adjusting credits.

use super::payment::body::PaymentBody;
use super::reason::check_reason;
use super::stripe_link::{CreateCustomerRequest, CreateCustomerResponse, create_customer};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::{ApiError, advised};
use crate::routes::bodies::{CustomerBody, Transaction, TransactionPage};
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::PathId;
use crate::routes::subscription::{PausedCollectionBody, PendingChangeBody, SubscriptionTermsBody};
use crate::routes::text::Text;
use crate::routes::usage::{CreditsBody, transaction_page};
use crate::routes::{Tag, input};
use crate::sample;
use bursar_actors::Request;
use bursar_engine::Error;
use bursar_engine::amount::{Credits, UNITS_MAX};
use bursar_engine::clock::{TimeMs, parse_rfc3339, rfc3339};
use bursar_engine::domain::audit::Audit;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::ledger::{Command, Op};
use bursar_engine::domain::sale::SubscribedPrice;
use bursar_engine::domain::subscription::Subscription;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::payment::{PaymentFilter, payment_list};
use bursar_engine::infra::store::{account, customer, subscription};
use bursar_engine::usecase::payment;
use bursar_engine::usecase::price::subscribed_many;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::collections::HashMap;
use std::sync::Arc;

/// How many of a customer's payments are shown with it.
const PAYMENTS_SHOWN: u64 = 5;

/// Routes of customers for staff.
pub struct AdminCustomerApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_customers", &["invalid_time", "stripe_not_configured", "stripe_unavailable"]),
    OperationDoc::new(
        "admin_create_customer",
        &[
            "customer_exists",
            "invalid_email",
            "invalid_name",
            "invalid_time",
            "stripe_customer_deleted",
            "stripe_customer_not_found",
            "stripe_customer_taken",
            "stripe_customer_wrong_mode",
            "stripe_not_configured",
            "stripe_unavailable",
        ],
    ),
    OperationDoc::new("admin_get_customer", &["not_found"]),
    OperationDoc::new("admin_list_transactions", &["not_found"]),
    OperationDoc::new(
        "admin_adjust_credits",
        &[
            "busy",
            "insufficient_credits",
            "invalid_expiry",
            "invalid_reason",
            "invalid_units",
            "not_found",
            "too_many_open",
        ],
    ),
];

page! {
    /// A page of customers, newest first.
    CustomerPage of CustomerBody
}

/// A subscription, as last reported by Stripe.
#[derive(Debug, Object)]
struct CustomerSubscription {
    /// Its id at Stripe.
    id: String,
    /// Stripe's status.
    status: String,
    /// The plan that it sells; null if it is not ours, or no longer ours.
    plan: Option<String>,
    /// The catalogue's price that it has, if it is known.
    price: Option<String>,
    /// What a period of it costs and brings, if that is known, and whether these are former terms, which it keeps.
    #[oai(skip_serializing_if_is_none)]
    terms: Option<SubscriptionTermsBody>,
    /// The number of seats; 1 if it is not sold by seat.
    quantity: i64,
    /// Whether it ends with the period.
    cancel_at_period_end: bool,
    /// When the paid period ends.
    current_period_end: Option<String>,
    /// Since when a payment is overdue.
    past_due_since: Option<String>,
    /// Why it is overdue.
    past_due_reason: Option<String>,
    /// The invoice that has to be paid before the price gives its plan.
    unpaid_invoice: Option<String>,
    /// The pause of its collection.
    paused_collection: Option<PausedCollectionBody>,
    /// A change that comes with the end of the period.
    pending_change: Option<PendingChangeBody>,
    /// When it ended.
    ended_at: Option<String>,
}

/// A subscription with its terms.
fn shown_subscription(row: Subscription, terms: &mut HashMap<String, SubscribedPrice>) -> CustomerSubscription {
    let unpaid_invoice = row.unpaid_invoice().map(str::to_owned);
    CustomerSubscription {
        terms: terms.remove(&row.id).map(Into::into),
        id: row.id,
        status: row.status,
        plan: row.plan.map(String::from),
        price: row.price.map(String::from),
        quantity: row.quantity,
        cancel_at_period_end: row.cancel_at_period_end,
        current_period_end: row.current_period_end_ms.map(rfc3339),
        past_due_since: row.past_due_since_ms.map(rfc3339),
        past_due_reason: row.past_due_reason,
        unpaid_invoice,
        paused_collection: row.paused_collection.as_ref().map(Into::into),
        pending_change: row.pending_change.as_ref().map(Into::into),
        ended_at: row.ended_at_ms.map(rfc3339),
    }
}

/// Everything about a customer.
#[derive(Debug, Object)]
#[oai(example)]
struct CustomerDetail {
    /// The customer.
    customer: CustomerBody,
    /// Its credits.
    credits: CreditsBody,
    /// Whether its address counts as its own: `pending` (not yet), `assumed` (nobody asked), `link` (by the link in a
    /// mail), `vouched` (by whoever signed it up, with an admin token) or `staff`.
    email_confirmation: String,
    /// Since when the address is confirmed; null if it is not, or nobody asked.
    email_confirmed_at: Option<String>,
    /// How many credits below zero it may go.
    credit_limit: i64,
    /// Whether support has suspended it: it can spend and reserve nothing, and is charged nothing.
    suspended: bool,
    /// Payments for periods that begin earlier bring no credits; null if all payments count.
    credits_from: Option<String>,
    /// Its subscriptions, latest first.
    subscriptions: Vec<CustomerSubscription>,
    /// Its latest payments, at most five, failed ones included.
    payments: Vec<PaymentBody>,
}

impl Example for CustomerDetail {
    fn example() -> Self {
        let subscription = CustomerSubscription {
            id: sample::SUBSCRIPTION.to_owned(),
            status: "active".to_owned(),
            plan: sample::text("pro"),
            price: sample::text("pro_monthly"),
            terms: Some(SubscriptionTermsBody::example()),
            quantity: 1,
            cancel_at_period_end: false,
            current_period_end: sample::text(sample::MONTH_LATER),
            past_due_since: None,
            past_due_reason: None,
            unpaid_invoice: None,
            paused_collection: None,
            pending_change: None,
            ended_at: None,
        };
        Self {
            customer: CustomerBody::example(),
            credits: CreditsBody::example(),
            email_confirmation: "link".to_owned(),
            email_confirmed_at: sample::text(sample::AT),
            credit_limit: 0,
            suspended: false,
            credits_from: None,
            subscriptions: vec![subscription],
            payments: vec![PaymentBody::example()],
        }
    }
}

/// Credits to give or take.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct AdjustRequest {
    /// Credits, positive to give, negative to take, at most 1000000 either way.
    amount: i64,
    /// The reason, kept with the transaction and in the audit log.
    reason: Text,
    /// When given credits expire; never if omitted. Not allowed if credits are taken.
    #[oai(skip_serializing_if_is_none)]
    expires_at: Option<Text>,
}

impl Example for AdjustRequest {
    fn example() -> Self {
        Self { amount: 3, reason: "goodwill, ticket 4711".into(), expires_at: Some(sample::MONTH_LATER.into()) }
    }
}

/// The adjustment, and the balance afterwards.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct AdjustedBody {
    /// The line in the ledger.
    pub(super) transaction: Transaction,
    /// All credits afterwards.
    pub(super) credit_balance: i64,
    /// Whether this is the answer to an earlier request with the same key.
    pub(super) replayed: bool,
}

impl Example for AdjustedBody {
    fn example() -> Self {
        let transaction = Transaction {
            kind: "adjust".to_owned(),
            amount: 3,
            balance_after: 8,
            source: "support".to_owned(),
            reference: None,
            burned: Vec::new(),
            reason: sample::text("goodwill, ticket 4711"),
            ..Transaction::example()
        };
        Self { transaction, credit_balance: 8, replayed: false }
    }
}

fn check_amount(amount: i64) -> Result<(), ApiError> {
    if amount == 0 || !(-UNITS_MAX.0..=UNITS_MAX.0).contains(&amount) {
        let detail = format!("amount must be a whole number from -{UNITS_MAX} to {UNITS_MAX}, and not 0.");
        return Err(ApiError::bad_request("invalid_units", detail));
    }
    Ok(())
}

/// Parses the time when given credits expire. The ledger checks that it is in the future, so that a repeated request
/// gets its first answer.
fn check_expiry(text: &str, amount: i64) -> Result<TimeMs, ApiError> {
    let invalid = |detail: &str| ApiError::bad_request("invalid_expiry", detail);
    if amount <= 0 {
        return Err(invalid("expires_at is for credits that are given, not for those that are taken."));
    }
    parse_rfc3339(text).ok_or_else(|| invalid("expires_at must be a time such as 2026-12-22T08:00:00Z."))
}

#[OpenApi]
impl AdminCustomerApi {
    /// Find customers
    ///
    /// Newest first. Without `search`, all of them.
    #[oai(path = "/admin/v1/customers", method = "get", operation_id = "admin_list_customers", tag = "Tag::Admin")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Part of an address or a name, or a whole id: of the customer, an operation, or at Stripe of a customer, a
        /// subscription, an invoice, a PaymentIntent or a charge.
        search: Query<Option<String>>,
        /// Only customers that were made at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<CustomerPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let mut text = search.0.unwrap_or_default().trim().to_owned();
        if payment::is_of_payment_at_stripe(&text)
            && let Some(payment) = payment::find(&app.for_support(), &text).await?
        {
            text = payment.customer_id.to_string();
        }
        let before = page.cursor.as_deref();
        let from_ms = input::time("from", from.0.as_deref())?;
        let found = customer::customer_search(app.db.read(), &text, from_ms, before, page.rows_to_query()).await?;
        Ok(page.answer(found, |customer| customer.id.to_string(), |customer| CustomerBody::new(&customer, None)))
    }

    /// Make a customer
    ///
    /// For a customer that comes from elsewhere. With `stripe_customer_id`, that Stripe customer is linked in the same
    /// step: its payment methods and subscriptions follow within seconds, and the payments for periods from
    /// `credits_from` on bring their credits. Nobody has consented here to those payment methods being charged for
    /// units, so none is until the customer adds one itself.
    ///
    /// The customer gets no free credits, no API key and no mail: give credits by an adjustment, and make a key.
    #[oai(path = "/admin/v1/customers", method = "post", operation_id = "admin_create_customer", tag = "Tag::Admin")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<CreateCustomerRequest>,
    ) -> Result<CreateCustomerResponse, ApiError> {
        create_customer(&app, &auth.0.actor, &idempotency_key.0, body).await
    }

    /// Look at a customer
    ///
    /// With its credits, their grants, its subscriptions and its latest payments.
    #[oai(path = "/admin/v1/customers/:id", method = "get", operation_id = "admin_get_customer", tag = "Tag::Admin")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
    ) -> Result<Json<CustomerDetail>, ApiError> {
        let id = id.0.parsed()?;
        let found = customer::customer_find(app.db.read(), &id).await?.ok_or(Error::NotFound("customer"))?;
        let account = account::account_find(app.db.read(), &id).await?.ok_or(Error::NotFound("account"))?;
        let account = account.settled(app.clock.now_ms());
        let subscriptions = subscription::subscription_list(app.db.read(), &id).await?;
        let catalogue = app.config.catalogue.now();
        let mut terms = subscribed_many(app.db.read(), &catalogue, &id, &subscriptions).await?;
        let of_it = PaymentFilter { customer: Some(id.clone()), ..PaymentFilter::default() };
        let payments = payment_list(app.db.read(), &of_it, None, PAYMENTS_SHOWN).await?;
        Ok(Json(CustomerDetail {
            customer: CustomerBody::new(&found, Some(&account)),
            credits: CreditsBody::new(&app, &found, &account),
            email_confirmation: found.confirmation.state.as_str().to_owned(),
            email_confirmed_at: found.confirmation.at_ms.map(rfc3339),
            credit_limit: -account.floor.0,
            suspended: account.open.suspended,
            credits_from: found.credits_from_ms.map(rfc3339),
            payments: payments.into_iter().map(PaymentBody::from).collect(),
            subscriptions: subscriptions.into_iter().map(|row| shown_subscription(row, &mut terms)).collect(),
        }))
    }

    /// A customer's ledger
    ///
    /// All lines, latest first, as the customer sees them.
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
        id: Path<PathId<CustomerId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<TransactionPage>, ApiError> {
        transaction_page(&app, &id.0.parsed()?, cursor.0, limit.0).await
    }

    /// Give or take credits
    ///
    /// Given credits can be spent like all others. Only credits that could be spent can be taken. The reason is kept
    /// with the transaction and in the audit log.
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
        id: Path<PathId<CustomerId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<AdjustRequest>,
    ) -> Result<Json<AdjustedBody>, ApiError> {
        let id = id.0.parsed()?;
        let key = input::idempotency_key(&idempotency_key.0)?;
        let request_hash = Some(input::request_hash("adjust", &body.0));
        let Json(AdjustRequest { amount, reason, expires_at }) = body;
        let reason = check_reason(&reason)?;
        check_amount(amount)?;
        let expires_at_ms = expires_at.map(|text| check_expiry(&text.0, amount)).transpose()?;
        let mut details = serde_json::json!({ "amount": amount, "reason": reason });
        if let Some(at_ms) = expires_at_ms {
            details["expires_at"] = rfc3339(at_ms).into();
        }
        let audit = Audit::new(auth.0.actor, "customer.adjust", &id, &details);
        let command = Command {
            op: Op::Adjust { amount: Credits(amount), reason, expires_at_ms },
            source: "support".to_owned(),
            reference: None,
            // The prefix keeps it apart from the customer's own keys.
            idempotency_key: Some(format!("admin:{key}")),
            request_hash,
            metadata: None,
        };
        let request = Request { command, finish: None, effects: vec![Effect::Audit(audit)] };
        let applied = app.runtime.customers.apply(&id, request).await;
        let applied = applied.map_err(|error| advised(error, "An adjustment takes at most the available credits."))?;
        Ok(Json(AdjustedBody {
            transaction: Transaction::new(&id, &applied.entry),
            credit_balance: applied.entry.balance_after.0,
            replayed: applied.replayed,
        }))
    }
}
