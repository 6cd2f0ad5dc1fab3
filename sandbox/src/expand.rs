//! `expand[]`: replaces ids by the objects that they name. Source: Stripe, "Expanding Responses".

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::page;
use serde_json::{Value, json};

/// Maximum number of paths of one call.
const PATHS_MAX: usize = 50;
/// Maximum number of levels of one path. Source: Stripe, "Expanding Responses": four, including the `data` of a list.
const LEVELS_MAX: usize = 4;

/// Expands an answer along paths such as `data.customer` or `latest_invoice.payments`.
pub(crate) fn expand(account: &StripeAccount, answer: &mut Value, paths: &[String]) -> Result<(), ApiError> {
    if paths.len() > PATHS_MAX {
        return Err(ApiError::invalid("parameter_invalid_string", Some("expand"), "Too many paths to expand."));
    }
    let levels = |path: &String| path.split('.').count();
    if let Some(path) = paths.iter().find(|path| levels(path) > LEVELS_MAX) {
        let message = format!("You cannot expand more than {LEVELS_MAX} levels of a property. Property: {path}");
        return Err(ApiError::invalid("property_expansion_max_depth", Some("expand"), &message));
    }
    // Shorter paths first: `a.b` needs the expanded `a`.
    let mut paths: Vec<&String> = paths.iter().collect();
    paths.sort_by_key(|path| levels(path));
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        if !walk(account, answer, &parts) {
            let message = format!("This property cannot be expanded ({path}).");
            return Err(ApiError::invalid("property_cannot_be_expanded", Some("expand"), &message));
        }
    }
    Ok(())
}

/// Whether the path leads to something that can be expanded.
fn walk(account: &StripeAccount, value: &mut Value, parts: &[&str]) -> bool {
    let Some((first, rest)) = parts.split_first() else { return true };
    if let Value::Array(items) = value {
        // Any path is valid in an empty list.
        return items.iter_mut().all(|item| walk(account, item, parts));
    }
    if let Some(included) = include(account, value, first)
        && !value[*first].is_object()
    {
        value[*first] = included;
    }
    match value.get_mut(*first) {
        None => false,
        // Any path is valid below a field that is null.
        Some(Value::Null) => true,
        Some(Value::String(id)) => match account.get(id) {
            Some(object) => {
                let mut object = object.clone();
                let fine = walk(account, &mut object, rest);
                value[*first] = object;
                fine
            }
            None => false,
        },
        Some(Value::Array(items)) if rest.is_empty() => {
            for item in items {
                if let Some(object) = item.as_str().and_then(|id| account.get(id)) {
                    *item = object.clone();
                }
            }
            true
        }
        Some(below) => walk(account, below, rest),
    }
}

/// Fields that an object has only when they are expanded.
fn include(account: &StripeAccount, object: &Value, field: &str) -> Option<Value> {
    let id = object.id();
    let of_this = |kind: &str, by: &str, url: String| {
        let rows = account.store.of_customer(kind, object.text("customer")).rev();
        let rows = rows.filter(|row| row.text(by) == id).take(10);
        page::whole_list(rows.cloned().collect(), &url)
    };
    match (object.text("object"), field) {
        ("invoice", "payments") => {
            Some(of_this("invoice_payment", "invoice", format!("/v1/invoice_payments?invoice={id}")))
        }
        ("invoice", "confirmation_secret") => {
            let intent = object.opt("_payment_intent").and_then(|id| account.get(id));
            let intent = intent.filter(|_| object.text("status") == "open");
            Some(intent.map_or(
                Value::Null,
                |intent| json!({ "client_secret": intent["client_secret"], "type": "payment_intent" }),
            ))
        }
        ("charge", "refunds") => {
            let rows = account.store.of_kind("refund").rev().filter(|row| row.text("charge") == id).take(10);
            Some(page::whole_list(rows.cloned().collect(), &format!("/v1/charges/{id}/refunds")))
        }
        ("customer", "subscriptions") => {
            let rows = account.store.of_customer("subscription", id).rev();
            let rows = rows.filter(|row| !matches!(row.text("status"), "canceled" | "incomplete_expired")).take(10);
            Some(page::whole_list(rows.cloned().collect(), &format!("/v1/customers/{id}/subscriptions")))
        }
        ("customer", "sources") => {
            let rows = account.store.of_customer("card", id).rev().take(10);
            Some(page::whole_list(rows.cloned().collect(), &format!("/v1/customers/{id}/sources")))
        }
        ("invoice", "discounts") | ("checkout.session", "line_items") => object.get(field).cloned(),
        _ => None,
    }
}
