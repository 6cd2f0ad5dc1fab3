//! The actor of one stream: claims the head job, runs it, commits its end, and repeats until no job is due.

use super::StreamDeps;
use super::claim::ClaimRequest;
use super::runner::{self, Round};
use crate::guaranteed_reply::GuaranteedReply;
use crate::waker::StreamRouterMsg;
use bursar_engine::infra::broker::Delivered;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use std::time::Duration;

/// Wait before a stream whose row was locked is claimed again; each further time it is longer by as much.
const LOCKED_WAIT: Duration = Duration::from_millis(25);
/// A stream is claimed so often while its row is locked. The sweeper finds one whose row is locked for longer.
const LOCKED_TRIES_MAX: u32 = 20;

pub(crate) enum StreamMsg {
    /// A job may be due. With the broker's message, if one announced it.
    Wake(Option<Delivered>),
    /// The stream's row was locked, and may be free now.
    Again,
    /// The round has ended.
    RoundOver(Round),
}

pub(crate) struct StreamArguments {
    pub(super) key: String,
    pub(super) deps: Arc<StreamDeps>,
    pub(super) router: ActorRef<StreamRouterMsg>,
}

pub(crate) struct StreamState {
    key: String,
    deps: Arc<StreamDeps>,
    router: ActorRef<StreamRouterMsg>,
    /// Messages that arrived after the round under way began. The next round acknowledges them.
    messages: Vec<Delivered>,
    /// Messages that the round under way acknowledges.
    under_way: Vec<Delivered>,
    is_busy: bool,
    /// Whether it was woken since the last round began.
    is_woken: bool,
    /// Whether the last round ran a job: there may be another.
    has_run: bool,
    /// How often in a row the stream's row was locked.
    locked: u32,
    /// Messages that the router has forwarded to this actor.
    received: u64,
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
            is_busy: false,
            is_woken: false,
            has_run: false,
            locked: 0,
            received: 0,
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
                state.received += 1;
                state.is_woken = true;
                state.messages.extend(message);
            }
            StreamMsg::Again => state.is_woken = true,
            StreamMsg::RoundOver(round) => state.on_round_over(round),
        }
        if state.is_busy {
            return Ok(());
        }
        // A wake claims at once. Without one, the stream waits for the row.
        if state.waits_for_row() && !state.is_woken {
            myself.send_after(LOCKED_WAIT * state.locked, || StreamMsg::Again);
            return Ok(());
        }
        if state.is_woken || state.has_run {
            state.begin_round(&myself);
        } else {
            let _ = state.router.send_message(StreamRouterMsg::Idle(state.key.clone(), state.received));
        }
        Ok(())
    }
}

impl StreamState {
    fn begin_round(&mut self, myself: &ActorRef<StreamMsg>) {
        self.is_busy = true;
        let request = ClaimRequest { stream: self.key.clone(), may_be_empty: !self.is_woken };
        (self.is_woken, self.has_run) = (false, false);
        self.under_way.append(&mut self.messages);
        let deps = self.deps.clone();
        let reply = GuaranteedReply::new(myself.clone(), StreamMsg::RoundOver(Round::Failed));
        tokio::spawn(async move {
            let round = runner::run_round(&deps, &request).await;
            reply.send(StreamMsg::RoundOver(round));
        });
    }

    /// Whether the last round found the stream's row locked, and another is to follow.
    fn waits_for_row(&self) -> bool {
        (1..=LOCKED_TRIES_MAX).contains(&self.locked)
    }

    fn on_round_over(&mut self, round: Round) {
        self.is_busy = false;
        self.has_run = round == Round::Ran;
        self.locked = if round == Round::Locked { self.locked + 1 } else { 0 };
        if self.waits_for_row() {
            self.messages.append(&mut self.under_way);
            return;
        }
        let messages = std::mem::take(&mut self.under_way);
        if round == Round::Stopping {
            messages.into_iter().for_each(Delivered::leave_unacknowledged);
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
