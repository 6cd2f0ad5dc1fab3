//! The stream router: spawns stream actors on demand and stops them as soon as they are idle.

use super::StreamDeps;
use super::actor::{StreamActor, StreamArguments, StreamMsg};
use crate::waker::StreamRouterMsg;
use bursar_engine::infra::broker::Delivered;
use bursar_engine::metric;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum number of streams alive at once, to limit memory. The sweeper wakes further streams later.
const STREAMS_MAX: usize = 10_000;

pub(crate) struct Router {
    pub(super) deps: Arc<StreamDeps>,
}

struct Spawned {
    actor: ActorRef<StreamMsg>,
    /// Messages forwarded to it.
    forwarded: u64,
}

#[derive(Default)]
pub(crate) struct RouterState {
    actors: HashMap<String, Spawned>,
    by_actor: HashMap<ActorId, String>,
}

impl RouterState {
    fn set_gauge(&self) {
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(metric::ACTORS_ALIVE, "actor" => "stream").set(self.actors.len() as f64);
    }
}

impl Actor for Router {
    type Msg = StreamRouterMsg;
    type State = RouterState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<StreamRouterMsg>, (): ()) -> Result<RouterState, ActorProcessingErr> {
        Ok(RouterState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<StreamRouterMsg>,
        message: StreamRouterMsg,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StreamRouterMsg::Wake(key, message) => {
                if !state.actors.contains_key(&key) {
                    if self.deps.draining.is_cancelled() {
                        message.into_iter().for_each(Delivered::leave_unacknowledged);
                        return Ok(());
                    }
                    // The dropped message is acknowledged, unlike above: the sweeper finds the job.
                    if state.actors.len() >= STREAMS_MAX {
                        return Ok(());
                    }
                    let arguments =
                        StreamArguments { key: key.clone(), deps: self.deps.clone(), router: myself.clone() };
                    let (actor, _) =
                        ActorRuntime::spawn_linked_instant(None, StreamActor, arguments, myself.get_cell())?;
                    metrics::counter!(metric::ACTORS_SPAWNED, "actor" => "stream").increment(1);
                    state.by_actor.insert(actor.get_id(), key.clone());
                    state.actors.insert(key.clone(), Spawned { actor, forwarded: 0 });
                    state.set_gauge();
                }
                if let Some(spawned) = state.actors.get_mut(&key) {
                    spawned.forwarded += 1;
                    // An actor that has just failed loses the message; the sweeper finds the job.
                    let _ = spawned.actor.send_message(StreamMsg::Wake(message));
                }
            }
            StreamRouterMsg::Idle(key, received) => {
                if state.actors.get(&key).is_some_and(|spawned| spawned.forwarded == received)
                    && let Some(Spawned { actor, .. }) = state.actors.remove(&key)
                {
                    state.by_actor.remove(&actor.get_id());
                    actor.stop(None);
                    metrics::counter!(metric::ACTORS_PASSIVATED, "actor" => "stream").increment(1);
                    state.set_gauge();
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<StreamRouterMsg>,
        event: SupervisionEvent,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, error) = &event {
            tracing::error!(%error, "a stream's actor failed; its job is rescued after the lease expires");
            metrics::counter!(metric::ACTORS_RESTARTED, "actor" => "stream").increment(1);
            if let Some(key) = state.by_actor.remove(&cell.get_id()) {
                state.actors.remove(&key);
            }
        }
        Ok(())
    }
}
