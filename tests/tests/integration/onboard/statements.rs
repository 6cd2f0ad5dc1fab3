//! How many statements a signup takes, counted on the wire to Postgres.

use bursar_engine::customer::Source;
use bursar_engine::onboard::{self, Signup};
use bursar_engine::store::{Db, DbOptions};
use bursar_tests::app::unique;
use bursar_tests::{Backend, TestApp};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Statements of a signup, with BEGIN and COMMIT and with what counts the attempts of its address.
const STATEMENTS: usize = 11;

/// A way to the database that counts the statements sent through it.
async fn counted(url: &str) -> (String, Arc<AtomicUsize>) {
    let (before, rest) = url.rsplit_once('@').unwrap();
    let (target, path) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("{before}@{}/{path}?sslmode=disable", listener.local_addr().unwrap());
    let (target, count) = (target.to_owned(), Arc::<AtomicUsize>::default());
    let of_all = count.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.unwrap();
            let ((mut from, mut back), (mut answers, mut to)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
            let count = of_all.clone();
            tokio::spawn(async move {
                let (mut buffer, mut pending) = (vec![0; 64 * 1_024], Vec::new());
                while let Ok(n @ 1..) = from.read(&mut buffer).await {
                    pending.extend_from_slice(&buffer[..n]);
                    count.fetch_add(take_statements(&mut pending), Ordering::SeqCst);
                    to.write_all(&buffer[..n]).await.unwrap();
                }
            });
        }
    });
    (through, count)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signup_takes_fewer_than_twenty_statements() {
    let app = TestApp::start(Backend::Production).await;
    let (url, count) = counted(&app.config.database_url).await;
    let options = DbOptions { url, connections_max: 1, acquire_timeout_ms: 10_000, statement_timeout_ms: 0 };
    let db = Db::connect(&options).await.unwrap();
    let mut config = app.config.onboarding.clone();
    config.per_ip_per_minute = 10;
    let sign_up = async || {
        let (email, before) = (format!("{}@example.com", unique()), count.load(Ordering::SeqCst));
        let (name, source, now_ms) = ("Ada", Source::Direct, app.app.clock.now_ms());
        let from = "203.0.113.7".parse().unwrap();
        onboard::gate::admit(&db, &config, &email, from, now_ms).await.unwrap();
        let signup = Signup { email: &email, name, source, credits: 5, marketplace_link: None };
        onboard::onboard(&db, app.app.seal(), signup, now_ms).await.unwrap();
        count.load(Ordering::SeqCst) - before
    };
    sign_up().await;
    assert_eq!(sign_up().await, STATEMENTS);
    db.close().await;
    app.verify().await;
    app.stop().await;
}
