//! Support's actions on jobs: cancel and replay.

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::effect::Effect;
use crate::domain::job::{Job, JobState};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::infra::store::commit::Unit;
use crate::infra::store::{Db, audit, job};
use serde_json::json;

/// Cancels a waiting job.
///
/// # Errors
/// `job_not_waiting`.
pub async fn cancel(db: &Db, id: &JobId, reason: &str, actor: &str, now_ms: TimeMs) -> Result<()> {
    let tx = db.begin().await?;
    if !job::job_cancel(&tx, id, &format!("cancelled by support: {reason}"), now_ms).await? {
        return Err(Error::conflict("job_not_waiting", "Only a waiting job can be cancelled."));
    }
    audit::audit_append(&tx, &Audit::new(actor, "job.cancel", id, &json!({ "reason": reason })), now_ms).await?;
    tx.commit().await?;
    Ok(())
}

/// The changes that make an ended job run again, or one that failed and waits for another attempt run now, to commit in
/// a group. What waits before it in its stream is tried now, too.
///
/// # Errors
/// `job_not_ended` if it runs, or was not tried yet.
pub fn replay(job: &Job, actor: &str, reason: &str) -> Result<Unit> {
    let again = match job.state {
        JobState::Running => return Err(not_ended()),
        JobState::Available if job.attempt == 0 => return Err(not_ended()),
        JobState::Available => Effect::StreamHasten { stream_key: job.stream_key.clone() },
        JobState::Succeeded | JobState::Cancelled | JobState::Dead => Effect::JobRequeue { job_id: job.id.clone() },
    };
    let effects = vec![again, Effect::Audit(audit_of_replay(&job.id, actor, reason))];
    Ok(Unit { account: None, finishes: Vec::new(), effects })
}

pub(super) fn not_ended() -> Error {
    Error::conflict("job_not_ended", "The job runs or was not tried yet, so there is nothing to replay.")
}

pub(super) fn audit_of_replay(id: &JobId, actor: &str, reason: &str) -> Audit {
    Audit::new(actor, "job.replay", id, &json!({ "reason": reason }))
}
