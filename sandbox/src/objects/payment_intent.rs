//! PaymentIntents.

use super::address;
use super::payment_method::usable;
use crate::account::StripeAccount;
use crate::card::Decline;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use crate::payment::{Attempt, PaymentResult, capture as capture_money, fail, pay};
use serde_json::{Map, Value, json};

/// Fields that are copied from the parameters.
const COPIED_FIELDS: [&str; 5] =
    ["description", "receipt_email", "setup_future_usage", "statement_descriptor", "statement_descriptor_suffix"];

/// The decline after a failed authentication.
const AUTHENTICATION_FAILED: Decline = Decline {
    code: "payment_intent_authentication_failure",
    decline_code: "authentication_not_handled",
    advice_code: None,
    message: "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new \
              PaymentMethod to attempt to fulfill this PaymentIntent again.",
};

/// `POST /v1/payment_intents`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let amount = form.amount("amount")?.ok_or_else(|| ApiError::missing("amount"))?;
    let currency = form.required("currency")?.to_lowercase();
    if currency.len() != 3 {
        return Err(ApiError::invalid("parameter_invalid_string", Some("currency"), "Invalid currency."));
    }
    let is_confirmed = form.flag("confirm")?.unwrap_or(false);
    let is_off_session = is_off_session(form);
    if is_off_session && !is_confirmed {
        let message = "You cannot set `off_session` unless `confirm` is set to `true`.";
        return Err(ApiError::invalid("parameter_invalid_empty", Some("off_session"), message));
    }
    let mut fields = given(account, form)?;
    fields.insert("amount".to_owned(), amount.into());
    fields.insert("currency".to_owned(), currency.into());
    fields.insert("metadata".to_owned(), form.metadata(&json!({}))?);
    for (name, default) in [("capture_method", "automatic_async"), ("confirmation_method", "automatic")] {
        fields.insert(name.to_owned(), form.text(name).unwrap_or(default).into());
    }
    let types = form.texts("payment_method_types");
    if types.is_empty() {
        let redirects = form.text("automatic_payment_methods.allow_redirects").unwrap_or("always");
        let automatic = json!({ "allow_redirects": redirects, "enabled": true });
        fields.insert("automatic_payment_methods".to_owned(), automatic);
    } else {
        fields.insert("payment_method_types".to_owned(), types.into());
    }
    let intent = make(account, Value::Object(fields))?;
    let id = intent.id().to_owned();
    if let Some(method) = form.text("payment_method") {
        choose(account, &id, method)?;
    }
    if let Some(url) = form.text("return_url") {
        account.change(&id, json!({ "_return_url": url }));
    }
    account.emit("payment_intent.created", &id)?;
    if is_confirmed {
        return confirm_now(account, &id, Attempt { is_off_session, is_authenticated: false });
    }
    Ok(account.copy(&id))
}

/// Creates a PaymentIntent without emitting an event.
pub(crate) fn make(account: &mut StripeAccount, fields: Value) -> Result<Value, ApiError> {
    let id = account.new_id("pi");
    let mut fields = fields;
    fields["client_secret"] = account.ids.client_secret(&id).into();
    account.make_as(&id, "payment_intent", fields)
}

/// `GET /v1/payment_intents/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("payment_intent", call.id())
}

/// `GET /v1/payment_intents`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "payment_intent", &["customer"])
}

/// `POST /v1/payment_intents/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let intent = account.find("payment_intent", call.id())?;
    let mut fields = given(account, form)?;
    fields.extend(StripeAccount::metadata_change(&intent, form)?);
    if let Some(amount) = form.amount("amount")? {
        expect(&intent, &["requires_payment_method", "requires_confirmation", "requires_action"], "updated")?;
        fields.insert("amount".to_owned(), amount.into());
    }
    account.change(intent.id(), Value::Object(fields));
    if let Some(method) = form.text("payment_method") {
        expect(&intent, &["requires_payment_method", "requires_confirmation", "requires_action"], "updated")?;
        choose(account, intent.id(), method)?;
    }
    Ok(account.copy(intent.id()))
}

/// `POST /v1/payment_intents/{id}/confirm`
pub(crate) fn confirm(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let intent = account.find("payment_intent", call.id())?;
    expect(&intent, &["requires_payment_method", "requires_confirmation", "requires_action"], "confirmed")?;
    if let Some(method) = form.text("payment_method") {
        choose(account, intent.id(), method)?;
    }
    if let Some(url) = form.text("return_url") {
        account.change(intent.id(), json!({ "_return_url": url }));
    }
    let attempt = Attempt { is_off_session: is_off_session(form), is_authenticated: false };
    confirm_now(account, intent.id(), attempt)
}

/// `POST /v1/payment_intents/{id}/capture`
pub(crate) fn capture(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let intent = account.find("payment_intent", call.id())?;
    expect(&intent, &["requires_capture"], "captured")?;
    let capturable = intent.int("amount_capturable");
    let amount = call.form.amount("amount_to_capture")?.unwrap_or(capturable);
    if amount > capturable {
        let message = "The requested capture amount is greater than the amount you can capture for this charge.";
        return Err(ApiError::refused("amount_too_large", message).with_param("amount_to_capture"));
    }
    capture_money(account, intent.id(), amount)?;
    Ok(account.copy(intent.id()))
}

/// `POST /v1/payment_intents/{id}/cancel`
pub(crate) fn cancel(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let intent = account.find("payment_intent", call.id())?;
    let cancelable = ["requires_payment_method", "requires_confirmation", "requires_action", "requires_capture"];
    expect(&intent, &cancelable, "canceled")?;
    let reason = call.form.nullable("cancellation_reason");
    cancel_now(account, intent.id(), reason)
}

/// Cancels a PaymentIntent and releases money that was reserved.
pub(crate) fn cancel_now(account: &mut StripeAccount, id: &str, reason: Value) -> Result<Value, ApiError> {
    let intent = account.copy(id);
    if intent.text("status") == "requires_capture" {
        let charge = intent.text("latest_charge").to_owned();
        let amount = intent["amount"].clone();
        account.change_and_emit(&charge, json!({ "refunded": true, "amount_refunded": amount }), "charge.refunded")?;
    }
    let fields = json!({
        "status": "canceled", "canceled_at": account.now_s, "cancellation_reason": reason, "amount_capturable": 0,
        "next_action": null,
    });
    account.change(id, fields);
    account.emit("payment_intent.canceled", id)?;
    Ok(account.copy(id))
}

/// Passes or fails the customer's authentication. Returns the PaymentIntent in either case.
pub(crate) fn authenticate(account: &mut StripeAccount, id: &str, is_passed: bool) -> Result<Value, ApiError> {
    let intent = account.find("payment_intent", id)?;
    let off_session = intent["last_payment_error"].text("code") == "authentication_required";
    let method = match intent.opt("payment_method") {
        Some(method) => account.copy(method),
        None if off_session => account.copy(intent["last_payment_error"]["payment_method"].id()),
        None => Value::Null,
    };
    if method.is_null() || !(off_session || intent.text("status") == "requires_action") {
        return Err(ApiError::refused(
            "payment_intent_unexpected_state",
            "This payment does not wait for authentication.",
        ));
    }
    // Source: Stripe, "Detach a PaymentMethod": a detached method can never be used again.
    if method.is("_is_spent") && method.opt("customer").is_none() {
        let message = "The PaymentMethod was detached from its Customer and may not be used again. SANDBOX.";
        return Err(ApiError::refused("payment_method_unexpected_state", message));
    }
    let paid = if is_passed {
        pay(account, id, &method, Attempt { is_off_session: false, is_authenticated: true })?
    } else {
        PaymentResult::Declined(fail(account, id, &method, &AUTHENTICATION_FAILED)?)
    };
    account.update_invoice_of(id, &paid)?;
    Ok(account.copy(id))
}

/// Confirms with the chosen method.
pub(crate) fn confirm_now(account: &mut StripeAccount, id: &str, attempt: Attempt) -> Result<Value, ApiError> {
    let intent = account.copy(id);
    let Some(method) = intent.opt("payment_method") else {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method. Update the \
                       PaymentIntent with a payment method and then confirm it again.";
        return Err(
            ApiError::refused("payment_intent_unexpected_state", message).with("payment_intent", intent.clone())
        );
    };
    let method = account.copy(method);
    let paid = pay(account, id, &method, attempt)?;
    account.update_invoice_of(id, &paid)?;
    match paid {
        PaymentResult::Declined(error) => Err(error),
        PaymentResult::Succeeded | PaymentResult::RequiresAction => Ok(account.copy(id)),
    }
}

fn choose(account: &mut StripeAccount, id: &str, method: &str) -> Result<(), ApiError> {
    let method = usable(account, method, Some("payment_method"))?;
    let intent = account.copy(id);
    match (method.opt("customer"), intent.opt("customer")) {
        (Some(owner), Some(customer)) if owner == customer => {}
        (None, _) if !method.is("_is_spent") => {}
        (Some(_), None) => {
            let message = "The PaymentMethod supplied belongs to a Customer. Please include the Customer in the \
                           `customer` parameter on the PaymentIntent.";
            return Err(ApiError::refused_without_code(message).with_param("payment_method"));
        }
        (Some(_), Some(_)) => {
            let message = "The PaymentMethod supplied does not belong to the Customer supplied.";
            return Err(ApiError::refused_without_code(message).with_param("payment_method"));
        }
        (None, _) => {
            let message = "The provided PaymentMethod was previously used without a Customer or was detached from \
                           one, and may not be used again. SANDBOX.";
            return Err(ApiError::refused("payment_method_unexpected_state", message).with_param("payment_method"));
        }
    }
    let fields = json!({
        "payment_method": method.id(), "status": "requires_confirmation", "next_action": null,
    });
    account.change(id, fields);
    Ok(())
}

fn expect(intent: &Value, statuses: &[&str], act: &str) -> Result<(), ApiError> {
    let status = intent.text("status");
    if statuses.contains(&status) {
        return Ok(());
    }
    let message = format!(
        "This PaymentIntent could not be {act} because it has a status of {status}. Only a PaymentIntent with one of \
         the following statuses may be {act}: {}.",
        statuses.join(", ")
    );
    Err(ApiError::refused("payment_intent_unexpected_state", &message).with("payment_intent", intent.clone()))
}

/// `off_session=true`, or one of the named reasons for an off-session payment.
pub(crate) fn is_off_session(form: &Form) -> bool {
    form.text("off_session").is_some_and(|text| text != "false")
}

fn given(account: &StripeAccount, form: &Form) -> Result<Map<String, Value>, ApiError> {
    let mut fields: Map<String, Value> = form.nullables(&COPIED_FIELDS).collect();
    if let Some(customer) = form.text("customer") {
        account.find_param("customer", customer, "customer")?;
        fields.insert("customer".to_owned(), customer.into());
    }
    if form.has("shipping") {
        fields.insert("shipping".to_owned(), address::shipping(&form.part("shipping")));
    }
    Ok(fields)
}
