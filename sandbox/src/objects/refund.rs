//! Refunds.

use super::balance;
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// `POST /v1/refunds`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let charge = match (form.text("charge"), form.text("payment_intent")) {
        (Some(charge), _) => account.find_param("charge", charge, "charge")?,
        (None, Some(intent)) => {
            let intent = account.find_param("payment_intent", intent, "payment_intent")?;
            let charge = account.copy(intent.text("latest_charge"));
            if !charge.is("paid") {
                let message =
                    format!("This PaymentIntent ({}) does not have a successful charge to refund.", intent.id());
                return Err(ApiError::refused_without_code(&message).with_param("payment_intent"));
            }
            charge
        }
        (None, None) => {
            let message = "One of the following params should be provided for this request: payment_intent or charge.";
            return Err(ApiError::invalid("parameter_missing", None, message));
        }
    };
    let amount = form.int("amount")?;
    let reason = form.nullable("reason");
    let metadata = form.metadata(&json!({}))?;
    make(account, charge.id(), amount, reason, metadata)
}

/// Refunds an amount of a charge, by default all that is left.
pub(crate) fn make(
    account: &mut StripeAccount,
    charge: &str,
    amount: Option<i64>,
    reason: Value,
    metadata: Value,
) -> Result<Value, ApiError> {
    let charge = account.find("charge", charge)?;
    // Reserved money that was never captured counts as refunded.
    let left = charge.int("amount") - charge.int("amount_refunded");
    if !charge.is("paid") || !charge.is("captured") {
        return Err(ApiError::refused_without_code("This charge took no money, so there is nothing to refund."));
    }
    if charge.is("disputed") && !charge.is("_is_refundable") {
        let message = format!("Charge {} has been charged back; cannot issue a refund.", charge.id());
        return Err(ApiError::refused("charge_disputed", &message));
    }
    if left == 0 {
        let message = format!("Charge {} has already been refunded.", charge.id());
        return Err(ApiError::refused("charge_already_refunded", &message));
    }
    let amount = amount.unwrap_or(left);
    if amount < 1 {
        let message = "Invalid positive integer";
        return Err(ApiError::invalid("parameter_invalid_integer", Some("amount"), message));
    }
    if amount > left {
        let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).");
        return Err(ApiError::refused_without_code(&message).with_param("amount"));
    }
    let currency = charge.text("currency");
    let id = account.new_id("re");
    let transaction = balance::record(account, "refund", &id, -amount, currency)?;
    let fields = json!({
        "amount": amount, "balance_transaction": transaction.id(), "charge": charge.id(), "currency": currency,
        "payment_intent": charge["payment_intent"], "reason": reason, "metadata": metadata,
        "_customer": charge["customer"],
    });
    account.make_as(&id, "refund", fields)?;
    account.emit("refund.created", &id)?;
    let refunded = charge.int("amount_refunded") + amount;
    let fields = json!({ "amount_refunded": refunded, "refunded": refunded == charge.int("amount") });
    account.change_and_emit(charge.id(), fields, "charge.refunded")?;
    Ok(account.copy(&id))
}

/// `GET /v1/refunds/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("refund", call.id())
}

/// `GET /v1/refunds`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "refund", &["charge", "payment_intent"])
}

/// `POST /v1/refunds/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let refund = account.find("refund", call.id())?;
    let fields = StripeAccount::metadata_change(&refund, &call.form)?;
    let previous = account.change(refund.id(), Value::Object(fields));
    account.emit_change("refund.updated", refund.id(), previous.clone())?;
    account.emit_change("charge.refund.updated", refund.id(), previous)?;
    Ok(account.copy(refund.id()))
}

/// Fails a refund: the bank could not return the money.
pub(crate) fn fail(account: &mut StripeAccount, id: &str) -> Result<Value, ApiError> {
    let refund = account.find("refund", id)?;
    if refund.text("status") != "succeeded" {
        return Err(ApiError::refused_without_code("Only a refund that succeeded can fail."));
    }
    let amount = refund.int("amount");
    let charge = account.copy(refund.text("charge"));
    let returned = balance::record(account, "refund_failure", id, amount, refund.text("currency"))?;
    let fields = json!({
        "status": "failed", "failure_reason": "expired_or_canceled_card",
        "failure_balance_transaction": returned.id(),
    });
    let previous = account.change(id, fields);
    account.emit_change("refund.updated", id, previous)?;
    account.emit("refund.failed", id)?;
    let fields = json!({ "amount_refunded": charge.int("amount_refunded") - amount, "refunded": false });
    account.change_and_emit(charge.id(), fields, "charge.updated")?;
    Ok(account.copy(id))
}
