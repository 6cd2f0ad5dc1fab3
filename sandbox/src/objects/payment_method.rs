//! Payment methods. An id such as `pm_card_visa` is not an object: each use creates a new one.

use super::address::billing_details;
use crate::account::StripeAccount;
use crate::card::TestCard;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::template::from_template;
use serde_json::{Value, json};

/// Month in which cards expire.
const EXPIRY_MONTH: i64 = 12;
/// Year in which cards expire.
const EXPIRY_YEAR: i64 = 2034;

/// `POST /v1/payment_methods`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let kind = form.required("type")?;
    if kind != "card" {
        let message = format!("The SANDBOX imitates payment methods of type card only, not {kind}.");
        return Err(ApiError::invalid("parameter_invalid_string", Some("type"), &message));
    }
    let card = match (form.text("card.token"), form.text("card.number")) {
        (Some(token), _) => match account.get(token).and_then(|token| token.opt("_card")) {
            Some(name) => TestCard::of_name(name),
            None => TestCard::of_id(token),
        }
        .ok_or_else(|| ApiError::no_such("token", token, Some("card[token]")))?,
        (None, Some(number)) => TestCard::of_number(number).ok_or_else(|| {
            let error = ApiError::card("incorrect_number", "Your card number is incorrect.").with_param("number");
            ApiError { commits_changes: false, ..error }
        })?,
        (None, None) => return Err(ApiError::missing("card")),
    };
    let method = make(account, card)?;
    let fields = json!({
        "metadata": form.metadata(&json!({}))?,
        "billing_details": billing_details(&form.part("billing_details")),
    });
    account.change(method.id(), fields);
    Ok(account.copy(method.id()))
}

/// `GET /v1/payment_methods/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    usable(account, call.id(), None)
}

/// `POST /v1/payment_methods/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let method = account.find("payment_method", call.id())?;
    let mut fields = StripeAccount::metadata_change(&method, form)?;
    if form.has("billing_details") {
        fields.insert("billing_details".to_owned(), billing_details(&form.part("billing_details")));
    }
    if form.has("card") {
        let mut card = method["card"].clone();
        for name in ["exp_month", "exp_year"] {
            if let Some(number) = form.int(&format!("card.{name}"))? {
                card[name] = number.into();
            }
        }
        fields.insert("card".to_owned(), card);
    }
    if method.opt("customer").is_none() {
        let message = "You must save this PaymentMethod to a customer before you can update it.";
        return Err(ApiError::refused_without_code(message));
    }
    account.change_and_emit(method.id(), Value::Object(fields), "payment_method.updated")
}

/// `GET /v1/payment_methods`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "payment_method", &["customer", "type"])
}

/// `POST /v1/payment_methods/{id}/attach`
pub(crate) fn attach(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let customer = call.form.required("customer")?;
    account.find_param("customer", customer, "customer")?;
    attach_to(account, call.id(), customer, "payment_method")
}

/// `POST /v1/payment_methods/{id}/detach`
pub(crate) fn detach(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let method = account.find("payment_method", call.id())?;
    if method.opt("customer").is_none() {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(ApiError::refused_without_code(message));
    }
    detach_from(account, method.id())
}

/// The payment method with an id. An id such as `pm_card_visa` creates a new one.
pub(crate) fn usable(account: &mut StripeAccount, id: &str, param: Option<&str>) -> Result<Value, ApiError> {
    if let Some(method) = account.get(id)
        && matches!(method.text("object"), "payment_method" | "card")
    {
        return Ok(method.clone());
    }
    match TestCard::of_id(id) {
        Some(card) => make(account, card),
        None => Err(ApiError::no_such("PaymentMethod", id, param)),
    }
}

/// Attaches a method to a customer.
pub(crate) fn attach_to(account: &mut StripeAccount, id: &str, customer: &str, param: &str) -> Result<Value, ApiError> {
    let param = (param != "payment_method").then_some(param);
    let method = usable(account, id, param)?;
    match method.opt("customer") {
        Some(owner) if owner == customer => return Ok(method),
        Some(_) => {
            let message = "The payment method you provided has already been attached to a customer.";
            return Err(ApiError::refused_without_code(message));
        }
        None if method.is("_is_spent") => {
            let message = "This PaymentMethod was previously detached from a Customer or used without one, and may \
                           not be used again. SANDBOX.";
            return Err(ApiError::refused("payment_method_unexpected_state", message));
        }
        None => {}
    }
    card_of(&method)?.attach().map_err(|decline| ApiError { commits_changes: false, ..decline.error() })?;
    account.change(method.id(), json!({ "customer": customer }));
    account.emit("payment_method.attached", method.id())?;
    Ok(account.copy(method.id()))
}

/// Detaches a method from its customer. This cannot be undone.
pub(crate) fn detach_from(account: &mut StripeAccount, id: &str) -> Result<Value, ApiError> {
    let method = account.copy(id);
    let customer = method.text("customer").to_owned();
    let previous = account.change(id, json!({ "customer": null, "_is_spent": true }));
    account.emit_change("payment_method.detached", id, previous)?;
    let mut settings = account.copy(&customer)["invoice_settings"].clone();
    if settings.text("default_payment_method") == id {
        settings["default_payment_method"] = Value::Null;
        account.change_and_emit(&customer, json!({ "invoice_settings": settings }), "customer.updated")?;
    }
    let subscriptions: Vec<String> = account
        .store
        .of_customer("subscription", &customer)
        .filter(|row| row.text("default_payment_method") == id)
        .map(|row| row.id().to_owned())
        .collect();
    for subscription in subscriptions {
        account.change(&subscription, json!({ "default_payment_method": null }));
    }
    Ok(account.copy(id))
}

/// Updates a card as if the bank had replaced it: it behaves alike and expires later.
pub(crate) fn renew(account: &mut StripeAccount, id: &str) -> Result<Value, ApiError> {
    let mut card = account.find("payment_method", id)?["card"].clone();
    card["exp_year"] = (card.int("exp_year") + 4).into();
    account.change_and_emit(id, json!({ "card": card }), "payment_method.automatically_updated")
}

/// The test card of a payment method or a card object.
pub(crate) fn card_of(method: &Value) -> Result<&'static TestCard, ApiError> {
    TestCard::of_name(method.text("_card")).ok_or_else(|| ApiError::api(500, "The SANDBOX does not know this card."))
}

fn make(account: &mut StripeAccount, card: &TestCard) -> Result<Value, ApiError> {
    let shape = from_template("payment_method_card", shape(card));
    // A card has the same fingerprint under all its names.
    let fields = json!({ "type": "card", "card": shape, "_card": card.name });
    account.make("pm", "payment_method", fields)
}

fn shape(card: &TestCard) -> Value {
    json!({
        "brand": card.brand, "display_brand": card.brand, "country": "US", "funding": card.funding,
        "last4": card.last4(), "exp_month": EXPIRY_MONTH, "exp_year": EXPIRY_YEAR, "checks": checks(),
        "fingerprint": fingerprint(card), "networks": { "available": [card.brand], "preferred": null },
        "regulated_status": "unregulated", "three_d_secure_usage": { "supported": true },
    })
}

fn checks() -> Value {
    json!({ "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" })
}

/// A fingerprint that depends on the card's number only, as at Stripe.
pub(crate) fn fingerprint(card: &TestCard) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(card.number))[..16].to_owned()
}

/// The details of a card in a charge.
pub(crate) fn charge_details(method: &Value, amount: i64) -> Value {
    let card = if method.text("object") == "card" { method } else { &method["card"] };
    let brand = card.text("brand").to_lowercase();
    let fields = json!({
        "amount_authorized": amount, "authorization_code": null, "brand": brand, "checks": checks(),
        "country": card["country"], "exp_month": card["exp_month"], "exp_year": card["exp_year"],
        "fingerprint": card["fingerprint"], "funding": card["funding"], "last4": card["last4"], "network": brand,
        "extended_authorization": { "status": "disabled" }, "incremental_authorization": { "status": "unavailable" },
        "multicapture": { "status": "unavailable" }, "network_token": { "used": false },
        "overcapture": { "maximum_amount_capturable": amount, "status": "unavailable" },
        "regulated_status": "unregulated",
    });
    json!({ "card": from_template("charge_card", fields), "type": "card" })
}
