//! Templates of objects: every field that Stripe's specification requires or allows to be null, without contents.

use serde_json::Value;

/// A new object of a kind, which is the name of a file in `template/`.
pub(crate) fn template(kind: &str) -> Value {
    let text = match kind {
        "balance_transaction" => include_str!("template/balance_transaction.json"),
        "card" => include_str!("template/card.json"),
        "charge" => include_str!("template/charge.json"),
        "charge_card" => include_str!("template/charge_card.json"),
        "checkout.session" => include_str!("template/checkout_session.json"),
        "credit_note" => include_str!("template/credit_note.json"),
        "customer" => include_str!("template/customer.json"),
        "dispute" => include_str!("template/dispute.json"),
        "invoice" => include_str!("template/invoice.json"),
        "invoice_payment" => include_str!("template/invoice_payment.json"),
        "invoiceitem" => include_str!("template/invoiceitem.json"),
        "line_item" => include_str!("template/line_item.json"),
        "payment_intent" => include_str!("template/payment_intent.json"),
        "payment_method" => include_str!("template/payment_method.json"),
        "payment_method_card" => include_str!("template/payment_method_card.json"),
        "price" => include_str!("template/price.json"),
        "product" => include_str!("template/product.json"),
        "refund" => include_str!("template/refund.json"),
        "setup_intent" => include_str!("template/setup_intent.json"),
        "subscription" => include_str!("template/subscription.json"),
        "subscription_item" => include_str!("template/subscription_item.json"),
        _ => return serde_json::json!({ "object": kind }),
    };
    serde_json::from_str(text).expect("the files in template/ are JSON, as a test proves")
}

/// Overwrites fields of an object.
pub(crate) fn overlay(object: &mut Value, fields: Value) {
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
}

/// A new object of a kind with some fields set.
pub(crate) fn from_template(kind: &str, fields: Value) -> Value {
    let mut object = template(kind);
    overlay(&mut object, fields);
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_an_object() {
        for kind in [
            "balance_transaction",
            "card",
            "charge",
            "charge_card",
            "checkout.session",
            "credit_note",
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
            assert!(template(kind).as_object().unwrap().len() > 5, "{kind}");
        }
    }
}
