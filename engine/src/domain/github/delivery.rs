//! GitHub's deliveries, parsed as far as intake needs.

use super::{Action, PURCHASE_EVENT, purchase};
use crate::clock::TimeMs;
use crate::domain::webhook::delivery::{Delivery, Fate, SOURCE_GITHUB, UNREADABLE};
use crate::domain::webhook::envelope::{TEXT_LEN_MAX, unique_id};
use crate::domain::webhook::fields::clean;
use crate::domain::webhook::{StoredEvent, fallback_external_id};
use crate::ids::EventId;

/// The headers of a delivery.
#[derive(Debug, Clone, Copy, Default)]
pub struct GithubHeaders<'a> {
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `X-GitHub-Delivery`; repeated deliveries keep it.
    pub delivery: Option<&'a str>,
}

/// Parses a delivery with a verified signature. Never refuses it, because GitHub would not repeat it.
pub fn read_github_delivery(headers: GithubHeaders<'_>, body: &[u8], now_ms: TimeMs) -> Delivery {
    let external_id = headers.delivery.and_then(unique_id).unwrap_or_else(|| fallback_external_id(body));
    let mut stream_key = format!("github:event:{external_id}");
    let name = headers.event.map(|text| clean(text, TEXT_LEN_MAX)).filter(|text| !text.is_empty());
    let (event_type, fate) = match (name, super::parse_body(body)) {
        (None, _) => unreadable("the delivery has no header X-GitHub-Event"),
        (Some(_), Err(reason)) => unreadable(&reason),
        (Some(name), Ok(event)) if name == PURCHASE_EVENT => {
            match (super::read_action(&event), purchase::account_id(&event)) {
                (None, _) => unreadable("the event has no action"),
                (Some(_), None) => unreadable("the event names no GitHub account"),
                (Some(action), Some(account_id)) => {
                    stream_key = super::stream_key(account_id);
                    let event_type = format!("{name}.{action}");
                    let fate = if Action::of_event_type(&event_type).is_some() { Fate::Process } else { Fate::Ignore };
                    (event_type, fate)
                }
            }
        }
        (Some(name), Ok(_)) => (name, Fate::Ignore),
    };
    let event = StoredEvent {
        id: EventId::new(),
        source: SOURCE_GITHUB.to_owned(),
        external_id,
        event_type,
        payload: body.to_vec(),
        stream_key,
        deliveries: 1,
        received_at_ms: now_ms,
    };
    Delivery { event, fate }
}

fn unreadable(reason: &str) -> (String, Fate) {
    (UNREADABLE.to_owned(), Fate::Quarantine(format!("unreadable: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"action":"purchased","marketplace_purchase":{"account":{"id":4,"login":"acme"}}}"#;

    fn read(event: &str, body: &[u8]) -> Delivery {
        read_github_delivery(GithubHeaders { event: Some(event), delivery: Some("guid-1") }, body, 1)
    }

    #[test]
    fn a_purchase_goes_into_the_stream_of_its_account_under_the_deliverys_id() {
        let Delivery { event, fate } = read("marketplace_purchase", BODY);
        assert_eq!((event.source.as_str(), event.external_id.as_str()), ("github", "guid-1"));
        assert_eq!((event.event_type.as_str(), fate), ("marketplace_purchase.purchased", Fate::Process));
        assert_eq!(event.stream_key, "github:4");
        assert_eq!(event.payload, BODY);
    }

    #[test]
    fn other_events_and_actions_are_stored_and_done() {
        assert_eq!(read("ping", br#"{"zen":"x","hook_id":1}"#).fate, Fate::Ignore);
        assert_eq!(read("installation", BODY).event.event_type, "installation");
        let unknown = String::from_utf8_lossy(BODY).replace("purchased", "renamed").into_bytes();
        assert_eq!(read("marketplace_purchase", &unknown).fate, Fate::Ignore);
    }

    #[test]
    fn what_nobody_can_read_is_kept_for_a_person() {
        for (event, body) in
            [("marketplace_purchase", &b"{"[..]), ("marketplace_purchase", b"{}"), ("ping", b""), ("", BODY)]
        {
            let Delivery { event, fate } = read(event, body);
            assert!(matches!(&fate, Fate::Quarantine(reason) if reason.starts_with("unreadable: ")), "{fate:?}");
            assert_eq!((event.event_type.as_str(), event.stream_key.as_str()), ("unreadable", "github:event:guid-1"));
        }
    }

    #[test]
    fn without_an_id_the_same_bytes_are_the_same_event() {
        let bare = |body| {
            read_github_delivery(GithubHeaders { event: Some("ping"), delivery: None }, body, 1).event.external_id
        };
        assert_eq!(bare(b"{}"), bare(b"{}"));
        assert_ne!(bare(b"{}"), bare(b"{ }"));
    }
}
