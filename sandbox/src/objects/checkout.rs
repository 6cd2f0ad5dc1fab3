//! Checkout sessions: payment pages hosted by Stripe. Here a call to the control API completes them.

use super::payment_method::{attach_to, usable};
use super::{payment_intent, price, setup_intent, subscription};
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use crate::payment::Attempt;
use serde_json::{Value, json};

/// How long a session is open.
const EXPIRES_AFTER_S: i64 = 24 * 3_600;

/// `POST /v1/checkout/sessions`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let mode = form.required("mode")?;
    if let Some(customer) = form.text("customer") {
        account.find_param("customer", customer, "customer")?;
    }
    let mut total = 0;
    let mut items = Vec::new();
    for (at, part) in form.list("line_items").iter().enumerate() {
        let param = format!("line_items[{at}][price]");
        let price = match part.text("price") {
            Some(id) => account.find_param("price", id, &param)?,
            None => price::make(account, &part.part("price_data"))?,
        };
        let quantity = part.int("quantity")?.unwrap_or(1);
        total += price.int("unit_amount") * quantity;
        items.push((price, quantity));
    }
    if items.is_empty() && mode != "setup" {
        return Err(ApiError::missing("line_items"));
    }
    let currency = items.first().map_or("usd", |(price, _)| price.text("currency")).to_owned();
    let id = account.new_id("cs_test");
    let lines: Vec<Value> = items.iter().map(|(price, quantity)| line(account, price, *quantity)).collect();
    let fields = json!({
        "amount_subtotal": total, "amount_total": total, "currency": currency, "mode": mode,
        "cancel_url": form.nullable("cancel_url"), "success_url": form.nullable("success_url"),
        "client_reference_id": form.nullable("client_reference_id"), "customer": form.nullable("customer"),
        "customer_email": form.nullable("customer_email"), "expires_at": account.now_s + EXPIRES_AFTER_S,
        "metadata": form.metadata(&json!({}))?, "url": format!("{}/sandbox/checkout/{id}", account.url),
        "payment_status": if mode == "setup" { "no_payment_required" } else { "unpaid" },
        "payment_method_collection": if mode == "payment" { "if_required" } else { "always" },
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "customer_creation": (mode == "payment").then_some("if_required"),
        "_lines": { "object": "list", "data": lines, "has_more": false, "url": format!("/v1/checkout/sessions/{id}/line_items") },
        "_items": items.iter().map(|(price, quantity)| json!({ "price": price.id(), "quantity": quantity })).collect::<Vec<_>>(),
        "_payment_intent_data": form.part("payment_intent_data").to_json(),
        "_subscription_data": form.part("subscription_data").to_json(),
    });
    account.make_as(&id, "checkout.session", fields)
}

/// `GET /v1/checkout/sessions/{id}`, and the same for the browser's address.
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("checkout.session", call.id())
}

/// `GET /v1/checkout/sessions`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "checkout.session", &["customer", "payment_intent", "subscription", "status"])
}

/// `GET /v1/checkout/sessions/{id}/line_items`
pub(crate) fn line_items(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    Ok(account.find("checkout.session", call.id())?["_lines"].clone())
}

/// `POST /v1/checkout/sessions/{id}/expire`
pub(crate) fn expire(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let session = open_session(account, call.id())?;
    account.change(session.id(), json!({ "status": "expired", "url": null }));
    account.emit("checkout.session.expired", session.id())?;
    Ok(account.copy(session.id()))
}

/// `POST /v1/payment_pages/{id}/confirm`: the page's own call when the customer pays.
pub(crate) fn confirm(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let method = call.form.required("payment_method")?.to_owned();
    complete(account, call.id(), &method)
}

/// Completes a session as if the customer had paid on its page.
pub(crate) fn complete(account: &mut StripeAccount, id: &str, method: &str) -> Result<Value, ApiError> {
    let session = open_session(account, id)?;
    let method = usable(account, method, Some("payment_method"))?;
    let details = &method["billing_details"];
    let email = session.opt("customer_email").or_else(|| details.opt("email")).unwrap_or("sandbox@example.com");
    let email = email.to_owned();
    let mode = session.text("mode").to_owned();
    let customer = match session.opt("customer") {
        Some(customer) => Some(customer.to_owned()),
        None if mode == "payment" => None,
        None => {
            let made = account.make("cus", "customer", json!({ "email": email, "name": details["name"] }))?;
            account.emit("customer.created", made.id())?;
            Some(made.id().to_owned())
        }
    };
    let mut fields = match (mode.as_str(), customer.as_deref()) {
        ("subscription", Some(customer)) => subscribe(account, &session, customer, &method)?,
        ("setup", Some(customer)) => set_up(account, customer, &method)?,
        _ => pay(account, &session, customer.as_deref(), &method)?,
    };
    fields["customer"] = customer.into();
    fields["status"] = "complete".into();
    fields["url"] = Value::Null;
    fields["customer_details"] = json!({
        "address": details["address"], "business_name": null, "email": email, "individual_name": null,
        "name": details["name"], "phone": details["phone"], "tax_exempt": "none", "tax_ids": [],
    });
    account.change(id, fields);
    account.emit("checkout.session.completed", id)?;
    Ok(account.copy(id))
}

fn pay(
    account: &mut StripeAccount,
    session: &Value,
    customer: Option<&str>,
    method: &Value,
) -> Result<Value, ApiError> {
    let data = &session["_payment_intent_data"];
    let fields = json!({
        "amount": session["amount_total"], "currency": session["currency"], "customer": customer,
        "payment_method": method.id(), "description": data["description"],
        "metadata": data.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "setup_future_usage": data["setup_future_usage"],
    });
    let intent = payment_intent::make(account, fields)?;
    account.emit("payment_intent.created", intent.id())?;
    payment_intent::confirm_now(account, intent.id(), Attempt { is_off_session: false, is_authenticated: true })?;
    Ok(json!({ "payment_intent": intent.id(), "payment_status": "paid" }))
}

fn set_up(account: &mut StripeAccount, customer: &str, method: &Value) -> Result<Value, ApiError> {
    let id = account.new_id("seti");
    let fields = json!({
        "customer": customer, "payment_method": method.id(), "client_secret": account.ids.client_secret(&id),
    });
    account.make_as(&id, "setup_intent", fields)?;
    account.emit("setup_intent.created", &id)?;
    setup_intent::confirm_now(account, &id, true)?;
    Ok(json!({ "setup_intent": id }))
}

fn subscribe(account: &mut StripeAccount, session: &Value, customer: &str, method: &Value) -> Result<Value, ApiError> {
    let method = attach_to(account, method.id(), customer, "payment_method")?;
    let mut parameters = vec![
        ("customer".to_owned(), customer.to_owned()),
        ("default_payment_method".to_owned(), method.id().to_owned()),
        ("payment_behavior".to_owned(), "error_if_incomplete".to_owned()),
    ];
    for (at, item) in session["_items"].as_array().into_iter().flatten().enumerate() {
        parameters.push((format!("items[{at}][price]"), item.text("price").to_owned()));
        parameters.push((format!("items[{at}][quantity]"), item["quantity"].to_string()));
    }
    let data = &session["_subscription_data"];
    for (key, value) in data["metadata"].as_object().into_iter().flatten() {
        parameters.push((format!("metadata[{key}]"), value.as_str().unwrap_or_default().to_owned()));
    }
    if let Some(days) = data.opt("trial_period_days") {
        parameters.push(("trial_period_days".to_owned(), days.to_owned()));
    }
    if let Some(kind) = data["billing_mode"].opt("type") {
        parameters.push(("billing_mode[type]".to_owned(), kind.to_owned()));
    }
    let text: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let call = Call { path: "/v1/subscriptions".to_owned(), ids: Vec::new(), form: Form::decode(&text)? };
    let made = subscription::create(account, &call)?;
    let is_paid = account.copy(made.text("latest_invoice")).int("amount_paid") > 0;
    let payment_status = if is_paid { "paid" } else { "no_payment_required" };
    Ok(json!({ "subscription": made.id(), "invoice": made["latest_invoice"], "payment_status": payment_status }))
}

fn open_session(account: &StripeAccount, id: &str) -> Result<Value, ApiError> {
    let session = account.find("checkout.session", id)?;
    if session.text("status") == "open" {
        return Ok(session);
    }
    let message = format!("This Checkout Session is {}.", session.text("status"));
    Err(ApiError::refused_without_code(&message))
}

fn line(account: &mut StripeAccount, price: &Value, quantity: i64) -> Value {
    let amount = price.int("unit_amount") * quantity;
    json!({
        "id": account.ids.id("li"), "object": "item", "adjustable_quantity": null, "amount_discount": 0,
        "amount_subtotal": amount, "amount_tax": 0, "amount_total": amount, "currency": price["currency"],
        "description": "SANDBOX", "metadata": {}, "price": price, "quantity": quantity,
    })
}
