//! The root of the supervision tree.
//!
//! ractor does not restart actors: the root spawns a permanent child that ended again, with exponential backoff.
//! Callers reach a child through a [`Slot`], which always holds its current incarnation.

use bursar_engine::{Error, Result, metric};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Maximum number of restarts within [`RESTART_WINDOW`]; after more the process ends.
const RESTARTS_MAX: usize = 10;
/// The window in which restarts are counted.
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Wait before the first restart; doubles with each restart in the window.
const RESTART_WAIT: Duration = Duration::from_millis(50);

/// Holds the current incarnation of a permanent actor.
pub(crate) struct Slot<M>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Message> Slot<M> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(RwLock::new(None)))
    }

    fn put(&self, actor: ActorRef<M>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// Sends a message. Fails with `Busy(what)` if the actor is down.
    pub(crate) fn send(&self, what: &'static str, message: M) -> Result<()> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let actor = slot.as_ref().ok_or(Error::Busy(what))?;
        actor.send_message(message).map_err(|_| Error::Busy(what))
    }
}

/// How to spawn a permanent child.
pub(crate) struct Child {
    name: &'static str,
    spawn: Box<dyn Fn(ActorCell) -> Result<ActorCell, SpawnErr> + Send + Sync>,
}

impl Child {
    /// Describes a child that `make` creates and `slot` holds.
    pub(crate) fn new<A>(
        name: &'static str,
        slot: Slot<A::Msg>,
        make: impl Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self
    where
        A: Actor,
    {
        let spawn = move |root: ActorCell| {
            let (actor, arguments) = make();
            let (spawned, _) = ractor::ActorRuntime::spawn_linked_instant(None, actor, arguments, root)?;
            let cell = spawned.get_cell();
            slot.put(spawned);
            Ok(cell)
        };
        Self { name, spawn: Box::new(spawn) }
    }
}

pub(crate) struct Root;

pub(crate) enum RootMsg {
    Restart(usize),
}

pub(crate) struct RootState {
    children: Vec<Child>,
    /// The index of each actor's child.
    alive: HashMap<ActorId, usize>,
    restarts: VecDeque<Instant>,
    stopping: CancellationToken,
    fatal: CancellationToken,
}

pub(crate) struct RootArguments {
    pub(crate) children: Vec<Child>,
    /// Cancelled when the process stops: children that end then are not restarted.
    pub(crate) stopping: CancellationToken,
    /// Cancelled by the root when it gives up.
    pub(crate) fatal: CancellationToken,
}

impl Actor for Root {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMsg>,
        arguments: RootArguments,
    ) -> Result<RootState, ActorProcessingErr> {
        let RootArguments { children, stopping, fatal } = arguments;
        let mut alive = HashMap::new();
        for (index, child) in children.iter().enumerate() {
            alive.insert((child.spawn)(myself.get_cell())?.get_id(), index);
        }
        Ok(RootState { children, alive, restarts: VecDeque::new(), stopping, fatal })
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMsg>,
        RootMsg::Restart(index): RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match (state.children[index].spawn)(myself.get_cell()) {
            Ok(cell) => {
                state.alive.insert(cell.get_id(), index);
            }
            Err(error) => {
                tracing::error!(actor = state.children[index].name, %error, "an actor could not be restarted");
                state.fatal.cancel();
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, reason) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        let Some(index) = state.alive.remove(&cell.get_id()) else { return Ok(()) };
        if state.stopping.is_cancelled() {
            return Ok(());
        }
        let name = state.children[index].name;
        tracing::error!(actor = name, reason, "an actor ended and is restarted");
        metrics::counter!(metric::ACTORS_RESTARTED, "actor" => name).increment(1);
        let now = Instant::now();
        state.restarts.push_back(now);
        while state.restarts.front().is_some_and(|at| now.duration_since(*at) > RESTART_WINDOW) {
            state.restarts.pop_front();
        }
        if state.restarts.len() > RESTARTS_MAX {
            tracing::error!("too many restarts; the process ends so that its supervisor can restart it");
            state.fatal.cancel();
            return Ok(());
        }
        let doublings = u32::try_from(state.restarts.len().saturating_sub(1)).unwrap_or(0);
        myself.send_after(RESTART_WAIT * 2_u32.pow(doublings), move || RootMsg::Restart(index));
        Ok(())
    }
}
