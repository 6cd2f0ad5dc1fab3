//! The subscription, and the invoices. `change` has its changes and their preview, `body` what is answered.

mod body;
pub mod change;

pub(in crate::routes) use body::{PausedCollectionBody, PendingChangeBody, SubscriptionTermsBody};

use super::operation::{AcceptedOperation, RequestOutcome, accepted, find_earlier, request_operation};
use super::page::{PageQuery, encode_cursor, foreign_cursor, page};
use super::text::Text;
use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use body::{InvoiceBody, SubscriptionBody, invoice};
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::catalogue::{Catalogue, Price};
use bursar_engine::domain::charge::NotCharged;
use bursar_engine::domain::confirmation::unconfirmed;
use bursar_engine::domain::operation::{Request, State};
use bursar_engine::domain::subscription::Subscription;
use bursar_engine::domain::subscription::change::{QUANTITY_MAX, check_size};
use bursar_engine::domain::webhook::fields;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::{account, customer, payment_method, subscription};
use bursar_engine::infra::stripe::StripeError;
use bursar_engine::usecase::{charge, price};
use poem::web::Data;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of the subscription and of invoices.
pub struct SubscriptionApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "subscribe",
        &[
            "address_unconfirmed",
            "already_subscribed",
            "authentication_required",
            "card_paused",
            "charge_too_large",
            "customer_suspended",
            "grant_too_large",
            "invalid_quantity",
            "not_found",
            "payment_declined",
            "payment_method_missing",
            "payment_unavailable",
            "prices_changing",
            "price_not_offered",
            "price_required",
            "rate_limited",
            "refused_by_stripe",
            "stripe_unavailable",
            "subscribing",
            "subscription_paid_meanwhile",
        ],
    ),
    OperationDoc::new("get_subscription", &["not_found"]),
    OperationDoc::new(
        "cancel_subscription",
        &[
            "not_found",
            "payment_declined",
            "rate_limited",
            "refused_by_stripe",
            "stripe_unavailable",
            "subscription_ended",
        ],
    ),
    OperationDoc::new(
        "resume_subscription",
        &[
            "address_unconfirmed",
            "card_paused",
            "change_pending",
            "customer_suspended",
            "not_found",
            "payment_declined",
            "payment_method_missing",
            "rate_limited",
            "refused_by_stripe",
            "stripe_unavailable",
            "subscription_ended",
            "subscription_paid_elsewhere",
        ],
    ),
    OperationDoc::new("list_invoices", &["rate_limited", "stripe_not_configured", "stripe_unavailable"]),
];

/// A subscription to a plan.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct SubscriptionRequest {
    /// The key of the price to subscribe to, as `GET /api/v1/plans` lists them. It may be left out while only one price
    /// is offered.
    price: Option<Text>,
    /// The number of seats, 1 to 100000, of a price that is sold by seat; 1 if not given.
    quantity: Option<i64>,
    /// The payment method that pays for it; the default one if not given.
    payment_method: Option<Text>,
}

impl Example for SubscriptionRequest {
    fn example() -> Self {
        Self { price: Some("pro_monthly".into()), quantity: None, payment_method: None }
    }
}

page! {
    /// A page of invoices, latest first.
    InvoicePage of InvoiceBody
}

#[derive(ApiResponse)]
enum SubscribeResponse {
    /// The subscription is active and paid.
    #[oai(status = 201)]
    Created(Json<Box<SubscriptionBody>>),
    /// Stripe has not answered yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
}

#[derive(ApiResponse)]
enum ChangeResponse {
    /// The change is made.
    #[oai(status = 200)]
    Done(Json<Box<SubscriptionBody>>),
    /// Stripe has not answered yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
}

/// Finds the customer's subscription: the one that gives the best plan, else one that has not ended, else the latest.
async fn find_current(app: &App, customer: &CustomerId) -> Result<Option<Subscription>, ApiError> {
    let rows = subscription::subscription_list(app.db.read(), customer).await?;
    Ok(Subscription::current(rows, &app.config.catalogue.now()))
}

async fn body(app: &App, customer_id: &CustomerId, row: &Subscription) -> Result<SubscriptionBody, ApiError> {
    let customer = customer::customer_find(app.db.read(), customer_id).await?.ok_or(Error::NotFound("customer"))?;
    let account = account::account_find(app.db.read(), customer_id).await?.ok_or(Error::NotFound("account"))?;
    let account = account.settled(app.clock.now_ms());
    let terms = price::subscribed(app.db.read(), &app.config.catalogue.now(), row).await?;
    Ok(SubscriptionBody {
        id: row.id.clone(),
        status: row.status.clone(),
        plan: customer.plan.to_string(),
        price: row.price.as_ref().map(ToString::to_string),
        terms: terms.map(Into::into),
        quantity: row.quantity,
        cancel_at_period_end: row.cancel_at_period_end,
        current_period_end: row.current_period_end_ms.map(rfc3339),
        past_due_since: row.past_due_since_ms.map(rfc3339),
        past_due_reason: row.past_due_reason.clone(),
        unpaid_invoice: row.unpaid_invoice().map(str::to_owned),
        paused_collection: row.paused_collection.as_ref().map(Into::into),
        pending_change: row.pending_change.as_ref().map(Into::into),
        ended_at: row.ended_at_ms.map(rfc3339),
        credit_balance: account.balance.0,
    })
}

async fn change_response(
    app: &App,
    customer: &CustomerId,
    outcome: RequestOutcome,
) -> Result<ChangeResponse, ApiError> {
    match outcome {
        RequestOutcome::Pending(operation) => {
            let (body, address) = accepted(&operation);
            Ok(ChangeResponse::Accepted(body, address))
        }
        RequestOutcome::Succeeded { operation, .. } => {
            let rows = subscription::subscription_list(app.db.read(), customer).await?;
            let row = rows.iter().find(|row| Some(&row.id) == operation.stripe_id.as_ref());
            let body = body(app, customer, row.ok_or(Error::NotFound("subscription"))?).await?;
            Ok(ChangeResponse::Done(Json(Box::new(body))))
        }
    }
}

impl SubscriptionApi {
    /// Makes the request to subscribe, if the customer can.
    async fn subscribe_request(
        &self,
        app: &App,
        customer: &CustomerId,
        body: SubscriptionRequest,
    ) -> Result<Request, ApiError> {
        let catalogue = app.config.catalogue.now();
        let price = price_wanted(&catalogue, &body)?;
        let found = customer::customer_find(app.db.read(), customer).await?.ok_or(Error::NotFound("customer"))?;
        if !found.confirmation.is_confirmed() {
            return Err(unconfirmed().into());
        }
        let quantity = body.quantity.unwrap_or(1);
        let methods = payment_method::payment_method_list(app.db.read(), customer).await?;
        let wanted = body.payment_method.map(|text| text.0);
        let method = methods.iter().find(|method| match &wanted {
            Some(id) => method.id == *id,
            None => method.is_default,
        });
        let Some(method) = method.filter(|method| method.consent_at_ms.is_some()) else {
            if wanted.is_some() {
                return Err(Error::NotFound("payment method").into());
            }
            return Err(ApiError::with_code("payment_method_missing", "Add a payment method to subscribe."));
        };
        if find_current(app, customer).await?.is_some_and(|row| row.gives_plan().is_some()) {
            return Err(ApiError::with_code("already_subscribed", "There is a subscription already."));
        }
        let standing = charge::read_payer(app.db.read(), customer, Some(&method.id)).await?;
        if let Err(refused) = standing.decide(&price.currency, app.clock.now_ms()) {
            return Err(not_charged(app, customer, &refused).await);
        }
        let (payment_method_id, price) = (method.id.clone(), Some(price.key.clone()));
        Ok(Request::SubscriptionCreate { payment_method_id, price, quantity, payer: None })
    }
}

/// Why a customer's subscription is not charged.
async fn not_charged(app: &App, customer_id: &CustomerId, refused: &NotCharged) -> ApiError {
    match customer::customer_find(app.db.read(), customer_id).await {
        Ok(Some(customer)) => {
            let catalogue = app.config.catalogue.now();
            ApiError::not_charged(&refused.problem(&customer, &app.config.credits, &catalogue))
        }
        Ok(None) => Error::NotFound("customer").into(),
        Err(error) => error.into(),
    }
}

/// The price that a request names, or the only one that is offered.
fn price_wanted<'a>(catalogue: &'a Catalogue, body: &SubscriptionRequest) -> Result<&'a Price, ApiError> {
    let named = body.price.as_ref().map(|text| text.0.as_str());
    let mut offered = catalogue.offered().filter(|price| named.is_none_or(|named| price.key.as_str() == named));
    let (first, more) = (offered.next(), offered.next());
    let Some(price) = first else {
        return Err(ApiError::with_code("price_not_offered", "There is no such price to subscribe to."));
    };
    if more.is_some() {
        return Err(ApiError::with_code(
            "price_required",
            "Name the price to subscribe to: GET /api/v1/plans has them.",
        ));
    }
    let quantity = body.quantity.unwrap_or(1);
    if !(1..=QUANTITY_MAX).contains(&quantity) || (quantity != 1 && !price.per_seat) {
        let message = format!("quantity must be from 1 to {QUANTITY_MAX}, and 1 for a price that is not sold by seat");
        return Err(Error::invalid("invalid_quantity", message).into());
    }
    check_size(price, quantity).map_err(|refusal| ApiError::with_code(refusal.code, refusal.message.as_str()))?;
    Ok(price)
}

#[OpenApi]
impl SubscriptionApi {
    /// Subscribe to a plan
    ///
    /// Stripe charges the first period at once, and its credits are granted as the price says. The payment method
    /// becomes the default. If the payment is declined: 402 `payment_declined`, and there is no subscription. A card
    /// that was declined, for a subscription or for usage, is tried again only after a while (402 `card_paused`). If
    /// the bank requires authentication: 402 `authentication_required` with the data that Stripe.js needs. The customer
    /// has 23 hours for it; `DELETE /api/v1/subscription?at_once=true` cancels what it does not want any more.
    #[oai(path = "/api/v1/subscription", method = "post", operation_id = "subscribe", tag = "Tag::Billing")]
    async fn subscribe(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<SubscriptionRequest>,
    ) -> Result<SubscribeResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("subscription_create", &body.0);
        let request = match find_earlier(&app, &auth.0, &key, &hash).await? {
            // A failed one starts again with the customer's present payment methods.
            Some(known) if known.state != State::Failed => known.request,
            _ => self.subscribe_request(&app, &auth.0, body.0).await?,
        };
        match request_operation(&app, &auth.0, request, &key, &hash).await? {
            RequestOutcome::Pending(operation) => {
                let (body, address) = accepted(&operation);
                Ok(SubscribeResponse::Accepted(body, address))
            }
            RequestOutcome::Succeeded { operation, .. } => {
                let rows = subscription::subscription_list(app.db.read(), &auth.0).await?;
                let row = rows.iter().find(|row| Some(&row.id) == operation.stripe_id.as_ref());
                let row = row.ok_or(Error::NotFound("subscription"))?;
                Ok(SubscribeResponse::Created(Json(Box::new(self::body(&app, &auth.0, row).await?))))
            }
        }
    }

    /// My subscription
    ///
    /// The one that gives the best plan, else one that has not ended, else the latest. 404 if there never was one.
    #[oai(path = "/api/v1/subscription", method = "get", operation_id = "get_subscription", tag = "Tag::Billing")]
    async fn get(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<SubscriptionBody>, ApiError> {
        let row = find_current(&app, &auth.0).await?.ok_or(Error::NotFound("subscription"))?;
        Ok(Json(body(&app, &auth.0, &row).await?))
    }

    /// Cancel the subscription
    ///
    /// At the end of the period, until which the plan stays, or at once. Credits that were granted stay. A change that
    /// is to come is dropped.
    #[oai(path = "/api/v1/subscription", method = "delete", operation_id = "cancel_subscription", tag = "Tag::Billing")]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Whether it ends at once instead of at the end of the period.
        at_once: Query<Option<bool>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
    ) -> Result<ChangeResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let at_once = at_once.0.unwrap_or(false);
        let hash = input::request_hash(&format!("subscription_cancel {at_once}"), &serde_json::Value::Null);
        let row = find_current(&app, &auth.0).await?.ok_or(Error::NotFound("subscription"))?;
        let request = Request::SubscriptionCancel { subscription_id: row.id, at_period_end: !at_once };
        let progress = request_operation(&app, &auth.0, request, &key, &hash).await?;
        change_response(&app, &auth.0, progress).await
    }

    /// Undo a cancellation, or a change that is to come
    ///
    /// Possible until the period ends. A subscription that has ended cannot be resumed: subscribe again. A change that
    /// waits for its payment is not taken back: 409 `change_pending` if there is nothing else.
    #[oai(
        path = "/api/v1/subscription/resume",
        method = "post",
        operation_id = "resume_subscription",
        tag = "Tag::Billing"
    )]
    async fn resume(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
    ) -> Result<ChangeResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("subscription_resume", &serde_json::Value::Null);
        let row = find_current(&app, &auth.0).await?.ok_or(Error::NotFound("subscription"))?;
        if row.ended_at_ms.is_some() {
            return Err(ApiError::with_code("subscription_ended", "The subscription has ended. Subscribe again."));
        }
        let request = Request::SubscriptionResume { subscription_id: row.id, payer: None };
        let progress = request_operation(&app, &auth.0, request, &key, &hash).await?;
        change_response(&app, &auth.0, progress).await
    }

    /// My invoices
    ///
    /// Read from Stripe, latest first.
    #[oai(path = "/api/v1/invoices", method = "get", operation_id = "list_invoices", tag = "Tag::Billing")]
    async fn invoices(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<InvoicePage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let customer = customer::customer_find(app.db.read(), &auth.0).await?.ok_or(Error::NotFound("customer"))?;
        let Some(stripe_customer_id) = customer.stripe_customer_id else {
            return Ok(Json(InvoicePage { data: Vec::new(), next_cursor: None }));
        };
        let _read = app.stripe_reads.begin(&auth.0)?;
        let stripe = app.runtime.handlers.stripe.for_caller(auth.0.as_str());
        let list =
            match stripe.invoice_list(&stripe_customer_id, page.limit().cast_signed(), page.cursor.as_deref()).await {
                Err(StripeError::Invalid { param, .. }) if param.as_deref() == Some("starting_after") => {
                    return Err(foreign_cursor());
                }
                answer => answer?,
            };
        let data: Vec<InvoiceBody> = fields::rows(&list).iter().filter_map(invoice).collect();
        let last = data.last().filter(|_| list["has_more"] == true);
        let next_cursor = last.map(|invoice| encode_cursor(&invoice.id));
        Ok(Json(InvoicePage { data, next_cursor }))
    }
}
