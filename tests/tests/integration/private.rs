//! Servers of a single test, which it may stop, kill and wipe, and a proxy to the broker.

use bursar_services::{Error, ScratchDir};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server that belongs to one test. Its blocking calls run on separate threads.
pub struct Private<T> {
    server: Arc<Mutex<T>>,
    // Dropped after the server that uses it.
    _scratch: ScratchDir,
}

impl<T: Send + 'static> Private<T> {
    pub async fn start(start: fn(&Path) -> Result<T, Error>) -> Self {
        tokio::task::spawn_blocking(move || {
            let scratch = ScratchDir::new("private").unwrap();
            let server = start(&scratch.path().join("server")).unwrap();
            Self { server: Arc::new(Mutex::new(server)), _scratch: scratch }
        })
        .await
        .unwrap()
    }

    pub async fn run<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
    ) -> R {
        let server = self.server.clone();
        tokio::task::spawn_blocking(move || operation(&mut server.lock().unwrap()).unwrap()).await.unwrap()
    }
}

/// A proxy before a broker that can cut connections and refuse new ones.
pub struct Proxy {
    port: u16,
    /// Grows with every cut; new connections are refused while it is odd.
    cuts: watch::Sender<u64>,
    carried: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy before the server at this URL (`amqp://user:password@host:port/…`).
    pub async fn before(url: &str) -> (Self, String) {
        let (before, rest) = url.rsplit_once('@').unwrap();
        let (target, path) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, cuts: watch::Sender::new(0), carried: Arc::default() };
        tokio::spawn(serve(listener, target.to_owned(), proxy.cuts.subscribe(), proxy.carried.clone()));
        let through = format!("{before}@127.0.0.1:{}/{path}", proxy.port);
        (proxy, through)
    }

    /// Cuts all connections and refuses new ones.
    pub fn close(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1 + *cuts % 2);
    }

    pub fn open(&self) {
        self.cuts.send_modify(|cuts| *cuts += *cuts % 2);
    }

    /// Cuts all connections; new ones are accepted at once.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 2);
    }

    pub fn carried(&self) -> usize {
        self.carried.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, target: String, cuts: watch::Receiver<u64>, carried: Arc<AtomicUsize>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (target, mut cuts, carried) = (target.clone(), cuts.clone(), carried.clone());
        tokio::spawn(async move {
            if *cuts.borrow_and_update() % 2 == 1 {
                return;
            }
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            carried.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}
