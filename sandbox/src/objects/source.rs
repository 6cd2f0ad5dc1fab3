//! The older API for cards: sources that are created from tokens.

use super::payment_method::fingerprint;
use crate::account::StripeAccount;
use crate::card::TestCard;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// `POST /v1/tokens`
pub(crate) fn create_token(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let number = call.form.required("card.number")?;
    let card = TestCard::of_number(number)
        .ok_or_else(|| ApiError::card("incorrect_number", "Your card number is incorrect.").with_param("number"))?;
    let shape = shape(card);
    let mut inner = crate::template::from_template("card", shape);
    inner["id"] = account.new_id("card").into();
    let fields = json!({ "card": inner, "client_ip": null, "type": "card", "used": false, "_card": card.name });
    account.make("tok", "token", fields)
}

/// `POST /v1/customers/{id}/sources`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("customer", call.id())?;
    let token = call.form.required("source")?.to_owned();
    add(account, call.id(), &token)
}

/// `GET /v1/customers/{id}/sources`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("customer", call.id())?;
    page::paginate(&account.store, account.store.of_customer("card", call.id()), &call.form, &call.path)
}

/// `POST /v1/customers/{id}/sources/{card}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let card = owned(account, call)?;
    let fields = StripeAccount::metadata_change(&card, &call.form)?;
    account.change_and_emit(card.id(), Value::Object(fields), "customer.source.updated")
}

/// `DELETE /v1/customers/{id}/sources/{card}`
pub(crate) fn delete(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let card = owned(account, call)?;
    account.store.remove(card.id());
    account.emit_object("customer.source.deleted", card.clone(), None)?;
    if account.copy(call.id()).text("default_source") == card.id() {
        account.change_and_emit(call.id(), json!({ "default_source": null }), "customer.updated")?;
    }
    Ok(json!({ "id": card.id(), "object": "card", "deleted": true }))
}

/// Adds the card of a token to a customer. The first one becomes the default.
pub(crate) fn add(account: &mut StripeAccount, customer: &str, token: &str) -> Result<Value, ApiError> {
    let name = account.get(token).and_then(|token| token.opt("_card"));
    let card = name.map_or_else(|| TestCard::of_id(token), TestCard::of_name);
    let card = card.ok_or_else(|| ApiError::no_such("token", token, Some("source")))?;
    card.attach().map_err(|decline| ApiError { commits_changes: false, ..decline.error() })?;
    let mut fields = shape(card);
    fields["customer"] = customer.into();
    let source = account.make("card", "card", fields)?;
    account.emit("customer.source.created", source.id())?;
    if account.copy(customer).opt("default_source").is_none() {
        account.change(customer, json!({ "default_source": source.id() }));
    }
    Ok(source)
}

fn owned(account: &StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let card = account.find("card", call.second_id())?;
    if card.text("customer") == call.id() { Ok(card) } else { Err(ApiError::no_such("source", card.id(), None)) }
}

fn shape(card: &TestCard) -> Value {
    let mut brand = card.brand.to_owned();
    brand[..1].make_ascii_uppercase();
    json!({
        "brand": brand, "funding": card.funding, "last4": card.last4(), "exp_month": 12, "exp_year": 2034,
        "fingerprint": fingerprint(card), "cvc_check": "pass", "_card": card.name,
    })
}
