//! Wakes the streams of this process.

use crate::root::Slot;
use bursar_engine::infra::broker::Delivered;

/// Messages to the stream router.
pub(crate) enum StreamRouterMsg {
    /// A stream may have a due job. With the broker's message, if one announced it.
    Wake(String, Option<Delivered>),
    /// An actor is idle after this many messages. Stop it if none is on its way.
    Idle(String, u64),
}

/// Wakes streams that may have a due job. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StreamWaker {
    slot: Slot<StreamRouterMsg>,
}

impl StreamWaker {
    pub(crate) fn new() -> Self {
        Self { slot: Slot::new() }
    }

    /// The slot that the stream router occupies.
    pub(crate) fn slot(&self) -> Slot<StreamRouterMsg> {
        self.slot.clone()
    }

    /// Wakes a stream. The message, if any, is acknowledged after the stream's next round.
    pub(crate) fn wake(&self, key: &str, message: Option<Delivered>) {
        // If the router is down, dropping the message acknowledges it; the sweeper finds the job.
        let _ = self.slot.send("the streams", StreamRouterMsg::Wake(key.to_owned(), message));
    }
}
