//! Older formats of PaymentIntents, charges and credit notes.

use super::{Shape, list};
use serde_json::{Value, json};

/// Undoes basil: before it, both named their invoice.
pub(super) fn invoice(payment: &mut Shape<'_>) {
    let invoice = payment.own("_invoice");
    payment.put("invoice", invoice);
}

/// Undoes basil: before it, a credit note had one refund at most.
pub(super) fn refund_of_note(note: &mut Shape<'_>) {
    if note.is_complete {
        let refunds = note.take("refunds");
        note.put("refund", refunds[0]["refund"].clone());
    }
}

/// Undoes 2022-11-15: before it, a PaymentIntent contained its charges, newest first, instead of naming the latest.
pub(super) fn charges(intent: &mut Shape<'_>) {
    if !intent.is_complete {
        return;
    }
    let latest = intent.get("latest_charge").clone();
    let charges = match intent.own_fields.remove("_charges") {
        Some(Value::Array(charges)) => charges,
        _ if latest.is_object() => vec![latest],
        _ => Vec::new(),
    };
    // Keeps an id that no charge shows.
    if !charges.is_empty() || intent.get("latest_charge").is_null() {
        intent.take("latest_charge");
    }
    let url = format!("/v1/charges?payment_intent={}", intent.get("id").as_str().unwrap_or_default());
    intent.put("charges", list(charges, url));
}

/// Undoes 2022-11-15: before it, a charge contained its refunds, newest first.
pub(super) fn refunds(charge: &mut Shape<'_>) {
    if !charge.is_complete || charge.get("refunds").is_object() {
        return;
    }
    let refunds = match charge.own_fields.remove("_refunds") {
        Some(Value::Array(refunds)) => refunds,
        _ => Vec::new(),
    };
    let url = format!("/v1/charges/{}/refunds", charge.get("id").as_str().unwrap_or_default());
    let is_known = !refunds.is_empty() || charge.get("amount_refunded").as_i64().unwrap_or(0) == 0;
    let mut refunds = list(refunds, url);
    if !is_known {
        refunds["has_more"] = json!(true);
        refunds["total_count"] = json!(1);
    }
    charge.put("refunds", refunds);
}
