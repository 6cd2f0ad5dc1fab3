//! Customers: signing up, and reading one's own record.

use super::bodies::CustomerBody;
use super::text::Text;
use super::{Tag, input};
use crate::app::App;
use crate::auth::{CustomerAuth, Voucher};
use crate::client_ip::ClientIp;
use crate::document::OperationDoc;
use crate::limit_fields;
use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::config::OnboardingConfig;
use bursar_engine::domain::confirmation::proven_source;
use bursar_engine::domain::customer::Source;
use bursar_engine::domain::rate_limit::log::Left;
use bursar_engine::infra::store::{account, customer};
use bursar_engine::usecase::confirmation::{self, Asker, LinkRequest};
use bursar_engine::usecase::onboard::{self, AddressRule, Signup};
use poem::web::Data;
use poem_openapi::param::Header;
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
            "insufficient_scope",
            "invalid_email",
            "invalid_name",
            "invalid_token",
            "marketplace_link_expired",
            "marketplace_link_invalid",
            "missing_credentials",
            "onboarding_disabled",
            "rate_limited",
            "source_unproven",
        ],
    ),
    OperationDoc::new("get_customer", &[]),
    OperationDoc::new("request_confirmation", &["address_confirmed", "rate_limited"]),
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
    /// Name, 1 to 200 characters, without web or e-mail addresses and invisible characters.
    name: Text,
    /// Where the customer comes from. All but `direct` need proof: `marketplace_link`, or an admin token in
    /// `Authorization: Bearer`.
    source: Option<SourceBody>,
    /// A link token of a purchase on GitHub Marketplace, which is linked to this customer. The source is then
    /// `marketplace`.
    marketplace_link: Option<Text>,
    /// Whether your backend has made sure that the customer owns the address, which then needs no confirmation. Needs
    /// an admin token in `Authorization: Bearer`.
    email_verified: Option<bool>,
}

impl Example for OnboardRequest {
    fn example() -> Self {
        Self {
            email: "ada@example.com".into(),
            name: "Ada Lovelace".into(),
            source: Some(SourceBody::Direct),
            marketplace_link: None,
            email_verified: None,
        }
    }
}

/// A link that is on its way.
#[derive(Debug, Object)]
#[oai(example)]
struct ConfirmationBody {
    /// The address that it is mailed to.
    email: String,
    /// How long it is good, in seconds.
    good_for_s: i64,
}

impl Example for ConfirmationBody {
    fn example() -> Self {
        Self { email: "ada@example.com".to_owned(), good_for_s: 259_200 }
    }
}

#[derive(ApiResponse)]
enum ConfirmationResponse {
    /// The mail with the link is on its way.
    #[oai(status = 202)]
    Sent(Json<ConfirmationBody>),
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

/// Notes what is left of the limit of signups.
fn note_signup(config: &OnboardingConfig, admitted: &bursar_engine::Result<Option<Left>>) {
    let Some(quota) = onboard::gate::limit_of_client(config) else { return };
    match admitted {
        Ok(Some(left)) => limit_fields::note("signups", quota, *left, None),
        Err(Error::RateLimited { retry_after_ms }) => {
            limit_fields::note("signups", quota, Left::default(), Some(*retry_after_ms));
        }
        _ => {}
    }
}

#[OpenApi]
impl CustomerApi {
    /// Sign up
    ///
    /// Creates a customer with its first credits and an API key, which is shown only in this answer. A known
    /// address is answered with 409 `customer_exists`. If the same mailbox had free credits before, with another
    /// tag after `+`, the new customer gets none. Attempts from one IP address and new customers of one mailbox are
    /// limited (429 `rate_limited`): 10 in any minute and 3 in any 24 hours, as configured.
    ///
    /// Buyers on GitHub Marketplace sign up with `marketplace_link`: plan and credits of the purchase follow a
    /// moment later. An invalid link is answered with 422 `marketplace_link_invalid` or `marketplace_link_expired`,
    /// and creates nothing.
    ///
    /// Where mail is sent, the address has to be confirmed by the link in the welcome mail. Until then
    /// (`email_confirmed: false`) the customer can spend its free credits, and a payment method, a charge or a
    /// subscription is answered with 403 `address_unconfirmed`. Whoever reads the mailbox takes the customer over: keys
    /// that were made before end, unless that person keeps them. A backend that vouches for its own users sends
    /// `email_verified: true` with an admin token.
    #[oai(path = "/api/v1/customers/onboard", method = "post", operation_id = "onboard", tag = "Tag::Customers")]
    async fn onboard(
        &self,
        app: Data<&Arc<App>>,
        from: ClientIp,
        voucher: Voucher,
        body: Json<OnboardRequest>,
    ) -> Result<OnboardResponse, ApiError> {
        let Json(OnboardRequest { email, name, source, marketplace_link, email_verified }) = body;
        let by = voucher.may_vouch().map(|admin| admin.actor.as_str());
        let is_verified = email_verified.unwrap_or(false);
        if is_verified && by.is_none() {
            let detail = "email_verified: true needs an admin token in the header Authorization: Bearer.";
            return Err(ApiError::with_code("missing_credentials", detail));
        }
        let source = proven_source(source.map(Source::from), marketplace_link.is_some(), by.is_some())?;
        let now_ms = app.clock.now_ms();
        let catalogue = app.config.catalogue.now();
        let signup = Signup {
            email: &email.0,
            name: &name.0,
            source,
            plan: catalogue.entry_plan(),
            marketplace_link: marketplace_link.as_ref().map(|token| token.0.as_str()),
            address: AddressRule::new(&app.config, by.filter(|_| is_verified)),
            per_mailbox_per_day: app.config.onboarding.per_mailbox_per_day,
        };
        let attempt = async {
            let admitted = onboard::gate::admit(&app.db, &app.config.onboarding, &email.0, from.0, now_ms).await;
            note_signup(&app.config.onboarding, &admitted);
            admitted?;
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

    /// Ask for a new link
    ///
    /// Mails a new link that confirms the address, to that address. One that is confirmed is answered with 409
    /// `address_confirmed`. A mailbox gets a limited number of such mails (429 `rate_limited`), those of signups
    /// included.
    #[oai(
        path = "/api/v1/customer/confirmation",
        method = "post",
        operation_id = "request_confirmation",
        tag = "Tag::Customers"
    )]
    async fn request_confirmation(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
    ) -> Result<ConfirmationResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("request_confirmation", &serde_json::Value::Null);
        let request = LinkRequest { asker: Asker::Customer, key: &key, request_hash: &hash };
        let config = &app.config.onboarding;
        let sent = confirmation::send_link(&app.db, app.seal(), config, &auth.0, request, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(sent.wakes);
        Ok(ConfirmationResponse::Sent(Json(ConfirmationBody {
            email: sent.customer.email,
            good_for_s: config.confirmation_link_ttl_s,
        })))
    }
}
