//! Charges.

use super::balance;
use super::payment_method::{charge_details, usable};
use crate::account::StripeAccount;
use crate::card::{Decline, Outcome};
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// The contents of a new charge.
pub(crate) struct NewCharge<'a> {
    /// The PaymentIntent, or the same fields for a charge without one.
    pub(crate) intent: &'a Value,
    pub(crate) method: &'a Value,
    pub(crate) is_captured: bool,
    pub(crate) decline: Option<Decline>,
}

impl NewCharge<'_> {
    /// Creates it without emitting an event.
    pub(crate) fn make(&self, account: &mut StripeAccount) -> Result<Value, ApiError> {
        let (intent, method) = (self.intent, self.method);
        let amount = intent.int("amount");
        let is_paid = self.decline.is_none();
        let details = &method["billing_details"];
        let id = account.new_id("ch");
        let mut fields = json!({
            "amount": amount, "amount_captured": if self.is_captured { amount } else { 0 },
            "captured": self.is_captured, "currency": intent["currency"], "customer": intent["customer"],
            "description": intent["description"], "metadata": intent["metadata"], "paid": is_paid,
            "payment_intent": intent.opt("id"), "payment_method": method.id(),
            "payment_method_details": charge_details(method, amount),
            "receipt_email": intent["receipt_email"], "shipping": intent["shipping"],
            "statement_descriptor": intent["statement_descriptor"],
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": if is_paid { "succeeded" } else { "failed" }, "outcome": outcome(self.decline),
            "_invoice": intent["_invoice"], "_customer": intent["customer"],
        });
        if details.is_object() {
            fields["billing_details"] = details.clone();
        }
        if let Some(decline) = self.decline {
            fields["failure_code"] = decline.code.into();
            fields["failure_message"] = decline.message.into();
        }
        account.make_as(&id, "charge", fields)?;
        if self.is_captured {
            let fields = receipt_fields(account, &id, amount, intent.text("currency"))?;
            account.change(&id, fields);
        }
        Ok(account.copy(&id))
    }
}

/// The fields of a charge that captured money.
pub(crate) fn receipt_fields(
    account: &mut StripeAccount,
    charge: &str,
    amount: i64,
    currency: &str,
) -> Result<Value, ApiError> {
    let transaction = balance::record(account, "charge", charge, amount, currency)?;
    let url = format!("{}/sandbox/receipts/{charge}", account.url);
    Ok(json!({ "balance_transaction": transaction.id(), "receipt_url": url }))
}

/// `POST /v1/charges`: a charge without a PaymentIntent.
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let amount = form.amount("amount")?.ok_or_else(|| ApiError::missing("amount"))?;
    let currency = form.required("currency")?.to_lowercase();
    let customer = form.text("customer").map(|id| account.find_param("customer", id, "customer")).transpose()?;
    let default = customer.as_ref().and_then(|customer| customer.opt("default_source"));
    let Some(source) = form.text("source").or(default).map(str::to_owned) else {
        let message = "Cannot charge a customer that has no active card.";
        return Err(ApiError::refused("missing", message).with_param("card"));
    };
    let method = usable(account, &source, Some("source"))?;
    let decline = match super::payment_method::card_of(&method)?.charge(false, false) {
        Outcome::Declined(decline) => Some(decline),
        _ => None,
    };
    let intent = json!({
        "amount": amount, "currency": currency, "customer": form.nullable("customer"),
        "description": form.nullable("description"), "metadata": form.metadata(&json!({}))?,
        "receipt_email": form.nullable("receipt_email"),
    });
    let is_captured = form.flag("capture")?.unwrap_or(true) && decline.is_none();
    let charge = NewCharge { intent: &intent, method: &method, is_captured, decline }.make(account)?;
    if let Some(decline) = decline {
        account.emit("charge.failed", charge.id())?;
        return Err(decline.error().with("charge", charge.id()));
    }
    account.emit("charge.succeeded", charge.id())?;
    Ok(account.copy(charge.id()))
}

/// `GET /v1/charges/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("charge", call.id())
}

/// `GET /v1/charges`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "charge", &["customer", "payment_intent"])
}

/// `POST /v1/charges/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let charge = account.find("charge", call.id())?;
    let mut fields = StripeAccount::metadata_change(&charge, &call.form)?;
    fields.extend(call.form.nullables(&["description", "receipt_email"]));
    account.change_and_emit(charge.id(), Value::Object(fields), "charge.updated")
}

fn outcome(decline: Option<Decline>) -> Value {
    match decline {
        None => json!({
            "advice_code": null, "network_advice_code": null, "network_decline_code": null,
            "network_status": "approved_by_network", "reason": null, "risk_level": "normal", "risk_score": 20,
            "seller_message": "Payment complete. SANDBOX.", "type": "authorized",
        }),
        Some(decline) => json!({
            "advice_code": decline.advice_code, "network_advice_code": null, "network_decline_code": null,
            "network_status": "declined_by_network", "reason": decline.decline_code, "risk_level": "normal",
            "risk_score": 20, "seller_message": "The bank declined the payment. SANDBOX.", "type": "issuer_declined",
        }),
    }
}
