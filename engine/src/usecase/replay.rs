//! Replays: support freezes a set of ended jobs and runs them again, for real or as a dry run.

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::{JobFilter, JobKind, NewJob, Wake};
use crate::domain::replay::{Action, RATE_MAX, Replay};
#[cfg(doc)]
use crate::error::Refusal;
use crate::error::{Error, Result};
use crate::ids::ReplayId;
use crate::infra::store::job::CAUSES_READ_MAX;
use crate::infra::store::{Db, audit, job, replay};
use serde_json::json;

/// Maximum number of jobs of one replay.
pub const REPLAY_JOBS_MAX: u64 = 10_000;

/// The longest reason, in characters.
const REASON_LEN_MAX: usize = 500;

/// The request for a new replay.
#[derive(Debug, Clone)]
pub struct NewReplay {
    /// The jobs to select.
    pub filter: JobFilter,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// Maximum number of jobs started a second, 1 to [`RATE_MAX`].
    pub rate_per_second: i64,
    /// The reason, in words.
    pub reason: String,
    /// The requester.
    pub actor: String,
    /// The request's idempotency key.
    pub idempotency_key: String,
    /// Distinguishes the request from others under the same key.
    pub request_hash: String,
}

/// Freezes the set of jobs; nothing runs until [`act`] starts it. A repeated request returns the first replay.
///
/// # Errors
/// `invalid_rate`, `invalid_reason`, `replay_too_large`; [`Refusal::KeyReused`].
pub async fn create(db: &Db, new: NewReplay, now_ms: TimeMs) -> Result<Replay> {
    if !(1..=RATE_MAX).contains(&new.rate_per_second) {
        return Err(Error::invalid("invalid_rate", format!("rate_per_second must be from 1 to {RATE_MAX}")));
    }
    if new.reason.trim().is_empty() || new.reason.chars().count() > REASON_LEN_MAX {
        let message = format!("a replay needs a reason of 1 to {REASON_LEN_MAX} characters");
        return Err(Error::invalid("invalid_reason", message));
    }
    let tx = db.begin().await?;
    if let Some((id, request_hash)) = replay::replay_id_by_key(&tx, &new.idempotency_key).await? {
        tx.rollback().await?;
        check_same_request(Some(&request_hash), Some(&new.request_hash))?;
        return replay::replay_find(db.read(), &id).await?.ok_or(Error::NotFound("replay"));
    }
    let found = job::job_ids(&tx, &new.filter, REPLAY_JOBS_MAX + 1, now_ms).await?;
    let Some(jobs) = found.filter(|jobs| jobs.len() as u64 <= REPLAY_JOBS_MAX) else {
        return Err(Error::invalid("replay_too_large", too_large(&new.filter)));
    };
    let stored = Replay {
        id: ReplayId::new(),
        filter: new.filter,
        dry_run: new.dry_run,
        rate_per_second: new.rate_per_second,
        reason: new.reason,
        state: "preview".to_owned(),
        total: jobs.len().cast_signed() as i64,
        done: 0,
        created_by: new.actor.clone(),
        created_at_ms: now_ms,
        finished_at_ms: None,
    };
    if !replay::replay_insert(&tx, &stored, &jobs, (&new.idempotency_key, &new.request_hash)).await? {
        // The same request arrived twice at once, and the other one was first.
        return Err(Error::Busy("this idempotency key"));
    }
    let details = json!({ "total": stored.total, "dry_run": stored.dry_run, "reason": stored.reason });
    audit::audit_append(&tx, &Audit::new(new.actor, "replay.create", &stored.id, &details), now_ms).await?;
    tx.commit().await?;
    Ok(stored)
}

fn too_large(filter: &JobFilter) -> String {
    let matches = format!("the filter matches more than {REPLAY_JOBS_MAX} jobs");
    match filter.cause {
        None => matches,
        Some(_) => {
            format!("{matches}, or without the cause more than {CAUSES_READ_MAX}; name a kind or a type of event")
        }
    }
}

/// Applies an action to a replay. Returns the jobs to announce.
///
/// # Errors
/// Not found; `replay_state` if the action is not allowed in its state.
pub async fn act(db: &Db, id: &ReplayId, action: Action, actor: &str, now_ms: TimeMs) -> Result<Vec<Wake>> {
    let (from, to) = action.transition();
    let tx = db.begin().await?;
    let found = replay::replay_find(&tx, id).await?.ok_or(Error::NotFound("replay"))?;
    let finished = (to == "cancelled").then_some(now_ms);
    // The job is inserted first, which locks its stream: a transaction that ends an attempt of this replay locks
    // the stream before the replay.
    let wakes = if to == "running" {
        let mut run = NewJob::new(JobKind::ReplayRun, json!({ "replay": id.as_str() }).to_string(), now_ms);
        run.stream_key = Some(format!("replay:{id}"));
        job::job_insert_many(&tx, &[run], now_ms).await?
    } else {
        Vec::new()
    };
    if !replay::replay_move(&tx, id, from, to, finished).await? {
        return Err(Error::conflict("replay_state", format!("the replay is {}", found.state)));
    }
    audit::audit_append(&tx, &Audit::new(actor, action.audit_name(), id, &json!({})), now_ms).await?;
    tx.commit().await?;
    Ok(wakes)
}
