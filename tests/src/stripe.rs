//! Stripe's events, and their signatures.

use crate::unique::unique;
use bursar_engine::clock::Clock;
use bursar_engine::domain::webhook::sign;
use serde_json::{Value, json};

/// The signature of a body made now.
pub fn signature(body: &[u8], secret: &str) -> String {
    sign(secret, body, Clock::System.now_ms() / 1_000)
}

/// An event about an object.
pub fn event(event_type: &str, object: &Value) -> Value {
    json!({
        "id": format!("evt_{}", unique()),
        "object": "event",
        "api_version": "2025-12-15.clover",
        "created": Clock::System.now_ms() / 1_000,
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": event_type,
        "data": { "object": object },
    })
}

/// The id of an event at Stripe.
pub fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an id")
}

/// A paid invoice for one period of Pro. The subscription's metadata names the customer in Bursar.
pub fn pro_invoice(stripe_customer: &str, customer: Option<&str>) -> Value {
    let metadata = customer.map_or_else(|| json!({}), |id| json!({ "bursar_customer_id": id }));
    let now_s = Clock::System.now_ms() / 1_000;
    json!({
        "id": format!("in_{}", unique()),
        "object": "invoice",
        "customer": stripe_customer,
        "billing_reason": "subscription_cycle",
        "status": "paid",
        "amount_paid": 59_900,
        "amount_due": 59_900,
        "total": 59_900,
        "currency": "usd",
        "attempt_count": 1,
        "metadata": {},
        "period_start": now_s,
        "period_end": now_s + 2_592_000,
        "parent": {
            "type": "subscription_details",
            "subscription_details": { "subscription": format!("sub_of_{stripe_customer}"), "metadata": metadata },
        },
        "lines": { "object": "list", "data": [{
            "id": format!("il_{}", unique()),
            "object": "line_item",
            "amount": 59_900,
            "currency": "usd",
            "metadata": {},
            "period": { "start": now_s, "end": now_s + 2_592_000 },
            "pricing": { "type": "price_details", "price_details": { "price": {
                "id": "price_pro", "object": "price", "lookup_key": "pro_monthly", "metadata": {},
            }, "product": "prod_pro" } },
            "parent": { "type": "subscription_item_details", "subscription_item_details": {
                "subscription": format!("sub_of_{stripe_customer}"), "proration": false,
            } },
        }] },
    })
}

/// The subscription of the invoices of [`pro_invoice`].
pub fn pro_subscription(stripe_customer: &str, customer: Option<&str>, status: &str) -> Value {
    let metadata = customer.map_or_else(|| json!({}), |id| json!({ "bursar_customer_id": id }));
    let now_s = Clock::System.now_ms() / 1_000;
    json!({
        "id": format!("sub_of_{stripe_customer}"),
        "object": "subscription",
        "customer": stripe_customer,
        "status": status,
        "cancel_at_period_end": false,
        "cancel_at": null,
        "canceled_at": null,
        "ended_at": null,
        "metadata": metadata,
        "items": { "object": "list", "data": [{
            "id": "si_1",
            "object": "subscription_item",
            "current_period_start": now_s,
            "current_period_end": now_s + 2_592_000,
            "price": { "id": "price_pro", "object": "price", "lookup_key": "pro_monthly", "metadata": {} },
        }] },
        "latest_invoice": null,
    })
}
