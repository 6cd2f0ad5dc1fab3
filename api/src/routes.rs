//! The HTTP API: one file a noun, the generated OpenAPI document, health, metrics.

pub mod admin;
pub mod api_key;
pub mod customer;
pub mod health;
pub mod hold;
mod input;
pub mod operation;
mod page;
pub mod payment_method;
pub(crate) mod sample;
mod shapes;
pub mod subscription;
pub mod summary;
mod text;
pub mod transaction;
pub mod usage;
pub mod webhook;

use crate::app::App;
use crate::document::{Described, openapi_document};
use crate::middleware::Guarded;
use bursar_actors::Role;
use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, EndpointExt, Response, Route};
use poem_openapi::{OpenApiService, Tags};
use std::sync::Arc;

/// Groups of the documentation.
#[derive(Tags)]
enum Tag {
    /// Signing up, and who one is.
    Customers,
    /// Spending credits and looking at them.
    Credits,
    /// Payment methods, the subscription, invoices, and what Stripe is doing.
    Billing,
    /// Reserving credits before work is done.
    Holds,
    /// Keys of a customer.
    ApiKeys,
    /// What other services tell us.
    Webhooks,
    /// How the server is.
    Health,
    /// For support staff.
    Admin,
}

type Apis = (
    (operation::OperationApi, payment_method::PaymentMethodApi, subscription::SubscriptionApi),
    (customer::CustomerApi, usage::UsageApi, hold::HoldApi, api_key::ApiKeyApi, webhook::WebhookApi, health::HealthApi),
    (
        admin::AdminCustomerApi,
        admin::AdminTimelineApi,
        admin::AdminEventApi,
        admin::AdminJobApi,
        admin::AdminStreamApi,
        admin::AdminReplayApi,
        admin::AdminApiKeyApi,
        admin::AdminMailApi,
        admin::AdminReportApi,
        admin::AdminReconciliationApi,
        admin::AdminMarketplaceApi,
        admin::AdminAuditApi,
    ),
    (summary::SummaryApi, transaction::TransactionApi),
);

/// The API as a service that knows its own document.
pub fn service() -> OpenApiService<Apis, ()> {
    let apis = (
        (operation::OperationApi, payment_method::PaymentMethodApi, subscription::SubscriptionApi),
        (
            customer::CustomerApi,
            usage::UsageApi,
            hold::HoldApi,
            api_key::ApiKeyApi,
            webhook::WebhookApi,
            health::HealthApi,
        ),
        (
            admin::AdminCustomerApi,
            admin::AdminTimelineApi,
            admin::AdminEventApi,
            admin::AdminJobApi,
            admin::AdminStreamApi,
            admin::AdminReplayApi,
            admin::AdminApiKeyApi,
            admin::AdminMailApi,
            admin::AdminReportApi,
            admin::AdminReconciliationApi,
            admin::AdminMarketplaceApi,
            admin::AdminAuditApi,
        ),
        (summary::SummaryApi, transaction::TransactionApi),
    );
    OpenApiService::new(apis, "Bursar", env!("CARGO_PKG_VERSION")).description(
        "Credits for companies that sell work by credit: onboarding, usage, holds, webhooks, support.\n\n\
         Errors are problem documents (RFC 9457) with a stable `code`. Lists are paged with `cursor` and `limit`. \
         Mutations take an `Idempotency-Key`: repeating a request with the same key and body gives the first answer \
         and does nothing twice; the same key with another body is refused.",
    )
}

/// What the operations' types do not say, from every file of routes.
pub fn described() -> impl Iterator<Item = &'static Described> {
    let own = [
        customer::DESCRIBED,
        usage::DESCRIBED,
        hold::DESCRIBED,
        api_key::DESCRIBED,
        operation::DESCRIBED,
        payment_method::DESCRIBED,
        subscription::DESCRIBED,
        summary::DESCRIBED,
        transaction::DESCRIBED,
        webhook::DESCRIBED,
    ];
    own.into_iter().chain(admin::DESCRIBED.iter().copied()).flatten()
}

/// The endpoint of an application. A worker answers only what operators ask: health and metrics.
pub fn endpoint(app: Arc<App>, role: Role) -> impl Endpoint<Output = Response> {
    let metrics = {
        let app = app.clone();
        make_sync(move |_| {
            Response::builder()
                .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
                .body(app.render_metrics())
        })
    };
    let route = Route::new().at("/metrics", metrics);
    let route = if role == Role::Worker {
        route.nest("/", OpenApiService::new(health::HealthApi, "Bursar worker", env!("CARGO_PKG_VERSION")))
    } else {
        let (service, document) = (service(), openapi_document());
        let json = make_sync(move |_| {
            Response::builder().header(header::CONTENT_TYPE, "application/json").body(document.clone())
        });
        route.at("/openapi.json", json).nest("/docs", service.swagger_ui()).nest("/", service)
    };
    Guarded::new(route.data(app.clone()).map_to_response(), app)
}
