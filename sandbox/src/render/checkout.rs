//! Older formats of Checkout sessions.

use super::{Shape, pull};
use serde_json::{Value, json};

/// Undoes dahlia, which renamed the modes of the page.
pub(super) fn modes_of_the_page(session: &mut Shape<'_>) {
    let older = match session.get("ui_mode").as_str() {
        Some("hosted_page") => "hosted",
        Some("embedded_page") => "embedded",
        Some("elements") => "custom",
        _ => return,
    };
    session.put("ui_mode", json!(older));
}

/// Undoes basil, which moved the shipping details from the top into the collected information.
pub(super) fn shipping_details(session: &mut Shape<'_>) {
    let collected = session.fields.get_mut("collected_information").and_then(Value::as_object_mut);
    let details = collected.and_then(|collected| collected.remove("shipping_details"));
    session.put("shipping_details", details);
}

/// Undoes 2022-08-01, which renamed `shipping` and moved the rate out of it.
pub(super) fn shipping(session: &mut Shape<'_>) {
    let details = session.take("shipping_details");
    session.put("shipping", details);
    let rate = pull(&mut session.take("shipping_cost"), &["shipping_rate"]);
    session.put("shipping_rate", rate);
}
