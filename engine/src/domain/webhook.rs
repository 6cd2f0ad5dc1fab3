//! Stripe's webhooks: from signed bytes to what they change.
//!
//! Nothing here does I/O or reads a clock, so every rule can be run again on stored bytes: by a
//! retry, by a replay, by a dry run, by a test.
//!
//! * [`signature`]: whether the bytes come from Stripe. Asked once, at intake.
//! * [`mod@kind`]: the types of events that are processed, one table.
//! * [`mod@envelope`]: what event it is, and which stream it belongs to. Asked once, at intake.
//! * [`fields`]: where a fact is found in an invoice or a subscription, in any API version.
//! * [`rules`]: what the event changes, given what is known here.
//!
//! Intake answers 2xx for whatever is signed and stored. An event that cannot be read, or that
//! lacks what a rule needs, is dead-lettered with the reason: Stripe would only send the same bytes
//! again, support can do something about them.

pub mod delivery;
pub mod envelope;
pub mod fields;
pub mod kind;
pub mod rules;
pub mod signature;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod never_panics;

pub use envelope::{Envelope, Unreadable, envelope, fallback_external_id, stream_key, stripe_stream};
pub use kind::{EventKind, WANTED};
pub use rules::{Facts, Lookup, decide, lookup};
pub use signature::{SignatureError, check_header, sign, verify};

use crate::clock::TimeMs;
use crate::ids::EventId;

/// An event as stored: a row of `events`. Source and external id together are unique, so a second
/// delivery finds the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its identifier here.
    pub id: EventId,
    /// Who sent it: `stripe`.
    pub source: String,
    /// Its id at the sender ([`Envelope::external_id`]), or [`fallback_external_id`] if unreadable.
    pub external_id: String,
    /// Its type as the sender calls it, or `unreadable`.
    pub event_type: String,
    /// The bytes as they were signed; never written anew, because that would break the signature.
    pub payload: Vec<u8>,
    /// The stream that it is processed in.
    pub stream_key: String,
    /// How often it was delivered, from 1.
    pub deliveries: i64,
    /// When it was first delivered.
    pub received_at_ms: TimeMs,
}
