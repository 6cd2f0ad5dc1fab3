//! Older formats of invoices. Until basil each named its only subscription and payment.

use super::{Shape, line, pull};
use serde_json::{Value, json};

/// Undoes basil, since which `parent` names the invoice's origin.
pub(super) fn subscription(invoice: &mut Shape<'_>) {
    if !invoice.is_complete && !invoice.fields.contains_key("parent") {
        return;
    }
    let mut parent = invoice.take("parent");
    let mut details = pull(&mut parent, &["subscription_details"]);
    invoice.put("subscription", pull(&mut details, &["subscription"]));
    invoice.put("subscription_details", json!({"metadata": pull(&mut details, &["metadata"])}));
    if let date @ Value::Number(_) = pull(&mut details, &["subscription_proration_date"]) {
        invoice.put("subscription_proration_date", date);
    }
    invoice.put("quote", pull(&mut parent, &["quote_details", "quote"]));
}

/// Undoes basil, since which an invoice lists its payments, and only the status says that it is paid.
pub(super) fn payment(invoice: &mut Shape<'_>) {
    let mut payments = invoice.take("payments");
    invoice.take("confirmation_secret");
    let (mut intent, mut charge) = default_payment(&mut payments);
    if intent.is_null() {
        intent = invoice.own("_payment_intent").unwrap_or_default();
    }
    if charge.is_null() {
        charge = invoice.own("_charge").unwrap_or_else(|| latest_charge(&intent));
    }
    invoice.put("payment_intent", intent);
    invoice.put("charge", charge);
    if let Some(status) = invoice.get("status").as_str() {
        let is_paid = status == "paid";
        invoice.put("paid", json!(is_paid));
        let off_stripe = invoice.get("amount_paid_off_stripe").as_i64().is_some_and(|amount| amount > 0);
        let out_of_band = invoice.own("_paid_out_of_band").unwrap_or_else(|| json!(is_paid && off_stripe));
        invoice.put("paid_out_of_band", out_of_band);
    }
}

/// The payment that is marked as the default, otherwise the first: its amounts requested and paid.
fn default_payment(payments: &mut Value) -> (Value, Value) {
    let rows = payments.get_mut("data").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    let at = rows.iter().position(|row| row["is_default"] == true).unwrap_or(0);
    let mut row = rows.get_mut(at).map(Value::take).unwrap_or_default();
    ["payment_intent", "charge"].map(|key| pull(&mut row, &["payment", key])).into()
}

fn latest_charge(intent: &Value) -> Value {
    let charge = &intent["latest_charge"];
    charge.get("id").unwrap_or(charge).clone()
}

/// Undoes basil, before which taxes were amounts with rates, and a sum.
pub(super) fn taxes(invoice: &mut Shape<'_>) {
    if !invoice.is_complete && !invoice.fields.contains_key("total_taxes") {
        return;
    }
    let taxes = invoice.take("total_taxes");
    let amounts = line::tax_amounts(&taxes);
    let sum: Option<i64> = taxes.as_array().filter(|taxes| !taxes.is_empty()).map(|taxes| {
        let amounts = taxes.iter().filter_map(|tax| tax["amount"].as_i64());
        amounts.fold(0, i64::saturating_add)
    });
    invoice.put("tax", sum.map(|sum| json!(sum)));
    invoice.put("total_tax_amounts", amounts);
}

/// Undoes basil, before which the only discount had a field of its own.
pub(super) fn discount(invoice: &mut Shape<'_>) {
    let discount = invoice.own("_discount").or_else(|| only_discount(invoice.get("discounts")));
    invoice.put("discount", discount);
    invoice.put("application_fee_amount", Value::Null);
    invoice.put("transfer_data", Value::Null);
}

/// The discount of a list of one, if it is expanded.
pub(super) fn only_discount(discounts: &Value) -> Option<Value> {
    match discounts.as_array()?.as_slice() {
        [discount] if discount.is_object() => Some(discount.clone()),
        _ => None,
    }
}

/// Undoes 2024-04-10, which replaced `rendering_options` by `rendering`.
pub(super) fn rendering_options(invoice: &mut Shape<'_>) {
    let display = pull(&mut invoice.take("rendering"), &["amount_tax_display"]);
    let options = (!display.is_null()).then(|| json!({"amount_tax_display": display}));
    invoice.put("rendering_options", options);
}
