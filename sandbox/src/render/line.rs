//! Lines of invoices.

use super::{Shape, price, pull};
use serde_json::{Value, json};

/// Where a line says its price since basil.
const DETAILS: &str = "price_details";

/// Since 2025-12-15.clover the price can stand in a line as a whole; before, its id does.
pub(super) fn price_by_id(line: &mut Shape<'_>) {
    let details = line.fields.get_mut("pricing").and_then(|pricing| pricing.get_mut(DETAILS));
    let Some(price) = details.and_then(|details| details.get_mut("price")) else { return };
    if let id @ Value::String(_) = price["id"].clone() {
        line.own_fields.entry("_price").or_insert_with(|| price.take());
        *price = id;
    }
}

/// `parent` says since basil what the line bills: a subscription's item, or an item on its own.
pub(super) fn what_is_billed(line: &mut Shape<'_>) {
    let mut parent = line.take("parent");
    if parent.is_null() && !line.is_whole {
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

/// The price stood in a line as a whole, with its plan if it recurs. Where only its id is known that
/// is all there is: made-up fields would be taken for the price's own.
pub(super) fn price_and_plan(line: &mut Shape<'_>) {
    let mut pricing = line.take("pricing");
    if pricing.is_null() && !line.is_whole {
        return;
    }
    let price = line.own("_price").unwrap_or_else(|| pull(&mut pricing, &[DETAILS, "price"]));
    line.put("plan", price::plan(&price));
    line.put("price", price);
    line.put("unit_amount_excluding_tax", pull(&mut pricing, &["unit_amount_decimal"]));
    let amount = line.get("amount").clone();
    line.put("amount_excluding_tax", amount);
}

/// Taxes were amounts with their rates.
pub(super) fn taxes(line: &mut Shape<'_>) {
    let taxes = line.take("taxes");
    if taxes.is_null() && !line.is_whole {
        return;
    }
    line.put("tax_amounts", tax_amounts(&taxes));
    line.put("tax_rates", json!([]));
}

/// The older form of a list of taxes.
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
