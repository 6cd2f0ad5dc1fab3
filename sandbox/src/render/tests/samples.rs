//! Objects in the newest format, with the internal fields for older versions.

use serde_json::{Value, json};

pub(super) fn price() -> Value {
    json!({
        "id": "price_1", "object": "price", "active": true, "billing_scheme": "per_unit", "created": 1_700_000_000,
        "currency": "usd", "livemode": false, "lookup_key": "pro_monthly", "metadata": {"plan": "pro"}, "nickname": null,
        "product": "prod_1", "type": "recurring", "unit_amount": 59_900, "unit_amount_decimal": "59900",
        "recurring": {"interval": "month", "interval_count": 1, "meter": null, "usage_type": "licensed", "trial_period_days": null},
    })
}

pub(super) fn line() -> Value {
    json!({
        "id": "il_1", "object": "line_item", "amount": 59_900, "currency": "usd", "invoice": "in_1", "livemode": false,
        "metadata": {}, "quantity": 1, "subtotal": 59_900, "subscription": "sub_1",
        "period": {"start": 1_749_000_000, "end": 1_751_592_000},
        "parent": {
            "type": "subscription_item_details", "invoice_item_details": null,
            "subscription_item_details": {
                "subscription": "sub_1", "subscription_item": "si_1", "proration": false, "invoice_item": null,
                "proration_details": {"credited_items": null},
            },
        },
        "pricing": {
            "type": "price_details", "unit_amount_decimal": "59900",
            "price_details": {"price": "price_1", "product": "prod_1"},
        },
        "taxes": [{"amount": 500, "tax_behavior": "inclusive", "tax_rate_details": {"tax_rate": "txr_1"}, "type": "tax_rate_details"}],
        "_price": price(),
    })
}

pub(super) fn invoice_payment() -> Value {
    json!({
        "id": "inpay_1", "object": "invoice_payment", "amount_paid": 59_900, "amount_requested": 59_900, "currency": "usd",
        "invoice": "in_1", "is_default": true, "livemode": false, "status": "paid",
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
    })
}

pub(super) fn invoice() -> Value {
    json!({
        "id": "in_1", "object": "invoice", "customer": "cus_1", "currency": "usd", "status": "paid", "total": 59_900,
        "amount_due": 59_900, "amount_paid": 59_900, "amount_paid_off_stripe": 0, "billing_reason": "subscription_cycle",
        "discounts": [], "metadata": {}, "livemode": false,
        "lines": {"object": "list", "data": [line()], "has_more": false, "url": "/v1/invoices/in_1/lines"},
        "parent": {
            "type": "subscription_details", "quote_details": null,
            "subscription_details": {"subscription": "sub_1", "metadata": {"plan": "pro"}},
        },
        "payments": {"object": "list", "data": [invoice_payment()], "has_more": false, "url": "/v1/invoice_payments"},
        "rendering": null, "total_taxes": [],
        "_payment_intent": "pi_1", "_charge": "ch_1",
    })
}

pub(super) fn subscription() -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "cancel_at_period_end": false,
        "cancel_at": null, "discounts": [], "latest_invoice": "in_1", "metadata": {}, "livemode": false,
        "items": {"object": "list", "has_more": false, "url": "/v1/subscription_items?subscription=sub_1", "data": [{
            "id": "si_1", "object": "subscription_item", "price": price(), "quantity": 1, "metadata": {},
            "current_period_start": 1_749_000_000, "current_period_end": 1_751_592_000, "subscription": "sub_1",
        }]},
    })
}

pub(super) fn refund() -> Value {
    json!({"id": "re_1", "object": "refund", "amount": 900, "charge": "ch_1", "payment_intent": "pi_1", "status": "succeeded"})
}

pub(super) fn charge() -> Value {
    json!({
        "id": "ch_1", "object": "charge", "amount": 2_900, "amount_refunded": 900, "customer": "cus_1", "disputed": false,
        "metadata": {}, "paid": true, "payment_intent": "pi_1", "refunded": false, "status": "succeeded",
        "_invoice": "in_1", "_refunds": [refund()],
    })
}

pub(super) fn payment_intent() -> Value {
    json!({
        "id": "pi_1", "object": "payment_intent", "amount": 2_900, "amount_received": 2_900, "customer": "cus_1",
        "last_payment_error": null, "latest_charge": "ch_1", "metadata": {}, "payment_method": "pm_1", "status": "succeeded",
        "_invoice": "in_1", "_charges": [charge()],
    })
}

pub(super) fn dispute() -> Value {
    json!({
        "id": "dp_1", "object": "dispute", "amount": 2_900, "charge": "ch_1", "payment_intent": "pi_1",
        "balance_transactions": [{"id": "txn_1", "object": "balance_transaction", "amount": -2_900}], "status": "lost",
    })
}

pub(super) fn session() -> Value {
    json!({
        "id": "cs_1", "object": "checkout.session", "customer": "cus_1", "client_reference_id": "ref", "mode": "payment",
        "collected_information": {"shipping_details": {"name": "Ada"}}, "payment_intent": "pi_1", "payment_status": "paid",
        "shipping_cost": {"shipping_rate": "shr_1"}, "ui_mode": "hosted_page",
    })
}

pub(super) fn event(event_type: &str, object: Value, previous: Value) -> Value {
    json!({
        "id": "evt_1", "object": "event", "api_version": "2026-10-28.endive", "created": 1_750_000_000, "livemode": false,
        "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null}, "type": event_type,
        "data": {"object": object, "previous_attributes": previous},
    })
}

pub(super) fn all() -> Vec<Value> {
    let product = json!({"id": "prod_1", "object": "product", "marketing_features": [{"name": "Fast"}]});
    let coupon = json!({"coupon": "off", "type": "coupon"});
    let discount = json!({"id": "di_1", "object": "discount", "source": coupon});
    let previous = json!({"status": "past_due", "items": {"object": "list", "data": subscription()["items"]["data"]}});
    vec![
        price(),
        line(),
        invoice_payment(),
        invoice(),
        subscription(),
        refund(),
        charge(),
        payment_intent(),
        dispute(),
        session(),
        product,
        discount,
        json!({"id": "in_1", "object": "invoice", "deleted": true}),
        event("customer.subscription.updated", subscription(), previous),
        event("invoice.paid", invoice(), json!({"status": "open", "parent": invoice()["parent"]})),
        event("payment_intent.succeeded", payment_intent(), json!({"latest_charge": null})),
        json!({"object": "list", "data": [invoice(), charge()], "has_more": false, "url": "/v1/invoices"}),
        json!({"error": {"type": "card_error", "payment_intent": payment_intent()}}),
    ]
}
