//! Scenarios at Stripe, as events.
//!
//! Each scenario is a few events about one customer. The load delivers every event two to four times, in an order
//! independent of the order here.

use super::record::{Customer, Expected, Invoice, Record};
use crate::stripe::{event, id, pro_invoice, pro_subscription};
use crate::unique::unique;
use bursar_engine::domain::webhook::fallback_external_id;
use bursar_engine::ids::CustomerId;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// The end of an event whose customer does not exist. If the database was down at the last attempt, the last error
/// says so instead.
const NO_CUSTOMER: Expected = Expected::Dead(&["customer_unknown", "the database is unavailable"]);

/// An event to deliver.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its number in the record.
    pub event: usize,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Whether it is signed with a wrong secret.
    pub is_forged: bool,
}

/// Generates one scenario, for this customer unless it is about an unknown one.
pub fn tell(record: &Record, customer: &Customer, rng: &mut StdRng) -> Vec<Parcel> {
    let mut teller = Teller { record, customer, parcels: Vec::new() };
    match rng.random_range(0..100) {
        0..30 => teller.payment(),
        30..40 => teller.late_payment(),
        40..46 => teller.failed_payment(),
        46..58 => teller.life(rng.random_bool(0.5)),
        58..68 => teller.other_business(rng),
        68..74 => teller.other_invoice(rng),
        74..82 => teller.stranger(rng),
        82..94 => teller.unreadable(rng),
        _ => teller.forged(),
    }
    teller.parcels
}

struct Teller<'a> {
    record: &'a Record,
    customer: &'a Customer,
    parcels: Vec<Parcel>,
}

impl Teller<'_> {
    fn send(&mut self, event: &Value, expected: Expected) {
        self.send_bytes(event.to_string().into_bytes(), id(event).to_owned(), describe(event), expected);
    }

    fn send_bytes(&mut self, body: Vec<u8>, external_id: String, what: String, expected: Expected) {
        let event = self.record.event(external_id, what, expected);
        self.parcels.push(Parcel { event, body, is_forged: expected == Expected::Absent });
    }

    fn happen(&mut self, event_type: &str, object: &Value) {
        self.send(&event(event_type, object), Expected::Processed);
    }

    fn invoice(&mut self, brings_credits: bool) -> Value {
        let invoice = pro_invoice(&self.customer.stripe_id, Some(&self.customer.id));
        self.note(&invoice, brings_credits);
        invoice
    }

    fn note(&mut self, invoice: &Value, brings_credits: bool) {
        let noted = Invoice { id: id(invoice).to_owned(), customer: self.customer.n, brings_credits };
        self.record.known().invoices.push(noted);
    }

    /// One payment, announced by two event types.
    fn payment(&mut self) {
        let invoice = self.invoice(true);
        self.happen("invoice.paid", &invoice);
        self.happen("invoice.payment_succeeded", &invoice);
    }

    /// A payment that fails first and succeeds later.
    fn late_payment(&mut self) {
        let invoice = self.invoice(true);
        self.happen("invoice.payment_failed", &unpaid(&invoice));
        self.happen("invoice.paid", &invoice);
        self.happen("invoice.payment_succeeded", &invoice);
    }

    /// A payment that fails permanently.
    fn failed_payment(&mut self) {
        let invoice = self.invoice(false);
        self.happen("invoice.payment_failed", &unpaid(&invoice));
    }

    /// A subscription from its first payment on, optionally to its end.
    fn life(&mut self, ends: bool) {
        let Customer { stripe_id, id, .. } = self.customer;
        self.happen("customer.subscription.created", &pro_subscription(stripe_id, Some(id), "incomplete"));
        self.payment();
        self.happen("customer.subscription.updated", &pro_subscription(stripe_id, Some(id), "active"));
        self.happen("customer.subscription.updated", &pro_subscription(stripe_id, Some(id), "past_due"));
        if ends {
            self.record.known().ended.insert(self.customer.n);
            self.happen("customer.subscription.deleted", &pro_subscription(stripe_id, Some(id), "canceled"));
        }
    }

    /// Event types that the application ignores.
    fn other_business(&mut self, rng: &mut StdRng) {
        const TYPES: [&str; 4] = ["charge.succeeded", "payout.paid", "customer.updated", "made.up"];
        for _ in 0..rng.random_range(1..=3) {
            let object = json!({ "id": format!("ch_{}", unique()), "customer": self.customer.stripe_id });
            self.happen(TYPES[rng.random_range(0..TYPES.len())], &object);
        }
    }

    /// Invoices that grant no credits.
    fn other_invoice(&mut self, rng: &mut StdRng) {
        let mut invoice = self.invoice(false);
        match rng.random_range(0..3) {
            0 => invoice["billing_reason"] = json!("manual"),
            1 => invoice["amount_paid"] = json!(0),
            _ => {
                let price = &mut invoice["lines"]["data"][0]["pricing"]["price_details"]["price"];
                *price = json!({ "id": "price_other", "object": "price", "lookup_key": "other", "metadata": {} });
            }
        }
        self.happen("invoice.paid", &invoice);
        self.happen("invoice.payment_succeeded", &invoice);
    }

    /// Events about customers that do not exist.
    fn stranger(&mut self, rng: &mut StdRng) {
        let named = rng.random_bool(0.5).then(|| CustomerId::new().to_string());
        let stripe_id = format!("cus_{}", unique());
        let invoice = pro_invoice(&stripe_id, named.as_deref());
        self.send(&event("invoice.paid", &invoice), NO_CUSTOMER);
        if rng.random_bool(0.5) {
            let subscription = pro_subscription(&stripe_id, named.as_deref(), "active");
            self.send(&event("customer.subscription.created", &subscription), NO_CUSTOMER);
        }
    }

    /// Events that are signed but cannot be processed.
    fn unreadable(&mut self, rng: &mut StdRng) {
        let garbage = |teller: &mut Self, bytes: Vec<u8>| {
            let external_id = fallback_external_id(&bytes);
            let what = format!("garbage of {} bytes", bytes.len());
            teller.send_bytes(bytes, external_id, what, Expected::Dead(&["unreadable"]));
        };
        match rng.random_range(0..6) {
            0 => garbage(self, (0..rng.random_range(16..200)).map(|_| rng.random()).collect()),
            1 => garbage(self, json!({ "type": "invoice.paid", "n": unique() }).to_string().into_bytes()),
            2 => {
                let mut other_mode = event("invoice.paid", &self.invoice(false));
                other_mode["livemode"] = json!(true);
                self.send(&other_mode, Expected::Dead(&["wrong_mode"]));
            }
            3 => {
                let mut empty = event("invoice.paid", &json!({}));
                empty["data"] = json!({});
                self.send(&empty, Expected::Dead(&["unreadable"]));
            }
            4 => {
                let mut invoice = self.invoice(false);
                invoice["billing_reason"] = Value::Null;
                self.send(&event("invoice.paid", &invoice), Expected::Dead(&["shape_incomplete"]));
            }
            _ => {
                let mut nobodys = pro_invoice("cus_x", None);
                nobodys["customer"] = Value::Null;
                nobodys["parent"]["subscription_details"]["subscription"] = Value::Null;
                nobodys["lines"]["data"][0]["parent"] = Value::Null;
                self.send(&event("invoice.paid", &nobodys), Expected::Dead(&["customer_missing"]));
            }
        }
    }

    /// A payment that Stripe did not sign.
    fn forged(&mut self) {
        let invoice = self.invoice(false);
        self.send(&event("invoice.paid", &invoice), Expected::Absent);
    }
}

fn unpaid(invoice: &Value) -> Value {
    let mut invoice = invoice.clone();
    invoice["status"] = json!("open");
    invoice["amount_paid"] = json!(0);
    invoice
}

fn describe(event: &Value) -> String {
    let object = &event["data"]["object"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!("{} of {} of {}", text(&event["type"]), text(&object["id"]), text(&object["customer"]))
}
