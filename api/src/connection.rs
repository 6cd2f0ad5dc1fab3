//! Limits the number of connections and closes idle ones.
//!
//! Each connection holds a file descriptor, and the database and the broker need some too. So their number is limited,
//! and further ones wait in the system's queue. A connection is closed if nothing is answered on it for a while,
//! whether its client is silent, sends a request byte by byte or reads an answer byte by byte.

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

/// Pause after a failed accept. Its cause, such as too few file descriptors, usually lasts a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes per second that a slow client must read of its answer.
const ANSWER_RATE_MIN: u32 = 16 * 1_024;
/// Maximum number of bytes of a request that are read after the connection's last answer. Closing with unread bytes
/// makes the system reset the connection, and the client may lose the answer. Twice the largest body.
const LINGER_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// How long those bytes are read.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Descriptors that stay free for the database, the broker, calls and files.
const DESCRIPTORS_RESERVED: usize = 256;

/// Returns the configured number of connections, or fewer if the limit of open files requires it.
pub fn limit_connections(configured: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(descriptors) = descriptors_max(&limits) else { return configured };
    let limit = configured.min(descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1));
    if limit < configured {
        tracing::warn!(
            descriptors,
            connections = limit,
            "the limit of open files is too low for http.connections_max: fewer connections are accepted"
        );
    }
    limit
}

/// Reads the soft limit of open files from Linux's table of limits (`proc_pid_limits(5)`).
fn descriptors_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// How long nothing may be answered. Longer than a request may take.
    pub idle: Duration,
    /// How long a client may read nothing of its answer.
    pub answer: Duration,
}

/// An acceptor with a limit on the number of open connections.
pub struct LimitedAcceptor<A> {
    inner: A,
    permits: Arc<Semaphore>,
    timeouts: Timeouts,
    failures: Throttle,
}

impl<A> LimitedAcceptor<A> {
    /// Limits the connections of `inner`.
    pub fn new(inner: A, connections_max: usize, timeouts: Timeouts) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { inner, permits, timeouts, failures: Throttle::new(Duration::from_secs(1)) }
    }
}

impl<A: Acceptor> Acceptor for LimitedAcceptor<A> {
    type Io = Connection<A::Io>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        // The permit comes first: a connection that is not accepted yet needs no descriptor.
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        match self.inner.accept().await {
            Ok((io, local, remote, scheme)) => Ok((Connection::new(io, permit, self.timeouts), local, remote, scheme)),
            Err(error) => {
                if let Some(suppressed) = self.failures.pass(Instant::now()) {
                    tracing::warn!(%error, suppressed, "a connection could not be accepted");
                }
                sleep(ACCEPT_PAUSE).await;
                Err(error)
            }
        }
    }
}

/// A connection that fails once its client has been idle or slow for too long.
///
/// After an answer, the client has the idle timeout to begin its next request. The first byte of that request starts
/// the idle timeout again; further bytes do not. A client that stops reading its answer has the answer timeout, which
/// grows with each byte that it reads.
pub struct Connection<S> {
    io: S,
    timer: Pin<Box<Sleep>>,
    timeouts: Timeouts,
    /// Whether a request has begun since the last answer.
    has_request: bool,
    /// Whether part of an answer waits for the client to read it.
    is_stalled: bool,
    /// Bytes read after the last answer; `None` until the connection is shut down.
    lingered: Option<usize>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(io: S, permit: OwnedSemaphorePermit, timeouts: Timeouts) -> Self {
        metrics::gauge!(metric::HTTP_CONNECTIONS).increment(1.0);
        let timer = Box::pin(sleep_until(Instant::now() + timeouts.idle));
        Self { io, timer, timeouts, has_request: false, is_stalled: false, lingered: None, _permit: permit }
    }

    fn extend(&mut self) {
        self.timer.as_mut().reset(Instant::now() + self.timeouts.idle);
    }

    /// Fails if the timer has expired. Otherwise wakes the task when it does.
    fn check_timer(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Sets the timer after an attempt to write `len` bytes.
    fn record_write(
        &mut self,
        written: &Poll<io::Result<usize>>,
        len: usize,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        match written {
            Poll::Ready(Ok(0) | Err(_)) => {}
            Poll::Ready(Ok(count)) if self.is_stalled && *count < len => {
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                let earned = Duration::from_secs(1) * count / ANSWER_RATE_MIN;
                let latest = Instant::now() + self.timeouts.idle;
                let deadline = (self.timer.deadline() + earned).min(latest);
                self.timer.as_mut().reset(deadline);
            }
            Poll::Ready(Ok(_)) => {
                self.has_request = false;
                self.is_stalled = false;
                self.extend();
            }
            Poll::Pending if !self.is_stalled => {
                self.is_stalled = true;
                let deadline = self.timer.deadline().min(Instant::now() + self.timeouts.answer);
                self.timer.as_mut().reset(deadline);
                // Wakes the task at the new deadline.
                return self.check_timer(context);
            }
            Poll::Pending => {}
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Reads and drops further bytes after the last answer, so that the client can read that answer.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 4_096];
        while self.lingered.unwrap_or_default() < LINGER_BYTES_MAX && self.check_timer(context).is_ok() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.lingered = Some(self.lingered.unwrap_or_default() + buffer.filled().len());
                }
                // The client has closed the connection, too.
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
        this.check_timer(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        if buffer.filled().len() > before && !this.has_request {
            this.has_request = true;
            this.extend();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_timer(context)?;
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.record_write(&written, bytes.len(), context)?;
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_timer(context)?;
        let written = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.record_write(&written, slices.iter().map(|slice| slice.len()).sum(), context)?;
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
            let deadline = this.timer.deadline().min(Instant::now() + LINGER_TIMEOUT);
            this.timer.as_mut().reset(deadline);
        }
        this.poll_linger(context)
    }
}

#[cfg(test)]
mod tests;
