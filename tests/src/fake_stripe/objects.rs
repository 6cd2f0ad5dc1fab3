//! The fake's objects, and what calls do to them.

use super::Reply;
use poem::http::Method;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Seconds of a period.
const PERIOD_S: i64 = 2_592_000;

/// Form parameters by their full name, such as `metadata[key]`.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    pub(super) fn read(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn text(&self, name: &str) -> Value {
        self.get(name).map_or(Value::Null, Into::into)
    }

    fn metadata(&self) -> Value {
        let own = self.0.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((key.to_owned(), Value::from(value.as_str())))
        });
        Value::Object(own.collect::<Map<_, _>>())
    }
}

#[derive(Default)]
pub(super) struct Objects {
    rows: Vec<Value>,
    made: usize,
}

fn missing(id: &str) -> Reply {
    (404, json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "message": id}}))
}

fn pro_price() -> Value {
    json!({"id": "price_pro", "object": "price", "lookup_key": "pro_monthly", "metadata": {}, "product": "prod_pro",
           "unit_amount": 59_900, "currency": "usd", "recurring": {"interval": "month", "interval_count": 1}})
}

fn now_s() -> i64 {
    bursar_engine::clock::Clock::System.now_ms() / 1_000
}

/// Returns the page of rows that a form asks for. `rows` are latest first.
fn page(mut rows: Vec<Value>, form: &Form) -> Reply {
    let bound = |name: &str| form.get(name).and_then(|text| text.parse::<i64>().ok());
    let (from, to) = (bound("created[gte]").unwrap_or(i64::MIN), bound("created[lte]").unwrap_or(i64::MAX));
    rows.retain(|row| row["created"].as_i64().is_none_or(|made| (from..=to).contains(&made)));
    if let Some(after) = form.get("starting_after") {
        let at = rows.iter().position(|row| row["id"] == after).map_or(rows.len(), |at| at + 1);
        rows.drain(..at);
    }
    let limit = form.get("limit").and_then(|text| text.parse().ok()).unwrap_or(10);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    (200, json!({"object": "list", "has_more": has_more, "data": rows}))
}

fn list(rows: Vec<Value>) -> Reply {
    (200, json!({"object": "list", "has_more": false, "data": rows}))
}

impl Objects {
    pub(super) fn get(&self, id: &str) -> Value {
        self.rows.iter().find(|row| row["id"] == id).cloned().unwrap_or_default()
    }

    pub(super) fn all(&self, kind: &str) -> Vec<Value> {
        self.rows.iter().filter(|row| row["object"] == kind).cloned().collect()
    }

    fn of(&self, kind: &str, field: &str, value: Option<&str>) -> Vec<Value> {
        let mut rows = self.all(kind);
        rows.retain(|row| value.is_none_or(|value| row[field] == value));
        rows.reverse();
        rows
    }

    pub(super) fn set(&mut self, id: &str, fields: &Value) {
        let row = self.rows.iter_mut().find(|row| row["id"] == id).expect("the object is there");
        for (name, value) in fields.as_object().expect("fields") {
            row[name] = value.clone();
        }
    }

    /// Adds an object.
    pub(super) fn put(&mut self, object: Value) {
        self.rows.push(object);
    }

    fn add(&mut self, prefix: &str, kind: &str, mut fields: Value) -> Value {
        self.made += 1;
        fields["id"] = format!("{prefix}_{}{}", crate::unique::unique(), self.made).into();
        fields["object"] = kind.into();
        fields["created"] = now_s().into();
        fields["livemode"] = false.into();
        self.rows.push(fields.clone());
        fields
    }

    pub(super) fn net_paid(&self, customer: &str) -> i64 {
        let charges = self.of("charge", "customer", Some(customer));
        let of = |row: &Value, field: &str| row[field].as_i64().unwrap_or(0);
        charges.iter().map(|row| of(row, "amount") - of(row, "amount_refunded")).sum()
    }

    pub(super) fn call(&mut self, method: &Method, path: &str, form: &Form) -> Reply {
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let is_post = method == Method::POST;
        match parts.as_slice() {
            ["customers"] if is_post => self.customer(form),
            ["customers"] => {
                let mut rows = self.of("customer", "email", form.get("email"));
                rows.retain(|row| row["deleted"] != true);
                page(rows, form)
            }
            ["customers", id] if is_post => {
                let default = form.text("invoice_settings[default_payment_method]");
                self.set(id, &json!({"invoice_settings": {"default_payment_method": default}}));
                (200, self.get(id))
            }
            ["payment_methods"] => list(self.of("payment_method", "customer", form.get("customer"))),
            ["payment_methods", id, "attach"] => self.attach(id, form),
            ["payment_methods", id, "detach"] => {
                self.set(id, &json!({"customer": null}));
                (200, self.get(id))
            }
            ["payment_intents"] if is_post => self.pay(form, None),
            ["payment_intents"] => page(self.of("payment_intent", "customer", form.get("customer")), form),
            ["charges"] => page(self.of("charge", "customer", form.get("customer")), form),
            ["refunds"] => page(self.of("refund", "charge", form.get("charge")), form),
            ["events"] => {
                let is_lost = form.get("delivery_success").map(|_| "lost");
                page(self.of("event", "outcome", is_lost), form)
            }
            ["payment_intents", id, "cancel"] => {
                self.set(id, &json!({"status": "canceled"}));
                (200, self.get(id))
            }
            ["disputes"] => page(self.of("dispute", "charge", form.get("charge")), form),
            ["invoices"] => page(self.of("invoice", "customer", form.get("customer")), form),
            ["invoice_payments"] => self.invoice_payments(form.get("payment[payment_intent]")),
            ["invoices", id, "lines"] if self.get(id).is_object() => (200, self.get(id)["lines"].clone()),
            ["credit_notes"] => {
                let (field, value) = match form.get("invoice") {
                    Some(invoice) => ("invoice", Some(invoice)),
                    None => ("customer", form.get("customer")),
                };
                page(self.of("credit_note", field, value), form)
            }
            // There is one price, and no session of Checkout.
            ["prices"] => list(vec![pro_price()]),
            ["prices", "price_pro"] => (200, pro_price()),
            ["checkout", "sessions"] => list(Vec::new()),
            ["subscriptions"] if is_post => self.subscribe(form),
            ["subscriptions"] => page(self.of("subscription", "customer", form.get("customer")), form),
            ["subscriptions", id] if is_post => {
                self.set(id, &json!({"cancel_at_period_end": form.get("cancel_at_period_end") == Some("true")}));
                (200, self.get(id))
            }
            ["subscriptions", id] if method == Method::DELETE => {
                self.set(id, &json!({"status": "canceled", "ended_at": now_s()}));
                (200, self.get(id))
            }
            [_, id] if self.get(id).is_object() => (200, self.get(id)),
            _ => missing(path),
        }
    }

    fn customer(&mut self, form: &Form) -> Reply {
        let fields = json!({"email": form.text("email"), "metadata": form.metadata(), "invoice_settings": {}});
        (200, self.add("cus", "customer", fields))
    }

    /// An unknown id becomes a new payment method, whose outcome is in the id.
    fn attach(&mut self, id: &str, form: &Form) -> Reply {
        if id.contains("unknown") {
            return missing(id);
        }
        let customer = form.text("customer");
        if self.get(id).is_object() {
            self.set(id, &json!({"customer": customer}));
            return (200, self.get(id));
        }
        let card = json!({"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031});
        (
            200,
            self.add(
                "pm",
                "payment_method",
                json!({"type": "card", "card": card, "customer": customer, "outcome": id}),
            ),
        )
    }

    fn pay(&mut self, form: &Form, invoice: Option<&str>) -> Reply {
        let amount: i64 = form.get("amount").and_then(|text| text.parse().ok()).unwrap_or(59_900);
        let method = form.get("payment_method").or_else(|| form.get("default_payment_method")).unwrap_or_default();
        let outcome = self.get(method)["outcome"].as_str().unwrap_or_default().to_owned();
        let intent = self.add(
            "pi",
            "payment_intent",
            json!({
                "amount": amount, "currency": "usd", "customer": form.text("customer"), "payment_method": method,
                "metadata": if invoice.is_none() { form.metadata() } else { json!({}) },
                "client_secret": format!("secret_{}", crate::unique::unique()),
                "status": "requires_payment_method", "invoice": invoice,
            }),
        );
        let id = intent["id"].as_str().expect("an id").to_owned();
        let (code, decline_code) = match outcome.as_str() {
            outcome if outcome.contains("decline") => ("card_declined", "insufficient_funds"),
            outcome if outcome.contains("auth") => ("authentication_required", "authentication_required"),
            _ => return (200, self.succeed(&id)),
        };
        let error = json!({"type": "card_error", "code": code, "decline_code": decline_code,
                           "advice_code": "try_again_later", "message": "The card did not pay."});
        self.set(&id, &json!({"last_payment_error": error.clone()}));
        let mut error = error;
        error["payment_intent"] = self.get(&id);
        (402, json!({ "error": error }))
    }

    pub(super) fn succeed(&mut self, id: &str) -> Value {
        let intent = self.get(id);
        let charge = self.add(
            "ch",
            "charge",
            json!({
                "amount": intent["amount"], "amount_refunded": 0, "currency": "usd", "paid": true,
                "customer": intent["customer"], "payment_intent": id, "metadata": intent["metadata"],
                "disputed": false,
            }),
        );
        let paid = json!({"status": "succeeded", "amount_received": intent["amount"], "last_payment_error": null,
                          "latest_charge": charge["id"]});
        self.set(id, &paid);
        self.get(id)
    }

    pub(super) fn refund(&mut self, charge: &str, amount: i64) -> Value {
        let before = self.get(charge)["amount_refunded"].as_i64().unwrap_or(0);
        self.set(charge, &json!({"amount_refunded": before + amount}));
        self.add("re", "refund", json!({"charge": charge, "amount": amount, "status": "succeeded"}));
        self.get(charge)
    }

    pub(super) fn dispute(&mut self, charge: &str, status: &str) -> Value {
        let known = self.of("dispute", "charge", Some(charge)).first().map(|row| row["id"].clone());
        let amount = self.get(charge)["amount"].clone();
        let id = match known {
            Some(id) => id,
            None => self.add("dp", "dispute", json!({"charge": charge, "amount": amount}))["id"].clone(),
        };
        let id = id.as_str().expect("an id").to_owned();
        self.set(&id, &json!({"status": status}));
        self.set(charge, &json!({"disputed": true}));
        self.get(&id)
    }

    fn invoice_payments(&self, payment_intent: Option<&str>) -> Reply {
        let invoice = payment_intent.map(|id| self.get(id)["invoice"].clone()).filter(Value::is_string);
        list(invoice.map(|invoice| json!({"object": "invoice_payment", "invoice": invoice})).into_iter().collect())
    }

    fn subscribe(&mut self, form: &Form) -> Reply {
        let (from, to) = (now_s(), now_s() + PERIOD_S);
        let price = pro_price();
        let subscription = self.add(
            "sub",
            "subscription",
            json!({
                "customer": form.text("customer"), "metadata": form.metadata(), "status": "incomplete",
                "cancel_at_period_end": false,
                "items": {"object": "list", "data": [{"id": "si_1", "price": price.clone(),
                          "current_period_start": from, "current_period_end": to}]},
            }),
        );
        let id = subscription["id"].as_str().expect("an id").to_owned();
        let invoice = self.invoice(&id, "subscription_create", form);
        let is_paid = invoice["status"] == "paid";
        self.set(&id, &json!({"latest_invoice": invoice, "status": if is_paid { "active" } else { "incomplete" }}));
        (200, self.get(&id))
    }

    fn invoice(&mut self, subscription: &str, reason: &str, form: &Form) -> Value {
        let (from, to) = (now_s(), now_s() + PERIOD_S);
        let line = json!({
            "id": "il_1", "amount": 59_900, "period": {"start": from, "end": to},
            "pricing": {"price_details": {"price": "price_pro", "product": "prod_pro"}},
            "parent": {"type": "subscription_item_details",
                       "subscription_item_details": {"subscription": subscription, "proration": false}},
        });
        let metadata = self.get(subscription)["metadata"].clone();
        let invoice = self.add(
            "in",
            "invoice",
            json!({
                "customer": form.text("customer"), "billing_reason": reason, "status": "open", "amount_due": 59_900,
                "amount_paid": 0, "currency": "usd", "lines": {"object": "list", "data": [line]},
                "parent": {"type": "subscription_details",
                           "subscription_details": {"subscription": subscription, "metadata": metadata}},
            }),
        );
        let id = invoice["id"].as_str().expect("an id").to_owned();
        let (status, answer) = self.pay(form, Some(&id));
        let intent = if status == 200 { answer } else { answer["error"]["payment_intent"].clone() };
        let is_paid = intent["status"] == "succeeded";
        let payments =
            json!({"object": "list", "data": [{"payment": {"type": "payment_intent", "payment_intent": intent}}]});
        self.set(&id, &json!({"payments": payments}));
        if is_paid {
            self.set(&id, &json!({"status": "paid", "amount_paid": 59_900}));
        }
        self.get(&id)
    }
}
