//! Servers of a test's own, which it may stop, kill and wipe, and a way to the broker that can be cut.

use bursar_services::{Error, ScratchDir};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A server that belongs to one test. Its calls block, so they run on threads for that.
pub struct Private<T> {
    server: Arc<Mutex<T>>,
    // Dropped after the server that lives in it.
    _scratch: ScratchDir,
}

impl<T: Send + 'static> Private<T> {
    /// Starts a server in a folder of its own.
    pub async fn start(start: fn(&Path) -> Result<T, Error>) -> Self {
        tokio::task::spawn_blocking(move || {
            let scratch = ScratchDir::new("private").unwrap();
            let server = start(&scratch.path().join("server")).unwrap();
            Self { server: Arc::new(Mutex::new(server)), _scratch: scratch }
        })
        .await
        .unwrap()
    }

    /// Has something done to the server, or asks it something.
    pub async fn run<R: Send + 'static>(&self, operation: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static) -> R {
        let server = self.server.clone();
        tokio::task::spawn_blocking(move || admin_post(&mut server.lock().unwrap()).unwrap()).await.unwrap()
    }
}

/// A proxy between the application and a broker: connections through it can be cut, and the way closed.
pub struct Proxy {
    port: u16,
    /// Grows with every cut; the way is closed while it is odd.
    cuts: watch::Sender<u64>,
    carried: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy before the server at this URL (`amqp://user:password@host:port/…`).
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

    /// Cuts every connection and lets no new one through.
    pub fn close(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1 + *cuts % 2);
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.cuts.send_modify(|cuts| *cuts += *cuts % 2);
    }

    /// Cuts every connection; new ones get through at once.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 2);
    }

    /// How many connections were let through so far.
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
