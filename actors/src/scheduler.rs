//! The scheduler: makes recurring jobs. The unique key names the day, so however many nodes there
//! are, and however often they start, each day has one.

use crate::dispatch::Dispatcher;
use crate::root::{Child, Slot};
use bursar_engine::Result;
use bursar_engine::clock::Clock;
use bursar_engine::job::{JobKind, NewJob};
use bursar_engine::store::{Db, job};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use std::time::Duration;

/// How often the scheduler looks whether something recurs.
const TICK: Duration = Duration::from_secs(10 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

pub(crate) struct SchedulerDeps {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) dispatcher: Dispatcher,
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
            if let Err(error) = schedule(&deps).await {
                tracing::warn!(error = %error.chain(), "recurring jobs could not be made; tried again later");
            }
        });
        Ok(())
    }
}

async fn schedule(deps: &SchedulerDeps) -> Result<()> {
    let now_ms = deps.clock.now_ms();
    let mut retention = NewJob::new(JobKind::Retention, "{}".to_owned(), now_ms);
    retention.unique_key = Some(format!("retention:{}", now_ms / DAY_MS));
    let tx = deps.db.begin().await?;
    let wakes = job::job_insert_many(&tx, &[retention], now_ms).await?;
    tx.commit().await?;
    deps.dispatcher.announce(wakes);
    Ok(())
}
