//! Disputes. Source: Stripe, "How disputes work" and "Test evidence".

use super::balance;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::world::World;
use serde_json::{Map, Value, json};

/// How long evidence can be submitted.
const DUE_AFTER_S: i64 = 9 * 86_400;

/// Opens a dispute of a charge. An inquiry withdraws no money yet.
pub(crate) fn open(
    world: &mut World,
    charge: &str,
    amount: i64,
    reason: &str,
    is_inquiry: bool,
) -> Result<Value, ApiError> {
    let charge = world.find("charge", charge)?;
    if !charge.is("paid") {
        return Err(ApiError::refused_without_code("A charge that was not paid cannot be disputed."));
    }
    if amount < 1 || amount > charge.int("amount") {
        return Err(ApiError::refused_without_code("The amount of a dispute must not exceed that of its charge."));
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
        "due_by": world.now_s + DUE_AFTER_S, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
        "submission_count": 0,
    });
    let dispute = world.make("du", "dispute", fields)?;
    world.change(charge.id(), json!({ "disputed": true, "_is_refundable": is_inquiry }));
    world.emit("charge.dispute.created", dispute.id())?;
    if !is_inquiry {
        move_money(world, dispute.id(), "dispute", -amount)?;
        world.emit("charge.dispute.funds_withdrawn", dispute.id())?;
    }
    Ok(world.copy(dispute.id()))
}

/// Closes a dispute or an inquiry.
pub(crate) fn close(world: &mut World, id: &str, is_won: bool) -> Result<Value, ApiError> {
    let dispute = world.find("dispute", id)?;
    let status = match (dispute.text("status"), is_won) {
        ("won" | "lost" | "warning_closed" | "prevented", _) => {
            return Err(ApiError::refused_without_code("This dispute is already closed."));
        }
        (status, _) if status.starts_with("warning") => "warning_closed",
        (_, true) => "won",
        (_, false) => "lost",
    };
    let previous = world.change(id, json!({ "status": status, "is_charge_refundable": status == "warning_closed" }));
    if status == "won" {
        move_money(world, id, "dispute_reversal", dispute.int("amount"))?;
        world.change(dispute.text("charge"), json!({ "_is_refundable": true }));
        world.emit("charge.dispute.funds_reinstated", id)?;
    }
    world.emit_change("charge.dispute.closed", id, previous)?;
    Ok(world.copy(id))
}

/// `GET /v1/disputes/{id}`
pub(crate) fn retrieve(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    world.find("dispute", call.id())
}

/// `GET /v1/disputes`
pub(crate) fn list(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    page::list(world, call, "dispute", &["charge", "payment_intent"])
}

/// `POST /v1/disputes/{id}`. The uncategorized texts `winning_evidence` and `losing_evidence` decide it.
pub(crate) fn update(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let dispute = world.find("dispute", call.id())?;
    let mut fields: Map<String, Value> = World::metadata_change(&dispute, form)?;
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
    world.change_and_emit(dispute.id(), Value::Object(fields), "charge.dispute.updated")?;
    match verdict {
        Some(is_won) => close(world, dispute.id(), is_won),
        None => Ok(world.copy(dispute.id())),
    }
}

/// `POST /v1/disputes/{id}/close`: accepts the dispute, which is then lost.
pub(crate) fn concede(world: &mut World, call: &Call) -> Result<Value, ApiError> {
    let dispute = world.find("dispute", call.id())?;
    expect_open(&dispute)?;
    close(world, dispute.id(), false)
}

fn expect_open(dispute: &Value) -> Result<(), ApiError> {
    match dispute.text("status") {
        "won" | "lost" | "warning_closed" | "prevented" => {
            Err(ApiError::refused_without_code("This dispute is already closed."))
        }
        _ => Ok(()),
    }
}

fn move_money(world: &mut World, id: &str, kind: &str, amount: i64) -> Result<(), ApiError> {
    let dispute = world.copy(id);
    let transaction = balance::record(world, kind, id, amount, dispute.text("currency"))?;
    let mut transactions = dispute["balance_transactions"].as_array().cloned().unwrap_or_default();
    transactions.push(transaction);
    world.change(id, json!({ "balance_transactions": transactions }));
    Ok(())
}
