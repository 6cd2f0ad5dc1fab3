//! Adds data that only older versions show and that must be looked up. [`crate::render`] takes it from the object's
//! own fields.

use crate::account::StripeAccount;
use crate::field::Fields;
use crate::version::Version;
use serde_json::Value;

/// Rows of a list inside an object. Source: Stripe, "Charges": the ten latest refunds.
const ROWS_MAX: usize = 10;

/// Adds to all objects in a value the fields that `version` has and the newest version lacks.
pub(crate) fn add(account: &StripeAccount, value: &mut Value, version: Version) {
    if version < Version::BASIL {
        add_to_objects(account, value, version);
    }
}

fn add_to_objects(account: &StripeAccount, value: &mut Value, version: Version) {
    let missing = match value.text("object") {
        "invoice" => charge_of_invoice(account, value),
        "line_item" => price_of_line(account, value),
        "payment_intent" if version < Version::V2022_11_15 => charges(account, value),
        "charge" if version < Version::V2022_11_15 => refunds(account, value),
        _ => None,
    };
    if let Some((name, found)) = missing {
        value[name] = found;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| add_to_objects(account, item, version)),
        Value::Object(fields) => {
            let nested = fields.iter_mut().filter(|(name, _)| *name != "metadata");
            nested.for_each(|(_, field)| add_to_objects(account, field, version));
        }
        _ => {}
    }
}

type InternalField = Option<(&'static str, Value)>;

/// The charge of the invoice once it was attempted: an event may be older than the charge.
fn charge_of_invoice(account: &StripeAccount, invoice: &Value) -> InternalField {
    let intent = account.get(invoice.opt("_payment_intent")?)?;
    invoice.is("attempted").then(|| ("_charge", intent["latest_charge"].clone()))
}

fn price_of_line(account: &StripeAccount, line: &Value) -> InternalField {
    let price = line["pricing"]["price_details"].opt("price")?;
    Some(("_price", account.get(price)?.clone()))
}

/// The charges up to the PaymentIntent's latest, newest first.
fn charges(account: &StripeAccount, intent: &Value) -> InternalField {
    let id = intent.opt("id")?;
    let latest = intent.opt("latest_charge").or_else(|| intent["latest_charge"].opt("id"))?;
    let charges = owned(account, "charge", intent).into_iter().rev();
    let charges = charges.filter(|charge| charge.text("payment_intent") == id);
    let charges = charges.skip_while(|charge| charge.id() != latest).take(ROWS_MAX);
    Some(("_charges", charges.cloned().collect()))
}

/// The refunds that add up to the charge's refunded amount, newest first.
fn refunds(account: &StripeAccount, charge: &Value) -> InternalField {
    let id = charge.opt("id")?;
    let mut left = charge.int("amount_refunded");
    let refunds = owned(account, "refund", charge).into_iter().filter(|refund| refund.text("charge") == id);
    let refunds = refunds.filter(|refund| !matches!(refund.text("status"), "failed" | "canceled"));
    let included = refunds.take_while(|refund| {
        left -= refund.int("amount");
        left >= 0
    });
    let included: Vec<&Value> = included.collect();
    Some(("_refunds", included.into_iter().rev().take(ROWS_MAX).cloned().collect()))
}

/// The objects of a kind that belong to the same customer, oldest first.
fn owned<'a>(account: &'a StripeAccount, kind: &str, object: &Value) -> Vec<&'a Value> {
    match object.opt("customer") {
        Some(customer) => account.store.of_customer(kind, customer).collect(),
        None => account.store.of_kind(kind).collect(),
    }
}
