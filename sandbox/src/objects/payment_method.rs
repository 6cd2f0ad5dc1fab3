//! Payment methods. An id such as `pm_card_visa` is not an object: each use creates a new one.

use super::address::billing_details;
use crate::blank::filled;
use crate::card::TestCard;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::world::World;
use serde_json::{Map, Value, json};

/// Month and year in which cards expire.
const EXPIRES: (i64, i64) = (12, 2034);

/// `POST /v1/payment_methods`
pub(crate) fn create(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let kind = form.required("type")?;
    if kind != "card" {
        let message = format!("The SANDBOX imitates payment methods of type card only, not {kind}.");
        return Err(ApiError::invalid("parameter_invalid_string", Some("type"), &message));
    }
    let card = match (form.text("card.token"), form.text("card.number")) {
        (Some(token), _) => match world.get(token).and_then(|token| token.opt("_card")) {
            Some(name) => TestCard::of_name(name),
            None => TestCard::of_id(token),
        }
        .ok_or_else(|| ApiError::no_such("token", token, Some("card[token]")))?,
        (None, Some(number)) => TestCard::of_number(number).ok_or_else(|| {
            let mut error = ApiError::card("incorrect_number", "Your card number is incorrect.").with_param("number");
            error.keeps_changes = false;
            error
        })?,
        (None, None) => return Err(ApiError::missing("card")),
    };
    let method = make(world, card)?;
    let fields = json!({
        "metadata": form.metadata(&json!({}))?,
        "billing_details": billing_details(&form.part("billing_details")),
    });
    world.change(method.id(), fields);
    Ok(world.copy(method.id()))
}

/// `GET /v1/payment_methods/{id}`
pub(crate) fn retrieve(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    usable(world, call.id(), None)
}

/// `POST /v1/payment_methods/{id}`
pub(crate) fn update(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let method = world.find("payment_method", call.id())?;
    let mut fields = World::metadata_change(&method, form)?;
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
    world.change_and_emit(method.id(), Value::Object(fields), "payment_method.updated")
}

/// `GET /v1/payment_methods`
pub(crate) fn list(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    page::list(world, call, "payment_method", &["customer", "type"])
}

/// `POST /v1/payment_methods/{id}/attach`
pub(crate) fn attach(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let customer = call.form.required("customer")?;
    world.find_param("customer", customer, "customer")?;
    attach_to(world, call.id(), customer, "payment_method")
}

/// `POST /v1/payment_methods/{id}/detach`
pub(crate) fn detach(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let method = world.find("payment_method", call.id())?;
    if method.opt("customer").is_none() {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(ApiError::refused_without_code(message));
    }
    detach_from(world, method.id())
}

/// The payment method with an id. An id such as `pm_card_visa` creates a new one.
pub(crate) fn usable(world: &mut World, id: &str, param: Option<&str>) -> Result<Value, ApiError> {
    if let Some(method) = world.get(id)
        && matches!(method.text("object"), "payment_method" | "card")
    {
        return Ok(method.clone());
    }
    match TestCard::of_id(id) {
        Some(card) => make(world, card),
        None => Err(ApiError::no_such("PaymentMethod", id, param)),
    }
}

/// Attaches a method to a customer.
pub(crate) fn attach_to(world: &mut World, id: &str, customer: &str, param: &str) -> Result<Value, ApiError> {
    let param = (param != "payment_method").then_some(param);
    let method = usable(world, id, param)?;
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
    card_of(&method)?.attach().map_err(|decline| {
        let mut error = decline.error();
        error.keeps_changes = false;
        error
    })?;
    world.change(method.id(), json!({ "customer": customer }));
    world.emit("payment_method.attached", method.id())?;
    Ok(world.copy(method.id()))
}

/// Detaches a method from its customer. This cannot be undone.
pub(crate) fn detach_from(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let method = world.copy(id);
    let customer = method.text("customer").to_owned();
    let previous = world.change(id, json!({ "customer": null, "_is_spent": true }));
    world.emit_change("payment_method.detached", id, previous)?;
    let mut settings = world.copy(&customer)["invoice_settings"].clone();
    if settings.text("default_payment_method") == id {
        settings["default_payment_method"] = Value::Null;
        world.change_and_emit(&customer, json!({ "invoice_settings": settings }), "customer.updated")?;
    }
    let subscriptions: Vec<String> = world
        .store
        .of_customer("subscription", &customer)
        .filter(|row| row.text("default_payment_method") == id)
        .map(|row| row.id().to_owned())
        .collect();
    for subscription in subscriptions {
        world.change(&subscription, json!({ "default_payment_method": null }));
    }
    Ok(world.copy(id))
}

/// Updates a card as if the bank had replaced it: it behaves alike and expires later.
pub(crate) fn renew(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let mut card = world.find("payment_method", id)?["card"].clone();
    card["exp_year"] = (card.int("exp_year") + 4).into();
    world.change_and_emit(id, json!({ "card": card }), "payment_method.automatically_updated")
}

/// The test card of a payment method or a card object.
pub(crate) fn card_of(method: &Value) -> Result<&'static TestCard, ApiError> {
    TestCard::of_name(method.text("_card")).ok_or_else(|| ApiError::api(500, "The SANDBOX does not know this card."))
}

fn make(world: &mut World, card: &TestCard) -> Result<Value, ApiError> {
    let shape = filled("payment_method_card", shape(card));
    // A card has the same fingerprint under all its names.
    let fields = json!({ "type": "card", "card": shape, "_card": card.name });
    world.make("pm", "payment_method", fields)
}

fn shape(card: &TestCard) -> Value {
    let mut fields = Map::new();
    fields.insert("brand".to_owned(), card.brand.into());
    fields.insert("display_brand".to_owned(), card.brand.into());
    fields.insert("country".to_owned(), "US".into());
    fields.insert("funding".to_owned(), card.funding.into());
    fields.insert("last4".to_owned(), card.last4().into());
    fields.insert("exp_month".to_owned(), EXPIRES.0.into());
    fields.insert("exp_year".to_owned(), EXPIRES.1.into());
    fields.insert("fingerprint".to_owned(), fingerprint(card).into());
    fields.insert("regulated_status".to_owned(), "unregulated".into());
    let checks = json!({ "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" });
    fields.insert("checks".to_owned(), checks);
    fields.insert("networks".to_owned(), json!({ "available": [card.brand], "preferred": null }));
    fields.insert("three_d_secure_usage".to_owned(), json!({ "supported": true }));
    Value::Object(fields)
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
    let checks = json!({ "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" });
    let fields = json!({
        "amount_authorized": amount, "authorization_code": null, "brand": brand, "checks": checks,
        "country": card["country"], "exp_month": card["exp_month"], "exp_year": card["exp_year"],
        "fingerprint": card["fingerprint"], "funding": card["funding"], "last4": card["last4"], "network": brand,
        "extended_authorization": { "status": "disabled" }, "incremental_authorization": { "status": "unavailable" },
        "multicapture": { "status": "unavailable" }, "network_token": { "used": false },
        "overcapture": { "maximum_amount_capturable": amount, "status": "unavailable" },
        "regulated_status": "unregulated",
    });
    json!({ "card": filled("charge_card", fields), "type": "card" })
}
