//! What the invoices of subscriptions and of calls have in common: creation, finalization and payment.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::objects::{coupon, payment_intent};
use crate::payment::{Attempt, PaymentResult, pay};
use crate::template::{from_template, overlay};
use serde_json::{Value, json};

/// The contents of a new invoice line.
#[derive(Debug, Clone)]
pub(crate) struct NewLine {
    pub(crate) amount: i64,
    pub(crate) quantity: i64,
    pub(crate) description: String,
    pub(crate) period: (i64, i64),
    /// The price, null if there is none.
    pub(crate) price: Value,
    pub(crate) parent: Value,
    pub(crate) subscription: Option<String>,
    pub(crate) metadata: Value,
}

/// The contents of a new invoice.
#[derive(Debug)]
pub(crate) struct NewInvoice<'a> {
    pub(crate) customer: &'a str,
    /// The subscription, null if there is none.
    pub(crate) subscription: &'a Value,
    pub(crate) reason: &'a str,
    pub(crate) currency: &'a str,
    pub(crate) lines: Vec<NewLine>,
    pub(crate) period: (i64, i64),
    /// Further fields, copied as they are.
    pub(crate) fields: Value,
}

/// The `pricing` field of a line.
pub(crate) fn pricing(price: &Value) -> Value {
    if price.is_null() {
        return Value::Null;
    }
    json!({
        "price_details": { "price": price.id(), "product": price["product"] }, "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    })
}

impl StripeAccount {
    /// Creates a draft and emits its event. The caller passes the pending invoice items.
    pub(crate) fn draft(&mut self, new: NewInvoice<'_>) -> Result<Value, ApiError> {
        let id = self.new_id("in");
        let subtotal: i64 = new.lines.iter().map(|line| line.amount).sum();
        let mut lines: Vec<Value> = new.lines.iter().map(|line| self.line_of(&id, new.currency, line)).collect();
        let off = self.discount_periods(&mut lines, new.subscription);
        let total = subtotal - off.iter().map(|(_, amount)| amount).sum::<i64>();
        let customer = self.copy(new.customer);
        let parent = if new.subscription.is_null() {
            Value::Null
        } else {
            json!({ "quote_details": null, "type": "subscription_details", "subscription_details": {
                "metadata": new.subscription["metadata"], "subscription": new.subscription.id(),
            } })
        };
        let mut fields = json!({
            "billing_reason": new.reason, "currency": new.currency, "customer": new.customer,
            "customer_email": customer["email"], "customer_name": customer["name"],
            "customer_address": customer["address"], "customer_phone": customer["phone"],
            "subtotal": subtotal, "subtotal_excluding_tax": subtotal,
            "discounts": off.iter().map(|(id, _)| id).collect::<Vec<_>>(), "total_discount_amounts": amounts_off(&off),
            "total": total, "total_excluding_tax": total,
            "period_start": new.period.0, "period_end": new.period.1, "parent": parent,
            "lines": { "object": "list", "data": lines, "has_more": false,
                       "url": format!("/v1/invoices/{id}/lines") },
            "webhooks_delivered_at": self.now_s, "_subscription": new.subscription.opt("id"),
        });
        overlay(&mut fields, due_fields(total, customer.int("balance")));
        overlay(&mut fields, new.fields);
        self.make_as(&id, "invoice", fields)?;
        if !off.is_empty() {
            coupon::use_up(self, new.subscription.id());
        }
        self.emit("invoice.created", &id)?;
        Ok(self.copy(&id))
    }

    /// Applies a subscription's discounts to the lines of its periods. Returns what each takes off.
    fn discount_periods(&self, lines: &mut [Value], subscription: &Value) -> Vec<(String, i64)> {
        let of_periods = |line: &&mut Value| {
            let details = &line["parent"]["subscription_item_details"];
            line.int("amount") > 0 && details.is_object() && !details.is("proration")
        };
        let mut periods: Vec<&mut Value> = lines.iter_mut().filter(of_periods).collect();
        let amounts: Vec<i64> = periods.iter().map(|line| line.int("amount")).collect();
        let off = coupon::taken_off(self, subscription, &amounts);
        for (at, line) in periods.iter_mut().enumerate() {
            let of_line: Vec<(String, i64)> = off.iter().map(|(id, each)| (id.clone(), each[at])).collect();
            line["discount_amounts"] = amounts_off(&of_line);
        }
        off.into_iter().map(|(id, each)| (id, each.iter().sum())).collect()
    }

    pub(crate) fn line_of(&mut self, invoice: &str, currency: &str, line: &NewLine) -> Value {
        let fields = json!({
            "id": self.ids.id("il"), "livemode": false, "amount": line.amount, "currency": currency,
            "subtotal": line.amount, "description": line.description, "invoice": invoice, "metadata": line.metadata,
            "period": { "start": line.period.0, "end": line.period.1 }, "pricing": pricing(&line.price),
            "parent": line.parent, "quantity": line.quantity, "quantity_decimal": line.quantity.to_string(),
            "subscription": line.subscription,
        });
        from_template("line_item", fields)
    }

    /// Finalizes a draft, so that it can be paid, and applies the customer's present balance. An invoice with nothing due
    /// is paid at once. Source: Stripe, "Customer invoice balance".
    pub(crate) fn finalize(&mut self, id: &str) -> Result<Value, ApiError> {
        let invoice = self.copy(id);
        if invoice.text("status") != "draft" {
            let message = "This invoice is already finalized, you can't re-finalize a non-draft invoice.";
            return Err(ApiError::refused("invoice_not_editable", message));
        }
        let customer = self.copy(invoice.text("customer"));
        let sequence = customer.int("next_invoice_sequence").max(1);
        let number = format!("{}-{sequence:04}", customer.opt("invoice_prefix").unwrap_or("SANDBOX"));
        let (total, starting) = (invoice.int("total"), customer.int("balance"));
        let due = amount_due(total, starting);
        let ending = starting + total - due;
        self.change(customer.id(), json!({ "next_invoice_sequence": sequence + 1 }));
        let mut transitions = invoice["status_transitions"].clone();
        transitions["finalized_at"] = self.now_s.into();
        let mut fields = json!({
            "status": "open", "number": number, "effective_at": self.now_s, "status_transitions": transitions,
            "automatically_finalizes_at": null, "ending_balance": ending,
            "hosted_invoice_url": format!("{}/sandbox/invoices/{id}", self.url),
            "invoice_pdf": format!("{}/sandbox/invoices/{id}/pdf", self.url),
        });
        overlay(&mut fields, due_fields(total, starting));
        self.change(id, fields);
        if ending != starting {
            self.set_balance(customer.id(), ending);
        }
        if due > 0 {
            self.open_payment(id)?;
        }
        self.emit("invoice.finalized", id)?;
        if due == 0 {
            self.mark_paid(id, 0)?;
        }
        Ok(self.copy(id))
    }

    /// Sets a customer's balance, which its drafts show. Returns the customer's previous values.
    pub(crate) fn set_balance(&mut self, customer: &str, balance: i64) -> Value {
        let previous = self.change(customer, json!({ "balance": balance }));
        let drafts = self.store.of_customer("invoice", customer).filter(|row| row.text("status") == "draft");
        let drafts: Vec<(String, i64)> = drafts.map(|row| (row.id().to_owned(), row.int("total"))).collect();
        for (id, total) in drafts {
            self.change(&id, due_fields(total, balance));
        }
        previous
    }

    /// Creates the PaymentIntent of an invoice and links the two.
    fn open_payment(&mut self, id: &str) -> Result<(), ApiError> {
        let invoice = self.copy(id);
        let description = match invoice.text("billing_reason") {
            "subscription_create" => "Subscription creation",
            reason if reason.starts_with("subscription") => "Subscription update",
            _ => "Payment for Invoice",
        };
        let is_subscription = invoice.opt("_subscription").is_some();
        let fields = json!({
            "amount": invoice["amount_due"], "currency": invoice["currency"], "customer": invoice["customer"],
            "description": description, "_invoice": id,
            "setup_future_usage": is_subscription.then_some("off_session"),
            "statement_descriptor_suffix": "SANDBOX",
        });
        let intent = payment_intent::make(self, fields)?;
        self.emit("payment_intent.created", intent.id())?;
        let fields = json!({
            "amount_requested": invoice["amount_due"], "currency": invoice["currency"], "invoice": id,
            "payment": { "payment_intent": intent.id(), "type": "payment_intent" }, "_customer": invoice["customer"],
            "_payment_intent": intent.id(),
        });
        let payment = self.make("inpay", "invoice_payment", fields)?;
        self.change(id, json!({ "_payment_intent": intent.id(), "_invoice_payment": payment.id() }));
        Ok(())
    }

    /// The payment method for an invoice if the call names none. Source: Stripe, "Default payment methods": the
    /// subscription's default comes before the customer's.
    pub(crate) fn payer(&self, invoice: &Value) -> Option<Value> {
        let subscription = self.copy(invoice.text("_subscription"));
        let customer = self.copy(invoice.text("customer"));
        let settings = &customer["invoice_settings"];
        let candidates = [
            invoice.opt("default_payment_method"),
            subscription.opt("default_payment_method"),
            subscription.opt("default_source"),
            settings.opt("default_payment_method"),
            customer.opt("default_source"),
        ];
        candidates.into_iter().flatten().find_map(|id| self.get(id).cloned())
    }

    /// Tries to pay an open invoice.
    pub(crate) fn pay_invoice(
        &mut self,
        id: &str,
        method: Option<Value>,
        attempt: Attempt,
    ) -> Result<PaymentResult, ApiError> {
        let invoice = self.copy(id);
        let intent = invoice.text("_payment_intent").to_owned();
        let paid = match method.or_else(|| self.payer(&invoice)) {
            Some(method) => pay(self, &intent, &method, attempt)?,
            None => PaymentResult::Declined(no_payment_method()),
        };
        self.update_invoice_of(&intent, &paid)?;
        Ok(paid)
    }

    /// Updates the invoice of a PaymentIntent, if it has one, after an attempt to pay.
    pub(crate) fn update_invoice_of(&mut self, intent: &str, paid: &PaymentResult) -> Result<(), ApiError> {
        let intent = self.copy(intent);
        let Some(id) = intent.opt("_invoice") else { return Ok(()) };
        let invoice = self.copy(id);
        if !matches!(invoice.text("status"), "open" | "uncollectible") {
            return Ok(());
        }
        let tries = invoice.int("attempt_count") + 1;
        self.change(id, json!({ "attempted": true, "attempt_count": tries }));
        match paid {
            PaymentResult::Succeeded => self.mark_paid(id, intent.int("amount")),
            PaymentResult::RequiresAction => {
                self.plan_retry(id)?;
                self.emit("invoice.payment_action_required", id)?;
                self.emit("invoice.payment_failed", id)?;
                self.update_subscription_after_failure(id)
            }
            PaymentResult::Declined(_) => {
                self.plan_retry(id)?;
                self.emit("invoice.payment_failed", id)?;
                self.update_subscription_after_failure(id)
            }
        }
    }

    /// Marks an invoice as paid.
    pub(crate) fn mark_paid(&mut self, id: &str, amount: i64) -> Result<(), ApiError> {
        let invoice = self.copy(id);
        let mut transitions = invoice["status_transitions"].clone();
        transitions["paid_at"] = self.now_s.into();
        let fields = json!({
            "status": "paid", "amount_paid": amount, "amount_remaining": 0, "attempted": true,
            "next_payment_attempt": null, "status_transitions": transitions, "auto_advance": false,
        });
        let previous = self.change(id, fields);
        if let Some(payment) = invoice.opt("_invoice_payment").map(str::to_owned).filter(|_| amount > 0) {
            let transitions = json!({ "canceled_at": null, "paid_at": self.now_s });
            let fields = json!({ "status": "paid", "amount_paid": amount, "status_transitions": transitions });
            self.change(&payment, fields);
            self.emit("invoice_payment.paid", &payment)?;
        }
        self.emit_change("invoice.updated", id, previous)?;
        self.emit("invoice.paid", id)?;
        self.emit("invoice.payment_succeeded", id)?;
        self.update_subscription_after_payment(id)
    }

    /// Closes an unpaid invoice as `void` or `uncollectible`.
    pub(crate) fn close_unpaid(&mut self, id: &str, status: &str) -> Result<Value, ApiError> {
        let invoice = self.copy(id);
        if !matches!(invoice.text("status"), "open" | "uncollectible" | "draft") {
            let message =
                format!("You can only pass in open invoices. This invoice isn't open: {}.", invoice.text("status"));
            return Err(ApiError::refused("invoice_not_editable", &message));
        }
        let at = if status == "void" { "voided_at" } else { "marked_uncollectible_at" };
        let mut transitions = invoice["status_transitions"].clone();
        transitions[at] = self.now_s.into();
        let fields = json!({
            "status": status, "status_transitions": transitions, "next_payment_attempt": null, "auto_advance": false,
        });
        self.change(id, fields);
        if status == "void"
            && let Some(intent) = invoice.opt("_payment_intent")
            && !matches!(self.copy(intent).text("status"), "succeeded" | "canceled")
        {
            payment_intent::cancel_now(self, intent, "void_invoice".into())?;
            self.change(invoice.text("_invoice_payment"), json!({ "status": "canceled" }));
        }
        if status == "void"
            && let Some(ending) = invoice.opt_int("ending_balance")
        {
            // Voiding returns the balance that was applied. Source: Stripe, "Customer balances are now returned when
            // voiding invoices".
            let returned = invoice.int("starting_balance") - ending;
            let balance = self.copy(invoice.text("customer")).int("balance") + returned;
            self.set_balance(invoice.text("customer"), balance);
        }
        self.emit(if status == "void" { "invoice.voided" } else { "invoice.marked_uncollectible" }, id)?;
        Ok(self.copy(id))
    }
}

/// What is due of a total. A negative balance is credit and reduces it. Of a negative total nothing is due: it becomes
/// credit.
fn amount_due(total: i64, balance: i64) -> i64 {
    if total < 0 { 0 } else { (total + balance).max(0) }
}

/// The fields of a draft that follow from the customer's balance. Source: Stripe, "The Invoice object": before
/// finalization, `starting_balance` is the present balance.
pub(crate) fn due_fields(total: i64, balance: i64) -> Value {
    let due = amount_due(total, balance);
    json!({ "amount_due": due, "amount_remaining": due, "starting_balance": balance })
}

/// Amounts that discounts take off, as Stripe lists them.
fn amounts_off(off: &[(String, i64)]) -> Value {
    off.iter().map(|(id, amount)| json!({ "amount": amount, "discount": id })).collect()
}

/// The error for a payment without a payment method.
pub(crate) fn no_payment_method() -> ApiError {
    let message = "This customer has no attached payment source or default payment method. Please consider adding a \
                   default payment method.";
    ApiError::refused("resource_missing", message)
}
