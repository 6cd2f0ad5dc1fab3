//! One stream's actor: claim the head, run it, commit its end, claim again, until there is nothing.

use super::claim::Wanted;
use super::router::RouterMsg;
use super::{StreamDeps, runner};
use crate::owed::Owed;
use bursar_engine::infra::broker::Delivered;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;

pub(crate) enum StreamMsg {
    Wake(Option<Delivered>),
    /// One round is over; whether a job was run, so that there may be another.
    RoundOver(Round),
}

/// What came of one round of claim and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// A job was run and its end committed, or it was given back: look for the next.
    Ran,
    /// Nothing is due here, or somebody else works on it.
    Nothing,
    /// It could not be found out. Messages are acknowledged all the same, or they would use up the
    /// prefetch: the database has the job, and the sweeper announces it again.
    Failed,
    /// The process is stopping: messages go back to the broker, for another node.
    Stopping,
}

pub(crate) struct StreamArguments {
    pub(super) key: String,
    pub(super) deps: Arc<StreamDeps>,
    pub(super) router: ActorRef<RouterMsg>,
}

pub(crate) struct StreamState {
    key: String,
    deps: Arc<StreamDeps>,
    router: ActorRef<RouterMsg>,
    /// Messages that are acknowledged when a round that began after they came is over.
    messages: Vec<Delivered>,
    /// Messages that led to the round under way.
    under_way: Vec<Delivered>,
    busy: bool,
    /// Somebody said that there is something to do.
    woken: bool,
    /// A job has ended, and there may be another.
    has_run: bool,
    seen: u64,
}

pub(crate) struct StreamActor;

impl Actor for StreamActor {
    type Msg = StreamMsg;
    type State = StreamState;
    type Arguments = StreamArguments;

    async fn pre_start(
        &self,
        _: ActorRef<StreamMsg>,
        arguments: StreamArguments,
    ) -> Result<StreamState, ActorProcessingErr> {
        let StreamArguments { key, deps, router } = arguments;
        Ok(StreamState {
            key,
            deps,
            router,
            messages: Vec::new(),
            under_way: Vec::new(),
            busy: false,
            woken: false,
            has_run: false,
            seen: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<StreamMsg>,
        message: StreamMsg,
        state: &mut StreamState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StreamMsg::Wake(message) => {
                state.seen += 1;
                state.woken = true;
                state.messages.extend(message);
            }
            StreamMsg::RoundOver(round) => state.round_over(round),
        }
        if state.busy {
            return Ok(());
        }
        if state.woken || state.has_run {
            state.begin(&myself);
        } else {
            let _ = state.router.send_message(RouterMsg::Idle(state.key.clone(), state.seen));
        }
        Ok(())
    }
}

impl StreamState {
    fn begin(&mut self, myself: &ActorRef<StreamMsg>) {
        self.busy = true;
        let wanted = Wanted { stream: self.key.clone(), may_be_empty: !self.woken };
        (self.woken, self.has_run) = (false, false);
        self.under_way.append(&mut self.messages);
        let deps = self.deps.clone();
        let over = Owed::new(myself.clone(), StreamMsg::RoundOver(Round::Failed));
        tokio::spawn(async move {
            let round = runner::round(&deps, &wanted).await;
            over.send(StreamMsg::RoundOver(round));
        });
    }

    fn round_over(&mut self, round: Round) {
        self.busy = false;
        self.has_run = round == Round::Ran;
        let messages = std::mem::take(&mut self.under_way);
        if round == Round::Stopping {
            messages.into_iter().for_each(Delivered::leave);
            return;
        }
        if messages.is_empty() {
            return;
        }
        tokio::spawn(async move {
            for message in messages {
                message.ack().await;
            }
        });
    }
}
