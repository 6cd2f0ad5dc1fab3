//! Carries out a replay: each attempt requeues some jobs or, in a dry run, tries them.

use super::{Claimed, Deps, gather, handle};
use crate::clock::TimeMs;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, Outcome};
use crate::domain::ledger::decide;
use crate::domain::replay::{RATE_MAX, ReplayItem, ReplayStep};
use crate::error::{Error, Result};
use crate::ids::{JobId, ReplayId};
use crate::infra::store::commit::{Unit, write_unit};
use crate::infra::store::{account, customer, event, job, replay};
use sea_orm::ConnectionTrait;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of jobs requeued in one attempt, so that transactions are short.
const STEPS_MAX: i64 = 100;
/// Maximum number of jobs tried in one attempt: each may call Stripe.
const DRY_RUNS_MAX: i64 = 25;
/// An attempt tries no further job after this time, which is far below its own limit.
const DRY_RUNS_FOR: Duration = Duration::from_secs(10);
/// The timeout of trying one job.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(20);

/// The handler of [`JobKind::ReplayRun`]: requeues or tries some jobs, then snoozes for as long as the rate requires.
/// All progress is in the database, so a crash loses nothing.
pub async fn run(deps: &Deps, id: &ReplayId, now_ms: TimeMs) -> Result<Verdict> {
    let Some(replay) = replay::replay_find(deps.db.read(), id).await? else {
        return Ok(Outcome::Cancel { reason: "the replay is gone".to_owned() }.into());
    };
    if replay.state != "running" {
        return Ok(Outcome::Cancel { reason: format!("the replay is {}", replay.state) }.into());
    }
    let most = if replay.dry_run { DRY_RUNS_MAX } else { STEPS_MAX };
    let rate = replay.rate_per_second.clamp(1, RATE_MAX);
    let items = replay::replay_items(deps.db.read(), id, true, 0, rate.min(most).cast_unsigned()).await?;
    if items.is_empty() {
        let effects = vec![Effect::ReplayEnd { replay_id: id.clone(), state: "done" }];
        return Ok(Verdict { outcome: Outcome::Done, ledger: None, effects });
    }
    let steps = if replay.dry_run {
        try_some(deps, items, now_ms).await?
    } else {
        let requeue =
            |item: ReplayItem| ReplayStep { n: item.n, requeue: Some(item.job_id), state: "replayed", result: None };
        items.into_iter().map(requeue).collect()
    };
    let pause_ms = steps.len().cast_signed() as i64 * 1_000 / rate;
    let effects = vec![Effect::ReplayItems { replay_id: id.clone(), steps }];
    Ok(Verdict { outcome: Outcome::Snooze { until_ms: now_ms + pause_ms }, ledger: None, effects })
}

/// Marks the replay of a dead job as failed, so that it can be resumed.
pub(super) fn after_death(id: ReplayId) -> Effect {
    Effect::ReplayEnd { replay_id: id, state: "failed" }
}

/// Tries jobs for a while. If one fails, that is its result, and the next one is tried. Only a temporary failure, such
/// as of the database, fails the attempt.
async fn try_some(deps: &Deps, items: Vec<ReplayItem>, now_ms: TimeMs) -> Result<Vec<ReplayStep>> {
    let began = Instant::now();
    let mut steps = Vec::new();
    for item in items {
        if began.elapsed() >= DRY_RUNS_FOR {
            break;
        }
        let failed = |reason: String| json!({ "outcome": "failed", "reason": reason });
        let result = match tokio::time::timeout(DRY_RUN_TIMEOUT, dry_run(deps, &item.job_id, now_ms)).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) if error.is_retryable() => return Err(error),
            Ok(Err(error)) => failed(error.chain()),
            Err(_) => failed("it took too long".to_owned()),
        };
        steps.push(ReplayStep { n: item.n, requeue: None, state: "tried", result: Some(result.to_string()) });
    }
    Ok(steps)
}

/// Runs one job's handler and writes its changes in a transaction that is rolled back. Reports how they would have
/// changed the ledger.
pub async fn dry_run(deps: &Deps, id: &JobId, now_ms: TimeMs) -> Result<serde_json::Value> {
    let Some(target) = job::job_find(deps.db.read(), id).await? else {
        return Ok(json!({ "outcome": "gone" }));
    };
    if !JobKind::parse(&target.kind).is_some_and(JobKind::has_dry_run) {
        return Ok(json!({ "outcome": "not tried", "reason": "jobs of this kind have no dry run" }));
    }
    let event = match &target.event_id {
        Some(event_id) => event::event_bytes(deps.db.read(), &[event_id]).await?.pop(),
        None => None,
    };
    let (payload, event_type) = event.map(|event| (event.payload, event.event_type)).unzip();
    let mut claimed = [Claimed {
        job: target,
        epoch: 0,
        started_at_ms: now_ms,
        payload,
        event_type,
        catalogue_version: None,
        event: None,
    }];
    gather(deps.db.read(), &mut claimed).await?;
    let [claimed] = claimed;
    let verdict = handle(&Deps { is_dry_run: true, ..deps.clone() }, &claimed, now_ms).await?;
    let mut report = match &verdict.outcome {
        Outcome::Done => json!({ "outcome": "done" }),
        Outcome::Snooze { .. } => json!({ "outcome": "snooze" }),
        Outcome::Retry { reason } => json!({ "outcome": "retry", "reason": reason }),
        Outcome::Cancel { reason } => json!({ "outcome": "cancel", "reason": reason }),
        Outcome::Dead { reason } => json!({ "outcome": "dead", "reason": reason }),
    };
    let tx = deps.db.begin().await?;
    let mut unit = Unit { account: None, finishes: Vec::new(), effects: verdict.effects };
    if let Some((customer, command)) = verdict.ledger {
        let used = match &command.idempotency_key {
            Some(key) => account::entry_find_by_key(&tx, &customer, key).await?,
            None => None,
        };
        let current = account::account_find(&tx, &customer).await?.ok_or(Error::NotFound("account"))?;
        match (used, decide(&current, &command, now_ms)) {
            (Some(entry), _) => report["ledger"] = json!({ "amount": 0, "already": entry.amount }),
            (None, Err(refusal)) => report["ledger"] = json!({ "amount": 0, "refused": refusal.to_string() }),
            (None, Ok(decision)) => {
                let amount = decision.account.balance - current.balance;
                report["ledger"] = json!({
                    "customer_id": customer.as_str(),
                    "amount": amount,
                    "balance_after": decision.account.balance,
                });
                unit.account = Some(account::AccountWrite {
                    customer_id: customer,
                    expected_version: current.version,
                    account: decision.account,
                    entries: decision.entries,
                });
            }
        }
    }
    report["changes"] = json!(count_changes(&tx, &unit.effects).await?);
    if write_unit(&tx, &unit, &deps.node, now_ms).await?.is_none() {
        report["outcome"] = json!("would be tried again");
    }
    tx.rollback().await?;
    Ok(report)
}

/// Counts the effects that change something. Setting a plan that the customer already has does not.
async fn count_changes(tx: &impl ConnectionTrait, effects: &[Effect]) -> Result<usize> {
    let mut count = 0;
    for effect in effects {
        let is_set = match effect {
            Effect::PlanSet { customer_id, plan, .. } => {
                customer::customer_find(tx, customer_id).await?.is_some_and(|customer| customer.plan == *plan)
            }
            _ => false,
        };
        count += usize::from(!is_set);
    }
    Ok(count)
}
