//! What only older versions show of an object, looked up when it is needed: [`crate::render`] takes
//! it from the object's own fields.

use crate::field::Fields;
use crate::version::Version;
use crate::world::World;
use serde_json::Value;

/// Rows of a list inside an object. Source: Stripe, "Charges": the ten latest refunds.
const ROWS_MAX: usize = 10;

/// Adds to all objects in a value what a version shows of them and the newest does not.
pub(crate) fn fill(world: &World, value: &mut Value, version: Version) {
    if version < Version::BASIL {
        walk(world, value, version);
    }
}

fn walk(world: &World, value: &mut Value, version: Version) {
    let missing = match value.text("object") {
        "invoice" => charge_of_invoice(world, value),
        "line_item" => price_of_line(world, value),
        "payment_intent" if version < Version::V2022_11_15 => charges(world, value),
        "charge" if version < Version::V2022_11_15 => refunds(world, value),
        _ => None,
    };
    if let Some((name, found)) = missing {
        value[name] = found;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(world, item, version)),
        Value::Object(fields) => {
            let inside = fields.iter_mut().filter(|(name, _)| *name != "metadata");
            inside.for_each(|(_, field)| walk(world, field, version));
        }
        _ => {}
    }
}

type Own = Option<(&'static str, Value)>;

fn charge_of_invoice(world: &World, invoice: &Value) -> Own {
    let intent = world.get(invoice.opt("_payment_intent")?)?;
    Some(("_charge", intent["latest_charge"].clone()))
}

fn price_of_line(world: &World, line: &Value) -> Own {
    let price = line["pricing"]["price_details"].opt("price")?;
    Some(("_price", world.get(price)?.clone()))
}

fn charges(world: &World, intent: &Value) -> Own {
    let id = intent.opt("id")?;
    Some(("_charges", rows(world, "charge", intent.opt("customer"), |charge| charge.text("payment_intent") == id)))
}

fn refunds(world: &World, charge: &Value) -> Own {
    let id = charge.opt("id")?;
    Some(("_refunds", rows(world, "refund", charge.opt("customer"), |refund| refund.text("charge") == id)))
}

/// The latest objects of a kind that fit, latest first.
fn rows(world: &World, kind: &str, customer: Option<&str>, fits: impl Fn(&Value) -> bool) -> Value {
    let latest: Vec<Value> = match customer {
        Some(customer) => {
            let owned = world.store.of_customer(kind, customer).rev();
            owned.filter(|row| fits(row)).take(ROWS_MAX).cloned().collect()
        }
        None => world.store.of_kind(kind).rev().filter(|row| fits(row)).take(ROWS_MAX).cloned().collect(),
    };
    Value::Array(latest)
}
