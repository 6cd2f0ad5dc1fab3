//! Stripe's events about a subscription that exists only in this journey, in the shapes of API version
//! 2025-12-15.clover.

use crate::e2e::sender::now_s;
use serde_json::{Value, json};

/// The reason of the failed payment.
pub(super) const DECLINE: &str = "Your card was declined.";

const API_VERSION: &str = "2025-12-15.clover";
const MONTH_S: i64 = 30 * 86_400;

/// An event that the application ignores.
pub(super) fn ignored_event(unique: &str) -> Value {
    event(unique, "ignored", "product.updated", &json!({ "id": "prod_e2e", "object": "product" }))
}

fn event(unique: &str, name: &str, event_type: &str, object: &Value) -> Value {
    json!({
        "id": format!("evt_e2e_{unique}_{name}"),
        "object": "event",
        "api_version": API_VERSION,
        "created": now_s(),
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": event_type,
        "data": { "object": object },
    })
}

/// A customer's subscription to Pro, month by month.
pub(super) struct Subscription {
    unique: String,
    stripe_customer: String,
    id: String,
    /// The id of the customer in Bursar.
    customer: String,
    price_minor: i64,
    began_s: i64,
    month: i64,
}

impl Subscription {
    pub(super) fn new(unique: &str, stripe_customer: &str, customer: &str, price_minor: i64) -> Self {
        Self {
            unique: unique.to_owned(),
            stripe_customer: stripe_customer.to_owned(),
            id: format!("sub_e2e{}", unique.replace('-', "")),
            customer: customer.to_owned(),
            price_minor,
            began_s: now_s(),
            month: 0,
        }
    }

    /// Begins the next month.
    pub(super) fn next_month(&mut self) {
        self.month += 1;
    }

    fn period(&self) -> (i64, i64) {
        let start_s = self.began_s + self.month * MONTH_S;
        (start_s, start_s + MONTH_S)
    }

    fn metadata(&self) -> Value {
        json!({ "bursar_customer_id": self.customer })
    }

    fn event(&self, name: &str, event_type: &str, object: &Value) -> Value {
        event(&self.unique, &format!("{name}_{}", self.month), event_type, object)
    }

    /// The subscription was `created`, `updated` or `deleted`, and has this status now.
    pub(super) fn changed(&self, what: &str, status: &str) -> Value {
        let (start_s, end_s) = self.period();
        let ended_at = (status == "canceled").then(now_s);
        let object = json!({
            "id": self.id,
            "object": "subscription",
            "customer": self.stripe_customer,
            "status": status,
            "cancel_at_period_end": false,
            "cancel_at": null,
            "canceled_at": ended_at,
            "ended_at": ended_at,
            "metadata": self.metadata(),
            "items": { "object": "list", "data": [{
                "id": format!("si_e2e{}", self.unique.replace('-', "")),
                "object": "subscription_item",
                "current_period_start": start_s,
                "current_period_end": end_s,
                "price": pro_price(),
            }] },
            "latest_invoice": null,
        });
        self.event(what, &format!("customer.subscription.{what}"), &object)
    }

    /// The month's invoice was paid.
    pub(super) fn paid(&self, event_type: &str) -> Value {
        let name = event_type.rsplit('.').next().unwrap_or_default();
        self.event(name, event_type, &self.invoice("paid", self.price_minor))
    }

    /// The month's invoice could not be paid.
    pub(super) fn failed(&self) -> Value {
        let mut invoice = self.invoice("open", 0);
        invoice["payments"] = json!({ "object": "list", "data": [{
            "object": "invoice_payment",
            "status": "open",
            "payment": { "type": "payment_intent", "payment_intent": self.intent("requires_payment_method") },
        }] });
        self.event("payment_failed", "invoice.payment_failed", &invoice)
    }

    /// The payment of the month's invoice succeeded or failed.
    pub(super) fn payment(&self, event_type: &str) -> Value {
        let is_good = event_type == "payment_intent.succeeded";
        let intent = self.intent(if is_good { "succeeded" } else { "requires_payment_method" });
        self.event("payment", event_type, &intent)
    }

    fn intent(&self, status: &str) -> Value {
        let error = (status != "succeeded").then(|| {
            json!({ "type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "message": DECLINE })
        });
        json!({
            "id": format!("pi_e2e{}m{}", self.unique.replace('-', ""), self.month),
            "object": "payment_intent",
            "customer": self.stripe_customer,
            "amount": self.price_minor,
            "currency": "usd",
            "status": status,
            "last_payment_error": error,
            "metadata": {},
        })
    }

    fn invoice(&self, status: &str, paid_minor: i64) -> Value {
        let (start_s, end_s) = self.period();
        let reason = if self.month == 0 { "subscription_create" } else { "subscription_cycle" };
        let id = format!("e2e{}m{}", self.unique.replace('-', ""), self.month);
        json!({
            "id": format!("in_{id}"),
            "object": "invoice",
            "customer": self.stripe_customer,
            "billing_reason": reason,
            "status": status,
            "amount_due": self.price_minor,
            "amount_paid": paid_minor,
            "total": self.price_minor,
            "currency": "usd",
            "attempt_count": 1,
            "metadata": {},
            "period_start": start_s,
            "period_end": end_s,
            "parent": {
                "type": "subscription_details",
                "subscription_details": { "subscription": self.id, "metadata": self.metadata() },
            },
            "lines": { "object": "list", "has_more": false, "data": [{
                "id": format!("il_{id}"),
                "object": "line_item",
                "amount": self.price_minor,
                "currency": "usd",
                "quantity": 1,
                "metadata": {},
                "period": { "start": start_s, "end": end_s },
                "pricing": {
                    "type": "price_details",
                    "price_details": { "price": pro_price(), "product": "prod_e2e" },
                },
                "parent": {
                    "type": "subscription_item_details",
                    "subscription_item_details": { "subscription": self.id, "proration": false },
                },
            }] },
        })
    }
}

fn pro_price() -> Value {
    json!({ "id": "price_e2e", "object": "price", "lookup_key": "pro_monthly", "metadata": { "plan": "pro" } })
}
