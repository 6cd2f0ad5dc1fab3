//! Older formats of invoice lines.

use super::{Shape, price, pull};
use serde_json::{Value, json};

/// The field of the price since basil.
const DETAILS: &str = "price_details";

/// Undoes 2025-12-15.clover, since which the price can be expanded. Before, it was an id.
pub(super) fn price_by_id(line: &mut Shape<'_>) {
    let details = line.fields.get_mut("pricing").and_then(|pricing| pricing.get_mut(DETAILS));
    let Some(price) = details.and_then(|details| details.get_mut("price")) else { return };
    if let id @ Value::String(_) = price["id"].clone() {
        line.own_fields.entry("_price").or_insert_with(|| price.take());
        *price = id;
    }
}

/// Undoes basil, since which `parent` names the subscription's item or the invoice item that the line bills.
pub(super) fn what_is_billed(line: &mut Shape<'_>) {
    let mut parent = line.take("parent");
    if parent.is_null() && !line.is_complete {
        return;
    }
    let is_own = parent["type"] == "invoice_item_details";
    let mut details = pull(&mut parent, &[if is_own { "invoice_item_details" } else { "subscription_item_details" }]);
    line.put("type", json!(if is_own { "invoiceitem" } else { "subscription" }));
    line.put("proration", json!(details["proration"] == true));
    let credited = pull(&mut details, &["proration_details", "credited_items"]);
    line.put("proration_details", json!({"credited_items": credited}));
    let subscription = pull(&mut details, &["subscription"]);
    if !subscription.is_null() {
        line.put("subscription", subscription);
    }
    for key in ["invoice_item", "subscription_item"] {
        if let item @ Value::String(_) = pull(&mut details, &[key]) {
            line.put(key, item);
        }
    }
}

/// Undoes basil, before which a line contained its whole price, and the plan if it recurs. A price of which only the id
/// is known stays an id.
pub(super) fn price_and_plan(line: &mut Shape<'_>) {
    let mut pricing = line.take("pricing");
    if pricing.is_null() && !line.is_complete {
        return;
    }
    let price = line.own("_price").unwrap_or_else(|| pull(&mut pricing, &[DETAILS, "price"]));
    line.put("plan", price::plan(&price));
    line.put("price", price);
    line.put("unit_amount_excluding_tax", pull(&mut pricing, &["unit_amount_decimal"]));
    let amount = line.get("amount").clone();
    line.put("amount_excluding_tax", amount);
}

/// Undoes basil, before which taxes were amounts with rates.
pub(super) fn taxes(line: &mut Shape<'_>) {
    let taxes = line.take("taxes");
    if taxes.is_null() && !line.is_complete {
        return;
    }
    line.put("tax_amounts", tax_amounts(&taxes));
    line.put("tax_rates", json!([]));
}

/// Converts a list of taxes to the older format.
pub(super) fn tax_amounts(taxes: &Value) -> Value {
    let older = |tax: &Value| {
        json!({
            "amount": tax["amount"],
            "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": tax["tax_rate_details"]["tax_rate"],
            "taxability_reason": tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        })
    };
    taxes.as_array().into_iter().flatten().map(older).collect()
}
