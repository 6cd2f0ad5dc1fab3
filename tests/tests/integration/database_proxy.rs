//! A proxy before Postgres that counts statements, and whose connections can go silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy that counts the statements sent through it.
pub struct DatabaseProxy {
    /// The URL of the database through this proxy.
    pub url: String,
    sent: Arc<AtomicUsize>,
    /// Each change silences all connections opened before it.
    cuts: watch::Sender<usize>,
}

impl DatabaseProxy {
    /// Starts a proxy before the database at `url`.
    pub async fn start(url: &str) -> Self {
        let (before, rest) = url.rsplit_once('@').unwrap();
        let (target, path) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = format!("{before}@{}/{path}?sslmode=disable", listener.local_addr().unwrap());
        let (target, sent) = (target.to_owned(), Arc::<AtomicUsize>::default());
        let (of_all, (cuts, seen)) = (sent.clone(), watch::channel(0));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut silence = seen.clone();
                silence.mark_unchanged();
                let far = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(carry(near, far, of_all.clone(), silence));
            }
        });
        Self { url: through, sent, cuts }
    }

    /// Silences all open connections without closing them, as if the network or a host had failed. Later connections
    /// work.
    pub fn go_silent(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The number of statements sent so far, including BEGIN and COMMIT.
    pub fn statements(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

/// Carries bytes both ways until one end closes. A silent connection keeps both ends open while the proxy exists.
async fn carry(mut near: TcpStream, mut far: TcpStream, sent: Arc<AtomicUsize>, mut silence: watch::Receiver<usize>) {
    let is_silent = tokio::select! {
        () = carry_both(&mut near, &mut far, &sent) => false,
        cut = silence.changed() => cut.is_ok(),
    };
    if is_silent {
        while silence.changed().await.is_ok() {}
    }
}

async fn carry_both(near: &mut TcpStream, far: &mut TcpStream, sent: &AtomicUsize) {
    let ((mut from, mut back), (mut answers, mut to)) = (near.split(), far.split());
    tokio::select! {
        () = count(&mut from, &mut to, sent) => {}
        _ = tokio::io::copy(&mut answers, &mut back) => {}
    }
}

/// Carries bytes to the database and counts their statements.
async fn count(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, sent: &AtomicUsize) {
    let (mut buffer, mut pending) = (vec![0; 64 * 1_024], Vec::new());
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        pending.extend_from_slice(&buffer[..n]);
        sent.fetch_add(take_statements(&mut pending), Ordering::SeqCst);
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Removes complete messages of the frontend from the front; returns how many of them run a statement: `Q`, a text,
/// or `E`, a prepared one. Messages without a type begin with the zero of their length.
fn take_statements(pending: &mut Vec<u8>) -> usize {
    let mut statements = 0;
    loop {
        let typed = usize::from(pending.first().is_some_and(|first| *first != 0));
        let Some(len) = pending.get(typed..typed + 4) else { return statements };
        let end = typed + u32::from_be_bytes(len.try_into().unwrap()) as usize;
        if pending.len() < end {
            return statements;
        }
        statements += usize::from(matches!(pending[0], b'Q' | b'E'));
        pending.drain(..end);
    }
}
