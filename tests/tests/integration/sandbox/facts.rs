//! The facts that the engine reads from an object, as far as every API version has them.

use bursar_engine::domain::webhook::ProPrice;
use bursar_engine::domain::webhook::fields::{
    ChargeFields, DisputeFields, InvoiceFields, Line, PaymentIntentFields, PaymentMethodFields, SubscriptionFields, id,
    stripe_customer_id,
};
use serde_json::{Value, json};

/// Facts that must be equal in every version.
pub(super) fn facts(object: &Value, pro: &ProPrice) -> Value {
    let said = match object["object"].as_str().unwrap_or_default() {
        "invoice" => json!(invoice(&InvoiceFields::read(object), pro)),
        "subscription" => json!(subscription(&SubscriptionFields::read(object), pro)),
        "payment_intent" => json!(format!("{:?}", PaymentIntentFields::read(object))),
        // Only versions before basil name the invoice that it paid; see `names_its_invoice`.
        "charge" => json!(format!("{:?}", ChargeFields { invoice_id: None, ..ChargeFields::read(object) })),
        "dispute" => json!(format!("{:?}", DisputeFields::read(object))),
        "payment_method" => json!(format!("{:?}", PaymentMethodFields::read(object))),
        "refund" => json!([object["amount"], object["status"], id(&object["charge"]), id(&object["payment_intent"])]),
        "invoice_payment" => json!([object["invoice"], object["payment"], object["status"], object["amount_paid"]]),
        "checkout.session" => json!([
            object["client_reference_id"],
            object["mode"],
            object["payment_status"],
            id(&object["subscription"]),
            id(&object["payment_intent"]),
            id(&object["setup_intent"]),
            id(&object["invoice"]),
        ]),
        _ => Value::Null,
    };
    json!([object["id"], object["object"], stripe_customer_id(object), object["metadata"], said])
}

fn invoice(invoice: &InvoiceFields, pro: &ProPrice) -> Value {
    let lines: Vec<Value> = invoice.lines.iter().map(line).collect();
    json!([
        invoice.subscription_id,
        invoice.metadata,
        invoice.is_tagged_pro,
        invoice.billing_reason,
        invoice.amount_paid,
        invoice.currency,
        invoice.is_paid,
        invoice.period_start_ms,
        invoice.period_end_ms,
        lines,
        invoice.has_more_lines,
        invoice.attempt_count,
        invoice.next_payment_attempt_ms,
        invoice.billed_until_ms(pro),
        format!("{:?}", invoice.is_pro(pro)),
    ])
}

fn line(line: &Line) -> Value {
    json!([
        line.price.ids,
        line.price.product_id,
        line.metadata,
        line.subscription_id,
        line.amount,
        line.is_proration,
        line.is_invoice_item,
        line.period_start_ms,
        line.period_end_ms,
    ])
}

fn subscription(subscription: &SubscriptionFields, pro: &ProPrice) -> Value {
    let items: Vec<Value> = subscription.items.iter().map(|item| json!([item.price.ids, item.metadata])).collect();
    json!([
        subscription.status,
        subscription.metadata,
        subscription.ends_with_period(pro),
        subscription.canceled_at_ms,
        subscription.ended_at_ms,
        subscription.period_end_ms(pro),
        subscription.latest_invoice_id,
        items,
        subscription.has_more_items,
        format!("{:?}", subscription.is_pro(pro)),
        format!("{:?}", subscription.is_pro(&ProPrice::default())),
    ])
}
