//! Disputes. Source: Stripe, "How disputes work" and "Test evidence".

use super::balance;
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::{Map, Value, json};

/// How long evidence can be submitted.
const DUE_AFTER_S: i64 = 9 * 86_400;

/// Opens a dispute of a charge. An inquiry withdraws no money yet. The amount may be more than the charge's: banks
/// dispute in the cardholder's currency. Source: Stripe, "The Dispute object", amount.
pub(crate) fn open(
    account: &mut StripeAccount,
    charge: &str,
    amount: i64,
    reason: &str,
    is_inquiry: bool,
) -> Result<Value, ApiError> {
    let charge = account.find("charge", charge)?;
    if !charge.is("paid") {
        return Err(ApiError::refused_without_code("A charge that was not paid cannot be disputed."));
    }
    if amount < 1 {
        return Err(ApiError::refused_without_code("The amount of a dispute must be positive."));
    }
    let currency = charge.text("currency").to_owned();
    let mut fields = json!({
        "amount": amount, "charge": charge.id(), "currency": currency, "payment_intent": charge["payment_intent"],
        "reason": reason, "status": if is_inquiry { "warning_needs_response" } else { "needs_response" },
        "is_charge_refundable": is_inquiry, "_customer": charge["customer"],
        "payment_method_details": { "type": "card", "card": {
            "brand": charge["payment_method_details"]["card"]["brand"], "case_type": if is_inquiry { "inquiry" } else { "chargeback" },
            "network_reason_code": "10.4",
        } },
    });
    fields["evidence_details"] = json!({
        "due_by": account.now_s + DUE_AFTER_S, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
        "submission_count": 0,
    });
    let dispute = account.make("du", "dispute", fields)?;
    account.change(charge.id(), json!({ "disputed": true, "_is_refundable": is_inquiry }));
    account.emit("charge.dispute.created", dispute.id())?;
    if !is_inquiry {
        move_money(account, dispute.id(), "dispute", -amount)?;
        account.emit("charge.dispute.funds_withdrawn", dispute.id())?;
    }
    Ok(account.copy(dispute.id()))
}

/// Closes a dispute or an inquiry.
pub(crate) fn close(account: &mut StripeAccount, id: &str, is_won: bool) -> Result<Value, ApiError> {
    let dispute = account.find("dispute", id)?;
    expect_open(&dispute)?;
    let status = match (dispute.text("status"), is_won) {
        (status, _) if status.starts_with("warning") => "warning_closed",
        (_, true) => "won",
        (_, false) => "lost",
    };
    let previous = account.change(id, json!({ "status": status, "is_charge_refundable": status == "warning_closed" }));
    if status == "won" {
        move_money(account, id, "dispute_reversal", dispute.int("amount"))?;
        account.change(dispute.text("charge"), json!({ "_is_refundable": true }));
        account.emit("charge.dispute.funds_reinstated", id)?;
    }
    account.emit_change("charge.dispute.closed", id, previous)?;
    Ok(account.copy(id))
}

/// `GET /v1/disputes/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("dispute", call.id())
}

/// `GET /v1/disputes`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "dispute", &["charge", "payment_intent"])
}

/// `POST /v1/disputes/{id}`. Submitting `winning_evidence` or `losing_evidence` as `uncategorized_text` closes the
/// dispute at once, won or lost.
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let dispute = account.find("dispute", call.id())?;
    let mut fields: Map<String, Value> = StripeAccount::metadata_change(&dispute, form)?;
    let given = form.part("evidence");
    let mut verdict = None;
    if form.has("evidence") {
        expect_open(&dispute)?;
        let mut evidence = dispute["evidence"].clone();
        for name in given.names() {
            if evidence.get(name).is_none() {
                let param = format!("evidence[{name}]");
                let message = format!("Received unknown parameter: {param}");
                return Err(ApiError::invalid("parameter_unknown", Some(&param), &message));
            }
            evidence[name] = given.nullable(name);
        }
        let mut details = dispute["evidence_details"].clone();
        details["has_evidence"] = true.into();
        if form.flag("submit")?.unwrap_or(true) {
            details["submission_count"] = (details.int("submission_count") + 1).into();
            let is_inquiry = dispute.text("status").starts_with("warning");
            let status = if is_inquiry { "warning_under_review" } else { "under_review" };
            fields.insert("status".to_owned(), status.into());
            verdict = match given.text("uncategorized_text") {
                Some("winning_evidence") => Some(true),
                Some("losing_evidence") => Some(false),
                _ => None,
            };
        }
        fields.insert("evidence".to_owned(), evidence);
        fields.insert("evidence_details".to_owned(), details);
    }
    account.change_and_emit(dispute.id(), Value::Object(fields), "charge.dispute.updated")?;
    match verdict {
        Some(is_won) => close(account, dispute.id(), is_won),
        None => Ok(account.copy(dispute.id())),
    }
}

/// `POST /v1/disputes/{id}/close`: accepts the dispute, which is then lost. An inquiry is closed as `warning_closed`.
pub(crate) fn concede(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    close(account, call.id(), false)
}

fn expect_open(dispute: &Value) -> Result<(), ApiError> {
    match dispute.text("status") {
        "won" | "lost" | "warning_closed" | "prevented" => {
            Err(ApiError::refused_without_code("This dispute is already closed."))
        }
        _ => Ok(()),
    }
}

fn move_money(account: &mut StripeAccount, id: &str, kind: &str, amount: i64) -> Result<(), ApiError> {
    let dispute = account.copy(id);
    let transaction = balance::record(account, kind, id, amount, dispute.text("currency"))?;
    let mut transactions = dispute["balance_transactions"].as_array().cloned().unwrap_or_default();
    transactions.push(transaction);
    account.change(id, json!({ "balance_transactions": transactions }));
    Ok(())
}
