//! Webhooks: verified, stored, acknowledged. Jobs process them later.

use super::Tag;
use crate::app::App;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use bursar_engine::domain::github;
use bursar_engine::domain::github::delivery::{GithubHeaders, read_github_delivery};
use bursar_engine::domain::webhook::delivery::{Delivery, SOURCE_GITHUB, SOURCE_STRIPE, delivery};
use bursar_engine::domain::webhook::{self, SignatureError};
use bursar_engine::metric;
use poem::http::HeaderMap;
use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::payload::{Binary, Json};
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of webhooks.
pub struct WebhookApi;

/// A sender of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Stripe.
    Stripe,
    /// GitHub.
    Github,
}

impl Sender {
    /// The sender whose webhooks a path receives.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/webhooks/stripe" => Some(Self::Stripe),
            "/webhooks/github" => Some(Self::Github),
            _ => None,
        }
    }

    /// The operation id of its route.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Stripe => "stripe_webhook",
            Self::Github => "github_webhook",
        }
    }
}

/// Checks the headers before any of the body is read.
///
/// # Errors
/// Those that the route would answer too.
pub fn check_head(sender: Sender, app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    // A value that is not text becomes an invalid signature.
    let signature = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match sender {
        Sender::Stripe => {
            let (now_ms, tolerance_s) = (app.clock.now_ms(), app.config.stripe.tolerance_s);
            webhook::check_header(signature(STRIPE_SIGNATURE), now_ms, tolerance_s)
                .map_err(|error| refused(SOURCE_STRIPE, error))
        }
        Sender::Github => {
            check_github_configured(app)?;
            github::check_header(signature(GITHUB_SIGNATURE)).map_err(|error| refused(SOURCE_GITHUB, error))
        }
    }
}

fn check_github_configured(app: &App) -> Result<(), ApiError> {
    if app.github_secrets().is_empty() {
        let detail = "This server accepts no GitHub events: GITHUB_WEBHOOK_SECRET is not set.";
        return Err(ApiError::with_code("github_not_configured", detail));
    }
    Ok(())
}

const STRIPE_SIGNATURE: &str = "Stripe-Signature";
const GITHUB_SIGNATURE: &str = "X-Hub-Signature-256";

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "stripe_webhook",
        &[
            "busy",
            "signature_future",
            "signature_malformed",
            "signature_mismatch",
            "signature_missing",
            "signature_stale",
        ],
    )
    .request(include_str!("webhook/stripe_event.json")),
    OperationDoc::new(
        "github_webhook",
        &["busy", "github_not_configured", "signature_malformed", "signature_mismatch", "signature_missing"],
    )
    .request(include_str!("webhook/github_event.json")),
];

/// The event is stored.
#[derive(Debug, Object)]
#[oai(example)]
struct ReceivedBody {
    /// Always true.
    received: bool,
    /// Whether it was stored before. It is processed only once.
    duplicate: bool,
}

impl Example for ReceivedBody {
    fn example() -> Self {
        Self { received: true, duplicate: false }
    }
}

#[OpenApi(tag = "Tag::Webhooks")]
impl WebhookApi {
    /// Stripe events
    ///
    /// The signature of the raw bytes is checked with every current secret. The answer is 200 as soon as the event
    /// is stored, whatever it contains. A wrong signature: 400 `signature_*`.
    #[oai(path = "/webhooks/stripe", method = "post", operation_id = "stripe_webhook")]
    async fn stripe(
        &self,
        app: Data<&Arc<App>>,
        /// `t=…,v1=…` as Stripe makes it.
        #[oai(name = "Stripe-Signature")]
        signature: Header<Option<String>>,
        body: Binary<Vec<u8>>,
    ) -> Result<Json<ReceivedBody>, ApiError> {
        let now_ms = app.clock.now_ms();
        let secrets = app.webhook_secrets();
        let tolerance_s = app.config.stripe.tolerance_s;
        if let Err(error) = webhook::verify(signature.0.as_deref(), &body.0, secrets, now_ms, tolerance_s) {
            return Err(refused(SOURCE_STRIPE, error));
        }
        store(&app, delivery(&body.0, app.config.stripe.livemode, now_ms)).await
    }

    /// GitHub events
    ///
    /// The signature of the raw bytes is checked with every current secret. The answer is 200 as soon as the event
    /// is stored, whatever it contains. Only purchases on the Marketplace are processed. A wrong signature: 400
    /// `signature_*`. Without a configured secret: 404 `github_not_configured`.
    #[oai(path = "/webhooks/github", method = "post", operation_id = "github_webhook")]
    async fn github(
        &self,
        app: Data<&Arc<App>>,
        /// `sha256=…` as GitHub makes it.
        #[oai(name = "X-Hub-Signature-256")]
        signature: Header<Option<String>>,
        /// The name of the event, such as `marketplace_purchase`.
        #[oai(name = "X-GitHub-Event")]
        event: Header<Option<String>>,
        /// The id of the delivery, the same when it is sent again.
        #[oai(name = "X-GitHub-Delivery")]
        delivery: Header<Option<String>>,
        body: Binary<Vec<u8>>,
    ) -> Result<Json<ReceivedBody>, ApiError> {
        check_github_configured(&app)?;
        if let Err(error) = github::verify(signature.0.as_deref(), &body.0, app.github_secrets()) {
            return Err(refused(SOURCE_GITHUB, error));
        }
        let headers = GithubHeaders { event: event.0.as_deref(), delivery: delivery.0.as_deref() };
        store(&app, read_github_delivery(headers, &body.0, app.clock.now_ms())).await
    }
}

async fn store(app: &App, delivery: Delivery) -> Result<Json<ReceivedBody>, ApiError> {
    let receipt = app.runtime.intake.store(delivery).await.map_err(bursar_engine::Error::from)?;
    Ok(Json(ReceivedBody { received: true, duplicate: !receipt.is_new }))
}

fn refused(source: &'static str, error: SignatureError) -> ApiError {
    metrics::counter!(metric::WEBHOOKS_REFUSED, "source" => source, "code" => error.code()).increment(1);
    ApiError::bad_request(error.code(), error.to_string())
}
