//! Intake of events: stored with their jobs in one transaction, many at once, before anybody is told
//! that they were received.

mod github;

pub use github::{GithubHeaders, github_delivery};

use crate::clock::TimeMs;
use crate::domain::job::{JobKind, JobState, NewJob, Wake};
use crate::domain::webhook::{self, Envelope, StoredEvent};
use crate::error::Result;
use crate::ids::EventId;
use crate::infra::store::{Db, event, job};
use sea_orm::ConnectionTrait;
use std::collections::{HashMap, HashSet};

/// Where events of Stripe say that they come from.
pub const SOURCE_STRIPE: &str = "stripe";
/// Where events of GitHub say that they come from.
pub const SOURCE_GITHUB: &str = "github";
/// The type under which an event is stored that nobody could read.
pub const UNREADABLE: &str = "unreadable";

/// One delivery, read as far as intake needs.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event as it will be stored.
    pub event: StoredEvent,
    /// What is to become of it.
    pub fate: Fate,
}

/// What is to become of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A job processes it.
    Process,
    /// Nothing is to be done for its type: stored, done, counted.
    Ignore,
    /// It is kept for a person to look at.
    Quarantine(String),
}

/// Reads a delivery of Stripe whose signature was verified. Never refuses: what cannot be read is kept for a
/// person (Stripe would only send it again for three days).
pub fn delivery(body: &[u8], livemode: bool, now_ms: TimeMs) -> Delivery {
    let (envelope, fate) = match webhook::envelope(body) {
        Err(unreadable) => (None, Fate::Quarantine(format!("unreadable: {}", unreadable.reason))),
        Ok(envelope) => {
            let fate = match wrong_mode(&envelope, livemode) {
                Some(reason) => Fate::Quarantine(reason),
                None if webhook::wanted(&envelope.event_type) || thin_is_wanted(&envelope) => Fate::Process,
                None => Fate::Ignore,
            };
            (Some(envelope), fate)
        }
    };
    let external_id = envelope.as_ref().map_or_else(|| webhook::fallback_external_id(body), |e| e.external_id.clone());
    let stream_key =
        envelope.as_ref().map_or_else(|| format!("stripe:event:{external_id}"), |e: &Envelope| webhook::stream_key(e));
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

/// Whether a thin event says what an ordinary one that is processed says.
fn thin_is_wanted(envelope: &Envelope) -> bool {
    let is_wanted = |event_type: &str| webhook::wanted(event_type.strip_prefix("v1.").unwrap_or(event_type));
    envelope.is_thin && (envelope.snapshot_event.is_some() || is_wanted(&envelope.event_type))
}

/// Why an event is not for this server, if its mode is the other one. Asked at intake and again
/// whenever it is processed, so that no replay gets around it.
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

/// What one intake did.
#[derive(Debug)]
pub struct Taken {
    /// For each delivery, in order: whether the event was new.
    pub new: Vec<bool>,
    /// What to wake now that it is committed.
    pub wakes: Vec<Wake>,
}

/// Stores deliveries and their jobs in one transaction.
pub async fn take_in(db: &Db, deliveries: &[Delivery], now_ms: TimeMs) -> Result<Taken> {
    let tx = db.begin().await?;
    let jobs = store_events(&tx, &deliveries.iter().collect::<Vec<_>>()).await?;
    let new = jobs.iter().map(Option::is_some).collect();
    let jobs: Vec<NewJob> = jobs.into_iter().flatten().collect();
    let wakes = job::job_insert_many(&tx, &jobs, now_ms).await?;
    tx.commit().await?;
    Ok(Taken { new, wakes })
}

/// Stores the events of deliveries. Gives for each, in order, the job that is to be inserted in the same
/// transaction; `None` if the event was there before.
pub(crate) async fn store_events(tx: &impl ConnectionTrait, deliveries: &[&Delivery]) -> Result<Vec<Option<NewJob>>> {
    // One statement may not touch a row twice: copies within the batch become one row that counts them.
    let mut first: HashMap<(&str, &str), usize> = HashMap::new();
    let mut events: Vec<StoredEvent> = Vec::new();
    for delivery in deliveries {
        let key = (delivery.event.source.as_str(), delivery.event.external_id.as_str());
        match first.get(&key) {
            Some(at) => events[*at].deliveries += 1,
            None => {
                first.insert(key, events.len());
                events.push(delivery.event.clone());
            }
        }
    }
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let stored: HashSet<EventId> = event::event_insert_many(tx, &events).await?.into_iter().collect();
    Ok(deliveries.iter().map(|delivery| stored.contains(&delivery.event.id).then(|| job_of(delivery))).collect())
}

fn job_of(delivery: &Delivery) -> NewJob {
    let event = &delivery.event;
    let mut job = NewJob::new(job_kind(&event.source), "{}".to_owned(), event.received_at_ms);
    job.stream_key = Some(event.stream_key.clone());
    job.event_id = Some(event.id.clone());
    match &delivery.fate {
        Fate::Process => {}
        Fate::Ignore => job.state = JobState::Succeeded,
        Fate::Quarantine(reason) => {
            tracing::warn!(event.id = %event.id, external_id = event.external_id, reason, "an event is dead on arrival");
            job.state = JobState::Dead;
            job.last_error = Some(reason.clone());
        }
    }
    job
}

/// The kind of the jobs that process events of a source.
fn job_kind(source: &str) -> JobKind {
    if source == SOURCE_GITHUB { JobKind::GithubEvent } else { JobKind::StripeEvent }
}
