//! Customers.

use super::{address, payment_method, source};
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use crate::search::{self, Kind, Searchable};
use serde_json::{Map, Value, json};

/// Fields that are copied from the parameters.
const COPIED_FIELDS: [&str; 5] = ["email", "name", "phone", "description", "tax_exempt"];

/// Fields that can be searched. Source: Stripe, "Search": query fields for customers.
const SEARCHABLE: Searchable =
    &[("created", Kind::Number), ("email", Kind::Text), ("name", Kind::Text), ("phone", Kind::Text)];

/// `POST /v1/customers`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let mut fields = given(form)?;
    fields.insert("metadata".to_owned(), form.metadata(&json!({}))?);
    if let Some(id) = form.text("test_clock") {
        let clock = account.find_param("test_helpers.test_clock", id, "test_clock")?;
        fields.insert("test_clock".to_owned(), clock["id"].clone());
    }
    fields.insert("invoice_prefix".to_owned(), account.ids.fingerprint()[..8].to_uppercase().into());
    let customer = account.make("cus", "customer", Value::Object(fields))?;
    let id = customer.id().to_owned();
    // Methods are attached before the event is emitted, so that it shows the defaults.
    let mut attached: Option<(String, String)> = None;
    if let Some(method) = form.text("payment_method") {
        let new = payment_method::attach_to(account, method, &id, "payment_method")?;
        attached = Some((method.to_owned(), new.id().to_owned()));
    }
    if let Some(token) = form.text("source") {
        source::add(account, &id, token)?;
    }
    if let Some(default) = form.text("invoice_settings.default_payment_method") {
        let default = match &attached {
            Some((asked, new)) if asked == default => new.clone(),
            _ => default.to_owned(),
        };
        set_default(account, &id, &default)?;
    }
    account.emit("customer.created", &id)?;
    Ok(account.copy(&id))
}

/// `GET /v1/customers/{id}`. Returns a deleted customer as such.
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let customer = account.get(call.id()).filter(|value| value.text("object") == "customer");
    customer.cloned().ok_or_else(|| ApiError::no_such("customer", call.id(), None))
}

/// `POST /v1/customers/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let before = account.find("customer", call.id())?;
    let mut fields = given(form)?;
    fields.extend(StripeAccount::metadata_change(&before, form)?);
    if let Some(token) = form.text("source") {
        let card = source::add(account, before.id(), token)?;
        fields.insert("default_source".to_owned(), card["id"].clone());
    }
    if form.has("default_source") {
        fields.insert("default_source".to_owned(), form.nullable("default_source"));
    }
    let path = "invoice_settings.default_payment_method";
    if form.has(path) {
        let default = form.nullable(path);
        if let Some(id) = default.as_str() {
            owned_method(account, before.id(), id)?;
        }
        let mut settings = before["invoice_settings"].clone();
        settings["default_payment_method"] = default;
        fields.insert("invoice_settings".to_owned(), settings);
    }
    let balance = fields.get("balance").and_then(Value::as_i64);
    let after = account.change_and_emit(before.id(), Value::Object(fields), "customer.updated")?;
    if let Some(balance) = balance {
        account.set_balance(before.id(), balance);
    }
    Ok(after)
}

/// `DELETE /v1/customers/{id}`. Cancels its subscriptions.
pub(crate) fn delete(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    remove(account, call.id())
}

/// Deletes a customer.
pub(super) fn remove(account: &mut StripeAccount, id: &str) -> Result<Value, ApiError> {
    let id = account.find("customer", id)?.id().to_owned();
    let open: Vec<String> = account
        .store
        .of_customer("subscription", &id)
        .filter(|row| !matches!(row.text("status"), "canceled" | "incomplete_expired"))
        .map(|row| row.id().to_owned())
        .collect();
    for subscription in open {
        account.end_subscription(&subscription, "cancellation_requested")?;
    }
    let methods: Vec<String> =
        account.store.of_customer("payment_method", &id).map(|row| row.id().to_owned()).collect();
    for method in methods {
        payment_method::detach_from(account, &method)?;
    }
    account.emit("customer.deleted", &id)?;
    let gone = json!({ "id": id, "object": "customer", "deleted": true });
    account.store.put(&id, gone.clone());
    Ok(gone)
}

/// `GET /v1/customers`. Those with a test clock only if it is named.
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let (email, clock) = (form.text("email"), form.text("test_clock"));
    let wanted = |row: &&Value| {
        !row.is("deleted") && row.opt("test_clock") == clock && email.is_none_or(|email| row.text("email") == email)
    };
    page::paginate(&account.store, account.store.of_kind("customer").filter(wanted), form, "/v1/customers")
}

/// `GET /v1/customers/search`
pub(crate) fn search(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let there = account.store.of_kind("customer").filter(|row| !row.is("deleted"));
    search::search(there, SEARCHABLE, &call.form, "/v1/customers/search")
}

/// `GET /v1/customers/{id}/payment_methods`
pub(crate) fn payment_methods(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("customer", call.id())?;
    let kind = call.form.text("type");
    let rows = account.store.of_customer("payment_method", call.id());
    page::paginate(
        &account.store,
        rows.filter(|row| kind.is_none_or(|kind| row.text("type") == kind)),
        &call.form,
        &call.path,
    )
}

fn set_default(account: &mut StripeAccount, customer: &str, method: &str) -> Result<(), ApiError> {
    owned_method(account, customer, method)?;
    let mut settings = account.copy(customer)["invoice_settings"].clone();
    settings["default_payment_method"] = method.into();
    account.change(customer, json!({ "invoice_settings": settings }));
    Ok(())
}

fn owned_method(account: &StripeAccount, customer: &str, method: &str) -> Result<(), ApiError> {
    let param = "invoice_settings[default_payment_method]";
    let found = account.find_param("payment_method", method, param)?;
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
