//! What the outside of an event says: which event it is, and which stream it belongs to.
//!
//! Reading is lenient: only `id` and `type` must be there, because without them there is no telling
//! two events apart. Everything else that Stripe documents as null, missing or of changing type
//! (`request`, `context`, `pending_webhooks`) is not looked at.

use super::fields::{clean, id, stripe_customer_id};
use super::kind::EventKind;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The longest external id and event type, in characters.
pub const TEXT_LEN_MAX: usize = 255;
/// What `object` says in a thin event. Source: Stripe, "Event destinations".
const THIN: &str = "v2.core.event";
/// What the id of the full form of a thin event ends with, after that event's own.
pub const FULL_FORM_SUFFIX: &str = ":object";

/// An event without its details.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Stripe's id of the event, at most [`TEXT_LEN_MAX`] characters, no control characters. Different
    /// ids stay different.
    pub external_id: String,
    /// Its type, such as `invoice.paid`; bounded in the same way.
    pub event_type: String,
    /// Its kind, a thin event's too; `None` if events of its type are not processed.
    pub kind: Option<EventKind>,
    /// Whether it comes from live mode. One that does not match the configured mode is not processed.
    pub livemode: Option<bool>,
    /// The connected account that it is about; `None` for the company's own.
    pub account: Option<String>,
    /// Whether it is a thin event, which carries no object and needs a fetch.
    pub is_thin: bool,
    /// The API version that it is rendered in, for people; the readers do not go by it.
    pub api_version: Option<String>,
    /// Of a thin event: the id of the ordinary event that announces the same thing.
    pub snapshot_event: Option<String>,
    /// Of a thin event: the id of the object that it is about.
    pub related_object_id: Option<String>,
    /// Of a thin event: where that object is found, such as `/v1/invoices/in_1`.
    pub related_object_url: Option<String>,
    /// The object that it is about, as of the event.
    pub object: Option<Value>,
}

impl Envelope {
    /// Whether we made the event ourselves, of what Stripe's lists say: no id of Stripe's has a colon. The full form of
    /// a thin event is Stripe's own.
    pub fn is_made_here(&self) -> bool {
        self.external_id.contains(':') && !self.external_id.ends_with(FULL_FORM_SUFFIX)
    }
}

/// The bytes are not an event. They are stored all the same, under [`fallback_external_id`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event cannot be read: {reason}")]
pub struct Unreadable {
    /// Why, in words.
    pub reason: String,
}

/// Reads an event.
///
/// Takes any bytes: what is not JSON, nested too deeply (128 levels, serde_json's own limit) or
/// without id or type is [`Unreadable`].
pub fn envelope(body: &[u8]) -> Result<Envelope, Unreadable> {
    let mut event: Value = serde_json::from_slice(body).map_err(|error| unreadable(format!("not JSON: {error}")))?;
    if !event.is_object() {
        return Err(unreadable("not a JSON object"));
    }
    let external_id = event["id"].as_str().and_then(unique_id).ok_or_else(|| unreadable("it has no id"))?;
    let event_type = event["type"].as_str().map(|text| clean(text, TEXT_LEN_MAX));
    let event_type = event_type.filter(|text| !text.is_empty()).ok_or_else(|| unreadable("it has no type"))?;
    let is_thin = event["object"] == THIN;
    let kind = if is_thin { EventKind::parse_thin(&event_type) } else { EventKind::parse(&event_type) };
    let object = event.pointer_mut("/data/object").map(Value::take).filter(Value::is_object);
    Ok(Envelope {
        external_id,
        event_type,
        kind,
        livemode: event["livemode"].as_bool(),
        account: id(&event["account"]),
        is_thin,
        api_version: event["api_version"].as_str().map(|text| clean(text, TEXT_LEN_MAX)),
        snapshot_event: id(&event["snapshot_event"]),
        related_object_id: id(&event["related_object"]),
        related_object_url: event["related_object"]["url"].as_str().map(|url| clean(url, TEXT_LEN_MAX)),
        object,
    })
}

/// The external id of bytes that are no event: the same bytes again are the same event.
pub fn fallback_external_id(body: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(body)))
}

/// The stream of an event: that of the charge if money comes back; that of its Stripe customer, so that what Stripe
/// tells of one customer is processed one after the other; else that of its object; else one of its own. A credit note
/// names no charge, so its event is in the customer's stream and hands over to the charge's.
pub fn stream_key(envelope: &Envelope) -> String {
    let object = envelope.object.as_ref().unwrap_or(&Value::Null);
    let money = charge_id(object);
    let key = money
        .or_else(|| stripe_customer_id(object))
        .or_else(|| id(&object["id"]))
        .or_else(|| envelope.related_object_id.clone());
    key.map_or_else(|| format!("stripe:event:{}", envelope.external_id), |key| stripe_stream(&key))
}

/// The stream of the events of a Stripe customer, or of another object at Stripe that has no customer.
pub fn stripe_stream(id: &str) -> String {
    format!("stripe:{id}")
}

/// What is refunded or disputed is one charge, whichever object says so: refunds and disputes name no
/// customer, and must not be worked out beside each other.
fn charge_id(object: &Value) -> Option<String> {
    match object["object"].as_str() {
        Some("charge") => id(&object["id"]),
        Some("refund" | "dispute") => id(&object["charge"]),
        _ => None,
    }
}

fn unreadable(reason: impl Into<String>) -> Unreadable {
    Unreadable { reason: reason.into() }
}

/// An id as it is, or, if it must be cut or cleaned, with a digest of the whole: two ids that only
/// differ in what was taken away must not be mistaken for two deliveries of one event.
pub(crate) fn unique_id(text: &str) -> Option<String> {
    const DIGEST_LEN: usize = 32;
    let cleaned = clean(text, TEXT_LEN_MAX);
    if cleaned == text {
        return Some(cleaned).filter(|text| !text.is_empty());
    }
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    Some(format!("{}~{}", clean(text, TEXT_LEN_MAX - DIGEST_LEN - 1), &digest[..DIGEST_LEN]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event: &Value) -> Result<Envelope, Unreadable> {
        envelope(event.to_string().as_bytes())
    }

    fn of_object(object: Value) -> Envelope {
        read(&json!({"id": "evt_1", "object": "event", "type": "x.y", "data": {"object": object}})).expect("readable")
    }

    #[test]
    fn an_ordinary_event_is_read() {
        let event = json!({
            "id": "evt_1", "object": "event", "api_version": "2025-03-31.basil", "created": 1, "livemode": false,
            "pending_webhooks": 1, "request": {"id": null, "idempotency_key": "k"}, "type": "invoice.paid",
            "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1"}, "previous_attributes": {}},
        });
        let envelope = read(&event).expect("readable");
        assert_eq!((envelope.external_id.as_str(), envelope.event_type.as_str()), ("evt_1", "invoice.paid"));
        assert_eq!((envelope.livemode, envelope.is_thin), (Some(false), false));
        assert_eq!(envelope.object.as_ref(), Some(&event["data"]["object"]));
        assert_eq!(stream_key(&envelope), "stripe:cus_1");
    }

    #[test]
    fn an_event_that_we_made_of_an_object_is_told_from_those_of_stripe() {
        for (id, is_made_here) in [("evt_1", false), ("evt_1:object", false), ("reconcile:rec_1:x:in_1", true)] {
            let event = read(&json!({"id": id, "type": "invoice.paid"})).expect("readable");
            assert_eq!(event.is_made_here(), is_made_here, "{id}");
        }
    }

    #[test]
    fn fields_that_stripe_leaves_out_or_changes_do_not_matter() {
        for odd in [json!(null), json!("req_1"), json!({"id": null}), json!(7), json!([])] {
            let event = json!({
                "id": "evt_1", "type": "x.y", "request": odd, "account": odd, "context": odd, "pending_webhooks": odd,
                "api_version": odd, "created": odd, "object": odd, "data": odd,
            });
            let envelope = read(&event).expect("readable");
            assert_eq!((envelope.livemode, envelope.object.is_none()), (None, true), "{odd}");
            assert_eq!(stream_key(&envelope), "stripe:event:evt_1");
        }
        assert!(read(&json!({"id": "evt_1", "type": "x.y"})).is_ok());
    }

    #[test]
    fn a_thin_event_has_no_object_and_names_its_twin() {
        let event = json!({
            "id": "evt_2", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found", "livemode": true,
            "created": "2026-01-01T00:00:00.000Z", "context": null, "snapshot_event": "evt_1", "reason": null,
            "related_object": {"id": "cus_9", "type": "customer", "url": "/v1/customers/cus_9"},
        });
        let envelope = read(&event).expect("readable");
        assert!(envelope.is_thin);
        assert_eq!(envelope.snapshot_event.as_deref(), Some("evt_1"));
        assert!(envelope.object.is_none());
        assert_eq!(stream_key(&envelope), "stripe:cus_9");
    }

    #[test]
    fn what_is_no_event_is_unreadable_with_a_reason() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let bodies: [&[u8]; 11] = [
            b"",
            b"{",
            b"null",
            b"[]",
            b"7",
            b"\xff\xfe",
            deep.as_bytes(),
            br#"{"type":"x"}"#,
            br#"{"id":"evt_1"}"#,
            br#"{"id":7,"type":"x"}"#,
            br#"{"id":"","type":"x"}"#,
        ];
        for body in bodies {
            let error = envelope(body).expect_err("unreadable");
            assert!(!error.reason.is_empty());
        }
    }

    #[test]
    fn unreadable_bytes_have_an_id_that_a_second_delivery_shares() {
        assert_eq!(fallback_external_id(b"x"), fallback_external_id(b"x"));
        assert_ne!(fallback_external_id(b"x"), fallback_external_id(b"y"));
        assert_eq!(
            fallback_external_id(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn ids_and_types_are_bounded_and_clean_and_different_ids_stay_different() {
        let long = "é".repeat(300);
        let ids = ["evt_1\u{0}", "evt_1\u{7}", "evt_1", &long, &format!("{long}x")];
        let mut seen = std::collections::BTreeSet::new();
        for id in ids {
            let envelope = read(&json!({"id": id, "type": format!("a\u{0}b\n{long}")})).expect("readable");
            for text in [&envelope.external_id, &envelope.event_type] {
                assert!(text.chars().count() <= TEXT_LEN_MAX, "{text}");
                assert!(!text.chars().any(char::is_control), "{text}");
            }
            assert!(seen.insert(envelope.external_id), "{id}");
        }
    }

    #[test]
    fn events_of_one_customer_share_a_stream_and_others_go_by_their_object() {
        assert_eq!(stream_key(&of_object(json!({"object": "customer", "id": "cus_1"}))), "stripe:cus_1");
        assert_eq!(
            stream_key(&of_object(json!({"object": "subscription", "customer": {"id": "cus_1"}}))),
            "stripe:cus_1"
        );
        let note = json!({"object": "credit_note", "id": "cn_1", "customer": "cus_1", "invoice": "in_1"});
        assert_eq!(stream_key(&of_object(note)), "stripe:cus_1");
        assert_eq!(stream_key(&of_object(json!({"object": "invoice", "id": "in_1"}))), "stripe:in_1");
        assert_eq!(stream_key(&of_object(json!({"object": "product", "id": "prod_1"}))), "stripe:prod_1");
        assert_eq!(stream_key(&of_object(json!({"object": "balance"}))), "stripe:event:evt_1");
        let nasty = json!({"object": "product", "id": "p\u{0}".repeat(200)});
        assert_eq!(stream_key(&of_object(nasty)), "stripe:event:evt_1");
    }
}
