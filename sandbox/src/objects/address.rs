//! Addresses in other objects.

use crate::form::Form;
use serde_json::{Map, Value, json};

/// An address. Missing parts are null.
pub(crate) fn address(form: &Form) -> Value {
    let parts = ["city", "country", "line1", "line2", "postal_code", "state"];
    Value::Object(Map::from_iter(parts.map(|part| (part.to_owned(), form.nullable(part)))))
}

/// A shipping address.
pub(crate) fn shipping(form: &Form) -> Value {
    json!({
        "address": address(&form.part("address")), "carrier": form.nullable("carrier"), "name": form.nullable("name"),
        "phone": form.nullable("phone"), "tracking_number": form.nullable("tracking_number"),
    })
}

/// The payer's name and address.
pub(crate) fn billing_details(form: &Form) -> Value {
    json!({
        "address": address(&form.part("address")), "email": form.nullable("email"), "name": form.nullable("name"),
        "phone": form.nullable("phone"), "tax_id": null,
    })
}
