//! What Stripe and GitHub send, and how they sign it. Sources: Stripe, "Verify webhook signatures
//! manually"; GitHub, "Validating webhook deliveries".

use super::answer::{Answer, Expected};
use super::client::{Call, Client};
use chrono::{DateTime, Days, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::time::SystemTime;

/// The endpoint for Stripe's events.
pub const STRIPE_PATH: &str = "/webhooks/stripe";
/// The endpoint for GitHub's events.
pub const GITHUB_PATH: &str = "/webhooks/github";

/// Seconds since 1970, by the machine's clock.
pub fn now_s() -> i64 {
    now().timestamp()
}

/// The beginning of the day `days` days ahead, in GitHub's format.
pub fn day_in(days: u64) -> String {
    let today = now().date_naive();
    let day = today.checked_add_days(Days::new(days)).unwrap_or(today);
    format!("{day}T00:00:00+00:00")
}

#[expect(clippy::disallowed_methods, reason = "the journeys know nothing of the engine's clock")]
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

fn hmac_hex(secret: &str, parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part.as_bytes());
    }
    hex::encode(mac.finalize().into_bytes())
}

/// The value of `Stripe-Signature` for a body that is sent at a time.
pub fn stripe_signature(secret: &str, body: &str, at_s: i64) -> String {
    let at = at_s.to_string();
    format!("t={at},v1={}", hmac_hex(secret, &[&at, ".", body]))
}

/// The value of GitHub's `X-Hub-Signature-256` for a body.
pub fn github_signature(secret: &str, body: &str) -> String {
    format!("sha256={}", hmac_hex(secret, &[body]))
}

/// Posts a body to `/webhooks/stripe`. `signature` may be right, wrong or missing.
pub async fn post_stripe(client: &Client, body: &str, signature: Option<&str>) -> Expected<Answer> {
    let mut call = Call { headers: vec![("Content-Type", "application/json; charset=utf-8")], body: Some(body.into()) };
    if let Some(signature) = signature {
        call = call.header("Stripe-Signature", signature);
    }
    client.send("POST", STRIPE_PATH, call).await
}

/// Delivers an event as Stripe does; expects that it is accepted.
pub async fn deliver_to_stripe(client: &Client, secret: &str, event: &Value) -> Expected<Answer> {
    // Stripe's bodies are pretty-printed.
    let body = format!("{event:#}");
    let signature = stripe_signature(secret, &body, now_s());
    post_stripe(client, &body, Some(&signature)).await?.status(200)?.has("/received", true)
}

/// Posts a body to `/webhooks/github`. `signature` may be right, wrong or missing.
pub async fn post_github(client: &Client, delivery: &str, body: &str, signature: Option<&str>) -> Expected<Answer> {
    let mut call = Call { headers: vec![("Content-Type", "application/json")], body: Some(body.into()) }
        .header("X-GitHub-Event", "marketplace_purchase")
        .header("X-GitHub-Delivery", delivery);
    if let Some(signature) = signature {
        call = call.header("X-Hub-Signature-256", signature);
    }
    client.send("POST", GITHUB_PATH, call).await
}

/// Delivers an event as GitHub does; expects that it is accepted.
pub async fn deliver_to_github(client: &Client, secret: &str, delivery: &str, event: &Value) -> Expected<Answer> {
    let body = event.to_string();
    let signature = github_signature(secret, &body);
    post_github(client, delivery, &body, Some(&signature)).await?.status(200)?.has("/received", true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_documented_example_has_the_documented_signature() {
        // Source: GitHub, "Validating webhook deliveries", "Testing the webhook payload validation".
        assert_eq!(
            github_signature("It's a Secret to Everybody", "Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn stripes_signature_covers_the_time_and_the_body() {
        let one = stripe_signature("whsec_1", "{}", 1);
        assert!(one.starts_with("t=1,v1=") && one.len() == "t=1,v1=".len() + 64, "{one}");
        assert_ne!(one.split_once("v1="), stripe_signature("whsec_1", "{}", 2).split_once("v1="));
    }
}
