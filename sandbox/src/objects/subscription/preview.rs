//! Previews of a subscription's next invoice, or of the one that a change would make.

use super::change::{change_items, draft_changes, resets_anchor};
use super::next_periods;
use crate::account::StripeAccount;
use crate::billing::NewInvoice;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::objects::invoice_item;
use serde_json::{Value, json};

/// `POST /v1/invoices/create_preview`, for subscriptions that exist.
pub(crate) fn create_preview(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let id = form.required("subscription")?;
    let before = account.find_param("subscription", id, "subscription")?;
    if form.text("customer").is_some_and(|customer| customer != before.text("customer")) {
        return Err(ApiError::no_such("subscription", id, Some("subscription")));
    }
    let invoice = preview(account, &before, &form.part("subscription_details"));
    // It was made like any other, and nothing of it stays.
    account.store.rollback();
    let mut invoice = invoice?;
    invoice["id"] = format!("upcoming_{}", invoice.id()).into();
    for line in invoice["lines"]["data"].as_array_mut().into_iter().flatten() {
        line["invoice"] = Value::Null;
    }
    Ok(invoice)
}

fn preview(account: &mut StripeAccount, before: &Value, form: &Form) -> Result<Value, ApiError> {
    let resets = resets_anchor(account, before, form)?;
    let items = change_items(account, before, form, resets)?;
    account.change(before.id(), json!({ "items": items }));
    let mut subscription = account.copy(before.id());
    let waiting = invoice_item::pending(account, subscription.text("customer"));
    if resets || form.text("proration_behavior") == Some("always_invoice") {
        return draft_changes(account, &subscription, &waiting, resets);
    }
    subscription["items"] = next_periods(&subscription);
    let items = subscription["items"]["data"].as_array().into_iter().flatten();
    let mut lines: Vec<_> = items.map(|item| super::line(&subscription, item, false)).collect();
    lines.extend(waiting.iter().map(invoice_item::line));
    account.draft(NewInvoice {
        customer: subscription.text("customer"),
        subscription: &subscription,
        reason: "upcoming",
        currency: subscription.text("currency"),
        lines,
        period: (account.now_s, account.now_s),
        fields: json!({ "collection_method": subscription["collection_method"] }),
    })
}
