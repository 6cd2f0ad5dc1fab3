//! The HTTP server: HTTP/1.1 only, without upgrades and with small buffers.
//!
//! HTTP/2 would let one connection request any number of answers at once, and its control frames would keep idle
//! connections open. Proxies that speak HTTP/2 to browsers speak HTTP/1.1 to their backends, so nothing is lost.

use crate::connection::{Connection, LimitedAcceptor};
use crate::exchange::AnswerBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, header};
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Request, Response};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Maximum number of bytes of a request's head, and of each buffer of a connection.
pub const BUFFER_MAX_BYTES: usize = 32 * 1_024;
/// Maximum number of headers of a request.
const HEADERS_MAX: usize = 100;
/// The socket's send buffer. The system doubles it for its own overhead. Its default can reach 4 MiB per connection.
const SEND_BUFFER_BYTES: u32 = 64 * 1_024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// That queue is empty when no connection has come out of it for this long.
const QUEUE_EMPTY: Duration = Duration::from_millis(20);
/// How long a stop takes connections out of the queue at most.
const QUEUE_MAX: Duration = Duration::from_millis(200);

/// How long a new connection may take to send its first request while the server closes.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// Opens a listener whose connections inherit a small send buffer.
///
/// # Errors
/// The address is invalid or cannot be bound.
pub fn listen(address: &str) -> io::Result<TcpListener> {
    let address = address.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let socket = match address {
        std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The age from which a connection is closed after its next answer.
    pub age_max: Duration,
    /// How long a stop still accepts connections.
    pub grace: Duration,
    /// How long requests may take to end after that.
    pub drain: Duration,
}

/// Serves until `stop`. Then goes on for the grace time, but closes each connection after its next answer; closes the
/// connections without a request; gives requests in flight `drain` to end, and aborts the rest.
pub async fn serve<A: Acceptor>(
    mut acceptor: LimitedAcceptor<A>,
    endpoint: impl Endpoint<Output = Response> + 'static,
    stop: impl Future<Output = ()>,
    times: Times,
) {
    let connections = Connections::new(endpoint, times.age_max);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = acceptor.accept() => connections.spawn(accepted),
        }
    }
    connections.stopping.cancel();
    let mut end = pin!(sleep(times.grace));
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            accepted = acceptor.accept() => connections.spawn(accepted),
        }
    }
    // The system resets the connections in its queue when the listener closes. So take them all first.
    let end = Instant::now() + QUEUE_MAX;
    while Instant::now() < end
        && let Ok(accepted) = timeout(QUEUE_EMPTY, acceptor.accept()).await
    {
        connections.spawn(accepted);
    }
    drop(acceptor);
    connections.end(times.drain).await;
}

type Accepted<S> = io::Result<(Connection<S>, LocalAddr, RemoteAddr, Scheme)>;

/// The open connections.
struct Connections<E> {
    endpoint: Arc<E>,
    age_max: Duration,
    tasks: TaskTracker,
    /// Answers close their connections.
    stopping: CancellationToken,
    /// Connections without a request are closed.
    closing: CancellationToken,
    aborted: CancellationToken,
}

impl<E: Endpoint<Output = Response> + 'static> Connections<E> {
    fn new(endpoint: E, age_max: Duration) -> Self {
        let [stopping, closing, aborted] = [(); 3].map(|()| CancellationToken::new());
        Self { endpoint: Arc::new(endpoint), age_max, tasks: TaskTracker::new(), stopping, closing, aborted }
    }

    fn spawn<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, accepted: Accepted<S>) {
        // The acceptor has logged the error and paused.
        let Ok((io, local, remote, scheme)) = accepted else { return };
        let answering = Answering {
            endpoint: self.endpoint.clone(),
            origin: Origin { local, remote, scheme },
            age_max: self.age_max,
            stopping: self.stopping.clone(),
        };
        let served = serve_connection(io, answering, self.closing.clone());
        self.tasks.spawn(self.aborted.clone().run_until_cancelled_owned(served));
    }

    /// Ends all connections.
    async fn end(self, drain: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(drain, self.tasks.wait()).await.is_err() {
            self.aborted.cancel();
            self.tasks.wait().await;
        }
    }
}

/// The addresses and the scheme of a connection.
#[derive(Clone)]
struct Origin {
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

/// What the requests of a connection need.
struct Answering<E> {
    endpoint: Arc<E>,
    origin: Origin,
    age_max: Duration,
    stopping: CancellationToken,
}

async fn serve_connection<S, E>(io: Connection<S>, answering: Answering<E>, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
    E: Endpoint<Output = Response> + 'static,
{
    let exchange = io.exchange().clone();
    let service = {
        let (exchange, answering) = (exchange.clone(), Arc::new(answering));
        service_fn(move |request: hyper::Request<Incoming>| {
            let (exchange, answering) = (exchange.clone(), answering.clone());
            let served = exchange.begin();
            // In a box: the HTTP library keeps room for it on each connection, and most connections have no request.
            Box::pin(async move {
                let Origin { local, remote, scheme } = answering.origin.clone();
                let mut request = Request::from((request, local, remote, scheme));
                let opened = exchange.opened();
                request.extensions_mut().insert(exchange.clone());
                let mut response = hyper::Response::from(answering.endpoint.get_response(request).await);
                if answering.stopping.is_cancelled() || opened.elapsed() > answering.age_max {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                let pending = exchange.take_answered();
                Ok::<_, Infallible>(response.map(|body| AnswerBody::new(body, served, pending)))
            })
        })
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX_BYTES).max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    // Errors are ignored: a broken connection concerns only its client, which notices it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = exchange.place().closed() => return,
        () = closing.cancelled() => {}
    }
    let now = Instant::now();
    // The first request of a new connection may be on its way.
    exchange.close_idle_at(if exchange.requests() == 0 { now.max(exchange.opened() + FIRST_REQUEST) } else { now });
    tokio::select! {
        _ = connection => {}
        () = exchange.place().closed() => {}
    }
}
