//! Wakes the streams of this process.

use crate::root::Slot;
use bursar_engine::infra::broker::Delivered;

/// To the router of streams.
pub(crate) enum StreamRouterMsg {
    /// A stream has something to do. The broker's message, if one said so, is acknowledged once the stream has
    /// looked.
    Wake(String, Option<Delivered>),
    /// A stream's actor can be stopped if this many messages are all that it was ever sent.
    Idle(String, u64),
}

/// Tells streams that they have something to do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StreamWaker {
    slot: Slot<StreamRouterMsg>,
}

impl StreamWaker {
    pub(crate) fn new() -> Self {
        Self { slot: Slot::new() }
    }

    /// Where the router of streams puts itself.
    pub(crate) fn slot(&self) -> Slot<StreamRouterMsg> {
        self.slot.clone()
    }

    /// Wakes a stream. The message, if one led here, is acknowledged once the stream has looked.
    pub(crate) fn wake(&self, key: &str, message: Option<Delivered>) {
        // While the router is down, the message is acknowledged as it is dropped; the sweeper finds the job.
        let _ = self.slot.send("the streams", StreamRouterMsg::Wake(key.to_owned(), message));
    }
}
