//! Webhooks: verified, stored, acknowledged. Processing comes later, from the database.

use super::Tag;
use crate::app::App;
use crate::problem::ApiError;
use bursar_engine::{intake, metric, webhook};
use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::payload::{Binary, Json};
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of webhooks.
pub struct WebhookApi;

/// The event is on the disk.
#[derive(Debug, Object)]
struct ReceivedBody {
    /// Always true.
    received: bool,
    /// Whether it had been stored before; nothing happens twice.
    duplicate: bool,
}

#[OpenApi]
impl WebhookApi {
    /// Stripe events
    ///
    /// The signature is checked over the raw bytes under every current secret. The answer is 200 as
    /// soon as the event is stored, whatever is in it. A wrong signature: 400 `signature_*`.
    #[oai(path = "/webhooks/stripe", method = "post", operation_id = "stripe_webhook", tag = "Tag::Webhooks")]
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
            metrics::counter!(metric::WEBHOOKS_REFUSED, "code" => error.code()).increment(1);
            return Err(ApiError::bad_request(error.code(), error.to_string()));
        }
        let delivery = intake::delivery(&body.0, app.config.stripe.livemode, now_ms);
        let receipt = app.runtime.intake.store(delivery).await.map_err(bursar_engine::Error::from)?;
        Ok(Json(ReceivedBody { received: true, duplicate: !receipt.is_new }))
    }
}
