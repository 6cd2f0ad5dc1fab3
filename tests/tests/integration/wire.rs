//! Statements that are sent to Postgres, counted on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A way to a database that counts the statements sent through it.
pub struct Wire {
    /// Where it begins.
    pub url: String,
    sent: Arc<AtomicUsize>,
}

impl Wire {
    /// Lays a way to the database at `url`.
    pub async fn lay(url: &str) -> Self {
        let (before, rest) = url.rsplit_once('@').unwrap();
        let (target, path) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = format!("{before}@{}/{path}?sslmode=disable", listener.local_addr().unwrap());
        let (target, sent) = (target.to_owned(), Arc::<AtomicUsize>::default());
        let of_all = sent.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(carry(near, far, of_all.clone()));
            }
        });
        Self { url: through, sent }
    }

    /// How many statements were sent so far, BEGIN and COMMIT among them.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn carry(near: TcpStream, far: TcpStream, sent: Arc<AtomicUsize>) {
    let ((mut from, mut back), (mut answers, mut to)) = (near.into_split(), far.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    let (mut buffer, mut pending) = (vec![0; 64 * 1_024], Vec::new());
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        pending.extend_from_slice(&buffer[..n]);
        sent.fetch_add(take_statements(&mut pending), Ordering::SeqCst);
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Takes whole messages of the frontend off the front; how many of them run a statement: `Q`, a text, or `E`, one
/// that is prepared. Those without a type begin with the zero of their length.
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
