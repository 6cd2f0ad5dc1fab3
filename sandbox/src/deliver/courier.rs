//! Sends due deliveries, a limited number in parallel.

use super::Delivery;
use super::sign::sign;
use crate::app::App;
use crate::clock;
use crate::field::{Fields, strip};
use crate::older;
use crate::render::render;
use crate::version::Version;
use crate::world::World;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Most deliveries in progress.
const PARALLEL_MAX: usize = 16;
/// How often to look for deliveries that became due without a notification.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long an endpoint may take to answer. Source: Stripe allows 20 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A request that is ready to be sent.
struct Parcel {
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
            for parcel in app.read(|world| parcels(world, free, &in_flight)) {
                in_flight.insert(parcel.delivery.id.clone());
                sends.spawn(send(client.clone(), parcel));
            }
        }
        let ended = tokio::select! {
            Some(ended) = sends.join_next() => ended.ok(),
            () = app.changed() => None,
            () = tokio::time::sleep(LOOK_EVERY) => None,
        };
        if let Some((delivery, is_taken)) = ended {
            in_flight.remove(&delivery.id);
            // Blocks, because it flushes the journal to disk.
            let app = app.clone();
            let recorded = tokio::task::spawn_blocking(move || app.record_delivery(&delivery.id, is_taken)).await;
            if recorded.is_err() {
                tracing::error!("the result of a delivery could not be recorded");
            }
        }
    }
}

fn parcels(world: &World, max: usize, in_flight: &HashSet<String>) -> Vec<Parcel> {
    world.due_deliveries(max, in_flight).into_iter().map(|delivery| parcel(world, delivery)).collect()
}

/// Builds a delivery's request. If its endpoint was deleted it has no URL, and fails.
fn parcel(world: &World, delivery: Delivery) -> Parcel {
    let endpoint = world.copy(&delivery.endpoint);
    let wanted = world.policy.api_version.as_deref().or_else(|| endpoint.opt("api_version"));
    let version = Version::parse(wanted.unwrap_or(&world.api_version)).unwrap_or_default();
    let mut event = world.copy(&delivery.event);
    shape(world, &mut event, version);
    let body = serde_json::to_string_pretty(&event).unwrap_or_default();
    Parcel { delivery, url: endpoint.text("url").to_owned(), secret: endpoint.text("secret").to_owned(), body }
}

/// Renders an event in a version.
pub(crate) fn shape(world: &World, event: &mut Value, version: Version) {
    if event.text("object") == "event" {
        older::fill(world, event, version);
        render(event, version);
    }
    strip(event);
}

async fn send(client: reqwest::Client, parcel: Parcel) -> (Delivery, bool) {
    let signature = sign(&parcel.secret, clock::real_ms() / 1_000, &parcel.body);
    let request = client
        .post(&parcel.url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Stripe-Signature", signature)
        .body(parcel.body);
    let is_taken = match request.send().await {
        Ok(answer) => answer.status().is_success(),
        Err(error) => {
            tracing::debug!(error = %error, "a webhook could not be delivered");
            false
        }
    };
    (parcel.delivery, is_taken)
}
