//! Sends due deliveries, a limited number in parallel.

use super::Delivery;
use super::sign::sign;
use crate::account::StripeAccount;
use crate::app::App;
use crate::clock;
use crate::field::{Fields, strip};
use crate::legacy_fields;
use crate::render::render;
use crate::version::Version;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Maximum number of deliveries in progress.
const PARALLEL_MAX: usize = 16;
/// How often to look for deliveries that became due without a notification.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long an endpoint may take to answer. Source: Stripe allows 20 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A request that is ready to be sent.
struct WebhookRequest {
    delivery: Delivery,
    url: String,
    secret: String,
    body: String,
}

/// Builds the HTTP client for webhooks.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Fails only if the process has installed a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("Stripe/1.0 (SANDBOX; no real money moves)")
        .build()
}

/// Sends deliveries until the task is aborted.
pub(crate) async fn run(app: Arc<App>, client: reqwest::Client) {
    let mut sends: JoinSet<(Delivery, bool)> = JoinSet::new();
    let mut in_flight: HashSet<String> = HashSet::new();
    loop {
        let free = PARALLEL_MAX.saturating_sub(sends.len());
        if free > 0 {
            for webhook in app.read(|account| webhooks(account, free, &in_flight)) {
                in_flight.insert(webhook.delivery.id.clone());
                sends.spawn(send(client.clone(), webhook));
            }
        }
        let ended = tokio::select! {
            Some(ended) = sends.join_next() => ended.ok(),
            () = app.changed() => None,
            () = tokio::time::sleep(LOOK_EVERY) => None,
        };
        if let Some((delivery, is_accepted)) = ended {
            in_flight.remove(&delivery.id);
            // Blocks, because it flushes the journal to disk.
            let app = app.clone();
            let recorded = tokio::task::spawn_blocking(move || app.record_delivery(&delivery.id, is_accepted)).await;
            if recorded.is_err() {
                tracing::error!("the result of a delivery could not be recorded");
            }
        }
    }
}

fn webhooks(account: &StripeAccount, max: usize, in_flight: &HashSet<String>) -> Vec<WebhookRequest> {
    account.due_deliveries(max, in_flight).into_iter().map(|delivery| webhook(account, delivery)).collect()
}

/// Builds a delivery's request. If the endpoint was deleted the URL is empty, so that sending it fails.
fn webhook(account: &StripeAccount, delivery: Delivery) -> WebhookRequest {
    let endpoint = account.copy(&delivery.endpoint);
    let wanted = account.policy.api_version.as_deref().or_else(|| endpoint.opt("api_version"));
    let version = Version::parse(wanted.unwrap_or(&account.api_version)).unwrap_or_default();
    let mut event = account.copy(&delivery.event);
    render_event(account, &mut event, version);
    let body = serde_json::to_string_pretty(&event).unwrap_or_default();
    WebhookRequest { delivery, url: endpoint.text("url").to_owned(), secret: endpoint.text("secret").to_owned(), body }
}

/// Renders an event in a version.
pub(crate) fn render_event(account: &StripeAccount, event: &mut Value, version: Version) {
    if event.text("object") == "event" {
        legacy_fields::add(account, event, version);
        render(event, version);
    }
    strip(event);
}

async fn send(client: reqwest::Client, webhook: WebhookRequest) -> (Delivery, bool) {
    let signature = sign(&webhook.secret, clock::real_ms() / 1_000, &webhook.body);
    let request = client
        .post(&webhook.url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Stripe-Signature", signature)
        .body(webhook.body);
    let is_accepted = match request.send().await {
        Ok(answer) => answer.status().is_success(),
        Err(error) => {
            tracing::debug!(error = %error, "a webhook could not be delivered");
            false
        }
    };
    (webhook.delivery, is_accepted)
}
