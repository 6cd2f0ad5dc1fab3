//! The HTTP server: HTTP/1.1 only, without upgrades and with small buffers.
//!
//! HTTP/2 would let one connection request any number of answers at once, and its control frames would keep idle
//! connections open. Proxies that speak HTTP/2 to browsers speak HTTP/1.1 to their backends, so nothing is lost.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, Response};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
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

/// Serves until `stop`. Then accepts no more connections, gives requests in flight `drain` to end, and aborts the rest.
pub async fn serve(
    mut acceptor: impl Acceptor,
    endpoint: impl Endpoint<Output = Response> + 'static,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let endpoint = Arc::new(endpoint);
    let (connections, stopping, aborted) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = acceptor.accept() => accepted,
        };
        // The acceptor has logged the error and paused.
        let Ok((io, local, remote, scheme)) = accepted else { continue };
        let origin = Origin { local, remote, scheme };
        let served = serve_connection(TokioIo::new(io), endpoint.clone(), origin, stopping.clone());
        connections.spawn(aborted.clone().run_until_cancelled_owned(served));
    }
    drop(acceptor);
    stopping.cancel();
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        aborted.cancel();
        connections.wait().await;
    }
}

/// The addresses and the scheme of a connection.
#[derive(Clone)]
struct Origin {
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

async fn serve_connection<I, E>(io: I, endpoint: Arc<E>, origin: Origin, stopping: CancellationToken)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    E: Endpoint<Output = Response> + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (endpoint, Origin { local, remote, scheme }) = (endpoint.clone(), origin.clone());
        async move {
            let response = endpoint.get_response((request, local, remote, scheme).into()).await;
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX_BYTES).max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(io, service));
    // Errors are ignored: a broken connection concerns only its client, which notices it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
