//! Coupons, and the discounts that subscriptions have by them.

use crate::account::StripeAccount;
use crate::calendar;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// `POST /v1/coupons`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let percent_off: Option<f64> = form.text("percent_off").and_then(|text| text.parse().ok());
    let amount_off = form.int("amount_off")?;
    if percent_off.is_some() == amount_off.is_some() {
        let message = "You must pass either percent_off or amount_off, and not both.";
        return Err(ApiError::refused_without_code(message));
    }
    let duration = form.text("duration").unwrap_or("once");
    if duration == "repeating" && form.int("duration_in_months")?.is_none() {
        return Err(ApiError::missing("duration_in_months"));
    }
    let fields = json!({
        "amount_off": amount_off, "currency": form.nullable("currency"), "duration": duration,
        "duration_in_months": form.int("duration_in_months")?, "max_redemptions": form.int("max_redemptions")?,
        "metadata": form.metadata(&json!({}))?, "name": form.nullable("name"), "percent_off": percent_off,
        "redeem_by": form.int("redeem_by")?, "times_redeemed": 0, "valid": true,
    });
    match form.text("id") {
        Some(id) if account.get(id).is_some() => {
            Err(ApiError::refused("resource_already_exists", "Coupon already exists."))
        }
        Some(id) => account.make_as(id, "coupon", fields),
        None => account.make("co", "coupon", fields),
    }
}

/// `GET /v1/coupons`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "coupon", &[])
}

/// `GET /v1/coupons/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("coupon", call.id())
}

/// The ids of the discounts that a call asks for a subscription; `None` if it names none.
pub(crate) fn discounts(
    account: &mut StripeAccount,
    form: &Form,
    subscription: &Value,
) -> Result<Option<Vec<Value>>, ApiError> {
    if form.unsets("discounts") {
        return Ok(Some(Vec::new()));
    }
    let parts = form.list("discounts");
    if parts.is_empty() {
        return Ok(None);
    }
    let mut ids = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        if let Some(id) = part.text("discount") {
            ids.push(account.find_param("discount", id, &format!("discounts[{at}][discount]"))?["id"].clone());
            continue;
        }
        let coupon = account.find_param("coupon", part.required("coupon")?, &format!("discounts[{at}][coupon]"))?;
        let months = coupon.opt_int("duration_in_months").filter(|_| coupon.text("duration") == "repeating");
        let end = months.map(|months| calendar::period_end(account.now_s, account.now_s, "month", months));
        let fields = json!({
            "checkout_session": null, "customer": subscription["customer"], "customer_account": null, "end": end,
            "invoice": null, "invoice_item": null, "promotion_code": null, "start": account.now_s,
            "source": { "coupon": coupon.id(), "type": "coupon" }, "subscription": subscription.id(),
            "subscription_item": null,
        });
        ids.push(account.make("di", "discount", fields)?["id"].clone());
        account.change(coupon.id(), json!({ "times_redeemed": coupon.int("times_redeemed") + 1 }));
    }
    Ok(Some(ids))
}

/// What the discounts of a subscription take off the amounts of its items now: each discount's id, with what it takes
/// off each of them. A discount of an amount is shared among them in proportion. Source: Stripe, "Prorations".
pub(crate) fn taken_off(account: &StripeAccount, subscription: &Value, amounts: &[i64]) -> Vec<(String, Vec<i64>)> {
    let (mut left, mut taken) = (amounts.to_vec(), Vec::new());
    if left.is_empty() {
        return taken;
    }
    for id in subscription["discounts"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let discount = account.copy(id);
        if discount.opt_int("end").is_some_and(|end| end <= account.now_s) {
            continue;
        }
        let coupon = account.copy(discount["source"].text("coupon"));
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let off: Vec<i64> = match coupon["percent_off"].as_f64() {
            Some(percent) => left.iter().map(|amount| (*amount as f64 * percent / 100.0).round() as i64).collect(),
            None => in_proportion(coupon.int("amount_off"), &left),
        };
        let off: Vec<i64> = off.iter().zip(&left).map(|(off, amount)| (*off).clamp(0, (*amount).max(0))).collect();
        left.iter_mut().zip(&off).for_each(|(amount, off)| *amount -= off);
        taken.push((id.to_owned(), off));
    }
    taken
}

/// Shares what is taken off among amounts in proportion. The last one takes what rounding leaves.
fn in_proportion(off: i64, amounts: &[i64]) -> Vec<i64> {
    let sum = amounts.iter().sum::<i64>().max(1);
    let (mut before, mut shared) = (0, 0);
    let share = |amount: &i64| {
        before += amount;
        let share = off.min(sum) * before / sum - shared;
        shared += share;
        share
    };
    amounts.iter().map(share).collect()
}

/// Takes the discounts off a subscription that were for one invoice.
pub(crate) fn use_up(account: &mut StripeAccount, subscription: &str) {
    let before = account.copy(subscription);
    let is_once = |id: &Value| {
        let discount = account.copy(id.as_str().unwrap_or_default());
        account.copy(discount["source"].text("coupon")).text("duration") == "once"
    };
    let ids = before["discounts"].as_array().into_iter().flatten();
    let kept: Vec<Value> = ids.filter(|id| !is_once(id)).cloned().collect();
    account.change(subscription, json!({ "discounts": kept }));
}

#[cfg(test)]
mod tests {
    use super::in_proportion;

    #[test]
    fn a_discount_of_an_amount_is_shared_in_proportion_and_never_more_than_there_is() {
        assert_eq!(in_proportion(500, &[1_000, 2_000]), [166, 334]);
        assert_eq!(in_proportion(5_000, &[1_000, 2_000]), [1_000, 2_000]);
        assert_eq!(in_proportion(500, &[0, 0]), [0, 0]);
    }
}
