//! Intake of events: they are stored with their jobs in one transaction, many at once, before their receipt is
//! acknowledged.

use crate::clock::TimeMs;
use crate::domain::github::Action;
use crate::domain::job::{NewJob, Wake};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::delivery::{Delivery, SOURCE_GITHUB, SOURCE_STRIPE};
use crate::error::Result;
use crate::infra::store::{Db, event, job};

/// The result of an intake.
#[derive(Debug)]
pub struct StoredDeliveries {
    /// For each delivery, in order: whether the event was new.
    pub is_new: Vec<bool>,
    /// Jobs to announce after the commit.
    pub wakes: Vec<Wake>,
}

/// Stores deliveries and their jobs in one transaction.
pub async fn take_in(db: &Db, deliveries: &[Delivery], now_ms: TimeMs) -> Result<StoredDeliveries> {
    let tx = db.begin().await?;
    let jobs = event::event_take_many(&tx, &deliveries.iter().collect::<Vec<_>>()).await?;
    let is_new = jobs.iter().map(Option::is_some).collect();
    let jobs: Vec<NewJob> = jobs.into_iter().flatten().collect();
    let wakes = job::job_insert_many(&tx, &jobs, now_ms).await?;
    tx.commit().await?;
    Ok(StoredDeliveries { is_new, wakes })
}

/// The metric label of an event's type: its name if it is processed, else `other`.
pub fn event_type_label(event_type: &str) -> &'static str {
    let of_stripe = EventKind::parse(event_type).map(EventKind::as_str);
    let of_github = || Action::of_event_type(event_type).map(Action::event_type);
    of_stripe.or_else(of_github).unwrap_or("other")
}

/// The metric label of an event's sender.
pub fn event_source_label(source: &str) -> &'static str {
    [SOURCE_STRIPE, SOURCE_GITHUB].into_iter().find(|s| *s == source).unwrap_or("other")
}
