//! Connections: how many there may be, and how long one may be of no use.
//!
//! Each holds a file descriptor, of which the database and the broker need some too. So their number
//! is bounded, what is beyond waits in the system's queue, and one on which nothing is answered for a
//! while is closed, whether its client is silent, sends a request byte by byte or takes an answer byte
//! by byte.

use crate::throttle::Throttle;
use bursar_engine::metric;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Pause after an attempt to accept that failed: the server tries again at once, and what is missing,
/// such as a file descriptor, stays away for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes a second that a client must take of an answer for which it keeps the server waiting.
const ANSWER_RATE_MIN: u32 = 16 * 1_024;
/// What is still read of a request whose answer is the connection's last. To close with unread bytes
/// makes the system reset the connection, and the client may lose the answer. Twice the largest body.
const LINGER_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// How long the client has for that.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Descriptors that stay free for the database, the broker, calls and files.
const DESCRIPTORS_RESERVED: usize = 256;

/// As many connections as are configured, but not more than the process has descriptors for.
pub fn connections_bound(configured: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(descriptors) = descriptors_max(&limits) else { return configured };
    let bound = configured.min(descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1));
    if bound < configured {
        tracing::warn!(
            descriptors,
            connections = bound,
            "fewer connections than http.connections_max are taken: the limit of open files is too low for it"
        );
    }
    bound
}

/// The soft limit of open files in Linux's table of limits (`proc_pid_limits(5)`).
fn descriptors_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How long a connection may be of no use.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long nothing may be answered. Longer than a request may take.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub answer_timeout: Duration,
}

/// Takes connections from another acceptor, within bounds.
pub struct Bounded<A> {
    inner: A,
    permits: Arc<Semaphore>,
    patience: Patience,
    failures: Throttle,
}

impl<A> Bounded<A> {
    /// Bounds an acceptor.
    pub fn new(inner: A, connections_max: usize, patience: Patience) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { inner, permits, patience, failures: Throttle::new(Duration::from_secs(1)) }
    }
}

impl<A: Acceptor> Acceptor for Bounded<A> {
    type Io = Connection<A::Io>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        // The permit comes first: a connection that is not accepted costs no descriptor.
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        match self.inner.accept().await {
            Ok((io, local, remote, scheme)) => Ok((Connection::new(io, permit, self.patience), local, remote, scheme)),
            Err(error) => {
                if let Some(held_back) = self.failures.pass(Instant::now()) {
                    tracing::warn!(%error, held_back, "a connection could not be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
                Err(error)
            }
        }
    }
}

/// A connection that ends by itself.
///
/// An answer gives its client `idle_timeout` to begin the next request, and the beginning of a request
/// as long again for its answer. Further bytes of the request buy no more time. A client that lets the
/// server wait with an answer has `answer_timeout`, and more only as it takes more of the answer.
pub struct Connection<S> {
    io: S,
    end: Pin<Box<Sleep>>,
    patience: Patience,
    /// Whether something was sent since the last answer.
    is_asked: bool,
    /// Whether a part of an answer waits for its client.
    is_stalled: bool,
    /// How many bytes were read after the last answer; none if the connection goes on.
    lingered: Option<usize>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(io: S, permit: OwnedSemaphorePermit, patience: Patience) -> Self {
        metrics::gauge!(metric::HTTP_CONNECTIONS).increment(1.0);
        let end = Box::pin(sleep_until(Instant::now() + patience.idle_timeout));
        Self { io, end, patience, is_asked: false, is_stalled: false, lingered: None, _permit: permit }
    }

    fn extend(&mut self) {
        self.end.as_mut().reset(Instant::now() + self.patience.idle_timeout);
    }

    /// Fails once the time is over; else the task is woken then.
    fn check_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Counts what the client took of the `len` bytes that wait for it.
    fn written(&mut self, written: &Poll<io::Result<usize>>, len: usize, context: &mut Context<'_>) -> io::Result<()> {
        match written {
            Poll::Ready(Ok(0) | Err(_)) => {}
            Poll::Ready(Ok(count)) if self.is_stalled && *count < len => {
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                let bought = Duration::from_secs(1) * count / ANSWER_RATE_MIN;
                let latest = Instant::now() + self.patience.idle_timeout;
                let end = (self.end.deadline() + bought).min(latest);
                self.end.as_mut().reset(end);
            }
            Poll::Ready(Ok(_)) => {
                self.is_asked = false;
                self.is_stalled = false;
                self.extend();
            }
            Poll::Pending if !self.is_stalled => {
                self.is_stalled = true;
                let end = self.end.deadline().min(Instant::now() + self.patience.answer_timeout);
                self.end.as_mut().reset(end);
                // The task is to be woken at the new time.
                return self.check_end(context);
            }
            Poll::Pending => {}
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Reads on for a while after the last answer, so that the client gets to read it.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4_096];
        while self.lingered.unwrap_or_default() < LINGER_BYTES_MAX && self.check_end(context).is_ok() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingered = Some(self.lingered.unwrap_or_default() + buffer.filled().len());
                }
                // The client has closed it, too.
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        metrics::gauge!(metric::HTTP_CONNECTIONS).decrement(1.0);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check_end(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        if buffer.filled().len() > before && !this.is_asked {
            this.is_asked = true;
            this.extend();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_end(context)?;
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.written(&written, bytes.len(), context)?;
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_end(context)?;
        let written = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.written(&written, slices.iter().map(|slice| slice.len()).sum(), context)?;
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingered.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
            this.lingered = Some(0);
            let end = this.end.deadline().min(Instant::now() + LINGER_TIMEOUT);
            this.end.as_mut().reset(end);
        }
        this.poll_linger(context)
    }
}

#[cfg(test)]
mod tests;
