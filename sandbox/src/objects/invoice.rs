//! Calls to invoices.

use super::payment_method::usable;
use super::{invoice_item, payment_intent};
use crate::account::StripeAccount;
use crate::billing::{NewInvoice, no_payment_method};
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::payment::{Attempt, PaymentResult};
use serde_json::{Map, Value, json};

/// `POST /v1/invoices`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let customer = form.required("customer")?;
    account.find_param("customer", customer, "customer")?;
    let items = if form.text("pending_invoice_items_behavior") == Some("exclude") {
        Vec::new()
    } else {
        invoice_item::pending(account, customer)
    };
    let currency = form.text("currency").map(str::to_lowercase);
    let currency = currency.or_else(|| items.first().map(|item| item.text("currency").to_owned()));
    let method = form.text("collection_method").unwrap_or("charge_automatically");
    let due = form.int("days_until_due")?.map(|days| account.now_s + days * 86_400);
    let fields = json!({
        "collection_method": method, "description": form.nullable("description"), "due_date": due,
        "metadata": form.metadata(&json!({}))?, "auto_advance": form.flag("auto_advance")?.unwrap_or(false),
        "default_payment_method": form.nullable("default_payment_method"),
    });
    let subscription = match form.text("subscription") {
        Some(id) => account.find_param("subscription", id, "subscription")?,
        None => Value::Null,
    };
    let new = NewInvoice {
        customer,
        subscription: &subscription,
        reason: "manual",
        currency: currency.as_deref().unwrap_or("usd"),
        lines: items.iter().map(invoice_item::line).collect(),
        period: (account.now_s, account.now_s),
        fields,
    };
    let invoice = account.draft(new)?;
    invoice_item::take(account, &items, invoice.id());
    Ok(account.copy(invoice.id()))
}

/// `GET /v1/invoices/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("invoice", call.id())
}

/// `GET /v1/invoices`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let Some(subscription) = form.text("subscription") else {
        return page::list(account, call, "invoice", &["customer", "status", "collection_method"]);
    };
    let of_this = |row: &&Value| {
        row.text("_subscription") == subscription
            && form.text("status").is_none_or(|status| row.text("status") == status)
    };
    page::paginate(&account.store, account.store.of_kind("invoice").filter(of_this), form, "/v1/invoices")
}

/// `GET /v1/invoices/{id}/lines`
pub(crate) fn lines(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::of_embedded(&account.find("invoice", call.id())?["lines"], &call.form)
}

/// `POST /v1/invoices/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let invoice = account.find("invoice", call.id())?;
    let mut fields: Map<String, Value> = StripeAccount::metadata_change(&invoice, form)?;
    fields.extend(form.nullables(&["description", "footer", "default_payment_method"]));
    if let Some(flag) = form.flag("auto_advance")? {
        fields.insert("auto_advance".to_owned(), flag.into());
    }
    account.change_and_emit(invoice.id(), Value::Object(fields), "invoice.updated")
}

/// `DELETE /v1/invoices/{id}`: deletes a draft.
pub(crate) fn delete(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let invoice = account.find("invoice", call.id())?;
    if invoice.text("status") != "draft" {
        let message = "You can only delete draft invoices.";
        return Err(ApiError::refused("invoice_not_editable", message));
    }
    account.store.remove(invoice.id());
    account.emit_object("invoice.deleted", invoice.clone(), None)?;
    Ok(json!({ "id": invoice.id(), "object": "invoice", "deleted": true }))
}

/// `POST /v1/invoices/{id}/finalize`
pub(crate) fn finalize(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let invoice = account.find("invoice", call.id())?;
    account.finalize(invoice.id())
}

/// `POST /v1/invoices/{id}/send`
pub(crate) fn send(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let invoice = account.find("invoice", call.id())?;
    if invoice.text("status") == "draft" {
        account.finalize(invoice.id())?;
    }
    account.emit("invoice.sent", invoice.id())?;
    Ok(account.copy(invoice.id()))
}

/// `POST /v1/invoices/{id}/void`
pub(crate) fn void(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let invoice = account.find("invoice", call.id())?;
    if invoice.text("status") == "draft" {
        return Err(ApiError::refused("invoice_not_editable", "You can only void invoices that are finalized."));
    }
    account.close_unpaid(invoice.id(), "void")
}

/// `POST /v1/invoices/{id}/mark_uncollectible`
pub(crate) fn mark_uncollectible(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let invoice = account.find("invoice", call.id())?;
    account.close_unpaid(invoice.id(), "uncollectible")
}

/// `POST /v1/invoices/{id}/pay`
pub(crate) fn pay(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let mut invoice = account.find("invoice", call.id())?;
    if invoice.text("status") == "draft" {
        invoice = account.finalize(invoice.id())?;
    }
    let id = invoice.id().to_owned();
    match invoice.text("status") {
        "open" | "uncollectible" => {}
        "paid" if invoice.int("amount_paid") == 0 => return Ok(invoice),
        status => {
            let message = format!("Invoice is already {status}");
            return Err(ApiError::refused(
                if status == "paid" { "invoice_already_paid" } else { "invoice_not_editable" },
                &message,
            ));
        }
    }
    if form.flag("paid_out_of_band")?.unwrap_or(false) {
        let amount = invoice.int("amount_due");
        if let Some(intent) = invoice.opt("_payment_intent") {
            payment_intent::cancel_now(account, intent, "void_invoice".into())?;
        }
        let fields = json!({ "amount_paid_off_stripe": amount, "_paid_out_of_band": true, "_invoice_payment": null });
        account.change(&id, fields);
        account.mark_paid(&id, amount)?;
        return Ok(account.copy(&id));
    }
    let named = form.text("payment_method").or_else(|| form.text("source"));
    let method = named.map(|method| usable(account, method, Some("payment_method"))).transpose()?;
    if method.is_none() && account.payer(&invoice).is_none() {
        return Err(no_payment_method());
    }
    let attempt = Attempt { is_off_session: form.flag("off_session")?.unwrap_or(false), is_authenticated: false };
    match account.pay_invoice(&id, method, attempt)? {
        PaymentResult::Succeeded => Ok(account.copy(&id)),
        PaymentResult::Declined(error) => Err(error),
        PaymentResult::RequiresAction => {
            let message = "This payment requires additional user action before it can be completed successfully. \
                           Payment can be completed using the PaymentIntent associated with this invoice.";
            let intent = account.copy(invoice.text("_payment_intent"));
            Err(ApiError::card("invoice_payment_intent_requires_action", message).with("payment_intent", intent))
        }
    }
}
