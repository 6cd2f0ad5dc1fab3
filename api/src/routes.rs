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

use crate::answer_bytes::{Page, Shared};
use crate::app::App;
use crate::document::{Described, openapi_document};
use crate::middleware::Guarded;
use bursar_actors::Role;
use bytes::Bytes;
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
         An `Idempotency-Key` is required for usage, for holds, for making and rotating API keys, for payment methods \
         and for the subscription; of the support routes, for adjustments, new API keys, sending mails again, and making \
         replays and reconciliations. Repeating such a request with the same key and body gives the first answer and \
         does nothing twice; the same key with another body is refused. Other routes take no key.",
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

/// Pages of metrics that are kept for clients that do not take them.
const METRICS_PAGES_MAX: usize = 16;

/// The endpoint of an application. A worker answers only what operators ask: health and metrics.
pub fn endpoint(app: Arc<App>, role: Role) -> impl Endpoint<Output = Response> {
    let metrics = {
        let (app, page) = (app.clone(), Page::new(METRICS_PAGES_MAX));
        make_sync(move |_| {
            Response::builder()
                .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
                .body(page.get(|| app.render_metrics()))
        })
    };
    let route = Route::new().at("/metrics", metrics);
    let route = if role == Role::Worker {
        route.nest("/", OpenApiService::new(health::HealthApi, "Bursar worker", env!("CARGO_PKG_VERSION")))
    } else {
        let service = service();
        let json = fixed("application/json", openapi_document());
        let docs = Route::new().at("/", fixed("text/html; charset=utf-8", service.swagger_ui_html()));
        route.at("/openapi.json", json).nest("/docs", docs).nest("/", service)
    };
    Guarded::new(route.data(app.clone()).map_to_response(), app)
}

/// An endpoint that always answers this, with the same bytes in memory for all.
fn fixed(content_type: &'static str, text: String) -> impl Endpoint<Output = Response> {
    let bytes = Bytes::from(text);
    make_sync(move |_| {
        Response::builder().header(header::CONTENT_TYPE, content_type).extension(Shared).body(bytes.clone())
    })
}
