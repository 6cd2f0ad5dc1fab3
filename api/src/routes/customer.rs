//! Customers: signing up, and reading one's own record.

use super::Tag;
use super::bodies::CustomerBody;
use super::text::Text;
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::client_ip::ClientIp;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::domain::customer::Source;
use bursar_engine::infra::store::{account, customer};
use bursar_engine::usecase::onboard::{self, Signup};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use std::sync::Arc;

/// Routes of customers.
pub struct CustomerApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "onboard",
        &[
            "customer_exists",
            "email_disposable",
            "invalid_email",
            "invalid_name",
            "marketplace_link_expired",
            "marketplace_link_invalid",
            "onboarding_disabled",
            "rate_limited",
        ],
    ),
    OperationDoc::new("get_customer", &[]),
];

/// Where a customer comes from.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum SourceBody {
    /// Signed up by itself.
    Direct,
    /// Bought on a marketplace.
    Marketplace,
    /// Invited before the launch.
    EarlyAccess,
}

impl From<SourceBody> for Source {
    fn from(source: SourceBody) -> Self {
        match source {
            SourceBody::Direct => Self::Direct,
            SourceBody::Marketplace => Self::Marketplace,
            SourceBody::EarlyAccess => Self::EarlyAccess,
        }
    }
}

/// A signup.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct OnboardRequest {
    /// E-mail address; unique among customers.
    email: Text,
    /// Name, 1 to 200 characters.
    name: Text,
    /// Where the customer comes from.
    source: Option<SourceBody>,
    /// A link token of a purchase on GitHub Marketplace, which is linked to this customer. The source is then
    /// `marketplace`.
    marketplace_link: Option<Text>,
}

impl Example for OnboardRequest {
    fn example() -> Self {
        Self {
            email: "ada@example.com".into(),
            name: "Ada Lovelace".into(),
            source: Some(SourceBody::Direct),
            marketplace_link: None,
        }
    }
}

/// The new customer with its key.
#[derive(Debug, Object)]
#[oai(example)]
struct OnboardBody {
    /// The customer.
    customer: CustomerBody,
    /// Its API key, shown only in this answer.
    api_key: String,
}

impl Example for OnboardBody {
    fn example() -> Self {
        Self { customer: CustomerBody::example(), api_key: "bsk_…".to_owned() }
    }
}

#[derive(ApiResponse)]
enum OnboardResponse {
    /// The customer is created and has its first credits.
    #[oai(status = 201)]
    Created(Json<OnboardBody>),
}

#[OpenApi]
impl CustomerApi {
    /// Sign up
    ///
    /// Creates a customer with its first credits and an API key, which is shown only in this answer. A known
    /// address is answered with 409 `customer_exists`. If the same mailbox had free credits before, with another
    /// tag after `+`, the new customer gets none. Signups from one IP address are limited (429 `rate_limited`).
    ///
    /// Buyers on GitHub Marketplace sign up with `marketplace_link`: plan and credits of the purchase follow a
    /// moment later. An invalid link is answered with 422 `marketplace_link_invalid` or `marketplace_link_expired`,
    /// and creates nothing.
    #[oai(path = "/api/v1/customers/onboard", method = "post", operation_id = "onboard", tag = "Tag::Customers")]
    async fn onboard(
        &self,
        app: Data<&Arc<App>>,
        from: ClientIp,
        body: Json<OnboardRequest>,
    ) -> Result<OnboardResponse, ApiError> {
        let Json(OnboardRequest { email, name, source, marketplace_link }) = body;
        let source = match &marketplace_link {
            Some(_) => Source::Marketplace,
            None => source.unwrap_or(SourceBody::Direct).into(),
        };
        let now_ms = app.clock.now_ms();
        let catalogue = app.config.catalogue.now();
        let signup = Signup {
            email: &email.0,
            name: &name.0,
            source,
            plan: catalogue.entry_plan(),
            marketplace_link: marketplace_link.as_ref().map(|token| token.0.as_str()),
        };
        let attempt = async {
            onboard::gate::admit(&app.db, &app.config.onboarding, &email.0, from.0, now_ms).await?;
            onboard::onboard(&app.db, app.seal(), signup, now_ms).await
        };
        let made = attempt.await.inspect_err(|error| {
            if let Some(code) = error.code() {
                metrics::counter!(bursar_engine::metric::SIGNUPS_REFUSED, "code" => code).increment(1);
            }
        })?;
        app.runtime.dispatcher.announce(made.wakes);
        let source_label = made.customer.source.clone();
        metrics::counter!(bursar_engine::metric::CUSTOMERS_ONBOARDED, "source" => source_label).increment(1);
        metrics::counter!(bursar_engine::metric::CREDITS_GRANTED, "source" => "signup")
            .increment(made.account.balance.0.unsigned_abs());
        Ok(OnboardResponse::Created(Json(OnboardBody {
            customer: CustomerBody::new(&made.customer, Some(&made.account)),
            api_key: made.api_key.expose().to_owned(),
        })))
    }

    /// Get the customer
    ///
    /// The customer that the API key belongs to, with its plan and its credits.
    #[oai(path = "/api/v1/customer", method = "get", operation_id = "get_customer", tag = "Tag::Customers")]
    async fn get(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<CustomerBody>, ApiError> {
        let found = customer::customer_find(app.db.read(), &auth.0).await?.ok_or(Error::NotFound("customer"))?;
        let account =
            account::account_find(app.db.read(), &auth.0).await?.map(|account| account.settled(app.clock.now_ms()));
        Ok(Json(CustomerBody::new(&found, account.as_ref())))
    }
}
