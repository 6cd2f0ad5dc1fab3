//! One delivery, read as far as intake needs: the event to store, and its fate.

use super::StoredEvent;
use super::envelope::{Envelope, envelope, fallback_external_id, stream_key};
use crate::clock::TimeMs;
use crate::domain::job::{JobKind, JobState, NewJob};
use crate::ids::EventId;

/// The stored source of Stripe's events.
pub const SOURCE_STRIPE: &str = "stripe";
/// The stored source of GitHub's events.
pub const SOURCE_GITHUB: &str = "github";
/// The stored type of an event that could not be read.
pub const UNREADABLE: &str = "unreadable";

/// One delivery, read as far as intake needs.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event to store.
    pub event: StoredEvent,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to an event after it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A job processes it.
    Process,
    /// Its type has no effect, or it is about a connected account, whose owner writes what it says: it is stored, done
    /// and counted.
    Ignore,
    /// It is kept for a person to review.
    Quarantine(String),
}

impl Delivery {
    /// The job for the event.
    pub fn job(&self) -> NewJob {
        let kind = if self.event.source == SOURCE_GITHUB { JobKind::GithubEvent } else { JobKind::StripeEvent };
        let mut job = NewJob::new(kind, "{}".to_owned(), self.event.received_at_ms);
        job.stream_key = Some(self.event.stream_key.clone());
        job.event_id = Some(self.event.id.clone());
        match &self.fate {
            Fate::Process => {}
            Fate::Ignore => job.state = JobState::Succeeded,
            Fate::Quarantine(reason) => {
                job.state = JobState::Dead;
                job.last_error = Some(reason.clone());
            }
        }
        job
    }
}

/// Reads a delivery of Stripe whose signature was verified. It never refuses one: an unreadable event is kept for a
/// person, as Stripe would send it again for three days only.
pub fn delivery(body: &[u8], livemode: bool, now_ms: TimeMs) -> Delivery {
    let (envelope, fate) = match envelope(body) {
        Err(unreadable) => (None, Fate::Quarantine(format!("unreadable: {}", unreadable.reason))),
        Ok(envelope) => {
            let fate = match wrong_mode(&envelope, livemode) {
                Some(reason) => Fate::Quarantine(reason),
                None if envelope.account.is_some() => Fate::Ignore,
                None if envelope.kind.is_some() || has_twin(&envelope) => Fate::Process,
                None => Fate::Ignore,
            };
            (Some(envelope), fate)
        }
    };
    let external_id = envelope.as_ref().map_or_else(|| fallback_external_id(body), |e| e.external_id.clone());
    let stream_key =
        envelope.as_ref().map_or_else(|| format!("stripe:event:{external_id}"), |e: &Envelope| stream_key(e));
    let event = StoredEvent {
        id: EventId::new(),
        source: SOURCE_STRIPE.to_owned(),
        external_id,
        event_type: envelope.map_or_else(|| UNREADABLE.to_owned(), |e| e.event_type),
        payload: body.to_vec(),
        stream_key,
        deliveries: 1,
        received_at_ms: now_ms,
    };
    Delivery { event, fate }
}

/// Whether a thin event names an ordinary one that announces the same. That one's type decides whether it is processed.
fn has_twin(envelope: &Envelope) -> bool {
    envelope.is_thin && envelope.snapshot_event.is_some()
}

/// Why an event is not for this server: it is of the other mode. Checked at intake and again when the event is
/// processed, so that no replay gets around it.
pub fn wrong_mode(envelope: &Envelope, livemode: bool) -> Option<String> {
    let mode = envelope.livemode.filter(|mode| *mode != livemode)?;
    Some(format!(
        "wrong_mode: the event is of {} mode, this server expects {} mode",
        mode_name(mode),
        mode_name(livemode)
    ))
}

fn mode_name(livemode: bool) -> &'static str {
    if livemode { "live" } else { "test" }
}
