//! Customers.

use super::{address, payment_method, source};
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use crate::world::World;
use serde_json::{Map, Value, json};

/// Fields that are copied from the parameters.
const COPIED_FIELDS: [&str; 5] = ["email", "name", "phone", "description", "tax_exempt"];

/// `POST /v1/customers`
pub(crate) fn create(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let mut fields = given(form)?;
    fields.insert("metadata".to_owned(), form.metadata(&json!({}))?);
    fields.insert("invoice_prefix".to_owned(), world.ids.fingerprint()[..8].to_uppercase().into());
    let customer = world.make("cus", "customer", Value::Object(fields))?;
    let id = customer.id().to_owned();
    // Methods are attached before the event is emitted, so that it shows the defaults.
    let mut attached: Option<(String, String)> = None;
    if let Some(method) = form.text("payment_method") {
        let new = payment_method::attach_to(world, method, &id, "payment_method")?;
        attached = Some((method.to_owned(), new.id().to_owned()));
    }
    if let Some(token) = form.text("source") {
        source::add(world, &id, token)?;
    }
    if let Some(default) = form.text("invoice_settings.default_payment_method") {
        let default = match &attached {
            Some((asked, new)) if asked == default => new.clone(),
            _ => default.to_owned(),
        };
        set_default(world, &id, &default)?;
    }
    world.emit("customer.created", &id)?;
    Ok(world.copy(&id))
}

/// `GET /v1/customers/{id}`. Returns a deleted customer as such.
pub(crate) fn retrieve(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let customer = world.get(call.id()).filter(|value| value.text("object") == "customer");
    customer.cloned().ok_or_else(|| ApiError::no_such("customer", call.id(), None))
}

/// `POST /v1/customers/{id}`
pub(crate) fn update(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let before = world.find("customer", call.id())?;
    let mut fields = given(form)?;
    fields.extend(World::metadata_change(&before, form)?);
    if let Some(token) = form.text("source") {
        let card = source::add(world, before.id(), token)?;
        fields.insert("default_source".to_owned(), card["id"].clone());
    }
    if form.has("default_source") {
        fields.insert("default_source".to_owned(), form.nullable("default_source"));
    }
    let path = "invoice_settings.default_payment_method";
    if form.has(path) {
        let default = form.nullable(path);
        if let Some(id) = default.as_str() {
            owned_method(world, before.id(), id)?;
        }
        let mut settings = before["invoice_settings"].clone();
        settings["default_payment_method"] = default;
        fields.insert("invoice_settings".to_owned(), settings);
    }
    world.change_and_emit(before.id(), Value::Object(fields), "customer.updated")
}

/// `DELETE /v1/customers/{id}`. Cancels its subscriptions.
pub(crate) fn delete(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let customer = world.find("customer", call.id())?;
    let id = customer.id().to_owned();
    let open: Vec<String> = world
        .store
        .of_customer("subscription", &id)
        .filter(|row| !matches!(row.text("status"), "canceled" | "incomplete_expired"))
        .map(|row| row.id().to_owned())
        .collect();
    for subscription in open {
        world.end_subscription(&subscription, "cancellation_requested")?;
    }
    let methods: Vec<String> = world.store.of_customer("payment_method", &id).map(|row| row.id().to_owned()).collect();
    for method in methods {
        payment_method::detach_from(world, &method)?;
    }
    world.emit("customer.deleted", &id)?;
    let gone = json!({ "id": id, "object": "customer", "deleted": true });
    world.store.put(&id, gone.clone());
    Ok(gone)
}

/// `GET /v1/customers`
pub(crate) fn list(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    page::list(world, call, "customer", &["email"])
}

/// `GET /v1/customers/{id}/payment_methods`
pub(crate) fn payment_methods(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    world.find("customer", call.id())?;
    let kind = call.form.text("type");
    let rows = world.store.of_customer("payment_method", call.id());
    page::of(&world.store, rows.filter(|row| kind.is_none_or(|kind| row.text("type") == kind)), &call.form, &call.path)
}

fn set_default(world: &mut World, customer: &str, method: &str) -> Result<(), ApiError> {
    owned_method(world, customer, method)?;
    let mut settings = world.copy(customer)["invoice_settings"].clone();
    settings["default_payment_method"] = method.into();
    world.change(customer, json!({ "invoice_settings": settings }));
    Ok(())
}

fn owned_method(world: &World, customer: &str, method: &str) -> Result<(), ApiError> {
    let param = "invoice_settings[default_payment_method]";
    let found = world.find_param("payment_method", method, param)?;
    if found.text("customer") != customer {
        let message = format!(
            "The customer does not have a payment method with the ID {method}. The payment method must be attached \
             to the customer."
        );
        return Err(ApiError::no_such("PaymentMethod", method, Some(param)).with_message(&message));
    }
    Ok(())
}

fn given(form: &Form) -> Result<Map<String, Value>, ApiError> {
    let mut fields = Map::new();
    for name in COPIED_FIELDS {
        if form.has(name) {
            fields.insert(name.to_owned(), form.nullable(name));
        }
    }
    if let Some(email) = form.text("email")
        && (!email.contains('@') || email.contains(char::is_whitespace))
    {
        let message = format!("Invalid email address: {email}");
        return Err(ApiError::invalid("email_invalid", Some("email"), &message));
    }
    if form.has("address") {
        fields.insert("address".to_owned(), address::address(&form.part("address")));
    }
    if form.has("balance") {
        fields.insert("balance".to_owned(), form.int("balance")?.unwrap_or(0).into());
    }
    Ok(fields)
}
