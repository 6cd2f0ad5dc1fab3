//! Credit notes. Source: Stripe, "Create a credit note": a note first reduces what is left to pay of its invoice
//! (`pre_payment_amount`). The rest (`post_payment_amount`) is given back: by refunds, onto the customer's balance, or
//! outside of Stripe. Notes are made of an amount; those made of lines are not imitated.

use super::{payment_intent, refund};
use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use serde_json::{Value, json};

/// How a note gives back what was paid.
struct GivenBack {
    /// Refunds that exist, with the part of each that belongs to the note.
    refunds: Vec<(String, i64)>,
    /// To be refunded by a new refund.
    refund: i64,
    /// Onto the customer's balance.
    balance: i64,
    /// Outside of Stripe.
    out_of_band: i64,
}

impl GivenBack {
    fn read(account: &StripeAccount, form: &Form) -> Result<Self, ApiError> {
        let amount = |name: &str| Ok(form.int(name)?.unwrap_or(0));
        let mut refunds = Vec::new();
        for part in form.list("refunds") {
            let refund = account.find_param("refund", part.required("refund")?, "refunds")?;
            let amount = part.int("amount_refunded")?.unwrap_or_else(|| refund.int("amount"));
            refunds.push((refund.id().to_owned(), amount));
        }
        let (refund, balance) = (amount("refund_amount")?, amount("credit_amount")?);
        Ok(Self { refunds, refund, balance, out_of_band: amount("out_of_band_amount")? })
    }

    fn total(&self) -> i64 {
        self.refund + self.balance + self.out_of_band + self.refunds.iter().map(|(_, amount)| amount).sum::<i64>()
    }
}

/// `POST /v1/credit_notes`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let invoice = account.find_param("invoice", form.required("invoice")?, "invoice")?;
    if !matches!(invoice.text("status"), "open" | "paid") {
        let message =
            format!("Credit notes cannot be created for invoices with the status {}.", invoice.text("status"));
        return Err(ApiError::refused_without_code(&message).with_param("invoice"));
    }
    let mut back = GivenBack::read(account, form)?;
    let before = invoice.int("pre_payment_credit_notes_amount") + invoice.int("post_payment_credit_notes_amount");
    let amount = form.int("amount")?.unwrap_or_else(|| back.total());
    if amount < 1 || amount > invoice.int("total") - before {
        let message = format!("The sum of credit notes on this invoice must be from 1 to {}.", invoice.int("total"));
        return Err(ApiError::refused_without_code(&message).with_param("amount"));
    }
    let pre_payment = amount.min(if invoice.text("status") == "open" { invoice.int("amount_remaining") } else { 0 });
    let post_payment = amount - pre_payment;
    if back.total() != post_payment {
        let message = "The sum of refund_amount, refunds, credit_amount and out_of_band_amount must equal the \
                       post-payment amount of the credit note.";
        return Err(ApiError::refused_without_code(message));
    }
    if back.refund > 0 {
        let charge = account.copy(invoice.text("_payment_intent")).text("latest_charge").to_owned();
        let made = refund::make(account, &charge, Some(back.refund), Value::Null, json!({}))?;
        back.refunds.push((made.id().to_owned(), back.refund));
    }
    let id = account.new_id("cn");
    let transaction = move_balance(account, &invoice, &id, back.balance, "credit_note")?;
    let of_invoice = account.store.of_customer("credit_note", invoice.text("customer"));
    let number = of_invoice.filter(|note| note.text("invoice") == invoice.id()).count() + 1;
    let refund = |(id, amount): &(String, i64)| json!({ "amount_refunded": amount, "payment_record_refund": null, "refund": id, "type": "refund" });
    let fields = json!({
        "amount": amount, "subtotal": amount, "total": amount, "currency": invoice["currency"],
        "customer": invoice["customer"], "customer_balance_transaction": transaction, "effective_at": account.now_s,
        "invoice": invoice.id(), "memo": form.nullable("memo"), "metadata": form.metadata(&json!({}))?,
        "number": format!("{}-CN-{number:02}", invoice.text("number")), "reason": form.nullable("reason"),
        "out_of_band_amount": (back.out_of_band > 0).then_some(back.out_of_band),
        "pdf": format!("{}/sandbox/invoices/{}/pdf", account.url, invoice.id()),
        "pre_payment_amount": pre_payment, "post_payment_amount": post_payment,
        "refunds": back.refunds.iter().map(refund).collect::<Vec<_>>(),
        "type": match (pre_payment, post_payment) {
            (_, 0) => "pre_payment",
            (0, _) => "post_payment",
            _ => "mixed",
        },
        "lines": page::whole_list(Vec::new(), &format!("/v1/credit_notes/{id}/lines")),
    });
    account.make_as(&id, "credit_note", fields)?;
    account.emit("credit_note.created", &id)?;
    credit(account, invoice.id(), pre_payment, post_payment)?;
    Ok(account.copy(&id))
}

/// `GET /v1/credit_notes/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("credit_note", call.id())
}

/// `GET /v1/credit_notes`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "credit_note", &["invoice", "customer"])
}

/// `POST /v1/credit_notes/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let note = account.find("credit_note", call.id())?;
    let mut fields = StripeAccount::metadata_change(&note, &call.form)?;
    fields.extend(call.form.nullables(&["memo"]));
    account.change_and_emit(note.id(), Value::Object(fields), "credit_note.updated")
}

/// `POST /v1/credit_notes/{id}/void`: takes back what it reduced, and what it put onto the customer's balance. A note
/// with refunds is refused here, because their money is gone; Stripe does not say what it does.
pub(crate) fn void(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let note = account.find("credit_note", call.id())?;
    if note.text("status") == "void" {
        return Err(ApiError::refused_without_code("This credit note is already void."));
    }
    if note["refunds"].as_array().is_some_and(|refunds| !refunds.is_empty()) {
        return Err(ApiError::refused_without_code("Credit notes with refunds cannot be voided."));
    }
    let invoice = account.copy(note.text("invoice"));
    if note.int("pre_payment_amount") > 0 && invoice.text("status") != "open" {
        return Err(ApiError::refused_without_code(
            "The credit notes of a paid invoice that reduced it cannot be voided.",
        ));
    }
    if let Some(transaction) = note.opt("customer_balance_transaction") {
        let credited = -account.copy(transaction).int("amount");
        move_balance(account, &invoice, note.id(), -credited, "unapplied_from_invoice")?;
    }
    account.change(note.id(), json!({ "status": "void", "voided_at": account.now_s }));
    account.emit("credit_note.voided", note.id())?;
    credit(account, invoice.id(), -note.int("pre_payment_amount"), -note.int("post_payment_amount"))?;
    Ok(account.copy(note.id()))
}

/// Puts an amount onto the customer's balance. Returns the transaction's id, null if there is nothing to do.
fn move_balance(
    account: &mut StripeAccount,
    invoice: &Value,
    note: &str,
    amount: i64,
    kind: &str,
) -> Result<Value, ApiError> {
    if amount == 0 {
        return Ok(Value::Null);
    }
    let customer = invoice.text("customer");
    // Credit is negative: the customer owes less.
    let balance = account.copy(customer).int("balance") - amount;
    let fields = json!({
        "amount": -amount, "credit_note": note, "currency": invoice["currency"], "customer": customer,
        "customer_account": null, "description": null, "ending_balance": balance, "invoice": invoice.id(),
        "metadata": {}, "type": kind,
    });
    let transaction = account.make("cbtxn", "customer_balance_transaction", fields)?;
    let previous = account.set_balance(customer, balance);
    account.emit_change("customer.updated", customer, previous)?;
    Ok(transaction["id"].clone())
}

/// Changes what an invoice says of its credit notes, and what is left to pay. One with nothing left is paid.
fn credit(account: &mut StripeAccount, invoice: &str, pre_payment: i64, post_payment: i64) -> Result<(), ApiError> {
    let before = account.copy(invoice);
    let remaining = before.int("amount_remaining") - pre_payment;
    let fields = json!({
        "pre_payment_credit_notes_amount": before.int("pre_payment_credit_notes_amount") + pre_payment,
        "post_payment_credit_notes_amount": before.int("post_payment_credit_notes_amount") + post_payment,
        "amount_due": before.int("amount_due") - pre_payment, "amount_remaining": remaining,
    });
    account.change_and_emit(invoice, fields, "invoice.updated")?;
    if before.text("status") != "open" {
        return Ok(());
    }
    let intent = before.opt("_payment_intent");
    if remaining == 0 {
        if let Some(intent) = intent {
            payment_intent::cancel_now(account, intent, "void_invoice".into())?;
        }
        return account.mark_paid(invoice, 0);
    }
    if let Some(intent) = intent {
        account.change(intent, json!({ "amount": remaining }));
    }
    Ok(())
}
