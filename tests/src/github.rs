//! Marketplace events as GitHub sends and signs them.

use crate::unique::unique;
use bursar_engine::clock::{Clock, rfc3339};
use bursar_engine::domain::github::sign;
use serde_json::{Value, json};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// The signature of a body.
pub fn signature(body: &[u8], secret: &str) -> String {
    sign(secret, body)
}

/// The headers of a delivery.
pub fn headers<'a>(event: &'a str, delivery: &'a str, signature: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("User-Agent", "GitHub-Hookshot/044aadd"),
        ("X-GitHub-Hook-ID", "292430182"),
        ("X-GitHub-Event", event),
        ("X-GitHub-Delivery", delivery),
    ];
    headers.extend(signature.map(|signature| ("X-Hub-Signature-256", signature)));
    headers
}

/// A unique delivery id.
pub fn delivery() -> String {
    format!("72d3162e-{}", unique())
}

/// A unique GitHub account id.
pub fn account() -> i64 {
    i64::from(rand::random::<u32>()) + 1
}

/// The beginning of the day `days` days from now.
pub fn day_ms(days: i64) -> i64 {
    let at_ms = Clock::System.now_ms() + days * DAY_MS;
    at_ms - at_ms.rem_euclid(DAY_MS)
}

/// The same in GitHub's format.
pub fn in_days(days: i64) -> String {
    rfc3339(day_ms(days)).replace(".000Z", "+00:00")
}

/// A purchase event for a monthly plan that is billed in 20 days.
pub fn purchase(action: &str, account: i64, plan: &str, effective_date: &str) -> Value {
    json!({
        "action": action,
        "effective_date": effective_date,
        "sender": { "login": "ada", "id": 7, "type": "User", "site_admin": false },
        "marketplace_purchase": {
            "account": {
                "type": "Organization",
                "id": account,
                "node_id": "MDEyOk9yZ2FuaXphdGlvbjQ=",
                "login": format!("acme-{account}"),
                "organization_billing_email": "billing@acme.example",
            },
            "billing_cycle": "monthly",
            "unit_count": 1,
            "on_free_trial": false,
            "free_trial_ends_on": null,
            "next_billing_date": in_days(20),
            "plan": {
                "id": 435,
                "name": plan,
                "description": "A plan",
                "monthly_price_in_cents": 59_900,
                "yearly_price_in_cents": 599_000,
                "price_model": "FLAT_RATE",
                "has_free_trial": true,
                "unit_name": null,
                "bullets": ["Is a plan"],
            },
        },
    })
}
