//! The sweeper: announces overdue jobs, settles due accounts, begins automatic top-ups, renews leases, looks for a
//! newer catalogue, sets gauges.

mod due;
mod settle;
mod top_up;

use crate::customer::Customers;
use crate::deadline::{ANSWER_MAX, within};
use crate::dispatch::Dispatcher;
use crate::guaranteed_reply::GuaranteedReply;
use crate::root::{Child, Slot};
use crate::stream::{Leases, renew_interval};
use bursar_engine::clock::Clock;
use bursar_engine::config::JobsConfig;
use bursar_engine::domain::catalogue::SharedCatalogue;
use bursar_engine::domain::reconcile::Class;
use bursar_engine::ids::{CustomerId, JobId};
use bursar_engine::infra::broker::{Broker, Health};
use bursar_engine::infra::store::{Db, account, audit, job, reconciliation, stream};
use bursar_engine::usecase::version;
use bursar_engine::{Result, metric};
use due::{Found, Progress};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use settle::{FailedAccounts, SettleDeps};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// With a broker: wait before the same job is announced again. Shorter, and a backlog would be published over and over;
/// longer, and a job whose stream was leased to a killed node would wait too long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often the gauges are set.
const GAUGES_EVERY: Duration = Duration::from_secs(5);
/// How often a newer version of the catalogue is looked for. Operators are told that all nodes have it within 5 s.
const CATALOGUE_EVERY: Duration = Duration::from_secs(3);

pub(crate) struct SweeperDeps {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) customers: Customers,
    pub(crate) broker: Option<Broker>,
    pub(crate) leases: Leases,
    pub(crate) jobs: JobsConfig,
    pub(crate) catalogue: SharedCatalogue,
    /// Whether this process runs jobs. If not, it only sets the gauges.
    pub(crate) runs_jobs: bool,
    /// Whether the process stops.
    pub draining: CancellationToken,
}

pub(crate) fn child(deps: Arc<SweeperDeps>) -> Child {
    Child::new("sweeper", Slot::new(), move || (Sweeper { deps: deps.clone() }, ()))
}

struct Sweeper {
    deps: Arc<SweeperDeps>,
}

enum SweeperMsg {
    Sweep,
    Swept(Option<Sweeps>),
    Settle,
    Settled(FailedAccounts),
    TopUp,
    ToppedUp(Option<CustomerId>),
    Renew,
    Renewed,
    Catalogue,
    CatalogueSeen { succeeded: bool },
    Gauges,
}

struct SweeperState {
    /// What the sweep before left for the next one. `None` while a sweep is under way.
    sweeps: Option<Sweeps>,
    /// Accounts that could not be settled. `None` while accounts are being settled.
    failed: Option<FailedAccounts>,
    /// Where the last look for due top-ups stopped. `None` while one is under way.
    topped_up: Option<Option<CustomerId>>,
    /// Whether a renewal of leases is under way.
    is_renewing: bool,
    /// How the last look for a newer catalogue ended. `None` while one is under way.
    catalogue_seen: Option<bool>,
}

impl Actor for Sweeper {
    type Msg = SweeperMsg;
    type State = SweeperState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<SweeperMsg>, (): ()) -> Result<SweeperState, ActorProcessingErr> {
        myself.send_interval(GAUGES_EVERY, || SweeperMsg::Gauges);
        myself.send_interval(CATALOGUE_EVERY, || SweeperMsg::Catalogue);
        if self.deps.runs_jobs {
            let interval = Duration::from_millis(self.deps.jobs.sweep_interval_ms);
            myself.send_interval(interval, || SweeperMsg::Sweep);
            myself.send_interval(interval, || SweeperMsg::Settle);
            myself.send_interval(top_up::TOP_UPS_EVERY, || SweeperMsg::TopUp);
            myself.send_interval(renew_interval(self.deps.jobs.lease_ms), || SweeperMsg::Renew);
        }
        Ok(SweeperState {
            sweeps: Some(Sweeps::default()),
            failed: Some(FailedAccounts::default()),
            topped_up: Some(None),
            is_renewing: false,
            catalogue_seen: Some(true),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SweeperMsg>,
        message: SweeperMsg,
        state: &mut SweeperState,
    ) -> Result<(), ActorProcessingErr> {
        let deps = self.deps.clone();
        match message {
            SweeperMsg::Sweep => {
                // Skip the tick while the previous sweep is under way.
                let Some(sweeps) = state.sweeps.take() else { return Ok(()) };
                let reply = GuaranteedReply::new(myself, SweeperMsg::Swept(None));
                tokio::spawn(async move { reply.send(SweeperMsg::Swept(Some(sweep(&deps, sweeps).await))) });
            }
            SweeperMsg::Swept(sweeps) => state.sweeps = Some(sweeps.unwrap_or_default()),
            SweeperMsg::Settle => {
                let Some(failed) = state.failed.take() else { return Ok(()) };
                let reply = GuaranteedReply::new(myself, SweeperMsg::Settled(FailedAccounts::default()));
                tokio::spawn(async move {
                    let SweeperDeps { db, clock, customers, .. } = &*deps;
                    reply.send(SweeperMsg::Settled(settle::settle(&SettleDeps { db, clock, customers }, failed).await));
                });
            }
            SweeperMsg::Settled(failed) => state.failed = Some(failed),
            SweeperMsg::TopUp => {
                let Some(first) = state.topped_up.take() else { return Ok(()) };
                let reply = GuaranteedReply::new(myself, SweeperMsg::ToppedUp(None));
                tokio::spawn(async move {
                    let SweeperDeps { db, clock, dispatcher, .. } = &*deps;
                    reply.send(SweeperMsg::ToppedUp(top_up::begin_due(db, clock, dispatcher, first).await));
                });
            }
            SweeperMsg::ToppedUp(first) => state.topped_up = Some(first),
            SweeperMsg::Renew if state.is_renewing => {}
            SweeperMsg::Renew => {
                state.is_renewing = true;
                let reply = GuaranteedReply::new(myself, SweeperMsg::Renewed);
                tokio::spawn(async move {
                    let until_ms = deps.clock.now_ms() + deps.jobs.lease_ms;
                    if let Err(error) = within(ANSWER_MAX, deps.leases.renew(&deps.db, until_ms)).await {
                        tracing::warn!(error = %error.chain(), "leases could not be renewed");
                    }
                    drop(reply);
                });
            }
            SweeperMsg::Renewed => state.is_renewing = false,
            SweeperMsg::Catalogue => {
                let Some(succeeded) = state.catalogue_seen.take() else { return Ok(()) };
                let reply = GuaranteedReply::new(myself, SweeperMsg::CatalogueSeen { succeeded: false });
                tokio::spawn(async move {
                    let succeeded = refresh_catalogue(&deps, succeeded).await;
                    reply.send(SweeperMsg::CatalogueSeen { succeeded });
                });
            }
            SweeperMsg::CatalogueSeen { succeeded } => state.catalogue_seen = Some(succeeded),
            SweeperMsg::Gauges => {
                tokio::spawn(async move {
                    if let Err(error) = within(ANSWER_MAX, set_gauges(&deps)).await {
                        tracing::debug!(error = %error.chain(), "gauges could not be set");
                    }
                });
            }
        }
        Ok(())
    }
}

/// Puts a newer version of the catalogue into force if there is one. Returns whether it could be looked for. Only the
/// first failure of several is logged as a warning.
async fn refresh_catalogue(deps: &SweeperDeps, succeeded_before: bool) -> bool {
    match within(ANSWER_MAX, version::refresh(deps.db.read(), &deps.catalogue)).await {
        Ok(None) => true,
        Ok(Some(version)) => {
            tracing::info!(version, "another version of the catalogue is in force");
            true
        }
        Err(error) => {
            if succeeded_before && !deps.draining.is_cancelled() {
                tracing::warn!(error = %error.chain(), "a newer catalogue could not be looked for; the present one stays");
            }
            false
        }
    }
}

/// What one sweep leaves for the next.
#[derive(Default)]
struct Sweeps {
    /// Where the sweeps are in the due jobs.
    progress: Progress,
    /// Jobs announced recently through the broker.
    announced: HashMap<JobId, Instant>,
    /// Whether the last one failed. Only the first failure of several is logged as a warning.
    has_failed: bool,
}

async fn sweep(deps: &SweeperDeps, mut sweeps: Sweeps) -> Sweeps {
    let now_ms = deps.clock.now_ms();
    let brokered = deps.dispatcher.is_brokered();
    let grace_ms = if brokered { deps.jobs.sweep_grace_ms } else { 0 };
    let mut found = Found::default();
    let swept = within(ANSWER_MAX, sweeps.progress.sweep(&deps.db, now_ms - grace_ms, now_ms, &mut found)).await;
    if let Err(error) = &swept {
        // A node that stops closes its connections under the last sweep.
        if sweeps.has_failed || deps.draining.is_cancelled() {
            tracing::debug!(error = %error.chain(), "a sweep for due jobs failed");
        } else {
            tracing::warn!(error = %error.chain(), "a sweep for due jobs failed; jobs that nobody announced start late");
        }
    }
    sweeps.has_failed = swept.is_err();
    let announced = &mut sweeps.announced;
    let now = Instant::now();
    announced.retain(|_, at| now.duration_since(*at) < AGAIN_AFTER);
    let missed: Vec<_> =
        found.into_wakes().into_iter().filter(|wake| !brokered || !announced.contains_key(&wake.job_id)).collect();
    if !missed.is_empty() {
        metrics::counter!(metric::SWEEPER_WOKEN).increment(missed.len() as u64);
        if brokered {
            announced.extend(missed.iter().map(|wake| (wake.job_id.clone(), now)));
        }
        deps.dispatcher.announce(missed);
    }
    sweeps
}

#[allow(clippy::cast_precision_loss)]
async fn set_gauges(deps: &SweeperDeps) -> Result<()> {
    for pool in deps.db.pool_usage() {
        metrics::gauge!(metric::POOL_IN_USE, "pool" => pool.lane.as_str()).set(f64::from(pool.in_use));
        metrics::gauge!(metric::POOL_MAX, "pool" => pool.lane.as_str()).set(f64::from(pool.max));
    }
    if let Some(broker) = &deps.broker {
        let health = broker.health();
        metrics::gauge!(metric::BROKER_UP).set(if health == Health::Up { 1.0 } else { 0.0 });
        metrics::gauge!(metric::BROKER_BLOCKED).set(if health == Health::Blocked { 1.0 } else { 0.0 });
    }
    let now_ms = deps.clock.now_ms();
    for count in job::job_queue(deps.db.read(), now_ms).await? {
        let kind = count.kind.as_str();
        for (state, n) in [
            ("scheduled", count.scheduled),
            ("available", count.available),
            ("running", count.running),
            ("dead", count.dead),
        ] {
            metrics::gauge!(metric::QUEUE_JOBS, "kind" => kind, "state" => state).set(n as f64);
        }
        let age_ms = count.oldest_due_ms.map_or(0, |at| (now_ms - at).max(0));
        metrics::gauge!(metric::QUEUE_AGE_SECONDS, "kind" => kind).set(age_ms as f64 / 1_000.0);
    }
    let settle_ms = account::account_settle_next(deps.db.read()).await?;
    let overdue_ms = settle_ms.map_or(0, |at| (now_ms - at).max(0));
    metrics::gauge!(metric::SETTLE_OVERDUE_SECONDS).set(overdue_ms as f64 / 1_000.0);
    let paused = stream::stream_count_paused(deps.db.read()).await?;
    metrics::gauge!(metric::STREAMS_PAUSED).set(paused as f64);
    // Not the connection for reads: see the sealer's own query.
    let unsealed = audit::audit_unsealed_count(deps.db.write()).await?;
    metrics::gauge!(metric::AUDIT_UNSEALED).set(unsealed.rows as f64);
    let age_ms = unsealed.oldest_at_ms.map_or(0, |at| (now_ms - at).max(0));
    metrics::gauge!(metric::AUDIT_UNSEALED_AGE_SECONDS).set(age_ms as f64 / 1_000.0);
    set_drift_gauges(&deps.db).await
}

/// Sets the gauges for the findings of the last reconciliation, read from the database so that they survive a restart.
#[allow(clippy::cast_precision_loss)]
async fn set_drift_gauges(db: &Db) -> Result<()> {
    let Some(run) = reconciliation::reconciliation_last_done(db.read()).await? else { return Ok(()) };
    for class in Class::ALL {
        let tally = run.counts.tally(class);
        metrics::gauge!(metric::STRIPE_DRIFT, "class" => class.as_str()).set(tally.left() as f64);
        metrics::gauge!(metric::STRIPE_DRIFT_FOUND, "class" => class.as_str()).set(tally.found as f64);
    }
    let ended_ms = run.finished_at_ms.unwrap_or(run.created_at_ms);
    metrics::gauge!(metric::RECONCILIATION_AT_SECONDS).set(ended_ms as f64 / 1_000.0);
    metrics::gauge!(metric::RECONCILIATION_SECONDS).set((ended_ms - run.created_at_ms) as f64 / 1_000.0);
    Ok(())
}
