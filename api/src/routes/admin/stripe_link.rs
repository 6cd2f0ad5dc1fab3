//! Support: customers that come from elsewhere, and their Stripe customers.

use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::bodies::CustomerBody;
use crate::routes::customer::SourceBody;
use crate::routes::path_id::PathId;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::domain::customer::Customer;
use bursar_engine::domain::stripe_link::check_credits_from;
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::onboard::by_staff::{self, NewCustomer};
use bursar_engine::usecase::stripe_link::{self, LinkRequest};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of customers' Stripe customers for staff.
pub struct AdminStripeLinkApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "admin_link_stripe_customer",
        &[
            "busy",
            "customer_has_subscription",
            "invalid_reason",
            "invalid_time",
            "not_found",
            "operation_under_way",
            "stripe_customer_deleted",
            "stripe_customer_not_found",
            "stripe_customer_taken",
            "stripe_customer_wrong_mode",
            "stripe_not_configured",
            "stripe_unavailable",
        ],
    ),
    OperationDoc::new(
        "admin_unlink_stripe_customer",
        &[
            "busy",
            "customer_has_subscription",
            "invalid_reason",
            "not_found",
            "operation_under_way",
            "stripe_customer_not_linked",
            "stripe_not_configured",
            "stripe_unavailable",
        ],
    ),
];

/// A customer to make.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct CreateCustomerRequest {
    /// E-mail address; unique among customers.
    email: Text,
    /// Name, 1 to 200 characters.
    name: Text,
    /// How it was acquired.
    source: SourceBody,
    /// The Stripe customer that it has already. Without one, a new one is made at Stripe.
    #[oai(skip_serializing_if_is_none)]
    stripe_customer_id: Option<Text>,
    /// With a Stripe customer: a time, or a day in UTC. Payments for periods that begin earlier bring no credits. Now,
    /// if omitted.
    #[oai(skip_serializing_if_is_none)]
    credits_from: Option<Text>,
}

impl Example for CreateCustomerRequest {
    fn example() -> Self {
        Self {
            email: sample::EMAIL.into(),
            name: "Ada Lovelace".into(),
            source: SourceBody::Direct,
            stripe_customer_id: Some(sample::STRIPE_CUSTOMER.into()),
            credits_from: Some("2026-11-01".into()),
        }
    }
}

/// A link to make.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct LinkStripeRequest {
    /// The Stripe customer.
    stripe_customer_id: Text,
    /// A time, or a day in UTC. Payments for periods that begin earlier bring no credits. Now, if omitted; of a link
    /// that exists already, its present day.
    #[oai(skip_serializing_if_is_none)]
    credits_from: Option<Text>,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for LinkStripeRequest {
    fn example() -> Self {
        Self {
            stripe_customer_id: sample::STRIPE_CUSTOMER.into(),
            credits_from: Some("2026-11-01".into()),
            reason: "paid by a payment link, ticket 4711".into(),
        }
    }
}

/// A customer with its link.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct LinkedCustomerBody {
    /// The customer.
    customer: CustomerBody,
    /// Payments for periods that begin earlier bring no credits; null if all payments count.
    credits_from: Option<String>,
}

impl From<Customer> for LinkedCustomerBody {
    fn from(customer: Customer) -> Self {
        Self { customer: CustomerBody::new(&customer, None), credits_from: customer.credits_from_ms.map(rfc3339) }
    }
}

impl Example for LinkedCustomerBody {
    fn example() -> Self {
        let customer = CustomerBody {
            stripe_customer_id: sample::text(sample::STRIPE_CUSTOMER),
            credit_balance: None,
            ..CustomerBody::example()
        };
        Self { customer, credits_from: sample::text("2026-11-01T00:00:00.000Z") }
    }
}

/// The answer to a request to make a customer.
#[derive(ApiResponse)]
pub(super) enum CreateCustomerResponse {
    /// The customer is made, now or by an earlier request with the same key.
    #[oai(status = 201)]
    Created(Json<LinkedCustomerBody>),
}

/// Parses the date from which payments count.
fn credits_from(text: Option<Text>, now_ms: TimeMs) -> Result<Option<TimeMs>, ApiError> {
    let from_ms = input::moment("credits_from", text)?;
    check_credits_from(from_ms, now_ms)?;
    Ok(from_ms)
}

/// Makes a customer for staff; see the route in `admin::customer`.
pub(super) async fn create_customer(
    app: &App,
    actor: &str,
    idempotency_key: &str,
    body: Json<CreateCustomerRequest>,
) -> Result<CreateCustomerResponse, ApiError> {
    let key = input::idempotency_key(idempotency_key)?;
    let request_hash = input::request_hash("admin_create_customer", &body.0);
    let Json(CreateCustomerRequest { email, name, source, stripe_customer_id, credits_from: from }) = body;
    let catalogue = app.config.catalogue.now();
    let asked = NewCustomer {
        email: &email.0,
        name: &name.0,
        source: source.into(),
        plan: &catalogue.entry_plan().key,
        stripe_customer_id: stripe_customer_id.as_ref().map(|id| id.0.as_str()),
        credits_from_ms: credits_from(from, app.clock.now_ms())?,
        actor,
        idempotency_key: &key,
        request_hash: &request_hash,
    };
    let made = by_staff::make(&app.for_support(), asked, app.clock.now_ms()).await?;
    app.runtime.dispatcher.announce(made.wakes);
    Ok(CreateCustomerResponse::Created(Json(made.customer.into())))
}

#[OpenApi]
impl AdminStripeLinkApi {
    /// Link a Stripe customer
    ///
    /// Stripe is asked whether it exists, is of the server's mode and names no other customer. It takes the place of
    /// the customer's present one, whose late events still count. A present one with a subscription in force is not
    /// replaced. Then our id is written into its metadata, its payment methods and subscriptions are taken over, and
    /// the payments for periods from `credits_from` on bring their credits. The date counts for every later event,
    /// replay and comparison as well. Repeating the request changes nothing; with another date it sets the date.
    #[oai(
        path = "/admin/v1/customers/:id/stripe-link",
        method = "post",
        operation_id = "admin_link_stripe_customer",
        tag = "Tag::Admin"
    )]
    async fn link(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<LinkStripeRequest>,
    ) -> Result<Json<LinkedCustomerBody>, ApiError> {
        let id = id.0.parsed()?;
        let Json(LinkStripeRequest { stripe_customer_id, credits_from: from, reason }) = body;
        let reason = check_reason(&reason)?;
        let asked = LinkRequest {
            stripe_customer_id: &stripe_customer_id.0,
            credits_from_ms: credits_from(from, app.clock.now_ms())?,
            reason: &reason,
            actor: &auth.0.actor,
        };
        let linked = stripe_link::link(&app.for_support(), &id, asked, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(linked.wakes);
        Ok(Json(linked.customer.into()))
    }

    /// Unlink the Stripe customer
    ///
    /// For a wrong link. Our id is removed from the Stripe customer's metadata, and its payment methods and
    /// subscriptions go with it; later payments of it bring this customer nothing. Credits that were granted stay: take
    /// them by an adjustment. A subscription that was sold to this customer must be cancelled first.
    #[oai(
        path = "/admin/v1/customers/:id/stripe-unlink",
        method = "post",
        operation_id = "admin_unlink_stripe_customer",
        tag = "Tag::Admin"
    )]
    async fn unlink(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<LinkedCustomerBody>, ApiError> {
        let id = id.0.parsed()?;
        let reason = check_reason(&body.0.reason)?;
        let now_ms = app.clock.now_ms();
        let customer = stripe_link::unlink(&app.for_support(), &id, &auth.0.actor, &reason, now_ms).await?;
        Ok(Json(customer.into()))
    }
}
