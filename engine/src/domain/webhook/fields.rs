//! The fields of Stripe's objects that the rules use, read in every API version.
//!
//! An event is rendered in the API version of its endpoint, and fields moved from version to version. The readers look
//! in every place that ever held a field, whatever `api_version` says, and return `None` where there is nothing; the
//! rules decide what that means. They never fail and never panic.
//!
//! * [`InvoiceFields`], [`Line`]: invoices and their lines.
//! * [`SubscriptionFields`], [`Item`]: subscriptions and their items.
//! * [`CreditNoteFields`]: credit notes.
//! * [`PaymentIntentFields`], [`ChargeFields`], [`DisputeFields`], [`PaymentMethodFields`]: payments.
//! * [`Price`]: what is said of the price of a line or an item.

mod credit_note;
mod invoice;
mod payment;
mod price;
mod subscription;

pub use credit_note::CreditNoteFields;
pub use invoice::{InvoiceFailure, InvoiceFields, Line, created_ms, without_next_attempt};
pub use payment::{ChargeFields, DisputeFields, PaymentIntentFields, PaymentMethodFields};
pub use price::{PLAN_METADATA_KEY, PRICE_METADATA_KEY, Price, has_our_tag, tagged_plan, tagged_price};
pub use subscription::{Item, Schedule, SubscriptionFields};

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::ids::CustomerId;
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest identifier that is taken, in characters. Source: Stripe, "Upgrades": object ids never
/// exceed 255 characters.
pub const ID_LEN_MAX: usize = 255;
/// The key under which our own calls to Stripe leave our customer's id in an object's metadata.
pub const CUSTOMER_METADATA_KEY: &str = "bursar_customer_id";
/// The metadata key under which an operation leaves its id at Stripe.
pub const OPERATION_METADATA_KEY: &str = "bursar_operation_id";
/// The metadata key under which it leaves the number of its round.
pub const ROUND_METADATA_KEY: &str = "bursar_round";
/// The metadata key under which a subscription, or its schedule, names the operation that changed it last.
pub const CHANGE_METADATA_KEY: &str = "bursar_change";

/// Metadata of an object: the entries that are text.
pub type Metadata = BTreeMap<String, String>;

/// The Stripe customer that an object is, belongs to, or names in an object inside it.
pub fn stripe_customer_id(object: &Value) -> Option<String> {
    if object["object"] == "customer" {
        return id(&object["id"]);
    }
    // What has no customer of its own (a dispute, an invoice payment) may carry one that has.
    const INSIDE: [&str; 6] = ["payment_intent", "charge", "invoice", "subscription", "setup_intent", "payment_method"];
    id(&object["customer"]).or_else(|| INSIDE.iter().find_map(|key| id(&object[*key]["customer"])))
}

/// The customer that metadata names, if it is an identifier of ours at all.
pub fn bursar_customer_id(metadata: &Metadata) -> Option<String> {
    let text = metadata.get(CUSTOMER_METADATA_KEY)?;
    CustomerId::parse(text).is_ok().then(|| text.clone())
}

/// An identifier: itself, or that of the object in its place where Stripe was asked to expand it.
/// One that is too long or has control characters is none: cutting it could make two alike.
pub fn id(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value["id"].as_str())?;
    let is_sound = !text.is_empty() && !text.chars().any(char::is_control) && text.chars().count() <= ID_LEN_MAX;
    is_sound.then(|| text.to_owned())
}

/// A short text such as a status or a code.
fn short_text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(|text| clean(text, ID_LEN_MAX))
}

/// Text without control characters (Postgres text takes no NUL), cut to `len_max` characters.
pub(crate) fn clean(text: &str, len_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(len_max).collect()
}

/// Reads an amount, which Stripe always gives in minor units.
fn money(value: &Value) -> Option<MoneyMinor> {
    value.as_i64().map(MoneyMinor)
}

/// Adds amounts. No real ones come near the largest number, at which the sum stays.
fn saturating_sum(amounts: impl Iterator<Item = MoneyMinor>) -> MoneyMinor {
    amounts.fold(MoneyMinor::ZERO, |sum, amount| MoneyMinor(sum.0.saturating_add(amount.0)))
}

/// The last second of the year 9999, which is the last that RFC 3339 can write. Times beyond it are taken for it, so
/// that days and months can be added to every time.
const TIME_S_MAX: i64 = 253_402_300_799;

/// Reads a time, which Stripe gives in seconds.
pub fn time_ms(value: &Value) -> Option<TimeMs> {
    value.as_i64().map(|seconds| seconds.clamp(0, TIME_S_MAX) * 1_000)
}

/// The rows of a list, given as Stripe's list object or as a bare array.
pub fn rows(value: &Value) -> &[Value] {
    value["data"].as_array().or_else(|| value.as_array()).map_or(&[], Vec::as_slice)
}

/// The metadata of the object itself.
pub fn metadata_of(object: &Value) -> Metadata {
    let mut metadata = Metadata::new();
    add_metadata(&mut metadata, &object["metadata"]);
    metadata
}

/// Adds what `value` says; what is there already stays.
fn add_metadata(metadata: &mut Metadata, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        if let Some(text) = value.as_str() {
            metadata.entry(key.clone()).or_insert_with(|| text.to_owned());
        }
    }
}

fn push_new(list: &mut Vec<String>, text: Option<String>) {
    if let Some(text) = text
        && !list.contains(&text)
    {
        list.push(text);
    }
}

#[cfg(test)]
mod tests;
