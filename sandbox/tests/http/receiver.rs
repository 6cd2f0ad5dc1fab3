//! A webhook endpoint with a configurable answer.

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Request, Response, Server};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a test waits for a delivery before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A delivery as it arrived.
#[derive(Debug)]
pub struct Arrived {
    pub signature: String,
    pub body: String,
}

impl Arrived {
    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("an event is JSON")
    }
}

/// The endpoint.
pub struct Receiver {
    pub url: String,
    status: Arc<AtomicU16>,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a free port");
        let address = acceptor.local_addr().first().and_then(|a| a.as_socket_addr().copied()).expect("an address");
        let status = Arc::new(AtomicU16::new(200));
        let (sender, arrived) = mpsc::unbounded_channel();
        let shared = status.clone();
        let endpoint = poem::endpoint::make(move |mut request: Request| {
            let (status, sender) = (shared.clone(), sender.clone());
            async move {
                let signature = request.header("stripe-signature").unwrap_or_default().to_owned();
                let body = request.take_body().into_string().await.unwrap_or_default();
                sender.send(Arrived { signature, body }).ok();
                Response::builder()
                    .status(StatusCode::from_u16(status.load(Ordering::SeqCst)).expect("a status"))
                    .finish()
            }
        });
        let server = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(endpoint).await.expect("the receiver serves");
        });
        Self { url: format!("http://{address}/webhooks"), status, arrived, server }
    }

    /// Sets the status of its answers.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next delivery.
    pub async fn next(&mut self) -> Arrived {
        tokio::time::timeout(PATIENCE, self.arrived.recv()).await.expect("a delivery in time").expect("a delivery")
    }

    /// The next delivery of a type of event.
    pub async fn next_of(&mut self, kind: &str) -> Arrived {
        loop {
            let arrived = self.next().await;
            if arrived.event()["type"] == kind {
                return arrived;
            }
        }
    }
}
