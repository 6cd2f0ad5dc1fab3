//! Templates of objects: every field that Stripe's specification requires or allows to be null, without contents.

use serde_json::Value;

/// A new object of a kind, which is the name of a file in `blank/`.
pub(crate) fn blank(kind: &str) -> Value {
    let text = match kind {
        "balance_transaction" => include_str!("blank/balance_transaction.json"),
        "card" => include_str!("blank/card.json"),
        "charge" => include_str!("blank/charge.json"),
        "charge_card" => include_str!("blank/charge_card.json"),
        "checkout.session" => include_str!("blank/checkout_session.json"),
        "customer" => include_str!("blank/customer.json"),
        "dispute" => include_str!("blank/dispute.json"),
        "invoice" => include_str!("blank/invoice.json"),
        "invoice_payment" => include_str!("blank/invoice_payment.json"),
        "invoiceitem" => include_str!("blank/invoiceitem.json"),
        "line_item" => include_str!("blank/line_item.json"),
        "payment_intent" => include_str!("blank/payment_intent.json"),
        "payment_method" => include_str!("blank/payment_method.json"),
        "payment_method_card" => include_str!("blank/payment_method_card.json"),
        "price" => include_str!("blank/price.json"),
        "product" => include_str!("blank/product.json"),
        "refund" => include_str!("blank/refund.json"),
        "setup_intent" => include_str!("blank/setup_intent.json"),
        "subscription" => include_str!("blank/subscription.json"),
        "subscription_item" => include_str!("blank/subscription_item.json"),
        _ => return serde_json::json!({ "object": kind }),
    };
    serde_json::from_str(text).expect("the files in blank/ are JSON, as a test proves")
}

/// Overwrites fields of an object.
pub(crate) fn overlay(object: &mut Value, fields: Value) {
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
}

/// A blank object with some fields set.
pub(crate) fn filled(kind: &str, fields: Value) -> Value {
    let mut object = blank(kind);
    overlay(&mut object, fields);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blank_is_an_object() {
        for kind in [
            "balance_transaction",
            "card",
            "charge",
            "charge_card",
            "checkout.session",
            "customer",
            "dispute",
            "invoice",
            "invoice_payment",
            "invoiceitem",
            "line_item",
            "payment_intent",
            "payment_method",
            "payment_method_card",
            "price",
            "product",
            "refund",
            "setup_intent",
            "subscription",
            "subscription_item",
        ] {
            assert!(blank(kind).as_object().unwrap().len() > 5, "{kind}");
        }
    }
}
