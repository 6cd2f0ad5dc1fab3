//! The customer router: spawns customer actors on demand, stops idle ones, forgets failed ones.
//!
//! It forwards all messages to customer actors. So get-or-spawn has no race, and the number of forwarded messages shows
//! whether an idle actor's mailbox is empty.

use super::CustomerDeps;
use super::actor::{CustomerActor, CustomerArguments};
use super::footprint::ACTOR_BYTES;
use super::message::{CustomerMsg, RouterMsg};
use bursar_engine::ids::CustomerId;
use bursar_engine::metric;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often idle actors are stopped.
const TICK: Duration = Duration::from_secs(5);
/// Idle time after which an actor is stopped while memory is short. Also the least time between two sweeps.
const CROWDED_IDLE: Duration = Duration::from_millis(20);

pub(crate) struct Router {
    pub(super) deps: Arc<CustomerDeps>,
    pub(super) idle: Duration,
    /// Memory of all actors above which idle ones are stopped sooner.
    pub(super) bytes_max: usize,
}

struct RunningActor {
    actor: ActorRef<CustomerMsg>,
    forwarded: u64,
    last_used: Instant,
}

#[derive(Default)]
pub(crate) struct RouterState {
    actors: HashMap<CustomerId, RunningActor>,
    by_actor: HashMap<ActorId, CustomerId>,
    last_sweep: Option<Instant>,
}

impl Router {
    fn forward(
        &self,
        myself: &ActorRef<RouterMsg>,
        state: &mut RouterState,
        customer: CustomerId,
        message: CustomerMsg,
    ) -> Result<(), ActorProcessingErr> {
        if self.deps.footprint.bytes() >= self.bytes_max && !state.actors.contains_key(&customer) {
            // Stop a tenth more than needed, so that not every new customer causes a sweep.
            let excess = self.deps.footprint.bytes().saturating_sub(self.bytes_max) / ACTOR_BYTES;
            self.sweep(state, CROWDED_IDLE, excess + state.actors.len().div_ceil(10));
        }
        let running = match state.actors.entry(customer) {
            Entry::Occupied(running) => running.into_mut(),
            Entry::Vacant(vacant) => {
                let (id, deps, router) = (vacant.key().clone(), self.deps.clone(), myself.clone());
                let account = deps.account_cache.take(&id);
                let arguments = CustomerArguments { id: id.clone(), deps, router, account };
                let (actor, _) = ActorRuntime::spawn_linked_instant(None, CustomerActor, arguments, myself.get_cell())?;
                metrics::counter!(metric::ACTORS_SPAWNED, "actor" => "customer").increment(1);
                state.by_actor.insert(actor.get_id(), id);
                vacant.insert(RunningActor { actor, forwarded: 0, last_used: Instant::now() })
            }
        };
        running.forwarded += 1;
        running.last_used = Instant::now();
        // An actor that has just failed drops the command, and `Customers::apply` sends it again.
        let _ = running.actor.send_message(message);
        Ok(())
    }

    /// Asks actors that have been idle for a while to stop, at most `asked_max` of them; at most once per
    /// [`CROWDED_IDLE`].
    fn sweep(&self, state: &mut RouterState, idle: Duration, asked_max: usize) {
        let now = Instant::now();
        if state.last_sweep.is_some_and(|at| now.duration_since(at) < CROWDED_IDLE) {
            return;
        }
        state.last_sweep = Some(now);
        let idle = state.actors.values().filter(|running| now.duration_since(running.last_used) >= idle);
        for running in idle.take(asked_max) {
            let _ = running.actor.send_message(CustomerMsg::Passivate);
        }
    }

    fn set_gauge(state: &RouterState) {
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(metric::ACTORS_ALIVE, "actor" => "customer").set(state.actors.len() as f64);
    }
}

impl Actor for Router {
    type Msg = RouterMsg;
    type State = RouterState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RouterMsg>, (): ()) -> Result<RouterState, ActorProcessingErr> {
        myself.send_interval(TICK.min(self.idle), || RouterMsg::Tick);
        Ok(RouterState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<RouterMsg>,
        message: RouterMsg,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RouterMsg::Apply(customer, pending) => {
                self.forward(&myself, state, customer, CustomerMsg::Apply(pending))?;
            }
            RouterMsg::Idle { customer, received, account } => {
                // Only this router sends to the actor, so equal counts mean an empty mailbox.
                if let Entry::Occupied(running) = state.actors.entry(customer)
                    && running.get().forwarded == received
                {
                    let (customer, running) = running.remove_entry();
                    state.by_actor.remove(&running.actor.get_id());
                    running.actor.stop(None);
                    if let Some(account) = account {
                        self.deps.account_cache.insert(customer, *account);
                    }
                    metrics::counter!(metric::ACTORS_PASSIVATED, "actor" => "customer").increment(1);
                }
            }
            RouterMsg::Tick => {
                self.sweep(state, self.idle, usize::MAX);
                Self::set_gauge(state);
            }
            RouterMsg::Crash(customer) => self.forward(&myself, state, customer, CustomerMsg::Crash)?,
            RouterMsg::CrashRouter => return Err("a test asked for this".into()),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RouterMsg>,
        event: SupervisionEvent,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, error) = &event {
            tracing::error!(%error, "a customer's actor failed; the next command starts a new one");
            metrics::counter!(metric::ACTORS_RESTARTED, "actor" => "customer").increment(1);
            if let Some(customer) = state.by_actor.remove(&cell.get_id()) {
                state.actors.remove(&customer);
            }
        }
        Ok(())
    }
}
