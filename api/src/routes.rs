//! The HTTP API: one file per resource, each registered once, and the OpenAPI document.

pub(crate) mod admin;
mod api_key;
mod bodies;
mod customer;
pub(crate) mod health;
mod hold;
pub mod input;
mod operation;
mod pack;
pub mod page;
mod path_id;
mod payment_method;
mod plan;
mod spend_cap;
mod subscription;
mod summary;
pub mod text;
mod top_up;
mod transaction;
mod usage;
pub(crate) mod webhook;

use crate::body_fields::BodyFields;
use crate::document::{self, OperationDoc};
use crate::query_names::QueryNames;
use poem_openapi::{OpenApiService, Tags};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Groups of the documentation.
#[derive(Tags)]
enum Tag {
    /// Signing up, and the customer's own record.
    Customers,
    /// Spending credits and looking at them.
    Credits,
    /// Payment methods, the subscription, invoices, and operations at Stripe.
    Billing,
    /// Reserving credits before work is done.
    Holds,
    /// A customer's API keys.
    ApiKeys,
    /// Events from Stripe and GitHub.
    Webhooks,
    /// The server's health.
    Health,
    /// For support staff.
    Admin,
}

/// Makes one tuple of all APIs, nested because the framework limits the length of tuples, and one list of their
/// documentation.
macro_rules! apis {
    ($($($module:ident)::+ => $api:ident,)+) => {
        type Apis = apis!(@nest $($($module)::+::$api,)+);

        fn apis() -> Apis {
            apis!(@nest $($($module)::+::$api,)+)
        }

        /// The documentation of all operations.
        pub fn operation_docs() -> Vec<&'static OperationDoc> {
            [$($($module)::+::OPERATION_DOCS),+].into_iter().flatten().collect()
        }
    };
    (@nest) => { () };
    (@nest $first:path, $($rest:path,)*) => { ($first, apis!(@nest $($rest,)*)) };
}

// Every API, once. Its file defines `OPERATION_DOCS`.
apis! {
    customer => CustomerApi,
    usage => UsageApi,
    hold => HoldApi,
    api_key => ApiKeyApi,
    payment_method => PaymentMethodApi,
    plan => PlanApi,
    pack => PackApi,
    spend_cap => SpendCapApi,
    top_up => TopUpApi,
    subscription => SubscriptionApi,
    subscription::change => SubscriptionChangeApi,
    operation => OperationApi,
    summary => SummaryApi,
    transaction => TransactionApi,
    webhook => WebhookApi,
    health => HealthApi,
    admin::customer => AdminCustomerApi,
    admin::customer_email => AdminCustomerEmailApi,
    admin::confirmation => AdminConfirmationApi,
    admin::spend_cap => AdminSpendCapApi,
    admin::top_up => AdminTopUpApi,
    admin::stripe_link => AdminStripeLinkApi,
    admin::payment => AdminPaymentApi,
    admin::account => AdminAccountApi,
    admin::timeline => AdminTimelineApi,
    admin::event => AdminEventApi,
    admin::job => AdminJobApi,
    admin::failure_group => AdminFailureApi,
    admin::stream => AdminStreamApi,
    admin::replay => AdminReplayApi,
    admin::api_key => AdminApiKeyApi,
    admin::mail => AdminMailApi,
    admin::report => AdminReportApi,
    admin::reconciliation => AdminReconciliationApi,
    admin::marketplace => AdminMarketplaceApi,
    admin::price => AdminPriceApi,
    admin::audit => AdminAuditApi,
    admin::admin_token => AdminTokenApi,
    admin::catalogue => AdminCatalogueApi,
    admin::log_filter => AdminLogFilterApi,
}

/// The API as a service, which can generate its document.
pub(crate) fn service() -> OpenApiService<impl poem_openapi::OpenApi, ()> {
    OpenApiService::new(apis(), "Bursar", env!("CARGO_PKG_VERSION")).description(
        "Credits for companies that sell work by credit: onboarding, usage, holds, webhooks, support.\n\n\
         Errors are problem documents (RFC 9457) with a stable `code`. Every answer has `X-Request-Id`: that of the \
         request, or a new one. Lists are paged with `cursor` and `limit`. \
         An `Idempotency-Key` is required for usage, for holds, for packs, for making and rotating API keys, for payment \
         methods, for the subscription and for asking for a link; of the support routes, for making customers, adjustments, \
         write-offs, refunds, new API keys, admin tokens, sending mails and links again, making replays and reconciliations, \
         and applying a catalogue. Repeating such a \
         request with the same key and body gives the first answer and does nothing twice; the same key with another \
         body is refused. Other routes take no key.",
    )
}

/// The OpenAPI document, pretty-printed, with a final line break.
pub fn openapi_document() -> String {
    document::complete(service().spec(), &operation_docs())
}

/// What is wrong with the query of a request to a route of the API; `None` if nothing is.
pub fn query_problem(method: &str, path: &str, query: &str) -> Option<String> {
    static NAMES: LazyLock<QueryNames> =
        LazyLock::new(|| QueryNames::of(&serde_json::from_str(&openapi_document()).unwrap_or_default()));
    NAMES.problem(method, path, query)
}

/// Which field of a body that an operation has refused is wrong, and how; `None` if that is not found.
pub fn body_problem(operation: &str, body: &[u8]) -> Option<String> {
    static FIELDS: LazyLock<BodyFields> =
        LazyLock::new(|| BodyFields::of(&serde_json::from_str(&service().spec()).unwrap_or_default()));
    FIELDS.problem(operation, body).map(|problem| format!("The body cannot be used: {problem}"))
}

/// The required fields of an object of the API, known by the name of its type, if it has any.
pub(crate) fn required_fields(object: &str) -> Option<&'static [String]> {
    static REQUIRED: LazyLock<HashMap<String, Vec<String>>> = LazyLock::new(|| {
        let document: Value = serde_json::from_str(&openapi_document()).unwrap_or_default();
        let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
        let required = |schema: &Value| serde_json::from_value(schema["required"].clone()).ok();
        schemas.filter_map(|(name, schema)| Some((name.clone(), required(schema)?))).collect()
    });
    REQUIRED.get(&document::reader_name(object)).map(Vec::as_slice)
}
