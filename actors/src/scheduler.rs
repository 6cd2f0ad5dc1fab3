//! The scheduler: creates recurring jobs. Their unique key contains the day, so there is one per day, regardless of the
//! number of nodes and restarts.

use crate::deadline::{COMMIT_MAX, within};
use crate::dispatch::Dispatcher;
use crate::root::{Child, Slot};
use bursar_engine::clock::{Clock, TimeMs};
use bursar_engine::config::ReconcileWindow;
use bursar_engine::domain::job::{JobKind, NewJob};
use bursar_engine::infra::store::{Db, job};
use bursar_engine::usecase::reconcile::{self, NewReconciliation};
use bursar_engine::{Error, Result};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use std::time::Duration;

/// How often the scheduler checks which jobs are due.
const TICK: Duration = Duration::from_secs(10 * 60);
const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;

pub(crate) struct SchedulerDeps {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) dispatcher: Dispatcher,
    /// The hour of the day (UTC) from which the nightly comparison with Stripe is due; `None` for never.
    pub(crate) reconcile_hour: Option<i64>,
    pub(crate) reconcile_window: ReconcileWindow,
}

pub(crate) fn child(deps: Arc<SchedulerDeps>) -> Child {
    Child::new("scheduler", Slot::new(), move || (Scheduler { deps: deps.clone() }, ()))
}

struct Scheduler {
    deps: Arc<SchedulerDeps>,
}

struct Tick;

impl Actor for Scheduler {
    type Msg = Tick;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Tick>, (): ()) -> Result<(), ActorProcessingErr> {
        let _ = myself.send_message(Tick);
        myself.send_interval(TICK, || Tick);
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Tick>, _: Tick, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let deps = self.deps.clone();
        tokio::spawn(async move {
            let now_ms = deps.clock.now_ms();
            for created in [
                within(COMMIT_MAX, begin_retention(&deps, now_ms)).await,
                within(COMMIT_MAX, begin_reconciliation(&deps, now_ms)).await,
            ] {
                if let Err(error) = created {
                    tracing::warn!(error = %error.chain(), "recurring jobs could not be created; the scheduler tries again later");
                }
            }
        });
        Ok(())
    }
}

async fn begin_retention(deps: &SchedulerDeps, now_ms: TimeMs) -> Result<()> {
    let mut retention = NewJob::new(JobKind::Retention, "{}".to_owned(), now_ms);
    retention.unique_key = Some(format!("retention:{}", now_ms / DAY_MS));
    let tx = deps.db.begin().await?;
    let wakes = job::job_insert_many(&tx, &[retention], now_ms).await?;
    tx.commit().await?;
    deps.dispatcher.announce(wakes);
    Ok(())
}

async fn begin_reconciliation(deps: &SchedulerDeps, now_ms: TimeMs) -> Result<()> {
    let Some(night) = deps.reconcile_hour.and_then(|hour| due_nightly_day(now_ms, hour)) else { return Ok(()) };
    let new = NewReconciliation {
        window_ms: None,
        repair: true,
        is_full: false,
        only_customer: None,
        actor: "system".to_owned(),
        request_key: format!("nightly:{night}"),
        request_hash: String::new(),
    };
    match reconcile::begin(&deps.db, new, deps.reconcile_window, now_ms).await {
        Ok(begun) => deps.dispatcher.announce(begun.wakes),
        // A run that staff started is under way; tonight's run is created after it.
        Err(Error::Conflict { code: "reconciliation_running", .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Returns the number of the day whose nightly run is due. `None` before the hour. A node that was down at that hour
/// catches up later.
fn due_nightly_day(now_ms: TimeMs, hour: i64) -> Option<i64> {
    (now_ms % DAY_MS >= hour * HOUR_MS).then_some(now_ms / DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_run_is_due_from_its_hour_to_the_end_of_the_day() {
        assert_eq!(due_nightly_day(5 * DAY_MS + 3 * HOUR_MS - 1, 3), None);
        assert_eq!(due_nightly_day(5 * DAY_MS + 3 * HOUR_MS, 3), Some(5));
        assert_eq!(due_nightly_day(6 * DAY_MS - 1, 3), Some(5));
        assert_eq!(due_nightly_day(6 * DAY_MS, 0), Some(6));
    }
}
