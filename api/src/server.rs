//! The HTTP server: HTTP/1.1 and nothing else, with small buffers.
//!
//! HTTP/2 would let one connection ask for any number of answers at once, and its frames for control
//! would pass for use of the connection. A proxy that speaks HTTP/2 to browsers speaks HTTP/1.1 to its
//! backends, so nothing is lost. There are no upgrades either.

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

/// Most bytes of a request's head, and of what is read or written ahead on one connection.
pub const BUFFER_MAX_BYTES: usize = 32 * 1_024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// What the system keeps of an answer that its client does not take. The system takes twice as much, for
/// what it needs itself; left alone it would take 4 MiB a connection.
const SEND_BUFFER_BYTES: u32 = 64 * 1_024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Opens a listener whose connections have a small send buffer, which they take over from it.
///
/// # Errors
/// If the text is no address, or the address cannot be had.
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

/// Serves until `stop`. Then no connection is accepted any more, what is under way has `drain` to end,
/// and the rest is broken off.
pub async fn serve(
    mut acceptor: impl Acceptor,
    endpoint: impl Endpoint<Output = Response> + 'static,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let endpoint = Arc::new(endpoint);
    let (connections, stopping, over) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = acceptor.accept() => accepted,
        };
        // The acceptor has said what is wrong, and has waited.
        let Ok((io, local, remote, scheme)) = accepted else { continue };
        let from = From { local, remote, scheme };
        let served = serve_connection(TokioIo::new(io), endpoint.clone(), from, stopping.clone());
        connections.spawn(over.clone().run_until_cancelled_owned(served));
    }
    drop(acceptor);
    stopping.cancel();
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        over.cancel();
        connections.wait().await;
    }
}

/// Where a connection comes from.
#[derive(Clone)]
struct From {
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

async fn serve_connection<I, E>(io: I, endpoint: Arc<E>, from: From, stopping: CancellationToken)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    E: Endpoint<Output = Response> + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (endpoint, From { local, remote, scheme }) = (endpoint.clone(), from.clone());
        async move {
            let response = endpoint.get_response((request, local, remote, scheme).into()).await;
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX_BYTES).max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(io, service));
    // A connection that broke concerns its client only, who sees it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
