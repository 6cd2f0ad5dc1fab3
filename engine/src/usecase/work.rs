//! Claims work: leases on streams and the jobs at their heads.

use crate::clock::TimeMs;
use crate::error::Result;
use crate::ids::EventId;
use crate::infra::store::event::{self, EventBytes};
use crate::infra::store::{Db, job, stream};
use crate::usecase::handler::{self, Claimed};
use std::collections::HashMap;

/// Leases those streams that are free, not paused and due, and marks their heads as running. Others are not in the
/// result.
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
    let jobs = job::job_take_heads(&tx, &leased, now_ms).await?;
    let epochs: HashMap<String, i64> = leased.into_iter().map(|leased| (leased.key, leased.epoch)).collect();

    // A stream that lost its head between the two statements is released at once.
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
            let catalogue_version = event.as_ref().map(|event| event.catalogue_version);
            let (payload, event_type) = event.map(|event| (event.payload, event.event_type)).unzip();
            Some(Claimed { job, epoch, started_at_ms: now_ms, payload, event_type, catalogue_version, event: None })
        })
        .collect();
    handler::gather(&tx, &mut claimed).await?;
    tx.commit().await?;
    Ok(claimed)
}

/// Returns a claimed job unchanged: it uses up no attempt and counts no death. False if the lease was lost.
pub async fn give_back(db: &Db, key: &str, epoch: i64, now_ms: TimeMs) -> Result<bool> {
    let tx = db.begin().await?;
    let released = stream::stream_release_many(&tx, &[(key, epoch, None)], now_ms).await?;
    job::job_put_back(&tx, &released, false).await?;
    tx.commit().await?;
    Ok(!released.is_empty())
}

/// Releases all leases of a node that stops in good order. Returns the number of streams.
pub async fn release_node(db: &Db, node: &str) -> Result<usize> {
    release_owned(db, Some(node), false).await
}

/// Rescues all leased streams, where no other process can be alive, so their owners died. Returns the number of
/// streams.
pub async fn rescue_all(db: &Db) -> Result<usize> {
    release_owned(db, None, true).await
}

/// The streams first, because an attempt whose end is being committed has its stream locked.
async fn release_owned(db: &Db, node: Option<&str>, is_rescue: bool) -> Result<usize> {
    let tx = db.begin().await?;
    let released = stream::stream_release_owned(&tx, node).await?;
    job::job_put_back(&tx, &released, is_rescue).await?;
    tx.commit().await?;
    Ok(released.len())
}
