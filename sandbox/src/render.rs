//! Converts objects from the newest format, in which they are stored, to an older one.
//!
//! Each `BreakingChange` undoes one of Stripe's. They are applied from the newest to the oldest. As at Stripe, fields
//! that a version only added stay in older versions. A field that moved is removed from its new place. Stripe sometimes
//! shows both, but one is the harder test for a reader.
//!
//! Fields whose names begin with `_` are internal and never rendered. Some contain data that only older versions show:
//!
//! | object | internal fields that are read here |
//! |---|---|
//! | `invoice` | `_payment_intent`, `_charge`, `_discount`, `_paid_out_of_band` |
//! | `line_item` | `_price`: the whole price |
//! | `payment_intent` | `_invoice`, `_charges`: an array of whole charges |
//! | `charge` | `_invoice`, `_refunds`: an array of whole refunds |
//! | `subscription` | `_discount` |

mod checkout;
mod invoice;
mod line;
mod payment;
mod price;
mod subscription;

use crate::version::Version;
use serde_json::{Map, Value, json};

/// Deepest nesting of objects that is rendered. Deeper ones stay unchanged.
const DEPTH_MAX: usize = 64;

/// Undoes one of Stripe's breaking changes to one kind of object.
struct BreakingChange {
    /// The first version with the newer format.
    until: Version,
    /// The kind, the object's `object`.
    kind: &'static str,
    /// Converts to the older format.
    undo: fn(&mut Shape<'_>),
}

const fn until(until: Version, kind: &'static str, undo: fn(&mut Shape<'_>)) -> BreakingChange {
    BreakingChange { until, kind, undo }
}

/// All breaking changes, newest first.
const BREAKING_CHANGES: &[BreakingChange] = &[
    until(Version::DAHLIA, "checkout.session", checkout::modes_of_the_page),
    until(Version::CLOVER_2025_12_15, "line_item", line::price_by_id),
    until(Version::CLOVER, "discount", price::coupon_in_discount),
    until(Version::BASIL, "line_item", line::what_is_billed),
    until(Version::BASIL, "line_item", line::price_and_plan),
    until(Version::BASIL, "line_item", line::taxes),
    until(Version::BASIL, "invoice", invoice::subscription),
    until(Version::BASIL, "invoice", invoice::payment),
    until(Version::BASIL, "invoice", invoice::taxes),
    until(Version::BASIL, "invoice", invoice::discount),
    until(Version::BASIL, "price", price::aggregate_usage),
    until(Version::BASIL, "subscription_item", subscription::plan_of_item),
    until(Version::BASIL, "subscription", subscription::plan),
    until(Version::BASIL, "subscription", subscription::period),
    until(Version::BASIL, "subscription", subscription::discount),
    until(Version::BASIL, "payment_intent", payment::invoice),
    until(Version::BASIL, "charge", payment::invoice),
    until(Version::BASIL, "credit_note", payment::refund_of_note),
    until(Version::BASIL, "checkout.session", checkout::shipping_details),
    until(Version::V2024_04_10, "invoice", invoice::rendering_options),
    until(Version::V2024_04_10, "product", price::features),
    until(Version::V2022_11_15, "payment_intent", payment::charges),
    until(Version::V2022_11_15, "charge", payment::refunds),
    until(Version::V2022_08_01, "checkout.session", checkout::shipping),
];

/// Converts an object, a list of objects, or an event with its object to a version.
pub fn render(object: &mut Value, version: Version) {
    walk(object, &Place { version, kind: None, is_part: false, depth: 0 });
}

/// The position of the traversal.
struct Place<'a> {
    version: Version,
    /// The kind of the value, if it does not say so itself.
    kind: Option<&'a str>,
    /// Whether it contains only the changed fields of an object.
    is_part: bool,
    depth: usize,
}

fn walk(value: &mut Value, place: &Place<'_>) {
    if place.depth >= DEPTH_MAX {
        return;
    }
    match value {
        Value::Array(values) => {
            let inside = Place { depth: place.depth + 1, kind: None, ..*place };
            values.iter_mut().for_each(|value| walk(value, &inside));
        }
        Value::Object(fields) => walk_object(fields, place),
        _ => {}
    }
}

fn walk_object(fields: &mut Map<String, Value>, place: &Place<'_>) {
    let own = fields.get("object").and_then(Value::as_str).map(str::to_owned);
    let kind = own.as_deref().or(place.kind);
    if kind == Some("event") {
        return event(fields, place);
    }
    for (key, value) in fields.iter_mut() {
        // Metadata is the customer's own and may look like anything.
        if key != "metadata" {
            let is_part = place.is_part && own.is_none();
            walk(value, &Place { version: place.version, kind: None, is_part, depth: place.depth + 1 });
        }
    }
    let mut own_fields = take_own(fields);
    let is_complete = !(place.is_part && own.is_none()) && fields.get("deleted") != Some(&Value::Bool(true));
    if kind == Some("list") && place.depth > 0 && place.version < Version::BASIL {
        count(fields);
    }
    for rule in BREAKING_CHANGES.iter().filter(|rule| Some(rule.kind) == kind && place.version < rule.until) {
        (rule.undo)(&mut Shape { fields, own_fields: &mut own_fields, is_complete });
    }
}

/// An event names its version. `previous_attributes` is a part of its object.
fn event(fields: &mut Map<String, Value>, place: &Place<'_>) {
    take_own(fields);
    fields.insert("api_version".to_owned(), json!(place.version.as_str()));
    let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) else { return };
    let kind = data.get("object").and_then(|object| object["object"].as_str()).map(str::to_owned);
    let depth = place.depth + 2;
    if let Some(object) = data.get_mut("object") {
        walk(object, &Place { version: place.version, kind: None, is_part: false, depth });
    }
    if let Some(previous) = data.get_mut("previous_attributes") {
        walk(previous, &Place { version: place.version, kind: kind.as_deref(), is_part: true, depth });
    }
}

/// Removes the internal fields.
fn take_own(fields: &mut Map<String, Value>) -> Map<String, Value> {
    let names: Vec<String> = fields.keys().filter(|name| name.starts_with('_')).cloned().collect();
    names.into_iter().filter_map(|name| fields.remove_entry(&name)).collect()
}

/// Until basil, lists inside objects had a `total_count`.
fn count(list: &mut Map<String, Value>) {
    let len = list.get("data").and_then(Value::as_array).map(Vec::len);
    if let (Some(len), Some(Value::Bool(false))) = (len, list.get("has_more")) {
        list.insert("total_count".to_owned(), json!(len));
    }
}

/// An object during its conversion.
struct Shape<'a> {
    fields: &'a mut Map<String, Value>,
    /// The internal fields.
    own_fields: &'a mut Map<String, Value>,
    /// Whether the object is complete. Changed fields and deleted objects are not.
    is_complete: bool,
}

impl Shape<'_> {
    /// A field, null if it is missing.
    fn get(&self, key: &str) -> &Value {
        self.fields.get(key).unwrap_or(&Value::Null)
    }

    /// Removes an internal field.
    fn own(&mut self, key: &str) -> Option<Value> {
        self.own_fields.remove(key).filter(|value| !value.is_null())
    }

    /// Adds a field. `None` becomes null in a complete object and is left out otherwise.
    fn put(&mut self, key: &str, value: impl Into<Option<Value>>) {
        match value.into().filter(|value| !value.is_null()) {
            Some(value) => drop(self.fields.insert(key.to_owned(), value)),
            None if self.is_complete => drop(self.fields.insert(key.to_owned(), Value::Null)),
            None => {}
        }
    }

    /// Removes a field.
    fn take(&mut self, key: &str) -> Value {
        self.fields.remove(key).unwrap_or(Value::Null)
    }
}

/// Removes the value at a path, null if there is none.
fn pull(value: &mut Value, path: &[&str]) -> Value {
    let inside = path.iter().try_fold(value, |value, key| value.get_mut(*key));
    inside.map(Value::take).unwrap_or_default()
}

/// A list object inside an object.
fn list(data: Vec<Value>, url: String) -> Value {
    json!({"object": "list", "total_count": data.len(), "data": data, "has_more": false, "url": url})
}

#[cfg(test)]
mod tests;
