//! Support's actions on streams: pause, resume, skip the head, let the head of a paused one run as a canary.
//!
//! A stream is also paused when a job dies that its successors depend on: `domain::job::finish` decides that.

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::job::{Job, JobState, Wake};
use crate::error::{Error, Result};
use crate::infra::store::stream::{stream_find, stream_pause, stream_resume, stream_set_canary};
use crate::infra::store::{Db, audit, job};
use serde_json::json;

/// Pauses a stream: a running job continues, no other begins.
///
/// # Errors
/// Not found; `stream_paused` if it is already paused.
pub async fn pause(db: &Db, key: &str, reason: &str, actor: &str, now_ms: TimeMs) -> Result<()> {
    check_exists(db, key).await?;
    let tx = db.begin().await?;
    if !stream_pause(&tx, key, reason, now_ms).await? {
        return Err(Error::conflict("stream_paused", "The stream is paused already."));
    }
    let line = Audit::new(actor, "stream.pause", key, &json!({ "reason": reason }));
    audit::audit_append(&tx, &line, now_ms).await?;
    tx.commit().await?;
    Ok(())
}

/// Resumes a paused stream. Returns the jobs to announce.
///
/// # Errors
/// Not found; `stream_not_paused`.
pub async fn resume(db: &Db, key: &str, actor: &str, now_ms: TimeMs) -> Result<Vec<Wake>> {
    check_exists(db, key).await?;
    let tx = db.begin().await?;
    if !stream_resume(&tx, key).await? {
        return Err(Error::conflict("stream_not_paused", "The stream is not paused."));
    }
    audit::audit_append(&tx, &Audit::new(actor, "stream.resume", key, &json!({})), now_ms).await?;
    tx.commit().await?;
    head_wake(db, key).await
}

/// Cancels the job at the head of a stream; only `job_id` if that is given. Returns the jobs to announce.
///
/// # Errors
/// Not found; `stream_empty`; `stream_moved` if another job is at the head; `job_not_waiting` if it is running.
pub async fn skip(
    db: &Db,
    key: &str,
    job_id: Option<&str>,
    reason: &str,
    actor: &str,
    now_ms: TimeMs,
) -> Result<Vec<Wake>> {
    check_exists(db, key).await?;
    let head = head_of(db, key, job_id).await?;
    let tx = db.begin().await?;
    if !job::job_cancel(&tx, &head.id, &format!("skipped by support: {reason}"), now_ms).await? {
        return Err(Error::conflict("job_not_waiting", "The job at the head is running."));
    }
    let details = json!({ "job": head.id.as_str(), "reason": reason });
    audit::audit_append(&tx, &Audit::new(actor, "stream.skip", key, &details), now_ms).await?;
    // Also under the job: if it is requeued, the log explains why it runs after its successors.
    let details = json!({ "stream": key, "reason": reason });
    audit::audit_append(&tx, &Audit::new(actor, "job.skip", &head.id, &details), now_ms).await?;
    tx.commit().await?;
    head_wake(db, key).await
}

/// Lets the job at the head of a paused stream run once; the stream stays paused. If that attempt fails, the job waits
/// at the head as before. A head that failed before is made due now. Returns the job as it was, and the jobs to
/// announce.
///
/// # Errors
/// Not found; `stream_not_paused`; `stream_empty`; `stream_moved` if another job is at the head; `job_not_waiting` if
/// it is running.
pub async fn run_canary(
    db: &Db,
    key: &str,
    job_id: Option<&str>,
    reason: &str,
    actor: &str,
    now_ms: TimeMs,
) -> Result<(Job, Vec<Wake>)> {
    check_exists(db, key).await?;
    let head = head_of(db, key, job_id).await?;
    if head.state == JobState::Running {
        return Err(Error::conflict("job_not_waiting", "The job at the head is running."));
    }
    let tx = db.begin().await?;
    if !stream_set_canary(&tx, key, &head).await? {
        return Err(Error::conflict("stream_not_paused", "The stream is not paused."));
    }
    job::job_hasten_failed(&tx, &head.id, now_ms).await?;
    let details = json!({ "job": head.id.as_str(), "reason": reason });
    audit::audit_append(&tx, &Audit::new(actor, "stream.canary", key, &details), now_ms).await?;
    tx.commit().await?;
    Ok((head, head_wake(db, key).await?))
}

/// The job at the head of a stream, which must be `job_id` if that is given.
async fn head_of(db: &Db, key: &str, job_id: Option<&str>) -> Result<Job> {
    let Some(head) = job::job_head(db.read(), key).await? else {
        return Err(Error::conflict("stream_empty", "The stream has no job that waits or runs."));
    };
    if job_id.is_some_and(|job_id| job_id != head.id.as_str()) {
        return Err(Error::conflict("stream_moved", "Another job is at the head of the stream by now."));
    }
    Ok(head)
}

async fn check_exists(db: &Db, key: &str) -> Result<()> {
    stream_find(db.read(), key).await?.map(|_| ()).ok_or(Error::NotFound("stream"))
}

/// The announcement of the job at a stream's head.
async fn head_wake(db: &Db, key: &str) -> Result<Vec<Wake>> {
    let head = job::job_head(db.read(), key).await?;
    let wake = head.map(|head| Wake {
        stream_key: key.to_owned(),
        job_id: head.id,
        attempt: head.attempt,
        run_at_ms: head.run_at_ms,
    });
    Ok(wake.into_iter().collect())
}
