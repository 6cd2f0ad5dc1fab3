//! The facts that the engine reads from an object, as far as every API version has them.

use bursar_engine::domain::sale::PriceBook;
use bursar_engine::domain::sale::line::sales;
use bursar_engine::domain::webhook::fields::{
    ChargeFields, CreditNoteFields, DisputeFields, InvoiceFields, Item, Line, PaymentIntentFields, PaymentMethodFields,
    SubscriptionFields, id, stripe_customer_id,
};
use serde_json::{Value, json};

/// Facts that must be equal in every version.
pub(super) fn facts(object: &Value, book: &PriceBook) -> Value {
    let said = match object["object"].as_str().unwrap_or_default() {
        "invoice" => json!(invoice(&InvoiceFields::read(object), book)),
        "subscription" => json!(subscription(&SubscriptionFields::read(object), book)),
        "payment_intent" => json!(format!("{:?}", PaymentIntentFields::read(object))),
        // Only versions before basil name the invoice that it paid; see `names_its_invoice`.
        "charge" => json!(format!("{:?}", ChargeFields { invoice_id: None, ..ChargeFields::read(object) })),
        "credit_note" => json!(format!("{:?}", CreditNoteFields::read(object))),
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

fn invoice(invoice: &InvoiceFields, book: &PriceBook) -> Value {
    let lines: Vec<Value> = invoice.lines.iter().map(line).collect();
    json!([
        invoice.subscription_id,
        invoice.metadata,
        invoice.subscription_metadata,
        invoice.billing_reason,
        invoice.total,
        invoice.amount_paid,
        invoice.currency,
        invoice.is_paid,
        invoice.period_start_ms,
        invoice.period_end_ms,
        lines,
        invoice.has_more_lines,
        invoice.attempt_count,
        invoice.next_payment_attempt_ms,
        format!("{:?}", sales(invoice, book)),
    ])
}

fn line(line: &Line) -> Value {
    json!([
        line.price.ids,
        line.price.product_id,
        line.metadata,
        line.subscription_id,
        line.amount,
        line.discount,
        line.quantity,
        line.currency,
        line.is_proration,
        line.is_invoice_item,
        line.period_start_ms,
        line.period_end_ms,
    ])
}

fn subscription(subscription: &SubscriptionFields, book: &PriceBook) -> Value {
    let item = |item: &Item| {
        let sold = format!("{:?}", book.item(item, &subscription.items, &subscription.metadata));
        json!([item.price.ids, item.metadata, item.quantity, sold])
    };
    let items: Vec<Value> = subscription.items.iter().map(item).collect();
    json!([
        subscription.status,
        subscription.metadata,
        subscription.ends_with_period(None),
        subscription.canceled_at_ms,
        subscription.ended_at_ms,
        subscription.period_end_ms(None),
        subscription.latest_invoice_id,
        items,
        subscription.has_more_items,
    ])
}
