//! A subscription's items and their periods.

use crate::account::StripeAccount;
use crate::billing::NewLine;
use crate::calendar;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::objects::price;
use crate::template::from_template;
use serde_json::{Value, json};

/// The price and quantity of a requested item.
pub(super) struct NewItem {
    pub(super) price: Value,
    pub(super) quantity: i64,
    pub(super) metadata: Value,
}

/// Reads an item from the parameters.
pub(super) fn read(account: &mut StripeAccount, form: &Form, param: &str) -> Result<NewItem, ApiError> {
    let price = match (form.text("price").or_else(|| form.text("plan")), form.has("price_data")) {
        (Some(id), _) => account.find_param("price", id, &format!("{param}[price]"))?,
        (None, true) => price::make(account, &form.part("price_data"))?,
        (None, false) => return Err(ApiError::missing(&format!("{param}[price]"))),
    };
    if !price["recurring"].is_object() {
        let message = "The price specified is set to `type=one_time` but this field only accepts prices with \
                       `type=recurring`.";
        return Err(ApiError::refused_without_code(message).with_param(&format!("{param}[price]")));
    }
    if !price.is("active") {
        let message =
            format!("The price specified is inactive. This field only accepts active prices. ({})", price.id());
        return Err(ApiError::refused_without_code(&message).with_param(&format!("{param}[price]")));
    }
    let quantity = form.int("quantity")?.unwrap_or(1);
    Ok(NewItem { price, quantity, metadata: form.metadata(&json!({}))? })
}

/// The object of an item.
pub(super) fn make(account: &mut StripeAccount, subscription: &str, new: NewItem, period: (i64, i64)) -> Value {
    let fields = json!({
        "id": account.new_id("si"), "created": account.now_s, "current_period_start": period.0,
        "current_period_end": period.1, "metadata": new.metadata, "price": new.price, "quantity": new.quantity,
        "subscription": subscription,
    });
    from_template("subscription_item", fields)
}

/// The end of the billing period that contains `now_s`, for a price whose periods are counted from `anchor_s`.
pub(crate) fn end_of(price: &Value, anchor_s: i64, now_s: i64) -> i64 {
    let recurring = &price["recurring"];
    calendar::period_end(anchor_s, now_s, recurring.text("interval"), recurring.int("interval_count"))
}

/// The items with their next periods.
pub(crate) fn next_periods(subscription: &Value) -> Value {
    let mut items = subscription["items"].clone();
    let anchor = subscription.int("billing_cycle_anchor");
    for item in items["data"].as_array_mut().into_iter().flatten() {
        let start = item.int("current_period_end");
        item["current_period_end"] = end_of(&item["price"], anchor, start).into();
        item["current_period_start"] = start.into();
    }
    items
}

/// The line of an item: its price for its period, or zero during a trial.
pub(crate) fn line(subscription: &Value, item: &Value, is_trial: bool) -> NewLine {
    let price = &item["price"];
    let quantity = item.int("quantity").max(1);
    let description = if is_trial {
        "Trial period (SANDBOX)".to_owned()
    } else {
        format!("{quantity} × {} (SANDBOX)", price.opt("nickname").unwrap_or("subscription"))
    };
    NewLine {
        amount: if is_trial { 0 } else { price.int("unit_amount") * quantity },
        quantity,
        description,
        period: (item.int("current_period_start"), item.int("current_period_end")),
        price: price.clone(),
        parent: parent(subscription, item, false),
        subscription: Some(subscription.id().to_owned()),
        metadata: subscription["metadata"].clone(),
    }
}

/// The `parent` of a line.
pub(super) fn parent(subscription: &Value, item: &Value, is_proration: bool) -> Value {
    json!({
        "type": "subscription_item_details", "invoice_item_details": null,
        "subscription_item_details": {
            "invoice_item": null, "proration": is_proration, "proration_details": { "credited_items": null },
            "subscription": subscription.id(), "subscription_item": item.id(),
        },
    })
}
