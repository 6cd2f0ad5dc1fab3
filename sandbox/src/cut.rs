//! Connections that can be cut, to lose an answer as a network does.

use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The peer addresses of connections that are to be cut at their next write.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionCutter(Arc<Mutex<HashSet<SocketAddr>>>);

impl ConnectionCutter {
    /// Cuts the connection from this address at its next byte.
    pub(crate) fn cut(&self, from: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(from);
    }

    fn is_cut(&self, from: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&from)
    }

    fn forget(&self, from: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&from);
    }
}

/// A listener whose connections can be cut.
pub(crate) struct Listener {
    pub(crate) inner: TcpListener,
    pub(crate) cutter: ConnectionCutter,
}

impl Acceptor for Listener {
    type Io = Connection;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.inner.local_addr().map(|address| vec![LocalAddr(address.into())]).unwrap_or_default()
    }

    async fn accept(&mut self) -> io::Result<(Connection, LocalAddr, RemoteAddr, poem::http::uri::Scheme)> {
        let (stream, from) = self.inner.accept().await?;
        let local = stream.local_addr()?;
        let connection = Connection { stream, from, cutter: self.cutter.clone() };
        Ok((connection, LocalAddr(local.into()), RemoteAddr(from.into()), poem::http::uri::Scheme::HTTP))
    }
}

/// A connection that can be cut.
pub(crate) struct Connection {
    stream: TcpStream,
    from: SocketAddr,
    cutter: ConnectionCutter,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.cutter.is_cut(self.from) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Another connection may use the address soon.
        self.cutter.forget(self.from);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
