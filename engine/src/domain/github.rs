//! GitHub's webhooks: from signed bytes to the contents of a Marketplace event. Pure, like
//! [`crate::domain::webhook`] for Stripe's.
//!
//! * [`signature`]: whether GitHub sent the bytes. Checked once, at intake.
//! * [`mod@purchase`]: the contents of a `marketplace_purchase` event.
//!
//! Source: GitHub, "Webhook events and payloads" and "Webhook events for the GitHub Marketplace API".
//! Unlike Stripe, GitHub puts event type and delivery id into unsigned headers, signs no time, and repeats a failed
//! delivery only on request and under its old id. So an event's effect must not depend on its number of deliveries
//! or their time.

pub mod delivery;
pub mod purchase;
pub mod signature;

pub use purchase::{Action, Purchase, read_action, read_purchase};
pub use signature::{check_header, sign, verify};

use serde_json::Value;
use std::borrow::Cow;

/// The `X-GitHub-Event` of Marketplace events.
pub const PURCHASE_EVENT: &str = "marketplace_purchase";
/// Prefix of a webhook's body with content type `application/x-www-form-urlencoded`.
const FORM_PREFIX: &[u8] = b"payload=";

/// The stream of one GitHub account's events.
pub fn stream_key(account_id: i64) -> String {
    format!("github:{account_id}")
}

/// Generates a delivery id in GitHub's form, for events that Bursar makes.
pub fn new_delivery_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Parses a body as JSON. A webhook uses one of two content types; with `application/x-www-form-urlencoded` the
/// JSON is in the form field `payload`.
///
/// # Errors
/// Why it is unreadable.
pub fn parse_body(body: &[u8]) -> Result<Value, String> {
    let json: Cow<'_, [u8]> = if body.starts_with(FORM_PREFIX) {
        let field = form_urlencoded::parse(body).find(|(name, _)| name == "payload");
        field.map_or(Cow::Borrowed(body), |(_, text)| Cow::Owned(text.into_owned().into_bytes()))
    } else {
        Cow::Borrowed(body)
    };
    let value: Value = serde_json::from_slice(&json).map_err(|error| format!("not JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("not a JSON object".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_in_either_content_type() {
        let plain = parse_body(br#"{"action":"purchased","n":"a b&c"}"#).expect("JSON");
        let form = b"payload=%7B%22action%22%3A%22purchased%22%2C%22n%22%3A%22a+b%26c%22%7D";
        assert_eq!(parse_body(form).expect("a form"), plain);
    }

    #[test]
    fn what_is_no_object_is_unreadable_with_a_reason() {
        for body in [&b""[..], b"payload=", b"payload=%7B", b"[]", b"7", b"\xff", b"payload=[]"] {
            assert!(!parse_body(body).expect_err("unreadable").is_empty());
        }
    }

    #[test]
    fn no_two_deliveries_of_our_own_making_have_one_id() {
        assert_ne!(new_delivery_id(), new_delivery_id());
    }
}
