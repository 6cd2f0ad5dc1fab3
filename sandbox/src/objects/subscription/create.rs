//! New subscriptions: the first period, the first invoice and its first attempt to pay.

use super::item;
use crate::account::StripeAccount;
use crate::billing::{NewInvoice, no_payment_method};
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::objects::{coupon, invoice_item};
use crate::payment::{Attempt, PaymentResult};
use serde_json::{Value, json};

/// Maximum number of items of a subscription. Source: Stripe, "Create a subscription".
const ITEMS_MAX: usize = 20;
const DAY_S: i64 = 86_400;

/// `POST /v1/subscriptions`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let customer = form.required("customer")?.to_owned();
    account.find_param("customer", &customer, "customer")?;
    let behavior = form.text("payment_behavior").unwrap_or("allow_incomplete").to_owned();
    if !matches!(behavior.as_str(), "allow_incomplete" | "error_if_incomplete" | "default_incomplete") {
        let message = "Invalid payment_behavior.";
        return Err(ApiError::invalid("parameter_invalid_string", Some("payment_behavior"), message));
    }
    let subscription = build(account, form, &customer)?;
    let id = subscription.id().to_owned();
    let is_trial = subscription.text("status") == "trialing";
    let invoice = first_invoice(account, &subscription, is_trial)?;
    account.change(&id, json!({ "latest_invoice": invoice.id() }));
    let invoice = account.finalize(invoice.id())?;
    let mut failure = None;
    if invoice.text("status") == "open" {
        failure = first_payment(account, &invoice, &behavior)?;
    }
    // Until then, no event of the subscription is emitted.
    account.change(&id, json!({ "_is_told": true }));
    account.emit("customer.subscription.created", &id)?;
    account.warn_of_trial_end(&id)?;
    match failure {
        Some(mut error) if behavior == "error_if_incomplete" => {
            error.commits_changes = false;
            error.details.remove("payment_intent");
            Err(error)
        }
        _ => Ok(account.copy(&id)),
    }
}

/// Tries to pay. Returns the error that left the subscription incomplete, if any.
///
/// An off-session payment that requires authentication is normally declined; that of a first invoice waits for the
/// customer instead.
fn first_payment(account: &mut StripeAccount, invoice: &Value, behavior: &str) -> Result<Option<ApiError>, ApiError> {
    if invoice.text("collection_method") == "send_invoice" {
        return Ok(None);
    }
    let payer = account.payer(invoice);
    if behavior == "default_incomplete" {
        if let Some(method) = payer {
            let fields = json!({ "payment_method": method.id(), "status": "requires_confirmation" });
            account.change(invoice.text("_payment_intent"), fields);
        }
        return Ok(None);
    }
    if payer.is_none() {
        return Err(no_payment_method());
    }
    Ok(match account.pay_invoice(invoice.id(), payer, Attempt::default())? {
        PaymentResult::Succeeded => None,
        PaymentResult::Declined(error) => Some(error),
        PaymentResult::RequiresAction => {
            let message = "Your card was declined. This transaction requires authentication.";
            Some(ApiError::card("subscription_payment_intent_requires_action", message))
        }
    })
}

fn build(account: &mut StripeAccount, form: &Form, customer: &str) -> Result<Value, ApiError> {
    let asked = form.list("items");
    if asked.is_empty() {
        return Err(ApiError::missing("items"));
    }
    if asked.len() > ITEMS_MAX {
        return Err(ApiError::invalid("parameter_invalid_string", Some("items"), "Too many items."));
    }
    let mut items = Vec::new();
    for (at, part) in asked.iter().enumerate() {
        items.push(item::read(account, part, &format!("items[{at}]"))?);
    }
    if let Some(method) = form.text("default_payment_method") {
        let found = account.find_param("payment_method", method, "default_payment_method")?;
        if found.text("customer") != customer {
            let message = format!(
                "The customer does not have a payment method with the ID {method}. The payment method must be \
                 attached to the customer."
            );
            let error = ApiError::no_such("PaymentMethod", method, Some("default_payment_method"));
            return Err(error.with_message(&message));
        }
    }
    let trial_end = trial_end(account, form)?;
    let collection = form.text("collection_method").unwrap_or("charge_automatically");
    let anchor = trial_end.unwrap_or(account.now_s);
    let currency = items[0].price.text("currency").to_owned();
    let missing = form.text("trial_settings.end_behavior.missing_payment_method").unwrap_or("create_invoice");
    let mode = billing_mode(form)?;
    let id = account.new_id("sub");
    let mut objects = Vec::new();
    for new in items {
        let end = trial_end.unwrap_or_else(|| item::end_of(&new.price, anchor, account.now_s));
        let period = (account.now_s, end);
        objects.push(item::make(account, &id, new, period));
    }
    let status = match (trial_end, collection) {
        (Some(_), _) => "trialing",
        (None, "send_invoice") => "active",
        (None, _) => "incomplete",
    };
    let fields = json!({
        "billing_cycle_anchor": anchor, "billing_mode": mode, "collection_method": collection, "currency": currency,
        "customer": customer,
        "days_until_due": form.int("days_until_due")?, "default_payment_method": form.nullable("default_payment_method"),
        "default_source": form.nullable("default_source"), "description": form.nullable("description"),
        "metadata": form.metadata(&json!({}))?, "start_date": account.now_s, "status": status,
        "items": { "object": "list", "data": objects, "has_more": false,
                   "url": format!("/v1/subscription_items?subscription={id}") },
        "trial_start": trial_end.map(|_| account.now_s), "trial_end": trial_end,
        "trial_settings": { "end_behavior": { "missing_payment_method": missing } },
    });
    account.make_as(&id, "subscription", fields)?;
    let period_end = objects[0].int("current_period_end");
    let end = super::change::end_fields(account, form, period_end)?;
    account.change(&id, Value::Object(end));
    if let Some(discounts) = coupon::discounts(account, form, &account.copy(&id))? {
        account.change(&id, json!({ "discounts": discounts }));
    }
    Ok(account.copy(&id))
}

/// The billing mode, flexible unless the call says otherwise. Source: Stripe, "Makes flexible billing mode the default
/// for new subscriptions".
fn billing_mode(form: &Form) -> Result<Value, ApiError> {
    let param = "billing_mode[flexible][proration_discounts]";
    match form.text("billing_mode.flexible.proration_discounts") {
        None | Some("included") => {}
        Some("itemized") => {
            let message = "The SANDBOX does not imitate itemized proration discounts.";
            return Err(ApiError::refused_without_code(message).with_param(param));
        }
        Some(_) => {
            let message = format!("Invalid {param}: must be one of included or itemized");
            return Err(ApiError::refused_without_code(&message).with_param(param));
        }
    }
    match form.text("billing_mode.type") {
        Some("classic") => Ok(json!({ "flexible": null, "type": "classic" })),
        None | Some("flexible") => Ok(json!({ "flexible": { "proration_discounts": "included" }, "type": "flexible" })),
        Some(_) => {
            let message = "Invalid billing_mode[type]: must be one of classic or flexible";
            Err(ApiError::refused_without_code(message).with_param("billing_mode[type]"))
        }
    }
}

fn trial_end(account: &StripeAccount, form: &Form) -> Result<Option<i64>, ApiError> {
    let end = match (form.text("trial_end"), form.int("trial_period_days")?) {
        (Some("now"), _) | (None, None) => return Ok(None),
        (Some(_), _) => form.int("trial_end")?,
        (None, Some(days)) => Some(account.now_s + days * DAY_S),
    };
    Ok(end.filter(|end| *end > account.now_s))
}

fn first_invoice(account: &mut StripeAccount, subscription: &Value, is_trial: bool) -> Result<Value, ApiError> {
    let customer = subscription.text("customer");
    let waiting = invoice_item::pending(account, customer);
    let items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<_> = items.iter().map(|item| super::line(subscription, item, is_trial)).collect();
    lines.extend(waiting.iter().map(invoice_item::line));
    let days = subscription.opt_int("days_until_due");
    let new = NewInvoice {
        customer,
        subscription,
        reason: "subscription_create",
        currency: subscription.text("currency"),
        lines,
        period: (account.now_s, account.now_s),
        fields: json!({
            "collection_method": subscription["collection_method"],
            "due_date": days.map(|days| account.now_s + days * DAY_S),
        }),
    };
    let invoice = account.draft(new)?;
    invoice_item::take(account, &waiting, invoice.id());
    Ok(invoice)
}
