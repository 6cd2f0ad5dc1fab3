//! Subscription schedules: what a subscription sells in the phases to come. Source: Stripe, "Subscription schedules".

use super::subscription::end_of;
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// Maximum number of phases. Source: Stripe, "Update a schedule": at most ten that are present or to come.
const PHASES_MAX: usize = 10;

/// `POST /v1/subscription_schedules`, from a subscription: its present period is the first phase.
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let id = call.form.required("from_subscription")?;
    let subscription = account.find_param("subscription", id, "from_subscription")?;
    if let Some(schedule) = subscription.opt("schedule") {
        let message =
            format!("You cannot migrate a subscription that is already attached to a schedule: `{schedule}`.");
        return Err(ApiError::refused_without_code(&message));
    }
    let first = &subscription["items"]["data"][0];
    let span = json!({ "start_date": first["current_period_start"], "end_date": first["current_period_end"] });
    let rows = subscription["items"]["data"].as_array().into_iter().flatten();
    let items = rows.map(|item| item_of(item["price"].id(), item.int("quantity"))).collect();
    let mut phase = phase_of(subscription.text("currency"), &span, items, "create_prorations");
    phase["trial_end"] = subscription["trial_end"].clone();
    let invoice_settings = json!({ "account_tax_ids": null, "days_until_due": null, "issuer": { "type": "self" } });
    let fields = json!({
        "application": null, "billing_mode": subscription["billing_mode"], "canceled_at": null, "completed_at": null,
        "current_phase": span, "customer": subscription["customer"], "customer_account": null,
        "default_settings": {
            "application_fee_percent": null, "billing_cycle_anchor": "automatic", "billing_thresholds": null,
            "collection_method": subscription["collection_method"], "default_payment_method": null,
            "description": null, "invoice_settings": invoice_settings, "on_behalf_of": null, "transfer_data": null,
        },
        "end_behavior": "release", "metadata": {}, "phases": [phase], "released_at": null,
        "released_subscription": null, "status": "active", "subscription": id, "test_clock": null,
    });
    let schedule = account.make("sub_sched", "subscription_schedule", fields)?;
    account.emit("subscription_schedule.created", schedule.id())?;
    account.change_and_emit(id, json!({ "schedule": schedule.id() }), "customer.subscription.updated")?;
    Ok(schedule)
}

/// `GET /v1/subscription_schedules/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("subscription_schedule", call.id())
}

/// `GET /v1/subscription_schedules`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "subscription_schedule", &["customer"])
}

/// `POST /v1/subscription_schedules/{id}`. The phases replace those that there are.
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let before = active(account, call.id(), "update")?;
    let mut fields = StripeAccount::metadata_change(&before, form)?;
    if let Some(behavior) = form.text("end_behavior") {
        fields.insert("end_behavior".to_owned(), behavior.into());
    }
    let parts = form.list("phases");
    if !parts.is_empty() {
        let phases = read_phases(account, &before, &parts)?;
        let span = json!({ "start_date": phases[0]["start_date"], "end_date": phases[0]["end_date"] });
        fields.insert("current_phase".to_owned(), span);
        fields.insert("phases".to_owned(), phases.into());
    }
    account.change_and_emit(call.id(), Value::Object(fields), "subscription_schedule.updated")
}

/// `POST /v1/subscription_schedules/{id}/release`
pub(crate) fn release(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    active(account, call.id(), "release")?;
    let_go(account, call.id())?;
    Ok(account.copy(call.id()))
}

fn active(account: &StripeAccount, id: &str, verb: &str) -> Result<Value, ApiError> {
    let schedule = account.find("subscription_schedule", id)?;
    let status = schedule.text("status");
    if status != "active" {
        let message = format!(
            "You cannot {verb} a subscription schedule that is currently in the `{status}` status. It must be in \
             `not_started` or `active` status."
        );
        return Err(ApiError::refused_without_code(&message));
    }
    Ok(schedule)
}

fn read_phases(account: &mut StripeAccount, before: &Value, parts: &[Form]) -> Result<Vec<Value>, ApiError> {
    if parts.len() > PHASES_MAX {
        return Err(ApiError::invalid("parameter_invalid_string", Some("phases"), "Too many phases."));
    }
    let subscription = account.copy(before.text("subscription"));
    let mut phases: Vec<Value> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let (mut items, mut price) = (Vec::new(), Value::Null);
        for (n, item) in part.list("items").iter().enumerate() {
            let param = format!("phases[{at}][items][{n}][price]");
            let found = account.find_param("price", item.required("price")?, &param)?;
            items.push(item_of(found.id(), item.int("quantity")?.unwrap_or(1)));
            if n == 0 {
                price = found;
            }
        }
        let start = match (part.int("start_date")?, phases.last()) {
            (Some(start), _) => start,
            (None, Some(last)) => last.int("end_date"),
            (None, None) => return Err(ApiError::missing("phases[0][start_date]")),
        };
        if at == 0 && start != before["current_phase"].int("start_date") {
            return Err(ApiError::refused_without_code("You can not modify the start date of the current phase."));
        }
        // A phase without an end lasts for a period.
        let end = part.int("end_date")?.unwrap_or_else(|| end_of(&price, start, start));
        let span = json!({ "start_date": start, "end_date": end });
        let behavior = part.text("proration_behavior").unwrap_or("create_prorations");
        let mut phase = phase_of(subscription.text("currency"), &span, items, behavior);
        phase["metadata"] = part.metadata(&json!({}))?;
        phase["trial_end"] = json!(part.int("trial_end")?);
        phases.push(phase);
    }
    Ok(phases)
}

fn item_of(price: &str, quantity: i64) -> Value {
    json!({
        "billing_thresholds": null, "discounts": [], "metadata": {}, "price": price, "quantity": quantity,
        "tax_rates": [],
    })
}

fn phase_of(currency: &str, span: &Value, items: Vec<Value>, proration_behavior: &str) -> Value {
    json!({
        "add_invoice_items": [], "application_fee_percent": null, "billing_cycle_anchor": null,
        "billing_thresholds": null, "collection_method": null, "currency": currency, "default_payment_method": null,
        "default_tax_rates": [], "description": null, "discounts": [], "end_date": span["end_date"],
        "invoice_settings": null, "items": items, "metadata": {}, "on_behalf_of": null,
        "proration_behavior": proration_behavior, "start_date": span["start_date"], "transfer_data": null,
        "trial_end": null,
    })
}

/// Ends a schedule, and leaves its subscription as it is.
fn let_go(account: &mut StripeAccount, id: &str) -> Result<(), ApiError> {
    let schedule = account.copy(id);
    let subscription = schedule.text("subscription").to_owned();
    let fields = json!({
        "status": "released", "released_at": account.now_s, "released_subscription": subscription,
        "subscription": null, "current_phase": null,
    });
    account.change(id, fields);
    account.emit("subscription_schedule.released", id)?;
    account.change_and_emit(&subscription, json!({ "schedule": null }), "customer.subscription.updated").map(|_| ())
}

/// Has a subscription whose phase ends now sell what the next phase says, or ends its schedule after the last one.
pub(crate) fn enter_next_phase(account: &mut StripeAccount, id: &str) -> Result<(), ApiError> {
    let subscription = account.copy(id);
    let Some(schedule) = subscription.opt("schedule").map(|id| account.copy(id)) else { return Ok(()) };
    let ends = schedule["current_phase"].int("end_date");
    if schedule.text("status") != "active" || ends > account.now_s {
        return Ok(());
    }
    let next = schedule["phases"].as_array().into_iter().flatten().find(|phase| phase.int("start_date") == ends);
    let Some(next) = next else { return let_go(account, schedule.id()) };
    let interval = |price: &Value| price["recurring"].clone();
    let mut items = subscription["items"].clone();
    let mut fields = json!({});
    for (at, row) in next["items"].as_array().into_iter().flatten().enumerate() {
        let price = account.copy(row.text("price"));
        if interval(&price) != interval(&items["data"][at]["price"]) {
            fields["billing_cycle_anchor"] = ends.into();
        }
        if items["data"][at].is_object() {
            items["data"][at]["price"] = price;
            items["data"][at]["quantity"] = row["quantity"].clone();
        }
    }
    let mut metadata = subscription["metadata"].clone();
    for (name, value) in next["metadata"].as_object().into_iter().flatten() {
        metadata[name] = value.clone();
    }
    fields["items"] = items;
    fields["metadata"] = metadata;
    account.change(id, fields);
    let span = json!({ "start_date": next["start_date"], "end_date": next["end_date"] });
    account.change_and_emit(schedule.id(), json!({ "current_phase": span }), "subscription_schedule.updated")?;
    Ok(())
}
