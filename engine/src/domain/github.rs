//! GitHub's webhooks: from signed bytes to what is said of a Marketplace purchase. Pure, like
//! [`crate::domain::webhook`] for Stripe's.
//!
//! * [`signature`]: whether the bytes come from GitHub. Asked once, at intake.
//! * [`mod@purchase`]: what a `marketplace_purchase` event says.
//!
//! Source: GitHub, "Webhook events and payloads" and "Webhook events for the GitHub Marketplace API".
//! Unlike Stripe, GitHub names the event and the delivery in headers, which it does not sign, puts no
//! time into its signature, and sends a failed delivery only again when a person asks it to, under the
//! delivery's old id. So what an event changes must not depend on how often or when it comes.

pub mod delivery;
pub mod purchase;
pub mod signature;

pub use purchase::{Action, Purchase, action, purchase};
pub use signature::{check_header, sign, verify};

use serde_json::Value;
use std::borrow::Cow;

/// What `X-GitHub-Event` says of an event of the Marketplace.
pub const PURCHASE_EVENT: &str = "marketplace_purchase";
/// What the body of a webhook of content type `application/x-www-form-urlencoded` begins with.
const FORM_PREFIX: &[u8] = b"payload=";

/// The stream of what is told of one GitHub account.
pub fn stream_key(account_id: i64) -> String {
    format!("github:{account_id}")
}

/// An id for a delivery of our own making, in the form of GitHub's.
pub fn delivery_new() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Reads a body as JSON. A webhook can be set to either content type; with
/// `application/x-www-form-urlencoded` the JSON is the form's field `payload`.
///
/// # Errors
/// Why it cannot be read.
pub fn body_json(body: &[u8]) -> Result<Value, String> {
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
        let plain = body_json(br#"{"action":"purchased","n":"a b&c"}"#).expect("JSON");
        let form = b"payload=%7B%22action%22%3A%22purchased%22%2C%22n%22%3A%22a+b%26c%22%7D";
        assert_eq!(body_json(form).expect("a form"), plain);
    }

    #[test]
    fn what_is_no_object_is_unreadable_with_a_reason() {
        for body in [&b""[..], b"payload=", b"payload=%7B", b"[]", b"7", b"\xff", b"payload=[]"] {
            assert!(!body_json(body).expect_err("unreadable").is_empty());
        }
    }

    #[test]
    fn no_two_deliveries_of_our_own_making_have_one_id() {
        assert_ne!(delivery_new(), delivery_new());
    }
}
