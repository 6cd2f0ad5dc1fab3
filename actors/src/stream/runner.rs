//! One round of a stream: claim its head, run the handler, commit the end of the attempt.

use super::StreamDeps;
use super::actor::Round;
use crate::customer::Request;
use bursar_engine::job::{Claimed, JobFinish, Outcome, RESCUES_MAX, Verdict, finish};
use bursar_engine::ledger::Refusal;
use bursar_engine::store::commit::{Unit, UnitResult};
use bursar_engine::{Error, handler, metric};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Wait between tries to commit the end of an attempt while the database is away.
const COMMIT_RETRY: Duration = Duration::from_millis(200);

pub(super) async fn round(deps: &Arc<StreamDeps>, key: &str) -> Round {
    // The permit comes before the lease: a leased job never waits for a worker.
    let Ok(_permit) = deps.workers.acquire().await else { return Round::Stopping };
    if deps.draining.is_cancelled() {
        return Round::Stopping;
    }
    let claimed = match deps.claims.submit(key.to_owned()).await {
        Ok(Some(claimed)) => claimed,
        Ok(None) => return Round::Nothing,
        Err(error) => {
            tracing::debug!(stream = key, error = %error.chain(), "a claim failed");
            return Round::Failed;
        }
    };
    let _lease = deps.leases.hold(key, claimed.epoch);
    let started = Instant::now();
    let kind = claimed.job.kind.clone();
    #[allow(clippy::cast_precision_loss)]
    let waited = (claimed.started_at_ms - claimed.job.run_at_ms).max(0) as f64 / 1_000.0;
    metrics::histogram!(metric::JOB_WAIT_SECONDS, "kind" => kind.clone()).record(waited);

    let verdict = if claimed.job.rescues > RESCUES_MAX {
        // It has probably killed all those nodes: `finish` turns this into its death.
        Outcome::Retry { reason: "not run again".to_owned() }.into()
    } else {
        run_handler(deps, &claimed).await
    };
    let round = match commit_until_lease_ends(deps, &claimed, verdict, started).await {
        Some(end) => {
            record(&claimed, &end);
            if let Some(wake) = end.wake() {
                // Only then may the message that led here be acknowledged.
                deps.dispatcher.announce_all(std::slice::from_ref(&wake)).await;
            }
            Round::Ran
        }
        None => {
            metrics::counter!(metric::JOB_FENCED).increment(1);
            Round::Failed
        }
    };
    metrics::histogram!(metric::JOB_SECONDS, "kind" => kind).record(started.elapsed().as_secs_f64());
    round
}

/// Runs the handler apart, so that its panic or its slowness is only a failed attempt.
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

/// Commits the end of the attempt, trying again while the database is away and the lease lasts.
/// `None` if the result does not count: the lease is another's.
async fn commit_until_lease_ends(
    deps: &StreamDeps,
    claimed: &Claimed,
    verdict: Verdict,
    started: Instant,
) -> Option<JobFinish> {
    let lease = Duration::from_millis(deps.jobs.lease_ms.unsigned_abs());
    let mut verdict = verdict;
    loop {
        match commit(deps, claimed, verdict.clone()).await {
            Ok(Some(end)) => return Some(end),
            Ok(None) => return None,
            Err(error) if error.is_retryable() && started.elapsed() < lease => {
                tokio::time::sleep(COMMIT_RETRY).await;
            }
            Err(error) if error.is_retryable() => return None,
            Err(error) => {
                let reason = error.chain();
                tracing::warn!(job.id = %claimed.job.id, kind = claimed.job.kind, reason, "a result was refused");
                if matches!(&verdict.outcome, Outcome::Dead { .. }) && verdict.ledger.is_none() {
                    return None;
                }
                verdict = match error {
                    Error::Refused(_) | Error::NotFound(_) => Outcome::Dead { reason }.into(),
                    _ => Outcome::Retry { reason }.into(),
                };
            }
        }
    }
}

async fn commit(deps: &StreamDeps, claimed: &Claimed, verdict: Verdict) -> bursar_engine::Result<Option<JobFinish>> {
    let now_ms = deps.clock.now_ms();
    let end = finish(claimed, verdict.outcome, deps.jobs.backoff(), now_ms, rand_unit());
    let mut effects = verdict.effects;
    if let Some((customer, command)) = verdict.ledger {
        let request = Request { command, finish: Some(end.clone()), effects: effects.clone() };
        match deps.customers.apply(&customer, request).await {
            Ok(applied) if !applied.replayed => return Ok(Some(end)),
            // The credits were moved before, or there are none to move: the rest is still to do.
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

fn record(claimed: &Claimed, end: &JobFinish) {
    metrics::counter!(metric::JOB_ATTEMPTS, "kind" => end.kind.clone(), "outcome" => end.outcome).increment(1);
    if let Some(Ok(envelope)) = claimed.event.as_deref().map(|event| &event.envelope) {
        let event_type = metric::event_type_label(&envelope.event_type);
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

fn rand_unit() -> f64 {
    rand::random::<f64>()
}
