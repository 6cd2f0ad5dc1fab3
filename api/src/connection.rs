//! Connections: how many there may be, and how long one may be of no use.
//!
//! Each holds a file descriptor, of which the database and the broker need some too. So their number
//! is bounded, what is beyond waits in the system's queue, and one on which nothing is answered for a
//! while is closed, whether its client is silent or sends a request byte by byte.

use crate::throttle::Throttle;
use bursar_engine::metric;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Pause after an attempt to accept that failed: the server tries again at once, and what is missing,
/// such as a file descriptor, stays away for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
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

/// Takes connections from another acceptor, within bounds.
pub struct Bounded<A> {
    inner: A,
    permits: Arc<Semaphore>,
    idle_timeout: Duration,
    failures: Throttle,
}

impl<A> Bounded<A> {
    /// Bounds an acceptor. `idle_timeout` must be longer than a request may take.
    pub fn new(inner: A, connections_max: usize, idle_timeout: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { inner, permits, idle_timeout, failures: Throttle::new(Duration::from_secs(1)) }
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
            Ok((io, local, remote, scheme)) => {
                Ok((Connection::new(io, permit, self.idle_timeout), local, remote, scheme))
            }
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
/// as long again for its answer. Further bytes of the request buy no more time.
pub struct Connection<S> {
    io: S,
    end: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    /// Whether something was sent since the last answer.
    is_asked: bool,
    _permit: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(io: S, permit: OwnedSemaphorePermit, idle_timeout: Duration) -> Self {
        metrics::gauge!(metric::HTTP_CONNECTIONS).increment(1.0);
        let end = Box::pin(sleep_until(Instant::now() + idle_timeout));
        Self { io, end, idle_timeout, is_asked: false, _permit: permit }
    }

    fn extend(&mut self) {
        self.end.as_mut().reset(Instant::now() + self.idle_timeout);
    }

    /// Fails once the time is over; else the task is woken then.
    fn check_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn written(&mut self, count: usize) {
        if count > 0 {
            self.is_asked = false;
            self.extend();
        }
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_end(context)?;
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            this.written(count);
        }
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
        if let Poll::Ready(Ok(count)) = written {
            this.written(count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
