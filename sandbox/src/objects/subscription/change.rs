//! Changes to a subscription by calls.

use super::{is_over, item, period_end, proration};
use crate::account::StripeAccount;
use crate::billing::NewInvoice;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::objects::{coupon, invoice_item};
use crate::payment::{Attempt, PaymentResult};
use serde_json::{Map, Value, json};

/// `POST /v1/subscriptions/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let before = account.find("subscription", call.id())?;
    let id = before.id().to_owned();
    let mut fields = StripeAccount::metadata_change(&before, form)?;
    if is_over(&before) {
        if form.names().any(|name| !matches!(name, "metadata" | "cancellation_details" | "expand")) {
            let message = "A canceled subscription can only update its cancellation_details and metadata.";
            return Err(ApiError::refused_without_code(message));
        }
        return account.change_and_emit(&id, Value::Object(fields), "customer.subscription.updated");
    }
    for name in ["description", "default_source"] {
        if form.has(name) {
            fields.insert(name.to_owned(), form.nullable(name));
        }
    }
    if form.has("default_payment_method") {
        if let Some(method) = form.text("default_payment_method") {
            account.find_param("payment_method", method, "default_payment_method")?;
        }
        fields.insert("default_payment_method".to_owned(), form.nullable("default_payment_method"));
    }
    if form.has("pause_collection") {
        let pause = form.text("pause_collection.behavior").map_or(Value::Null, |behavior| {
            json!({ "behavior": behavior, "resumes_at": form.int("pause_collection.resumes_at").ok().flatten() })
        });
        fields.insert("pause_collection".to_owned(), pause);
    }
    // Prorations are made with the discounts that the same call sets. Source: Stripe, "Prorations".
    let mut discounted = before.clone();
    if let Some(discounts) = coupon::discounts(account, form, &before)? {
        discounted["discounts"] = discounts.into();
        fields.insert("discounts".to_owned(), discounted["discounts"].clone());
    }
    let end = end_fields(account, form, period_end(&before))?;
    if let Some(schedule) = before.opt("schedule").filter(|_| !end.is_empty()) {
        let message = format!(
            "The subscription is managed by the subscription schedule `{schedule}`, and updating any cancelation \
             behavior directly is not allowed. Please update the schedule instead."
        );
        return Err(ApiError::refused_without_code(&message));
    }
    fields.extend(end);
    let mut invoice_now = false;
    let resets = resets_anchor(account, &before, form)?;
    if resets || !form.list("items").is_empty() {
        let items = change_items(account, &discounted, form, resets)?;
        invoice_now = resets || form.text("proration_behavior") == Some("always_invoice");
        fields.insert("items".to_owned(), items);
    }
    if resets {
        fields.insert("billing_cycle_anchor".to_owned(), account.now_s.into());
    }
    let ends_trial = form.text("trial_end") == Some("now") && before.text("status") == "trialing";
    if let Some(end) = form.text("trial_end").filter(|text| *text != "now")
        && !ends_trial
    {
        let end: i64 = end.parse().map_err(|_| {
            ApiError::invalid("parameter_invalid_integer", Some("trial_end"), "Invalid integer: trial_end")
        })?;
        fields.insert("trial_end".to_owned(), end.into());
        fields.insert("billing_cycle_anchor".to_owned(), end.into());
        fields.insert("status".to_owned(), "trialing".into());
        let mut items = before["items"].clone();
        for item in items["data"].as_array_mut().into_iter().flatten() {
            item["current_period_end"] = end.into();
        }
        fields.insert("items".to_owned(), items);
    }
    account.change_and_emit(&id, Value::Object(fields), "customer.subscription.updated")?;
    if ends_trial {
        account.end_trial(&id)?;
        // A trial that a call ends is paid at once.
        let invoice = account.copy(&id).text("latest_invoice").to_owned();
        if account.copy(&invoice).text("status") == "draft" {
            account.finalize_and_pay(&invoice)?;
        }
    }
    if invoice_now {
        invoice_changes(account, &id, resets, form.text("payment_behavior"))?;
    }
    Ok(account.copy(&id))
}

/// `POST /v1/subscriptions/{id}/resume`: resumes a paused subscription with a period that begins now.
pub(crate) fn resume(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let before = account.find("subscription", call.id())?;
    let id = before.id();
    if before.text("status") != "paused" {
        let message = "Only a subscription with the status paused can be resumed.";
        return Err(ApiError::refused_without_code(message));
    }
    let mut items = before["items"].clone();
    let now_s = account.now_s;
    for item in items["data"].as_array_mut().into_iter().flatten() {
        item["current_period_start"] = now_s.into();
        item["current_period_end"] = item::end_of(&item["price"], now_s, now_s).into();
    }
    let fields = json!({ "items": items, "billing_cycle_anchor": now_s, "trial_end": null, "trial_start": null });
    account.change(id, fields);
    let subscription = account.copy(id);
    let lines = subscription["items"]["data"].as_array().into_iter().flatten();
    let lines = lines.map(|item| super::line(&subscription, item, false)).collect();
    let new = NewInvoice {
        customer: subscription.text("customer"),
        subscription: &subscription,
        reason: "subscription_update",
        currency: subscription.text("currency"),
        lines,
        period: (now_s, now_s),
        fields: json!({}),
    };
    let invoice = account.draft(new)?;
    account.change(id, json!({ "latest_invoice": invoice.id() }));
    account.finalize(invoice.id())?;
    if account.copy(invoice.id()).text("status") == "open" {
        // The payment activates the subscription.
        account.pay_invoice(invoice.id(), None, Attempt::default())?;
    }
    Ok(account.copy(id))
}

/// The fields that say when a subscription ends.
pub(super) fn end_fields(
    account: &StripeAccount,
    form: &Form,
    period_end: i64,
) -> Result<Map<String, Value>, ApiError> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    let reason = json!({ "comment": null, "feedback": null, "reason": "cancellation_requested" });
    let none = json!({ "comment": null, "feedback": null, "reason": null });
    match form.flag("cancel_at_period_end")? {
        Some(true) => {
            set("cancel_at_period_end", true.into());
            set("cancel_at", period_end.into());
            set("canceled_at", account.now_s.into());
            set("cancellation_details", reason);
        }
        Some(false) => {
            set("cancel_at_period_end", false.into());
            set("cancel_at", Value::Null);
            set("canceled_at", Value::Null);
            set("cancellation_details", none);
        }
        None if form.unsets("cancel_at") => {
            set("cancel_at", Value::Null);
            set("canceled_at", Value::Null);
            set("cancellation_details", none);
        }
        None => {
            let at = match form.text("cancel_at") {
                Some("min_period_end" | "max_period_end") => Some(period_end),
                _ => form.int("cancel_at")?,
            };
            if let Some(at) = at {
                set("cancel_at", at.into());
                set("canceled_at", account.now_s.into());
                set("cancellation_details", reason);
            }
        }
    }
    Ok(fields)
}

/// Whether a change begins a new period: on request, or because an item gets another interval. Source: Stripe, "Change
/// the billing period".
pub(super) fn resets_anchor(account: &mut StripeAccount, before: &Value, form: &Form) -> Result<bool, ApiError> {
    if before.text("status") == "trialing" {
        return Ok(false);
    }
    let length = |price: &Value| (price["recurring"]["interval"].clone(), price["recurring"]["interval_count"].clone());
    let present = length(&before["items"]["data"][0]["price"]);
    let mut differs = false;
    for part in form.list("items").iter().filter(|part| part.has("price")) {
        let price = account.find_param("price", part.text("price").unwrap_or_default(), "items[0][price]")?;
        differs |= length(&price) != present;
    }
    Ok(differs || form.text("billing_cycle_anchor") == Some("now"))
}

/// Returns the changed items, with new periods if these begin. The differences become pending invoice items: of items
/// whose period is left, only what is left of it.
pub(super) fn change_items(
    account: &mut StripeAccount,
    subscription: &Value,
    form: &Form,
    resets: bool,
) -> Result<Value, ApiError> {
    let prorates = form.text("proration_behavior") != Some("none");
    let mut items = subscription["items"].clone();
    for (at, part) in form.list("items").iter().enumerate() {
        let param = format!("items[{at}]");
        let found = items["data"].as_array().into_iter().flatten().position(|item| {
            part.text("id").map_or_else(
                || at == 0 && subscription["items"]["data"].as_array().map_or(0, Vec::len) == 1,
                |id| item.id() == id,
            )
        });
        let Some(place) = found else {
            let present = &subscription["items"]["data"][0];
            let period = (present.int("current_period_start"), present.int("current_period_end"));
            let new = item::read(account, part, &param)?;
            let new = item::make(account, subscription.id(), new, period);
            if prorates && !resets {
                proration::debit(account, subscription, &new)?;
            }
            if let Some(data) = items["data"].as_array_mut() {
                data.push(new);
            }
            continue;
        };
        let before = items["data"][place].clone();
        let mut after = before.clone();
        if part.has("price") {
            after["price"] = item::read(account, part, &param)?.price;
        }
        if let Some(quantity) = part.int("quantity")? {
            after["quantity"] = quantity.into();
        }
        if prorates && !resets && after != before {
            proration::credit(account, subscription, &before)?;
            proration::debit(account, subscription, &after)?;
        }
        items["data"][place] = after;
    }
    if resets {
        for item in subscription["items"]["data"].as_array().into_iter().flatten().filter(|_| prorates) {
            proration::credit(account, subscription, item)?;
        }
        let now_s = account.now_s;
        for item in items["data"].as_array_mut().into_iter().flatten() {
            item["current_period_end"] = item::end_of(&item["price"], now_s, now_s).into();
            item["current_period_start"] = now_s.into();
        }
    }
    Ok(items)
}

/// Drafts the invoice of the pending items, and of the periods that begin.
pub(super) fn draft_changes(
    account: &mut StripeAccount,
    subscription: &Value,
    waiting: &[Value],
    begins_periods: bool,
) -> Result<Value, ApiError> {
    let items = subscription["items"]["data"].as_array().into_iter().flatten().filter(|_| begins_periods);
    let mut lines: Vec<_> = waiting.iter().map(invoice_item::line).collect();
    lines.extend(items.map(|item| super::line(subscription, item, false)));
    account.draft(NewInvoice {
        customer: subscription.text("customer"),
        subscription,
        reason: "subscription_update",
        currency: subscription.text("currency"),
        lines,
        period: (account.now_s, account.now_s),
        fields: json!({ "collection_method": subscription["collection_method"] }),
    })
}

/// Invoices the pending items, and the periods that begin, at once.
pub(super) fn invoice_changes(
    account: &mut StripeAccount,
    id: &str,
    begins_periods: bool,
    behavior: Option<&str>,
) -> Result<(), ApiError> {
    let subscription = account.copy(id);
    let waiting = invoice_item::pending(account, subscription.text("customer"));
    if waiting.is_empty() && !begins_periods {
        return Ok(());
    }
    let invoice = draft_changes(account, &subscription, &waiting, begins_periods)?;
    invoice_item::take(account, &waiting, invoice.id());
    account.change(id, json!({ "latest_invoice": invoice.id() }));
    account.finalize(invoice.id())?;
    if account.copy(invoice.id()).text("status") != "open" {
        return Ok(());
    }
    if subscription.text("collection_method") == "send_invoice" {
        return Ok(());
    }
    let paid = account.pay_invoice(invoice.id(), None, Attempt::default())?;
    if behavior != Some("error_if_incomplete") {
        return Ok(());
    }
    // Then the subscription stays as it was.
    let mut error = match paid {
        PaymentResult::Succeeded => return Ok(()),
        PaymentResult::Declined(error) => error,
        PaymentResult::RequiresAction => {
            let message = "Your card was declined. This transaction requires authentication.";
            ApiError::card("subscription_payment_intent_requires_action", message)
        }
    };
    error.commits_changes = false;
    error.details.remove("payment_intent");
    Err(error)
}
