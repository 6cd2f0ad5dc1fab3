//! One round of a stream: claim its head, run the handler, commit the end of the attempt.

use super::StreamDeps;
use super::claim::Wanted;
use crate::customer::Request;
use crate::deadline::{ANSWER_MAX, COMMIT_MAX, within};
use bursar_engine::domain::effect::Verdict;
use bursar_engine::domain::job::{Backoff, JobFinish, JobState, Outcome, RESCUES_MAX, finish};
use bursar_engine::error::Refusal;
use bursar_engine::infra::store::attempt;
use bursar_engine::infra::store::commit::{Unit, UnitResult};
use bursar_engine::usecase::handler::{self, Claimed};
use bursar_engine::usecase::intake::event_type_label;
use bursar_engine::usecase::work;
use bursar_engine::{Error, Result, metric};
use futures_util::future::Either;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

/// Wait between tries to commit the end of an attempt while the database is away.
const COMMIT_RETRY: Duration = Duration::from_millis(200);

/// The result of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// A job was run and its end committed, or it was given back: look for the next.
    Ran,
    /// No job is due, or another node works on it.
    Nothing,
    /// The round failed. Messages are acknowledged all the same, or they would use up the prefetch: the database has
    /// the job, and the sweeper announces it again.
    Failed,
    /// The process is stopping: messages go back to the broker, for another node.
    Stopping,
}

/// Held for as long as a job runs: beside others, or alone in this process.
type Isolation<'a> = Either<RwLockReadGuard<'a, ()>, RwLockWriteGuard<'a, ()>>;

pub(super) async fn round(deps: &Arc<StreamDeps>, wanted: &Wanted) -> Round {
    // The permit comes before the lease: a leased job never waits for a worker.
    let Ok(permit) = deps.workers.acquire().await else { return Round::Stopping };
    let (claimed, isolation) = match claim(deps, wanted).await {
        Ok(claimed) => claimed,
        Err(round) => return round,
    };
    let _lease = deps.leases.hold(&wanted.stream, claimed.epoch);
    let started = Instant::now();
    let kind = claimed.job.kind.clone();
    #[allow(clippy::cast_precision_loss)]
    let waited = (claimed.started_at_ms - claimed.job.run_at_ms).max(0) as f64 / 1_000.0;
    metrics::histogram!(metric::JOB_WAIT_SECONDS, "kind" => kind.clone()).record(waited);

    let verdict = if claimed.job.rescues > RESCUES_MAX {
        // It is what its nodes died of: `finish` makes it dead.
        Outcome::Retry { reason: "not run again".to_owned() }.into()
    } else {
        run_handler(deps, &claimed).await
    };
    let end = commit_or_give_back(deps, &claimed, verdict).await;
    metrics::histogram!(metric::JOB_SECONDS, "kind" => kind).record(started.elapsed().as_secs_f64());
    // What follows may wait for the broker, and other jobs must not wait with it.
    drop((isolation, permit));
    match end {
        Ok(end) => {
            record_metrics(&claimed, &end);
            if let Some(wake) = end.wake() {
                // Only then may the message that led here be acknowledged.
                deps.dispatcher.announce_all(std::slice::from_ref(&wake)).await;
            }
            Round::Ran
        }
        Err(Uncommitted::Fenced) => Round::Failed,
        Err(Uncommitted::GivenBack) => Round::Ran,
        Err(Uncommitted::Refused) => {
            give_back_later(deps, &claimed).await;
            Round::Failed
        }
    }
}

/// Claims the head of a stream. A suspect job, one that nodes may have died of, is given back and claimed again once
/// no other job runs here: one poisonous job must not condemn the jobs beside it.
async fn claim<'a>(deps: &'a StreamDeps, wanted: &Wanted) -> Result<(Claimed, Isolation<'a>), Round> {
    let shared = deps.isolation.read().await;
    let claimed = claim_head(deps, wanted).await?;
    if !claimed.job.is_suspect() {
        return Ok((claimed, Either::Left(shared)));
    }
    give_back(deps, &claimed).await;
    drop(shared);
    let alone = deps.isolation.write().await;
    tracing::warn!(job.id = %claimed.job.id, rescues = claimed.job.rescues, "a job that nodes died with runs alone");
    Ok((claim_head(deps, wanted).await?, Either::Right(alone)))
}

async fn claim_head(deps: &StreamDeps, wanted: &Wanted) -> Result<Claimed, Round> {
    if deps.draining.is_cancelled() {
        return Err(Round::Stopping);
    }
    match deps.claims.submit(wanted.clone()).await {
        Ok(Some(claimed)) => Ok(claimed),
        Ok(None) => Err(Round::Nothing),
        Err(error) => {
            tracing::debug!(stream = wanted.stream, error = %error.chain(), "a claim failed");
            Err(Round::Failed)
        }
    }
}

/// Runs the handler in a task of its own: its panic, or a time that is too long, only fails the attempt.
async fn run_handler(deps: &Arc<StreamDeps>, claimed: &Claimed) -> Verdict {
    let now_ms = deps.clock.now_ms();
    let (handlers, job) = (deps.handlers.clone(), claimed.clone());
    let mut task = tokio::spawn(async move { handler::handle(&handlers, &job, now_ms).await });
    let reason = match tokio::time::timeout(Duration::from_millis(deps.jobs.timeout_ms), &mut task).await {
        Ok(Ok(Ok(verdict))) => return verdict,
        Ok(Ok(Err(error))) => error.chain(),
        Ok(Err(panic)) => format!("the handler panicked: {panic}"),
        Err(_) => {
            task.abort();
            format!("the handler took longer than {} ms", deps.jobs.timeout_ms)
        }
    };
    tracing::warn!(job.id = %claimed.job.id, kind = claimed.job.kind, reason, "an attempt failed");
    Outcome::Retry { reason }.into()
}

/// Why the end of an attempt is not committed.
enum Uncommitted {
    /// Another node has the lease by now.
    Fenced,
    /// The database was away for too long; the job was given back.
    GivenBack,
    /// The database refuses any end, even a failure. The job is still leased.
    Refused,
}

/// Commits the end of the attempt. While the database is away, it tries for the time of a lease and then gives the
/// job back. If the database refuses the end, the attempt ends as failed.
async fn commit_or_give_back(deps: &StreamDeps, claimed: &Claimed, verdict: Verdict) -> Result<JobFinish, Uncommitted> {
    let started = Instant::now();
    let tried_for = lease_time(deps);
    let (mut verdict, mut is_bare) = (verdict, false);
    let mut tried = Vec::new();
    loop {
        let end = finish(
            &claimed.attempt(),
            verdict.outcome.clone(),
            Backoff::from(&deps.jobs),
            deps.clock.now_ms(),
            random_unit(),
        );
        tried.push(end.clone());
        let committed = match commit(deps, claimed, verdict.clone(), end).await {
            Ok(None) => find_committed(deps, claimed, &tried).await,
            committed => committed,
        };
        match committed {
            Ok(Some(end)) => return Ok(end),
            Ok(None) => {
                metrics::counter!(metric::JOB_FENCED).increment(1);
                return Err(Uncommitted::Fenced);
            }
            Err(error) if error.is_retryable() && started.elapsed() < tried_for => {
                tokio::time::sleep(COMMIT_RETRY).await;
            }
            Err(error) if error.is_retryable() => {
                give_back(deps, claimed).await;
                return Err(Uncommitted::GivenBack);
            }
            Err(error) => {
                let reason = error.chain();
                tracing::warn!(job.id = %claimed.job.id, kind = claimed.job.kind, reason, "a result was refused");
                if is_bare {
                    return Err(Uncommitted::Refused);
                }
                is_bare = true;
                verdict = match error {
                    Error::Refused(_) | Error::NotFound(_) => Outcome::Dead { reason }.into(),
                    _ => Outcome::Retry { reason }.into(),
                };
            }
        }
    }
}

/// Gives a job whose end is refused back after the time of a lease. Until then no node tries it again; no backoff
/// can be stored for it, because the database refuses every end. A stop does not wait.
async fn give_back_later(deps: &StreamDeps, claimed: &Claimed) {
    tokio::select! {
        () = tokio::time::sleep(lease_time(deps)) => give_back(deps, claimed).await,
        () = deps.draining.cancelled() => {}
    }
}

fn lease_time(deps: &StreamDeps) -> Duration {
    Duration::from_millis(deps.jobs.lease_ms.unsigned_abs())
}

/// Gives a job back, so that the end of its lease is not taken for the death of this node. It tries until the database
/// is back or the process stops, which gives back all leases of the node.
async fn give_back(deps: &StreamDeps, claimed: &Claimed) {
    let db = &deps.handlers.db;
    while !deps.draining.is_cancelled() {
        let given_back = work::give_back(db, &claimed.job.stream_key, claimed.epoch, deps.clock.now_ms());
        match within(COMMIT_MAX, given_back).await {
            Ok(_) => return,
            Err(error) if error.is_retryable() => tokio::time::sleep(COMMIT_RETRY).await,
            Err(error) => {
                let error = error.chain();
                tracing::warn!(job.id = %claimed.job.id, error, "a job could not be given back; its lease ends by itself");
                return;
            }
        }
    }
}

/// Commits an end of the attempt with its credits and effects; `None` if this node had lost the lease.
async fn commit(deps: &StreamDeps, claimed: &Claimed, verdict: Verdict, end: JobFinish) -> Result<Option<JobFinish>> {
    let mut effects = verdict.effects;
    if end.state == JobState::Dead {
        effects.extend(handler::after_death(claimed));
    }
    if let Some((customer, command)) = verdict.ledger {
        let request = Request { command, finish: Some(end.clone()), effects: effects.clone() };
        match deps.customers.apply(&customer, request).await {
            Ok(applied) if !applied.replayed => return Ok(Some(end)),
            // The credits were moved before, or there are none to move: the effects are still to be committed.
            Ok(_) | Err(Error::Refused(Refusal::NothingToDo)) => {}
            Err(Error::Conflict { code: "fenced", .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let unit = Unit { account: None, finishes: vec![end.clone()], effects: std::mem::take(&mut effects) };
    match deps.ledger.commit(unit).await {
        Ok(UnitResult::Committed(_)) => Ok(Some(end)),
        Ok(_) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The one of these ends that is committed, if one is. A commit gives the lease up, so after one whose answer got
/// lost, every further try finds the lease gone.
async fn find_committed(deps: &StreamDeps, claimed: &Claimed, tried: &[JobFinish]) -> Result<Option<JobFinish>> {
    let stored = attempt::attempt_end(deps.handlers.db.read(), &claimed.job.stream_key, claimed.epoch, &claimed.job.id);
    let Some((finished_at_ms, outcome)) = within(ANSWER_MAX, stored).await? else { return Ok(None) };
    let is_stored = |end: &&JobFinish| end.finished_at_ms == finished_at_ms && end.outcome == outcome;
    Ok(tried.iter().find(is_stored).cloned())
}

fn record_metrics(claimed: &Claimed, end: &JobFinish) {
    metrics::counter!(metric::JOB_ATTEMPTS, "kind" => end.kind.clone(), "outcome" => end.outcome).increment(1);
    if let Some(event_type) = &claimed.event_type {
        let event_type = event_type_label(event_type);
        metrics::counter!(metric::EVENT_ATTEMPTS, "type" => event_type, "outcome" => end.outcome).increment(1);
    }
    if end.outcome == "dead" {
        tracing::warn!(
            job.id = %end.job_id,
            kind = end.kind,
            stream = end.stream_key,
            reason = end.reason.as_deref().unwrap_or_default(),
            "a job is dead"
        );
    }
}

fn random_unit() -> f64 {
    rand::random::<f64>()
}
