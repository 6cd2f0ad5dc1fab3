//! Claiming work: leases on streams and the jobs at their heads.

use crate::clock::TimeMs;
use crate::error::Result;
use crate::handler;
use crate::ids::EventId;
use crate::job::Claimed;
use crate::store::event::{self, EventBytes};
use crate::store::{Db, job, stream};
use std::collections::HashMap;

/// Leases the streams that are free, not paused and due, and marks their heads as running. Streams
/// that give nothing are not in the answer.
pub async fn claim(db: &Db, streams: &[String], node: &str, now_ms: TimeMs, lease_ms: i64) -> Result<Vec<Claimed>> {
    let mut keys = streams.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let tx = db.begin().await?;
    let leased = stream::stream_lease_many(&tx, &keys, node, now_ms, lease_ms).await?;
    if leased.is_empty() {
        tx.rollback().await?;
        return Ok(Vec::new());
    }
    let epochs: HashMap<String, i64> = leased.into_iter().collect();
    let leased_keys: Vec<String> = epochs.keys().cloned().collect();
    let jobs = job::job_take_heads(&tx, &leased_keys, now_ms).await?;

    // A stream whose head was taken away between the two statements is given back at once.
    let taken: Vec<&str> = jobs.iter().map(|job| job.stream_key.as_str()).collect();
    let unused: Vec<(&str, i64, Option<&str>)> = epochs
        .iter()
        .filter(|(key, _)| !taken.contains(&key.as_str()))
        .map(|(key, epoch)| (key.as_str(), *epoch, None))
        .collect();
    if !unused.is_empty() {
        stream::stream_release_many(&tx, &unused, now_ms).await?;
    }
    let events: Vec<_> = jobs.iter().filter_map(|job| job.event_id.as_ref()).collect();
    let mut bytes: HashMap<EventId, EventBytes> = if events.is_empty() {
        HashMap::new()
    } else {
        event::event_bytes(&tx, &events).await?.into_iter().map(|event| (event.id.clone(), event)).collect()
    };
    let mut claimed: Vec<Claimed> = jobs
        .into_iter()
        .filter_map(|job| {
            let epoch = *epochs.get(&job.stream_key)?;
            let event = job.event_id.as_ref().and_then(|id| bytes.remove(id));
            let (payload, event_type) = event.map(|event| (event.payload, event.event_type)).unzip();
            Some(Claimed { job, epoch, started_at_ms: now_ms, payload, event_type, event: None })
        })
        .collect();
    handler::gather(&tx, &mut claimed).await?;
    tx.commit().await?;
    Ok(claimed)
}
