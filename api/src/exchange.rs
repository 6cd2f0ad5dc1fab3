//! What a connection's bytes and its requests must know of each other.

use crate::access_log::Pending;
use crate::places::Place;
use hyper::body::{Body, Buf, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The state of a connection, shared by its bytes and its requests.
pub struct Exchange {
    place: Place,
    opened: Instant,
    requests: AtomicU64,
    is_served: AtomicBool,
    idle_until: OnceLock<Instant>,
    /// A request whose answer is ready, for the access log.
    answered: Mutex<Option<Pending>>,
}

impl Exchange {
    /// Begins with a new connection.
    pub fn new(place: Place) -> Self {
        let (requests, is_served, idle_until) = (AtomicU64::new(0), AtomicBool::new(false), OnceLock::new());
        Self { place, opened: Instant::now(), requests, is_served, idle_until, answered: Mutex::default() }
    }

    /// When the connection was accepted.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The place of the connection.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How many requests have begun.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Acquire)
    }

    /// Whether a request is being served, until all of its answer is handed over.
    pub fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Acquire)
    }

    /// Closes the connection at this time if no request has begun by then.
    pub fn close_idle_at(&self, time: Instant) {
        let _ = self.idle_until.set(time);
    }

    /// When an idle connection closes, if the server is stopping.
    pub fn idle_until(&self) -> Option<Instant> {
        self.idle_until.get().copied()
    }

    /// Begins a request, whose head is complete.
    pub fn begin(self: &Arc<Self>) -> Served {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.is_served.store(true, Ordering::Release);
        self.place.end_wait();
        Served(self.clone())
    }

    /// Leaves a request, whose answer is ready, to the body of the answer. A connection has one request at a time.
    pub fn leave_answered(&self, pending: Pending) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(pending);
    }

    /// Takes the request whose answer is ready.
    pub fn take_answered(&self) -> Option<Pending> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for the body of the request that is being served, until the guard is dropped.
    pub fn wait_for_body(&self) -> BodyWait<'_> {
        self.place.begin_wait();
        BodyWait(self)
    }
}

/// A request that is being served.
pub struct Served(Arc<Exchange>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.is_served.store(false, Ordering::Release);
        self.0.place.begin_wait();
    }
}

/// A wait for a body.
pub struct BodyWait<'a>(&'a Exchange);

impl Drop for BodyWait<'_> {
    fn drop(&mut self) {
        self.0.place.end_wait();
    }
}

/// The body of an answer, which ends its request, and counts what the access log says of it.
pub struct AnswerBody<B: Body> {
    inner: B,
    pending: Option<Pending>,
    /// Whether a part was asked for. Nobody asks for the body of an answer to HEAD.
    is_begun: bool,
    is_ended: bool,
    _served: Served,
}

impl<B: Body> AnswerBody<B> {
    /// Ends `served`, and logs `pending`, when the body is dropped.
    pub fn new(inner: B, served: Served, pending: Option<Pending>) -> Self {
        Self { inner, pending, is_begun: false, is_ended: false, _served: served }
    }
}

impl<B: Body + Unpin> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        this.is_begun = true;
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        match &polled {
            Poll::Ready(None) => this.is_ended = true,
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(pending), Some(data)) = (&mut this.pending, frame.data_ref()) {
                    pending.add_bytes(data.remaining());
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        if self.is_begun
            && !self.is_ended
            && !self.inner.is_end_stream()
            && let Some(pending) = &mut self.pending
        {
            pending.cut();
        }
    }
}
