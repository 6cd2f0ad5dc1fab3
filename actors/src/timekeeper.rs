//! The timekeeper: compares the machine's clock with the database's at intervals.

use crate::deadline::{ANSWER_MAX, within};
use crate::guaranteed_reply::GuaranteedReply;
use crate::root::{Child, Slot};
use bursar_engine::clock::{Clock, Health};
use bursar_engine::infra::store::Db;
use bursar_engine::usecase::timekeeping;
use bursar_engine::{Result, metric};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use std::time::Duration;

/// How often the clocks are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// The wait after a failed comparison.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct TimekeeperDeps {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) offset_max_ms: i64,
}

pub(crate) fn child(deps: Arc<TimekeeperDeps>) -> Child {
    Child::new("timekeeper", Slot::new(), move || (Timekeeper { deps: deps.clone() }, ()))
}

struct Timekeeper {
    deps: Arc<TimekeeperDeps>,
}

enum TimekeeperMsg {
    Compare,
    Compared { succeeded: bool },
}

struct TimekeeperState {
    /// The clock's health when last logged.
    health: Health,
}

impl Actor for Timekeeper {
    type Msg = TimekeeperMsg;
    type State = TimekeeperState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<TimekeeperMsg>, (): ()) -> Result<TimekeeperState, ActorProcessingErr> {
        myself.send_message(TimekeeperMsg::Compare)?;
        Ok(TimekeeperState { health: Health::Right })
    }

    async fn handle(
        &self,
        myself: ActorRef<TimekeeperMsg>,
        message: TimekeeperMsg,
        state: &mut TimekeeperState,
    ) -> Result<(), ActorProcessingErr> {
        let deps = self.deps.clone();
        match message {
            TimekeeperMsg::Compare => {
                let reply = GuaranteedReply::new(myself, TimekeeperMsg::Compared { succeeded: false });
                tokio::spawn(async move { reply.send(TimekeeperMsg::Compared { succeeded: compare(&deps).await }) });
            }
            TimekeeperMsg::Compared { succeeded } => {
                state.health = report(&deps, state.health);
                let wait = if succeeded { COMPARE_EVERY } else { RETRY_AFTER };
                myself.send_after(wait, || TimekeeperMsg::Compare);
            }
        }
        Ok(())
    }
}

/// Compares the clocks. Returns false if the database did not answer.
async fn compare(deps: &TimekeeperDeps) -> bool {
    match within(ANSWER_MAX, timekeeping::compare(&deps.db, &deps.clock)).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(error = %error.chain(), "the clocks could not be compared");
            false
        }
    }
}

/// Sets the gauge and logs changes of the clock's health. Returns the current health.
#[allow(clippy::cast_precision_loss)]
fn report(deps: &TimekeeperDeps, previous: Health) -> Health {
    let offset_ms = deps.clock.offset_ms().unwrap_or(0);
    metrics::gauge!(metric::CLOCK_OFFSET_SECONDS).set(offset_ms as f64 / 1_000.0);
    let health = deps.clock.health(deps.offset_max_ms).unwrap_or(Health::Right);
    if health != previous {
        match health {
            Health::Right => tracing::info!(offset_ms, "this machine's clock agrees with the database's again"),
            Health::Differs => tracing::warn!(
                offset_ms,
                "this machine's clock differs from the database's; the node uses the database's and is not ready"
            ),
            Health::Unknown => tracing::warn!(
                "this machine's clock has not been compared with the database's for too long; the node is not ready"
            ),
        }
    }
    health
}
