//! SetupIntents: set up a payment method for later, without a payment.

use super::payment_method::{attach_to, card_of, usable};
use crate::account::StripeAccount;
use crate::card::Outcome;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// `POST /v1/setup_intents`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    if let Some(customer) = form.text("customer") {
        account.find_param("customer", customer, "customer")?;
    }
    let id = account.new_id("seti");
    let mut fields = json!({
        "customer": form.nullable("customer"), "description": form.nullable("description"),
        "usage": form.text("usage").unwrap_or("off_session"), "metadata": form.metadata(&json!({}))?,
        "client_secret": account.ids.client_secret(&id),
    });
    let types = form.texts("payment_method_types");
    if types.is_empty() {
        fields["automatic_payment_methods"] = json!({ "allow_redirects": "always", "enabled": true });
    } else {
        fields["payment_method_types"] = types.into();
    }
    account.make_as(&id, "setup_intent", fields)?;
    choose(account, &id, call)?;
    account.emit("setup_intent.created", &id)?;
    if form.flag("confirm")?.unwrap_or(false) { confirm_now(account, &id, false) } else { Ok(account.copy(&id)) }
}

/// `GET /v1/setup_intents/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("setup_intent", call.id())
}

/// `GET /v1/setup_intents`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "setup_intent", &["customer", "payment_method"])
}

/// `POST /v1/setup_intents/{id}/confirm`
pub(crate) fn confirm(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let intent = account.find("setup_intent", call.id())?;
    expect_open(&intent)?;
    choose(account, intent.id(), call)?;
    confirm_now(account, intent.id(), false)
}

/// `POST /v1/setup_intents/{id}/cancel`
pub(crate) fn cancel(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let intent = account.find("setup_intent", call.id())?;
    expect_open(&intent)?;
    let reason = call.form.nullable("cancellation_reason");
    account.change(intent.id(), json!({ "status": "canceled", "cancellation_reason": reason, "next_action": null }));
    account.emit("setup_intent.canceled", intent.id())?;
    Ok(account.copy(intent.id()))
}

/// Sets up the method, unless its bank declines.
pub(crate) fn confirm_now(account: &mut StripeAccount, id: &str, is_authenticated: bool) -> Result<Value, ApiError> {
    let intent = account.copy(id);
    let Some(method) = intent.opt("payment_method").map(str::to_owned) else {
        let message = "You cannot confirm this SetupIntent because it's missing a payment method.";
        return Err(ApiError::refused("setup_intent_unexpected_state", message));
    };
    let method = account.copy(&method);
    let card = card_of(&method)?;
    if let Err(decline) = card.attach() {
        let error = decline.error();
        let mut last_error = error.object();
        last_error["payment_method"] = method.clone();
        let fields = json!({
            "status": "requires_payment_method", "payment_method": null, "last_setup_error": last_error,
        });
        account.change(id, fields);
        account.emit("setup_intent.setup_failed", id)?;
        return Err(error.with("setup_intent", account.copy(id)).with("payment_method", method));
    }
    if card.charge(false, is_authenticated) == Outcome::NeedsAuthentication {
        let next_action = json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect" } });
        account.change(id, json!({ "status": "requires_action", "next_action": next_action }));
        account.emit("setup_intent.requires_action", id)?;
        return Ok(account.copy(id));
    }
    if let Some(customer) = intent.opt("customer") {
        attach_to(account, method.id(), customer, "payment_method")?;
    }
    account.change(method.id(), json!({ "_is_set_up": true }));
    account.change(id, json!({ "status": "succeeded", "next_action": null, "last_setup_error": null }));
    account.emit("setup_intent.succeeded", id)?;
    Ok(account.copy(id))
}

fn choose(account: &mut StripeAccount, id: &str, call: &Call) -> Result<(), ApiError> {
    if let Some(method) = call.form.text("payment_method") {
        let method = usable(account, method, Some("payment_method"))?;
        account.change(id, json!({ "payment_method": method.id(), "status": "requires_confirmation" }));
    }
    Ok(())
}

fn expect_open(intent: &Value) -> Result<(), ApiError> {
    match intent.text("status") {
        "succeeded" | "canceled" => {
            let message = format!("This SetupIntent has a status of {}.", intent.text("status"));
            Err(ApiError::refused("setup_intent_unexpected_state", &message).with("setup_intent", intent.clone()))
        }
        _ => Ok(()),
    }
}
