//! Limits the connections of a listener, and closes slow and idle ones.
//!
//! Each connection holds a file descriptor, and the database and the broker need some too. So their number is limited,
//! in total and for each peer; see [`crate::places`]. A connection is closed if nothing is answered on it for a while,
//! whether its client is silent, sends a request byte by byte or reads an answer byte by byte.

use crate::client_ip::peer_network;
use crate::exchange::Exchange;
use crate::places::{Peer, Places};
use crate::problem::plain;
use crate::throttle::Throttle;
use bursar_engine::metric;
use bytes::{Buf, Bytes};
use ipnet::IpNet;
use poem::Addr;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

/// Pause after a failed accept. Its cause, such as too few file descriptors, usually lasts a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes per second that a slow client must read of its answer.
const ANSWER_RATE_MIN: u32 = 16 * 1_024;
/// Maximum number of bytes of a request that are read after the connection's last answer. Closing with unread bytes
/// makes the system reset the connection, and the client may lose the answer. Twice the largest body.
const LINGER_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// How long those bytes are read.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// A header of every answer of the middleware.
const OWN_HEADER: &[u8] = b"x-content-type-options:";
/// Maximum number of connections beyond a peer's limit that are told so at once; others are closed without a word.
const REFUSALS_MAX: usize = 32;
/// How long such a connection stays open, so that its client can read the refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// How long nothing may be answered. Longer than a request may take.
    pub idle: Duration,
    /// How long the head of a request may take from its first byte on.
    pub head: Duration,
    /// How long a client may read nothing of its answer.
    pub answer: Duration,
}

/// An acceptor with limits on the number of open connections.
pub struct LimitedAcceptor<A> {
    inner: A,
    places: Places,
    proxies: Vec<IpNet>,
    timeouts: Timeouts,
    failures: Throttle,
    refusals: Arc<Semaphore>,
}

impl<A> LimitedAcceptor<A> {
    /// Limits the connections of `inner`. Those from `proxies` have no limit for each peer.
    pub fn new(inner: A, places: Places, proxies: Vec<IpNet>, timeouts: Timeouts) -> Self {
        let failures = Throttle::new(Duration::from_secs(1));
        Self { inner, places, proxies, timeouts, failures, refusals: Arc::new(Semaphore::new(REFUSALS_MAX)) }
    }

    fn peer(&self, remote: &RemoteAddr) -> Peer {
        let RemoteAddr(Addr::SocketAddr(address)) = remote else {
            // The server listens on TCP only. All other peers count as one.
            return Peer::Stranger(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        };
        let address = address.ip().to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&address));
        if is_proxy { Peer::Proxy } else { Peer::Stranger(peer_network(address)) }
    }
}

impl<A: Acceptor> Acceptor for LimitedAcceptor<A> {
    type Io = Connection<A::Io>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        loop {
            // Room comes first: a connection that is not accepted yet needs no descriptor.
            self.places.make_room().await;
            match self.inner.accept().await {
                Ok((io, local, remote, scheme)) => match self.places.take(self.peer(&remote)) {
                    Some(place) => {
                        return Ok((Connection::new(io, Exchange::new(place), self.timeouts), local, remote, scheme));
                    }
                    None => refuse(io, &self.refusals),
                },
                Err(error) => {
                    if let Some(suppressed) = self.failures.pass(Instant::now()) {
                        tracing::warn!(%error, suppressed, "a connection could not be accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    return Err(error);
                }
            }
        }
    }
}

/// Tells a client that its peer has too many connections, and closes this one.
fn refuse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(mut io: S, refusals: &Arc<Semaphore>) {
    metrics::counter!(metric::HTTP_CONNECTIONS_CLOSED, "reason" => "peer").increment(1);
    let Ok(permit) = refusals.clone().try_acquire_owned() else { return };
    let told = async move {
        let _permit = permit;
        // It fails if the client is gone.
        let _ = io.write_all(&plain("too_many_connections")).await;
        let _ = io.shutdown().await;
        let mut bytes = [0; 4_096];
        while io.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    };
    tokio::spawn(timeout(REFUSAL_TIMEOUT, told));
}

/// A connection that fails once its client has been idle or slow for too long.
///
/// After an answer, the client has the idle timeout to begin its next request. The first byte of that request starts
/// the idle timeout again, and the head timeout; further bytes start neither. A client that stops reading its answer
/// has the answer timeout, which grows with each byte that it reads.
///
/// The errors of the HTTP library are empty answers; here they become problem documents.
pub struct Connection<S> {
    io: S,
    timer: Pin<Box<Sleep>>,
    timeouts: Timeouts,
    exchange: Arc<Exchange>,
    idle_until: Instant,
    /// The head that is arriving, or the last one.
    head: Option<Head>,
    /// How many requests had begun when the idle timeout was last extended for one.
    extended_for: u64,
    /// How many requests had begun when all answers were sent.
    sent: u64,
    /// Whether part of an answer waits for the client to read it.
    is_stalled: bool,
    /// What is sent instead of an empty answer, and has not been sent yet.
    instead: Option<Bytes>,
    /// Bytes read after the last answer; `None` until the connection is shut down.
    lingered: Option<usize>,
}

/// A head of which the first byte has arrived.
struct Head {
    /// How many requests had begun before; a larger number now means that this head is complete.
    requests: u64,
    until: Instant,
}

impl<S> Connection<S> {
    fn new(io: S, exchange: Exchange, timeouts: Timeouts) -> Self {
        metrics::gauge!(metric::HTTP_CONNECTIONS).increment(1.0);
        let idle_until = Instant::now() + timeouts.idle;
        Self {
            io,
            timer: Box::pin(sleep_until(idle_until)),
            timeouts,
            exchange: Arc::new(exchange),
            idle_until,
            head: None,
            extended_for: 0,
            sent: 0,
            is_stalled: false,
            instead: None,
            lingered: None,
        }
    }

    /// What its requests share with it.
    pub fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Whether all answers are sent, and the client may send the next head.
    fn is_between(&self) -> bool {
        !self.exchange.is_served() && self.sent == self.exchange.requests()
    }

    /// The head that has begun and is not complete.
    fn arriving_head(&self) -> Option<&Head> {
        let head = self.head.as_ref()?;
        (!self.exchange.is_served() && head.requests == self.exchange.requests()).then_some(head)
    }

    /// When the connection fails if nothing happens until then.
    fn deadline(&self) -> Instant {
        if !self.is_between() || self.lingered.is_some() {
            return self.idle_until;
        }
        let limit = self.arriving_head().map_or_else(|| self.exchange.idle_until(), |head| Some(head.until));
        limit.map_or(self.idle_until, |limit| limit.min(self.idle_until))
    }

    /// Fails if the time is over. Otherwise wakes the task when it is.
    fn check_timer(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let deadline = self.deadline();
            if self.timer.deadline() != deadline {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            // A request that has taken long to arrive still has its time to be answered.
            let requests = self.exchange.requests();
            let is_served = self.exchange.is_served() && self.lingered.is_none();
            if !is_served || self.is_stalled || self.extended_for == requests {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.extended_for = requests;
            self.idle_until = Instant::now() + self.timeouts.idle;
        }
    }

    /// Notes that bytes were read.
    fn record_read(&mut self) {
        if !self.exchange.is_served() && self.arriving_head().is_none() {
            let now = Instant::now();
            self.idle_until = now + self.timeouts.idle;
            self.head = Some(Head { requests: self.exchange.requests(), until: now + self.timeouts.head });
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
                self.idle_until = (self.idle_until + earned).min(latest);
            }
            Poll::Ready(Ok(_)) => {
                self.is_stalled = false;
                self.idle_until = Instant::now() + self.timeouts.idle;
            }
            Poll::Pending if !self.is_stalled => {
                self.is_stalled = true;
                self.idle_until = self.idle_until.min(Instant::now() + self.timeouts.answer);
                // Wakes the task at the new deadline.
                return self.check_timer(context);
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    /// The problem document that replaces an empty answer of the HTTP library, which it writes when it cannot read a
    /// head. The server's own answers have a header that this one lacks.
    fn replacement(&self, bytes: &[u8]) -> Option<Bytes> {
        if self.exchange.is_served() {
            return None;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
        let code = match status {
            b"431" | b"414" => "head_too_large",
            [b'4', ..] => "bad_request",
            _ => return None,
        };
        let mut lines = bytes.split(|byte| *byte == b'\n').take_while(|line| line.trim_ascii() != b"");
        let is_own = lines.any(|line| line.starts_with(OWN_HEADER));
        (!is_own).then(|| plain(code))
    }
}

impl<S: AsyncWrite + Unpin> Connection<S> {
    /// Answers that a head did not arrive in time, if the client can read it at once.
    fn answer_late_head(&mut self, context: &mut Context<'_>) {
        if self.is_between() && self.arriving_head().is_some() {
            metrics::counter!(metric::HTTP_CONNECTIONS_CLOSED, "reason" => "head").increment(1);
            let _ = Pin::new(&mut self.io).poll_write(context, &plain("head_timeout"));
        }
    }

    /// Sends what replaces an empty answer of `len` bytes.
    fn poll_instead(&mut self, context: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        while let Some(bytes) = &mut self.instead {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
            bytes.advance(count);
            if count == 0 || bytes.is_empty() {
                self.instead = None;
            }
        }
        Poll::Ready(Ok(len))
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        // Reading comes first: a request that has arrived is answered, even if its time is over.
        let is_first = !this.exchange.is_served() && this.arriving_head().is_none();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        let has_come = buffer.filled().len() > before;
        if has_come {
            this.record_read();
        }
        if !(has_come && is_first)
            && let Err(error) = this.check_timer(context)
        {
            this.answer_late_head(context);
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check_timer(context)?;
        if this.instead.is_none() {
            this.instead = this.replacement(bytes);
        }
        if this.instead.is_some() {
            return this.poll_instead(context, bytes.len());
        }
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.record_write(&written, bytes.len(), context)?;
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next()) {
            return self.poll_write(context, only);
        }
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
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(context);
        // The HTTP library flushes once it has written everything.
        if flushed.is_ready() && !this.exchange.is_served() {
            this.sent = this.exchange.requests();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingered.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
            this.lingered = Some(0);
            this.idle_until = this.deadline().min(Instant::now() + LINGER_TIMEOUT);
        }
        this.poll_linger(context)
    }
}

#[cfg(test)]
mod tests;
