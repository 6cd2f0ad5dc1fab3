//! One attempt to pay a PaymentIntent: the card's result, the charge, and the PaymentIntent's new state.

use crate::account::StripeAccount;
use crate::card::{AUTHENTICATION_REQUIRED, Decline, Outcome};
use crate::error::ApiError;
use crate::field::Fields;
use crate::objects::charge::{NewCharge, receipt_fields};
use crate::objects::dispute;
use crate::objects::payment_method::card_of;
use serde_json::{Value, json};

/// The circumstances of an attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attempt {
    /// The customer is not present to authenticate.
    pub(crate) is_off_session: bool,
    /// The customer has authenticated.
    pub(crate) is_authenticated: bool,
}

/// The result of an attempt.
#[derive(Debug)]
pub(crate) enum PaymentResult {
    /// The money is captured or reserved.
    Succeeded,
    /// The customer must authenticate.
    RequiresAction,
    /// Declined, with the error to answer with.
    Declined(ApiError),
}

/// Tries to pay a PaymentIntent with a payment method.
pub(crate) fn pay(
    account: &mut StripeAccount,
    intent: &str,
    method: &Value,
    attempt: Attempt,
) -> Result<PaymentResult, ApiError> {
    let card = card_of(method)?;
    match card.charge(method.is("_is_set_up"), attempt.is_authenticated) {
        Outcome::Paid => succeed(account, intent, method, attempt).map(|_| PaymentResult::Succeeded),
        Outcome::Disputed { reason, is_inquiry } => {
            let charge = succeed(account, intent, method, attempt)?;
            let amount = charge.int("amount");
            dispute::open(account, charge.id(), amount, reason, is_inquiry)?;
            Ok(PaymentResult::Succeeded)
        }
        Outcome::Declined(decline) => fail(account, intent, method, &decline).map(PaymentResult::Declined),
        Outcome::NeedsAuthentication if attempt.is_off_session => {
            fail(account, intent, method, &AUTHENTICATION_REQUIRED).map(PaymentResult::Declined)
        }
        Outcome::NeedsAuthentication => {
            ask_for_authentication(account, intent, method)?;
            Ok(PaymentResult::RequiresAction)
        }
    }
}

fn ask_for_authentication(account: &mut StripeAccount, intent: &str, method: &Value) -> Result<(), ApiError> {
    let next_action = next_action(account, intent);
    let fields = json!({
        "status": "requires_action", "payment_method": method.id(), "next_action": next_action,
        "last_payment_error": null,
    });
    account.change(intent, fields);
    account.emit("payment_intent.requires_action", intent)
}

/// The action that the customer's browser must take.
pub(crate) fn next_action(account: &StripeAccount, intent: &str) -> Value {
    match account.copy(intent).opt("_return_url") {
        Some(return_url) => json!({
            "type": "redirect_to_url",
            "redirect_to_url": { "url": format!("{}/sandbox/authenticate/{intent}", account.url), "return_url": return_url },
        }),
        None => json!({ "type": "use_stripe_sdk", "use_stripe_sdk": {
            "type": "three_d_secure_redirect",
            "stripe_js": format!("{}/sandbox/authenticate/{intent}", account.url),
        } }),
    }
}

fn succeed(account: &mut StripeAccount, intent: &str, method: &Value, attempt: Attempt) -> Result<Value, ApiError> {
    let before = account.copy(intent);
    let amount = before.int("amount");
    let is_manual = before.text("capture_method") == "manual";
    let charge = NewCharge { intent: &before, method, is_captured: !is_manual, decline: None }.make(account)?;
    let fields = json!({
        "status": if is_manual { "requires_capture" } else { "succeeded" },
        "amount_received": if is_manual { 0 } else { amount },
        "amount_capturable": if is_manual { amount } else { 0 },
        "latest_charge": charge.id(), "payment_method": method.id(), "next_action": null, "last_payment_error": null,
    });
    account.change(intent, fields);
    if before.opt("setup_future_usage").is_some() && before.opt("customer").is_some() {
        save_method(account, &before, method, attempt)?;
    } else if method.text("object") == "payment_method" && method.opt("customer").is_none() {
        // A method without a customer can be used only once.
        account.change(method.id(), json!({ "_is_spent": true }));
    }
    account.emit("charge.succeeded", charge.id())?;
    let event = if is_manual { "payment_intent.amount_capturable_updated" } else { "payment_intent.succeeded" };
    account.emit(event, intent)?;
    Ok(charge)
}

fn save_method(account: &mut StripeAccount, intent: &Value, method: &Value, attempt: Attempt) -> Result<(), ApiError> {
    if attempt.is_authenticated {
        account.change(method.id(), json!({ "_is_set_up": true }));
    }
    if method.opt("customer").is_none() {
        account.change(method.id(), json!({ "customer": intent["customer"] }));
        account.emit("payment_method.attached", method.id())?;
    }
    Ok(())
}

/// Records a declined payment. Returns the error, which contains the PaymentIntent.
pub(crate) fn fail(
    account: &mut StripeAccount,
    intent: &str,
    method: &Value,
    decline: &Decline,
) -> Result<ApiError, ApiError> {
    let before = account.copy(intent);
    let charge = NewCharge { intent: &before, method, is_captured: false, decline: Some(*decline) }.make(account)?;
    let error = decline.error().with("charge", charge.id());
    let mut last_error = error.object();
    last_error["payment_method"] = method.clone();
    let fields = json!({
        "status": "requires_payment_method", "payment_method": null, "latest_charge": charge.id(),
        "last_payment_error": last_error, "next_action": null,
    });
    account.change(intent, fields);
    account.emit("charge.failed", charge.id())?;
    account.emit("payment_intent.payment_failed", intent)?;
    let error = error.with("payment_intent", account.copy(intent)).with("payment_method", method.clone());
    Ok(error)
}

/// Captures reserved money.
pub(crate) fn capture(account: &mut StripeAccount, intent: &str, amount: i64) -> Result<(), ApiError> {
    let before = account.copy(intent);
    let charge = account.copy(before.text("latest_charge"));
    let mut fields = receipt_fields(account, charge.id(), amount, charge.text("currency"))?;
    fields["captured"] = true.into();
    fields["amount_captured"] = amount.into();
    fields["amount_refunded"] = (charge.int("amount") - amount).into();
    let previous = account.change(charge.id(), fields);
    account.emit_change("charge.captured", charge.id(), previous)?;
    account.change(intent, json!({ "status": "succeeded", "amount_received": amount, "amount_capturable": 0 }));
    account.emit("payment_intent.succeeded", intent)
}
