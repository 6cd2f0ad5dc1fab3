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
pub struct Delivery {
    /// Its number in the record.
    pub event: usize,
    /// Its bytes.
    pub body: Vec<u8>,
    /// Whether it is signed with a wrong secret.
    pub is_forged: bool,
}

/// Generates one scenario, for this customer unless it is about an unknown one.
pub fn generate(record: &Record, customer: &Customer, rng: &mut StdRng) -> Vec<Delivery> {
    let mut generator = Generator { record, customer, deliveries: Vec::new() };
    match rng.random_range(0..100) {
        0..30 => generator.payment(),
        30..40 => generator.late_payment(),
        40..46 => generator.failed_payment(),
        46..58 => generator.subscription_life(rng.random_bool(0.5)),
        58..68 => generator.ignored_events(rng),
        68..74 => generator.other_invoice(rng),
        74..82 => generator.unknown_customer(rng),
        82..94 => generator.unreadable(rng),
        _ => generator.forged(),
    }
    generator.deliveries
}

struct Generator<'a> {
    record: &'a Record,
    customer: &'a Customer,
    deliveries: Vec<Delivery>,
}

impl Generator<'_> {
    fn send(&mut self, event: &Value, expected: Expected) {
        self.send_bytes(event.to_string().into_bytes(), id(event).to_owned(), describe(event), expected);
    }

    fn send_bytes(&mut self, body: Vec<u8>, external_id: String, what: String, expected: Expected) {
        let event = self.record.event(external_id, what, expected);
        self.deliveries.push(Delivery { event, body, is_forged: expected == Expected::Absent });
    }

    fn send_processed(&mut self, event_type: &str, object: &Value) {
        self.send(&event(event_type, object), Expected::Processed);
    }

    fn invoice(&mut self, brings_credits: bool) -> Value {
        let invoice = pro_invoice(&self.customer.stripe_id, Some(&self.customer.id));
        self.record_invoice(&invoice, brings_credits);
        invoice
    }

    fn record_invoice(&mut self, invoice: &Value, brings_credits: bool) {
        let recorded = Invoice { id: id(invoice).to_owned(), customer: self.customer.n, brings_credits };
        self.record.lock().invoices.push(recorded);
    }

    /// One payment, announced by two event types.
    fn payment(&mut self) {
        let invoice = self.invoice(true);
        self.send_processed("invoice.paid", &invoice);
        self.send_processed("invoice.payment_succeeded", &invoice);
    }

    /// A payment that fails first and succeeds later.
    fn late_payment(&mut self) {
        let invoice = self.invoice(true);
        self.send_processed("invoice.payment_failed", &unpaid(&invoice));
        self.send_processed("invoice.paid", &invoice);
        self.send_processed("invoice.payment_succeeded", &invoice);
    }

    /// A payment that fails permanently.
    fn failed_payment(&mut self) {
        let invoice = self.invoice(false);
        self.send_processed("invoice.payment_failed", &unpaid(&invoice));
    }

    /// A subscription from its first payment on, optionally to its end.
    fn subscription_life(&mut self, ends: bool) {
        let Customer { stripe_id, id, .. } = self.customer;
        self.send_processed("customer.subscription.created", &pro_subscription(stripe_id, Some(id), "incomplete"));
        self.payment();
        self.send_processed("customer.subscription.updated", &pro_subscription(stripe_id, Some(id), "active"));
        self.send_processed("customer.subscription.updated", &pro_subscription(stripe_id, Some(id), "past_due"));
        if ends {
            self.record.lock().ended.insert(self.customer.n);
            self.send_processed("customer.subscription.deleted", &pro_subscription(stripe_id, Some(id), "canceled"));
        }
    }

    /// Event types that the application ignores.
    fn ignored_events(&mut self, rng: &mut StdRng) {
        const TYPES: [&str; 4] = ["charge.succeeded", "payout.paid", "customer.updated", "made.up"];
        for _ in 0..rng.random_range(1..=3) {
            let object = json!({ "id": format!("ch_{}", unique()), "customer": self.customer.stripe_id });
            self.send_processed(TYPES[rng.random_range(0..TYPES.len())], &object);
        }
    }

    /// Invoices that grant no credits.
    fn other_invoice(&mut self, rng: &mut StdRng) {
        let mut invoice = self.invoice(false);
        match rng.random_range(0..3) {
            0 => {
                let details = &mut invoice["lines"]["data"][0]["parent"]["subscription_item_details"];
                details["proration"] = json!(true);
            }
            1 => invoice["total"] = json!(0),
            _ => {
                let price = &mut invoice["lines"]["data"][0]["pricing"]["price_details"]["price"];
                *price = json!({ "id": "price_other", "object": "price", "lookup_key": "other", "metadata": {} });
            }
        }
        self.send_processed("invoice.paid", &invoice);
        self.send_processed("invoice.payment_succeeded", &invoice);
    }

    /// Events about customers that do not exist.
    fn unknown_customer(&mut self, rng: &mut StdRng) {
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
        let garbage = |generator: &mut Self, bytes: Vec<u8>| {
            let external_id = fallback_external_id(&bytes);
            let what = format!("garbage of {} bytes", bytes.len());
            generator.send_bytes(bytes, external_id, what, Expected::Dead(&["unreadable"]));
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
                invoice["status"] = Value::Null;
                self.send(&event("invoice.paid", &invoice), Expected::Dead(&["shape_incomplete"]));
            }
            _ => {
                let mut without_customer = pro_invoice("cus_x", None);
                without_customer["customer"] = Value::Null;
                without_customer["parent"]["subscription_details"]["subscription"] = Value::Null;
                without_customer["lines"]["data"][0]["parent"] = Value::Null;
                self.send(&event("invoice.paid", &without_customer), Expected::Dead(&["customer_missing"]));
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
