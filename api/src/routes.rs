//! The HTTP API: one file a noun, the generated OpenAPI document, health, metrics.

pub mod admin;
pub mod api_key;
pub mod customer;
pub mod health;
pub mod hold;
mod input;
pub mod operation;
pub mod payment_method;
mod shapes;
pub mod subscription;
pub mod summary;
mod text;
pub mod transaction;
pub mod usage;
pub mod webhook;

use crate::app::App;
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
        admin::AdminEventApi,
        admin::AdminJobApi,
        admin::AdminStreamApi,
        admin::AdminReplayApi,
        admin::AdminApiKeyApi,
        admin::AdminMailApi,
        admin::AdminReportApi,
        admin::AdminReconciliationApi,
        admin::AdminMarketplaceApi,
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
            admin::AdminEventApi,
            admin::AdminJobApi,
            admin::AdminStreamApi,
            admin::AdminReplayApi,
            admin::AdminApiKeyApi,
            admin::AdminMailApi,
            admin::AdminReportApi,
            admin::AdminReconciliationApi,
            admin::AdminMarketplaceApi,
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

/// The OpenAPI document, pretty, with a final line break.
pub fn openapi_document() -> String {
    let document = service().spec();
    // Parsed and written again, so that the order of keys and the layout are always the same.
    let mut value: serde_json::Value = serde_json::from_str(&document).unwrap_or_default();
    let schemas = value["components"]["schemas"].as_object_mut().into_iter().flatten();
    schemas.for_each(|(_, schema)| mark_nullable(schema));
    serde_json::to_string_pretty(&value).unwrap_or(document) + "\n"
}

/// A field that is not required may be null: that is how it is answered and taken. The framework does
/// not say so in the document.
fn mark_nullable(schema: &mut serde_json::Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if required.iter().any(|required| required == name) {
            continue;
        }
        if let Some(reference) = property.get("$ref").cloned() {
            *property = serde_json::json!({ "allOf": [{ "$ref": reference }] });
        }
        property["nullable"] = true.into();
    }
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
