//! Replays: support runs a frozen set of ended jobs again, or tries what would happen.

use crate::clock::TimeMs;
use crate::domain::effect::{Audit, Effect};
use crate::domain::job::{Claimed, JobKind, NewJob, Outcome, Verdict, Wake};
use crate::domain::ledger::{Refusal, decide};
use crate::error::{Error, Result};
use crate::ids::{JobId, ReplayId};
use crate::infra::store::commit::{Unit, write_unit};
use crate::infra::store::job::JobFilter;
use crate::infra::store::{Db, account, audit, customer, event, job, replay};
use crate::usecase::handler::{self, Deps};
use sea_orm::ConnectionTrait;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The most jobs of one replay.
pub const REPLAY_JOBS_MAX: u64 = 10_000;
/// The fastest rate.
pub const RATE_MAX: i64 = 1_000;
/// Jobs shown by a preview.
pub const SAMPLE_MAX: u64 = 10;
/// The most jobs worked off in one attempt, so that no transaction is long.
const STEPS_MAX: i64 = 100;
/// The most jobs tried in one attempt: each may ask Stripe.
const DRY_RUNS_MAX: i64 = 25;
/// No further job is tried in an attempt that has taken this long; the limit of an attempt is far off.
const DRY_RUNS_FOR: Duration = Duration::from_secs(10);
/// How long one job may be tried.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(20);

/// A replay as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its identifier.
    pub id: ReplayId,
    /// What was asked for.
    pub filter: JobFilter,
    /// Only try, change nothing.
    pub dry_run: bool,
    /// Jobs started in a second at the most.
    pub rate_per_second: i64,
    /// Why, in words.
    pub reason: String,
    /// `preview`, `running`, `paused`, `done`, `cancelled`, or `failed` if it could not go on.
    pub state: String,
    /// Jobs in the frozen set.
    pub total: i64,
    /// Jobs worked off.
    pub done: i64,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at_ms: TimeMs,
    /// When it was done or cancelled, or failed.
    pub finished_at_ms: Option<TimeMs>,
}

/// One job of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayItem {
    /// Its number, from 1.
    pub n: i64,
    /// The job.
    pub job_id: JobId,
    /// `waiting`, `replayed`, `skipped` (gone, or not ended when its turn came) or `tried`.
    pub state: String,
    /// What came of it, as JSON.
    pub result: Option<String>,
}

/// What came of one job of a replay, ready to be committed.
#[derive(Debug, Clone)]
pub struct ReplayStep {
    /// The item's number.
    pub n: i64,
    /// The job that runs again; none in a dry run.
    pub requeue: Option<JobId>,
    /// `replayed` or `tried` (dry run); `skipped` if it turns out that there is nothing to run again.
    pub state: &'static str,
    /// What came of it, as JSON.
    pub result: Option<String>,
}

/// What a new replay is asked for.
#[derive(Debug, Clone)]
pub struct NewReplay {
    /// Which jobs.
    pub filter: JobFilter,
    /// Only try.
    pub dry_run: bool,
    /// Jobs in a second at the most, 1 to [`RATE_MAX`].
    pub rate_per_second: i64,
    /// Why, in words.
    pub reason: String,
    /// Who asks.
    pub actor: String,
    /// Under which key.
    pub idempotency_key: String,
    /// What tells the request from others under the same key.
    pub request_hash: String,
}

fn line(actor: &str, action: &'static str, id: &ReplayId, details: &serde_json::Value) -> Audit {
    Audit { actor: actor.to_owned(), action, target: id.to_string(), details: details.to_string() }
}

/// Freezes the set of jobs; nothing runs until [`act`] starts it. Repeated under its key, it gives the replay
/// that was made first.
///
/// # Errors
/// `invalid_rate`, `invalid_reason`, `replay_too_large`; [`Refusal::KeyReused`].
pub async fn create(db: &Db, new: NewReplay, now_ms: TimeMs) -> Result<Replay> {
    if !(1..=RATE_MAX).contains(&new.rate_per_second) {
        return Err(Error::invalid("invalid_rate", format!("rate_per_second must be from 1 to {RATE_MAX}")));
    }
    if new.reason.trim().is_empty() || new.reason.len() > 500 {
        return Err(Error::invalid("invalid_reason", "a replay needs a reason of 1 to 500 characters"));
    }
    let tx = db.begin().await?;
    if let Some((id, request_hash)) = replay::replay_id_by_key(&tx, &new.idempotency_key).await? {
        tx.rollback().await?;
        if request_hash != new.request_hash {
            return Err(Refusal::KeyReused.into());
        }
        return replay::replay_find(db.read(), &id).await?.ok_or(Error::NotFound("replay"));
    }
    let jobs = job::job_ids(&tx, &new.filter, REPLAY_JOBS_MAX + 1, now_ms).await?;
    if jobs.len() as u64 > REPLAY_JOBS_MAX {
        return Err(Error::invalid("replay_too_large", format!("the filter matches more than {REPLAY_JOBS_MAX} jobs")));
    }
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
        // The same request came twice at once; the other one was first.
        return Err(Error::Busy("this idempotency key"));
    }
    let details = json!({ "total": stored.total, "dry_run": stored.dry_run, "reason": stored.reason });
    audit::audit_append(&tx, &line(&new.actor, "replay.create", &stored.id, &details), now_ms).await?;
    tx.commit().await?;
    Ok(stored)
}

/// What a person does to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin.
    Start,
    /// Stop for now.
    Pause,
    /// Go on.
    Resume,
    /// Stop for good; what ran already stays.
    Cancel,
}

impl Action {
    fn audit(self) -> &'static str {
        match self {
            Self::Start => "replay.start",
            Self::Pause => "replay.pause",
            Self::Resume => "replay.resume",
            Self::Cancel => "replay.cancel",
        }
    }

    fn moves(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Start => (&["preview"], "running"),
            Self::Pause => (&["running"], "paused"),
            Self::Resume => (&["paused", "failed"], "running"),
            Self::Cancel => (&["preview", "running", "paused", "failed"], "cancelled"),
        }
    }
}

/// Does something to a replay. Gives what to wake.
///
/// # Errors
/// Not found; `replay_state` if its state does not allow it.
pub async fn act(db: &Db, id: &ReplayId, action: Action, actor: &str, now_ms: TimeMs) -> Result<Vec<Wake>> {
    let (from, to) = action.moves();
    let tx = db.begin().await?;
    let found = replay::replay_find(&tx, id).await?.ok_or(Error::NotFound("replay"))?;
    let finished = (to == "cancelled").then_some(now_ms);
    // The job comes first, because that locks its stream: whoever ends an attempt of this replay locks the stream
    // before the replay.
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
    audit::audit_append(&tx, &line(actor, action.audit(), id, &json!({})), now_ms).await?;
    tx.commit().await?;
    Ok(wakes)
}

/// The handler of [`JobKind::ReplayRun`]: works off some jobs, then sleeps for as long as the rate
/// grants for them. All progress is in the database, so a crash costs nothing.
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
        let again =
            |item: ReplayItem| ReplayStep { n: item.n, requeue: Some(item.job_id), state: "replayed", result: None };
        items.into_iter().map(again).collect()
    };
    let pause_ms = steps.len().cast_signed() as i64 * 1_000 / rate;
    let effects = vec![Effect::ReplayItems { replay_id: id.clone(), steps }];
    Ok(Verdict { outcome: Outcome::Snooze { until_ms: now_ms + pause_ms }, ledger: None, effects })
}

/// What the death of a replay's job changes: the replay says so, and can be resumed.
pub fn after_death(id: ReplayId) -> Effect {
    Effect::ReplayEnd { replay_id: id, state: "failed" }
}

/// Tries jobs for a while. What goes wrong with one of them is its result and keeps nobody else waiting;
/// only a failure that passes, such as that of the database, is the attempt's.
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

/// Runs one job's handler and writes its changes in a transaction that is rolled back. Tells what
/// the ledger would have gained or lost.
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
    let mut claimed = [Claimed { job: target, epoch: 0, started_at_ms: now_ms, payload, event_type, event: None }];
    handler::gather(deps.db.read(), &mut claimed).await?;
    let [claimed] = claimed;
    let verdict = handler::handle(&Deps { is_dry_run: true, ..deps.clone() }, &claimed, now_ms).await?;
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

/// How many effects change something: Pro is said also of a customer that is on it.
async fn count_changes(tx: &impl ConnectionTrait, effects: &[Effect]) -> Result<usize> {
    let mut count = 0;
    for effect in effects {
        let is_so = match effect {
            Effect::PlanSet { customer_id, plan } => {
                customer::customer_find(tx, customer_id).await?.is_some_and(|customer| customer.plan == *plan)
            }
            _ => false,
        };
        count += usize::from(!is_so);
    }
    Ok(count)
}
