//! One round of a stream: claims the head job, runs its handler, commits the end of the attempt.

use super::StreamDeps;
use super::claim::{Claim, ClaimRequest};
use crate::customer::Request;
use crate::deadline::{ANSWER_MAX, COMMIT_MAX, within};
use bursar_engine::domain::effect::{Effect, Verdict};
use bursar_engine::domain::job::{Backoff, JobFinish, JobKind, JobState, Lane, Outcome, RESCUES_MAX, finish};
use bursar_engine::error::Refusal;
use bursar_engine::infra::store::commit::{Unit, UnitResult};
use bursar_engine::infra::store::{attempt, stream as streams};
use bursar_engine::usecase::handler::{self, Claimed};
use bursar_engine::usecase::intake::event_type_label;
use bursar_engine::usecase::{version, work};
use bursar_engine::{Error, Result, metric};
use futures_util::future::Either;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

/// Wait before another try while the database is unavailable.
const COMMIT_RETRY: Duration = Duration::from_millis(200);

/// The result of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// A job was run and its end committed, or it was released. There may be another.
    Ran,
    /// No job is due, or another node works on it.
    Nothing,
    /// A job is due, and another transaction holds the stream's row. The stream asks again soon.
    Locked,
    /// The round failed. Its messages are acknowledged nevertheless, or they would use up the prefetch. The sweeper
    /// announces the job again.
    Failed,
    /// The process is stopping. The messages return to the broker, for another node.
    Stopping,
}

/// The lock that a job holds while it runs: shared with other jobs, or exclusive.
type Isolation<'a> = Either<RwLockReadGuard<'a, ()>, RwLockWriteGuard<'a, ()>>;

/// Runs one round.
pub(super) async fn run_round(deps: &Arc<StreamDeps>, request: &ClaimRequest) -> Round {
    // Take the permit first, so that a leased job never waits for a worker.
    let Ok(permit) = deps.workers.acquire(Lane::of(&request.stream)).await else { return Round::Stopping };
    let (claimed, isolation) = match claim(deps, request).await {
        Ok((claimed, isolation)) => (Arc::new(claimed), isolation),
        Err(round) => return round,
    };
    let _lease = deps.leases.hold(&request.stream, claimed.epoch);
    let started = Instant::now();
    let kind = claimed.job.kind.clone();
    #[allow(clippy::cast_precision_loss)]
    let waited = (claimed.started_at_ms - claimed.job.run_at_ms).max(0) as f64 / 1_000.0;
    metrics::histogram!(metric::JOB_WAIT_SECONDS, "kind" => kind.clone()).record(waited);

    let verdict = if claimed.job.rescues > RESCUES_MAX {
        // Nodes crashed while running it, so it does not run again. `finish` moves it to dead.
        Outcome::Retry { reason: "not run again".to_owned() }.into()
    } else {
        run_handler(deps, &claimed).await
    };
    let end = commit_or_release(deps, &claimed, verdict).await;
    metrics::histogram!(metric::JOB_SECONDS, "kind" => kind).record(started.elapsed().as_secs_f64());
    // The announcement may wait for the broker; other jobs must not.
    drop((isolation, permit));
    match end {
        Ok(end) => {
            record_metrics(&claimed, &end);
            if JobKind::parse(&claimed.job.kind) == Some(JobKind::CatalogueApply) {
                take_applied_catalogue(deps).await;
            }
            if let Some(wake) = end.wake() {
                // The message that led here may be acknowledged only afterwards.
                deps.dispatcher.announce_all(std::slice::from_ref(&wake)).await;
            }
            Round::Ran
        }
        Err(Uncommitted::Fenced) => Round::Failed,
        Err(Uncommitted::Released) => Round::Ran,
        Err(Uncommitted::Refused) => {
            release_later(deps, &claimed).await;
            Round::Failed
        }
    }
}

/// Puts the catalogue that this process has applied into force here at once; other nodes take it with their next look.
async fn take_applied_catalogue(deps: &StreamDeps) {
    let refreshed = version::refresh(deps.handlers.db.write(), &deps.handlers.catalogue);
    if let Err(error) = within(ANSWER_MAX, refreshed).await {
        tracing::debug!(error = %error.chain(), "the applied catalogue could not be read; the sweeper tries again");
    }
}

/// Claims the head job of a stream. A suspect job, which may have crashed nodes, is released and claimed again once no
/// other job runs in this process, so that a crash affects only that job.
async fn claim<'a>(deps: &'a StreamDeps, request: &ClaimRequest) -> Result<(Claimed, Isolation<'a>), Round> {
    let shared = deps.isolation.read().await;
    let claimed = claim_head(deps, request).await?;
    if !claimed.job.is_suspect() {
        return Ok((claimed, Either::Left(shared)));
    }
    release(deps, &claimed).await;
    drop(shared);
    let exclusive = deps.isolation.write().await;
    tracing::warn!(job.id = %claimed.job.id, rescues = claimed.job.rescues, "a job that may have crashed nodes runs alone");
    Ok((claim_head(deps, request).await?, Either::Right(exclusive)))
}

async fn claim_head(deps: &StreamDeps, request: &ClaimRequest) -> Result<Claimed, Round> {
    if deps.draining.is_cancelled() {
        if request.may_be_empty {
            leave_behind(deps, &request.stream).await;
        }
        return Err(Round::Stopping);
    }
    match deps.claims.submit(request.clone()).await {
        Ok(Claim::Head(claimed)) => Ok(*claimed),
        Ok(Claim::Nothing) => Err(Round::Nothing),
        Ok(Claim::Locked) => Err(Round::Locked),
        Err(error) => {
            tracing::debug!(stream = request.stream, error = %error.chain(), "a claim failed");
            Err(Round::Failed)
        }
    }
}

/// Leaves a stream with further jobs to other nodes, for this one stops. If it fails, they find it later.
async fn leave_behind(deps: &StreamDeps, stream: &str) {
    let marked = streams::stream_mark_stopped(deps.handlers.db.write(), stream, deps.clock.now_ms());
    if let Err(error) = within(ANSWER_MAX, marked).await {
        tracing::debug!(stream, error = %error.chain(), "a stream could not be left to other nodes");
    }
}

/// Runs the handler in its own task, so that a panic or a timeout only fails the attempt.
async fn run_handler(deps: &Arc<StreamDeps>, claimed: &Arc<Claimed>) -> Verdict {
    let now_ms = deps.clock.now_ms();
    let (handlers, job) = (deps.handlers.for_job(&claimed.job), claimed.clone());
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

/// Why the end of an attempt was not committed.
enum Uncommitted {
    /// This node has lost the lease.
    Fenced,
    /// The database was unavailable for too long, and the job was released.
    Released,
    /// The database refuses every end, even a failure. The job is still leased.
    Refused,
}

/// Commits the end of the attempt. While the database is unavailable, retries for the duration of a lease and then
/// releases the job. If the database refuses the end, the attempt fails.
async fn commit_or_release(deps: &StreamDeps, claimed: &Claimed, verdict: Verdict) -> Result<JobFinish, Uncommitted> {
    let started = Instant::now();
    let retry_for = lease_duration(deps);
    let (mut verdict, mut was_refused) = (verdict, false);
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
        let committed = match commit(deps, claimed, &verdict, end).await {
            Ok(None) => find_committed(deps, claimed, &tried).await,
            committed => committed,
        };
        match committed {
            Ok(Some(end)) => return Ok(end),
            Ok(None) => {
                metrics::counter!(metric::JOB_FENCED).increment(1);
                return Err(Uncommitted::Fenced);
            }
            Err(error) if error.is_retryable() && started.elapsed() < retry_for => {
                tokio::time::sleep(COMMIT_RETRY).await;
            }
            Err(error) if error.is_retryable() => {
                release(deps, claimed).await;
                return Err(Uncommitted::Released);
            }
            Err(error) => {
                let reason = error.chain();
                tracing::warn!(job.id = %claimed.job.id, kind = claimed.job.kind, reason, "a result was refused");
                if was_refused {
                    return Err(Uncommitted::Refused);
                }
                was_refused = true;
                verdict = match error {
                    // Credits that the handler counted on were spent meanwhile: it decides again.
                    Error::Refused(Refusal::InsufficientCredits { .. }) => {
                        Outcome::Snooze { until_ms: deps.clock.now_ms() }.into()
                    }
                    Error::Refused(_) | Error::NotFound(_) => Outcome::Dead { reason }.into(),
                    _ => Outcome::Retry { reason }.into(),
                };
            }
        }
    }
}

/// Releases a job whose end is refused after the duration of a lease. The wait replaces the backoff, which the database
/// cannot store. Shutdown ends the wait.
async fn release_later(deps: &StreamDeps, claimed: &Claimed) {
    tokio::select! {
        () = tokio::time::sleep(lease_duration(deps)) => release(deps, claimed).await,
        () = deps.draining.cancelled() => {}
    }
}

fn lease_duration(deps: &StreamDeps) -> Duration {
    Duration::from_millis(deps.jobs.lease_ms.unsigned_abs())
}

/// Releases a job, so that its lease does not expire as if this node had crashed. Retries until the database is back or
/// the process stops, which releases all leases of the node.
async fn release(deps: &StreamDeps, claimed: &Claimed) {
    let db = &deps.handlers.db;
    while !deps.draining.is_cancelled() {
        let released = work::give_back(db, &claimed.job.stream_key, claimed.epoch, deps.clock.now_ms());
        match within(COMMIT_MAX, released).await {
            Ok(_) => return,
            Err(error) if error.is_retryable() => tokio::time::sleep(COMMIT_RETRY).await,
            Err(error) => {
                let error = error.chain();
                tracing::warn!(job.id = %claimed.job.id, error, "a job could not be released; its lease will expire");
                return;
            }
        }
    }
}

/// Commits an end of the attempt with its credits and effects. `None` if this node has lost the lease.
async fn commit(deps: &StreamDeps, claimed: &Claimed, verdict: &Verdict, end: JobFinish) -> Result<Option<JobFinish>> {
    if let Some((customer, command)) = &verdict.ledger {
        let effects = effects_of(claimed, verdict, &end);
        let request = Request { command: command.clone(), finish: Some(end.clone()), effects };
        match deps.customers.apply(customer, request).await {
            Ok(applied) if !applied.replayed => return Ok(Some(end)),
            // The credits were moved before, or there are none to move. Only the effects remain to be committed.
            Ok(_) | Err(Error::Refused(Refusal::NothingToDo)) => {}
            Err(Error::Conflict { code: "fenced", .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let unit = Unit { account: None, finishes: vec![end.clone()], effects: effects_of(claimed, verdict, &end) };
    match deps.ledger.commit(unit).await {
        Ok(UnitResult::Committed(_)) => Ok(Some(end)),
        Ok(_) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn effects_of(claimed: &Claimed, verdict: &Verdict, end: &JobFinish) -> Vec<Effect> {
    let mut effects = verdict.effects.clone();
    if end.state == JobState::Dead {
        effects.extend(handler::after_death(claimed));
    }
    effects
}

/// Finds which of the tried ends was committed. A commit releases the lease, so if its answer was lost, every further
/// try appears fenced.
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
