//! Older formats of subscriptions and their items.

use super::invoice::only_discount;
use super::{Shape, price};
use serde_json::{Map, Value};

/// Undoes basil, before which an item had a plan in addition to its price.
pub(super) fn plan_of_item(item: &mut Shape<'_>) {
    let plan = price::plan(item.get("price"));
    item.put("plan", plan);
}

/// Undoes basil, before which a subscription had the plan and the quantity of its only item.
pub(super) fn plan(subscription: &mut Shape<'_>) {
    let (plan, quantity) = match subscription.get("items")["data"].as_array().map(Vec::as_slice) {
        Some([item]) => (item["plan"].clone(), item["quantity"].clone()),
        Some(_) => (Value::Null, Value::Null),
        None => return,
    };
    subscription.put("plan", plan);
    subscription.put("quantity", quantity);
}

/// Undoes basil, before which all items of a subscription had one period, a field of the subscription.
pub(super) fn period(subscription: &mut Shape<'_>) {
    let items = subscription.fields.get_mut("items").and_then(|items| items.get_mut("data")?.as_array_mut());
    let mut items: Vec<&mut Map<String, Value>> =
        items.into_iter().flatten().filter_map(Value::as_object_mut).collect();
    let [start, end] = ["current_period_start", "current_period_end"].map(|key| {
        // The items of older versions all have the same period.
        items.iter_mut().filter_map(|item| item.remove(key)).reduce(|first, _| first)
    });
    subscription.put("current_period_start", start);
    subscription.put("current_period_end", end);
}

/// Undoes basil, before which the only discount had a field of its own.
pub(super) fn discount(subscription: &mut Shape<'_>) {
    let discount = subscription.own("_discount").or_else(|| only_discount(subscription.get("discounts")));
    subscription.put("discount", discount);
}
