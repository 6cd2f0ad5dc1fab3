//! Calls to subscriptions. `lifecycle` has their changes over time.

mod change;
mod create;
mod item;
mod preview;
mod proration;

pub(crate) use change::{resume, update};
pub(crate) use create::create;
pub(crate) use item::{end_of, line, next_periods};
pub(crate) use preview::create_preview;

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// Whether the status is final.
pub(crate) fn is_over(subscription: &Value) -> bool {
    matches!(subscription.text("status"), "canceled" | "incomplete_expired")
}

/// The end of its first item's period.
pub(crate) fn period_end(subscription: &Value) -> i64 {
    subscription["items"]["data"][0].int("current_period_end")
}

/// `GET /v1/subscriptions/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("subscription", call.id())
}

/// `GET /v1/subscriptions`. Lists ended ones only on request, and those with a test clock only if it or the customer is
/// named.
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let (customer, price) = (form.text("customer"), form.text("price"));
    let wanted = |row: &&Value| {
        let is_in_status = match form.text("status") {
            Some("all") => true,
            Some("ended") => is_over(row),
            Some(status) => row.text("status") == status,
            None => !is_over(row),
        };
        let has_price = |price: &str| {
            let items = row["items"]["data"].as_array();
            items.is_some_and(|items| items.iter().any(|item| item["price"].id() == price))
        };
        let clock = form.text("test_clock");
        let has_clock = row.opt("test_clock") == clock || (clock.is_none() && customer.is_some());
        is_in_status && has_clock && customer.is_none_or(|id| row.text("customer") == id) && price.is_none_or(has_price)
    };
    page::paginate(&account.store, account.store.of_kind("subscription").filter(wanted), form, "/v1/subscriptions")
}

/// `DELETE /v1/subscriptions/{id}`
pub(crate) fn cancel(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let subscription = account.find("subscription", call.id())?;
    if is_over(&subscription) {
        return Err(ApiError::no_such("subscription", call.id(), None));
    }
    let details = &call.form;
    for name in ["comment", "feedback"] {
        let path = format!("cancellation_details.{name}");
        if details.has(&path) {
            let mut before = account.copy(call.id())["cancellation_details"].clone();
            before[name] = details.nullable(&path);
            account.change(call.id(), json!({ "cancellation_details": before }));
        }
    }
    if details.flag("prorate")?.unwrap_or(false) {
        for item in subscription["items"]["data"].as_array().into_iter().flatten() {
            proration::credit(account, &subscription, item)?;
        }
    }
    account.end_subscription(call.id(), "cancellation_requested")?;
    if details.flag("invoice_now")?.unwrap_or(false) {
        change::invoice_changes(account, call.id(), false, None)?;
    }
    Ok(account.copy(call.id()))
}
