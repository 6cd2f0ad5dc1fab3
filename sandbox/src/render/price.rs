//! Older formats of prices, plans (the predecessors of prices), products and discounts.

use super::{Shape, pull};
use serde_json::{Value, json};

/// The plan of a recurring price. Before 2025-03-31.basil, invoice lines and subscription items contained the price and
/// the plan. `None` if the price does not recur, or is only an id.
pub(super) fn plan(price: &Value) -> Option<Value> {
    let recurring = price.get("recurring").filter(|recurring| recurring.is_object())?;
    Some(json!({
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "aggregate_usage": null,
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }))
}

/// Adds how usage is aggregated, which is always null here.
pub(super) fn aggregate_usage(price: &mut Shape<'_>) {
    if let Some(recurring) = price.fields.get_mut("recurring").and_then(Value::as_object_mut) {
        recurring.insert("aggregate_usage".to_owned(), Value::Null);
    }
}

/// Undoes clover, which moved the coupon into the discount's `source`.
pub(super) fn coupon_in_discount(discount: &mut Shape<'_>) {
    let coupon = pull(&mut discount.take("source"), &["coupon"]);
    discount.put("coupon", coupon);
}

/// Undoes 2024-04-10, which renamed `features` to `marketing_features`.
pub(super) fn features(product: &mut Shape<'_>) {
    if product.fields.contains_key("marketing_features") {
        let features = product.take("marketing_features");
        product.put("features", features);
    }
}
