//! Payment methods: what a customer pays with.

use super::operation::{AcceptedOperation, RequestOutcome, accepted, find_earlier, request_operation};
use super::text::Text;
use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::operation::{Request, State};
use bursar_engine::domain::payment_method::PaymentMethod;
use bursar_engine::domain::webhook::fields::ID_LEN_MAX;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::{account, operation, payment_method, subscription};
use poem::web::Data;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of payment methods.
pub struct PaymentMethodApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "add_payment_method",
        &[
            "address_unconfirmed",
            "consent_required",
            "payment_declined",
            "payment_method_invalid",
            "rate_limited",
            "refused_by_stripe",
            "stripe_not_configured",
            "stripe_unavailable",
        ],
    ),
    OperationDoc::new("list_payment_methods", &[]),
    OperationDoc::new(
        "remove_payment_method",
        &[
            "not_found",
            "payment_declined",
            "payment_method_in_use",
            "rate_limited",
            "refused_by_stripe",
            "stripe_unavailable",
        ],
    ),
    OperationDoc::new(
        "make_payment_method_default",
        &[
            "address_unconfirmed",
            "consent_required",
            "not_found",
            "payment_declined",
            "rate_limited",
            "refused_by_stripe",
            "stripe_unavailable",
        ],
    ),
];

/// A payment method to add.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct PaymentMethodRequest {
    /// Its id at Stripe, which Stripe.js returns to the customer's browser.
    payment_method: Text,
    /// Whether the customer agrees to be charged at the plan's price once its credits are used up. If false, the
    /// request is refused.
    consent: bool,
    /// Whether it becomes the default payment method, if the customer has another. Default: true.
    make_default: Option<bool>,
}

impl Example for PaymentMethodRequest {
    fn example() -> Self {
        Self { payment_method: "pm_1Q0PsIJvEtkwdCNYMSaVuRz6".into(), consent: true, make_default: None }
    }
}

/// A payment method.
#[derive(Debug, Object)]
#[oai(example)]
struct PaymentMethodBody {
    /// Its id at Stripe.
    id: String,
    /// `card`, `sepa_debit` …
    #[oai(rename = "type")]
    kind: String,
    /// A card's brand.
    brand: Option<String>,
    /// A card's last four digits.
    last4: Option<String>,
    /// The month in which a card expires, 1 to 12.
    exp_month: Option<i64>,
    /// The year in which a card expires.
    exp_year: Option<i64>,
    /// Whether it is the default, which is charged.
    is_default: bool,
    /// When the customer agreed to be charged; null if it was not added through this API. Without consent it is
    /// not charged.
    consent_at: Option<String>,
    /// When it was attached.
    attached_at: String,
}

impl Example for PaymentMethodBody {
    fn example() -> Self {
        Self {
            id: "pm_1Q0PsIJvEtkwdCNYMSaVuRz6".to_owned(),
            kind: "card".to_owned(),
            brand: Some("visa".to_owned()),
            last4: Some("4242".to_owned()),
            exp_month: Some(12),
            exp_year: Some(2031),
            is_default: true,
            consent_at: Some("2026-11-22T08:00:00.000Z".to_owned()),
            attached_at: "2026-11-22T08:00:00.000Z".to_owned(),
        }
    }
}

impl From<&PaymentMethod> for PaymentMethodBody {
    fn from(method: &PaymentMethod) -> Self {
        Self {
            id: method.id.clone(),
            kind: method.kind.clone(),
            brand: method.brand.clone(),
            last4: method.last4.clone(),
            exp_month: method.exp_month,
            exp_year: method.exp_year,
            is_default: method.is_default,
            consent_at: method.consent_at_ms.map(rfc3339),
            attached_at: rfc3339(method.attached_at_ms),
        }
    }
}

/// A payment method that was added, with the credits afterwards.
#[derive(Debug, Object)]
#[oai(example)]
struct AttachedBody {
    /// The payment method.
    payment_method: PaymentMethodBody,
    /// All credits afterwards. A customer's first payment method adds some.
    credit_balance: i64,
}

impl Example for AttachedBody {
    fn example() -> Self {
        Self { payment_method: PaymentMethodBody::example(), credit_balance: 10 }
    }
}

/// A customer's payment methods, at most 100.
#[derive(Debug, Object)]
#[oai(example)]
struct PaymentMethodList {
    /// The default first, then the latest.
    data: Vec<PaymentMethodBody>,
}

impl Example for PaymentMethodList {
    fn example() -> Self {
        Self { data: vec![PaymentMethodBody::example()] }
    }
}

#[derive(ApiResponse)]
enum AttachResponse {
    /// The payment method is attached.
    #[oai(status = 201)]
    Created(Json<AttachedBody>),
    /// Stripe has not answered yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
}

#[derive(ApiResponse)]
enum ChangeResponse {
    /// The change is made.
    #[oai(status = 200)]
    Done(Json<PaymentMethodBody>),
    /// Stripe has not answered yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
}

fn stripe_id(text: &str) -> Result<String, ApiError> {
    let is_sound = text.starts_with("pm_") && text.len() <= ID_LEN_MAX;
    if !is_sound || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let detail =
            "payment_method must be the id of a payment method at Stripe, such as pm_1Q0PsIJvEtkwdCNYMSaVuRz6.";
        return Err(ApiError::bad_request("payment_method_invalid", detail));
    }
    Ok(text.to_owned())
}

async fn find_own(app: &App, customer: &CustomerId, id: &str) -> Result<PaymentMethod, ApiError> {
    let found = payment_method::payment_method_find(app.db.read(), customer, id).await?;
    Ok(found.ok_or(Error::NotFound("payment method"))?)
}

/// Makes the request to remove a payment method, if it can be removed.
async fn removal_request(app: &App, customer: &CustomerId, id: &str) -> Result<Request, ApiError> {
    let methods = payment_method::payment_method_list(app.db.read(), customer).await?;
    let removed = methods.iter().find(|method| method.id == id).ok_or(Error::NotFound("payment method"))?;
    let subscriptions = subscription::subscription_list(app.db.read(), customer).await?;
    let open = operation::operation_list_open(app.db.read(), customer).await?;
    if let Some(problem) = removed.kept_because(&methods, &subscriptions, &open) {
        return Err(ApiError::with_code("payment_method_in_use", problem.message));
    }
    Ok(Request::PaymentMethodDetach { payment_method_id: removed.id.clone() })
}

/// Makes the request to make a payment method the default, if it may be charged.
async fn default_request(app: &App, customer: &CustomerId, id: &str) -> Result<Request, ApiError> {
    let method = find_own(app, customer, id).await?;
    if method.consent_at_ms.is_none() {
        let detail = "The customer has not agreed to be charged: add the payment method with consent first.";
        return Err(ApiError::bad_request("consent_required", detail));
    }
    Ok(Request::PaymentMethodDefault { payment_method_id: method.id })
}

/// Changes a payment method. The request of an earlier call that has not failed is not checked again.
async fn change(
    app: &App,
    customer: &CustomerId,
    id: &str,
    (key, hash): (&str, &str),
    request: impl Future<Output = Result<Request, ApiError>>,
) -> Result<ChangeResponse, ApiError> {
    let request = match find_earlier(app, customer, key, hash).await? {
        Some(known) if known.state != State::Failed => known.request,
        _ => request.await?,
    };
    match request_operation(app, customer, request, key, hash).await? {
        RequestOutcome::Pending(operation) => {
            let (body, address) = accepted(&operation);
            Ok(ChangeResponse::Accepted(body, address))
        }
        RequestOutcome::Succeeded { .. } => {
            let found = payment_method::payment_method_find_any(app.db.read(), customer, id).await?;
            let method = found.ok_or(Error::NotFound("payment method"))?;
            Ok(ChangeResponse::Done(Json(PaymentMethodBody::from(&method))))
        }
    }
}

#[OpenApi(tag = "Tag::Billing")]
impl PaymentMethodApi {
    /// Add a payment method
    ///
    /// The customer's browser sends the card to Stripe and gets an id for it, which is sent here with the
    /// customer's consent. A customer's first payment method adds credits. The customer's address must be confirmed
    /// (403 `address_unconfirmed`).
    #[oai(path = "/api/v1/payment-methods", method = "post", operation_id = "add_payment_method")]
    async fn attach(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<PaymentMethodRequest>,
    ) -> Result<AttachResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("payment_method_attach", &body.0);
        let Json(PaymentMethodRequest { payment_method, consent, make_default }) = body;
        let payment_method_id = stripe_id(&payment_method.0)?;
        if !consent {
            let detail = "A payment method needs the customer's consent to be charged.";
            return Err(ApiError::bad_request("consent_required", detail));
        }
        let request = Request::PaymentMethodAttach {
            payment_method_id,
            consent_at_ms: app.clock.now_ms(),
            make_default: make_default.unwrap_or(true),
        };
        match request_operation(&app, &auth.0, request, &key, &hash).await? {
            RequestOutcome::Pending(operation) => {
                let (body, address) = accepted(&operation);
                Ok(AttachResponse::Accepted(body, address))
            }
            RequestOutcome::Succeeded { operation, .. } => {
                let method = find_own(&app, &auth.0, operation.stripe_id.as_deref().unwrap_or_default()).await?;
                let account = account::account_find(app.db.read(), &auth.0).await?.ok_or(Error::NotFound("account"))?;
                let account = account.settled(app.clock.now_ms());
                Ok(AttachResponse::Created(Json(AttachedBody {
                    payment_method: PaymentMethodBody::from(&method),
                    credit_balance: account.balance.0,
                })))
            }
        }
    }

    /// My payment methods
    ///
    /// The default first, then the latest.
    #[oai(path = "/api/v1/payment-methods", method = "get", operation_id = "list_payment_methods")]
    async fn list(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<PaymentMethodList>, ApiError> {
        let methods = payment_method::payment_method_list(app.db.read(), &auth.0).await?;
        Ok(Json(PaymentMethodList { data: methods.iter().map(PaymentMethodBody::from).collect() }))
    }

    /// Remove a payment method
    ///
    /// The last one cannot be removed while a subscription needs it, and none while a charge of it, or a subscription
    /// with it, is under way: 409 `payment_method_in_use`.
    #[oai(path = "/api/v1/payment-methods/:id", method = "delete", operation_id = "remove_payment_method")]
    async fn detach(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The payment method.
        id: Path<String>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
    ) -> Result<ChangeResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash(&format!("payment_method_detach {}", id.0), &serde_json::Value::Null);
        change(&app, &auth.0, &id.0, (&key, &hash), removal_request(&app, &auth.0, &id.0)).await
    }

    /// Make a payment method the default
    ///
    /// It is charged from now on. It also pays for the subscription, if there is one.
    #[oai(path = "/api/v1/payment-methods/:id/default", method = "post", operation_id = "make_payment_method_default")]
    async fn make_default(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The payment method.
        id: Path<String>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
    ) -> Result<ChangeResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash(&format!("payment_method_default {}", id.0), &serde_json::Value::Null);
        change(&app, &auth.0, &id.0, (&key, &hash), default_request(&app, &auth.0, &id.0)).await
    }
}
