//! Invoice items: amounts for the customer's next invoice.

use crate::account::StripeAccount;
use crate::billing::{NewLine, due_fields, pricing};
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use crate::template::overlay;
use serde_json::{Value, json};

/// `POST /v1/invoiceitems`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let customer = form.required("customer")?;
    account.find_param("customer", customer, "customer")?;
    let quantity = form.int("quantity")?.unwrap_or(1);
    let named = form.text("price").or_else(|| form.text("pricing.price"));
    let price = named.map(|id| account.find_param("price", id, "price")).transpose()?.unwrap_or_default();
    let amount = match form.int("amount")? {
        Some(amount) => amount,
        None if price.is_object() => price.int("unit_amount") * quantity,
        None => form.int("unit_amount")?.map(|each| each * quantity).ok_or_else(|| ApiError::missing("amount"))?,
    };
    let currency = form.text("currency").or_else(|| price.opt("currency")).unwrap_or("usd").to_lowercase();
    let fields = json!({
        "amount": amount, "currency": currency, "customer": customer, "date": account.now_s, "quantity": quantity,
        "quantity_decimal": quantity.to_string(), "description": form.nullable("description"),
        "metadata": form.metadata(&json!({}))?, "period": { "start": account.now_s, "end": account.now_s },
        "pricing": pricing(&price), "_price": price, "net_amount": amount,
    });
    let item = account.make("ii", "invoiceitem", fields)?;
    account.emit("invoiceitem.created", item.id())?;
    if let Some(invoice) = form.text("invoice") {
        add_to_draft(account, invoice, &item)?;
    }
    Ok(account.copy(item.id()))
}

/// `GET /v1/invoiceitems/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("invoiceitem", call.id())
}

/// `GET /v1/invoiceitems`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let Some(is_pending) = form.flag("pending")? else {
        return page::list(account, call, "invoiceitem", &["customer", "invoice"]);
    };
    let wanted = |row: &&Value| {
        row["invoice"].is_null() == is_pending && form.text("customer").is_none_or(|id| row.text("customer") == id)
    };
    page::paginate(&account.store, account.store.of_kind("invoiceitem").filter(wanted), form, "/v1/invoiceitems")
}

/// `DELETE /v1/invoiceitems/{id}`
pub(crate) fn delete(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let item = account.find("invoiceitem", call.id())?;
    account.store.remove(item.id());
    account.emit_object("invoiceitem.deleted", item.clone(), None)?;
    Ok(json!({ "id": item.id(), "object": "invoiceitem", "deleted": true }))
}

/// A customer's items without an invoice, oldest first.
pub(crate) fn pending(account: &StripeAccount, customer: &str) -> Vec<Value> {
    let rows = account.store.of_customer("invoiceitem", customer);
    rows.filter(|row| row["invoice"].is_null()).cloned().collect()
}

/// Records the invoice of items.
pub(crate) fn take(account: &mut StripeAccount, items: &[Value], invoice: &str) {
    for item in items {
        account.change(item.id(), json!({ "invoice": invoice }));
    }
}

/// The invoice line of an item.
pub(crate) fn line(item: &Value) -> NewLine {
    NewLine {
        amount: item.int("amount"),
        quantity: item.int("quantity"),
        description: item.text("description").to_owned(),
        period: (item["period"].int("start"), item["period"].int("end")),
        price: item["_price"].clone(),
        parent: json!({
            "type": "invoice_item_details", "subscription_item_details": null,
            "invoice_item_details": {
                "invoice_item": item.id(), "proration": item["proration"], "subscription": item["_subscription"],
                "proration_details": {
                    "credited_items": item["proration_details"]["credited_items"]["invoice_line_item_details"],
                },
            },
        }),
        subscription: item.opt("_subscription").map(str::to_owned),
        metadata: item["metadata"].clone(),
    }
}

fn add_to_draft(account: &mut StripeAccount, invoice: &str, item: &Value) -> Result<(), ApiError> {
    let draft = account.find_param("invoice", invoice, "invoice")?;
    if draft.text("status") != "draft" {
        let message = "You can only add items to a draft invoice.";
        return Err(ApiError::refused("invoice_not_editable", message));
    }
    let mut lines = draft["lines"].clone();
    let line = account.line_of(invoice, draft.text("currency"), &line(item));
    let (subtotal, total) = (draft.int("subtotal") + item.int("amount"), draft.int("total") + item.int("amount"));
    if let Some(data) = lines["data"].as_array_mut() {
        data.push(line);
    }
    let mut fields = json!({
        "lines": lines, "subtotal": subtotal, "subtotal_excluding_tax": subtotal, "total": total,
        "total_excluding_tax": total,
    });
    overlay(&mut fields, due_fields(total, account.copy(draft.text("customer")).int("balance")));
    account.change(invoice, fields);
    take(account, std::slice::from_ref(item), invoice);
    Ok(())
}
