//! Connections of one address, and which connection makes room for another.

use super::{answered, is_problem, sent_from};
use bursar_tests::{Backend, TestApp};
use std::net::Ipv4Addr;
use tokio::net::TcpStream;

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: bursar\r\nConnection: close\r\n\r\n";
const SLOW: &str = "GET /health/live HTTP/1.1\r\nHost: bur";

async fn open(app: &TestApp, last: u8, text: &str) -> TcpStream {
    sent_from(Ipv4Addr::new(127, 0, 0, last), app.address(), text).await
}

fn is_live(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_connections_and_others_have_theirs() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.connections_per_peer_max = 3;
        config.http.trusted_proxies = vec!["127.0.0.9".to_owned()];
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open(&app, 2, SLOW).await);
    }
    is_problem(&answered(open(&app, 2, "").await).await, 429, "too_many_connections");
    is_live(&answered(open(&app, 3, LIVE).await).await);
    // A trusted proxy has all of its clients' connections.
    for _ in 0..10 {
        held.push(open(&app, 9, SLOW).await);
    }
    is_live(&answered(open(&app, 9, LIVE).await).await);
    drop(held);
    bursar_tests::wait::until("the address has room again", || async {
        answered(open(&app, 2, LIVE).await).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_closes_the_connection_that_has_waited_longest() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.connections_max = 4).await;
    let mut slow = Vec::new();
    for last in 2..12 {
        slow.push(open(&app, last, SLOW).await);
        is_live(&answered(open(&app, 50 + last, LIVE).await).await);
    }
    // The newest is still open, and is answered as soon as it ends its request.
    let mut newest = slow.pop().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut newest, b"sar\r\nConnection: close\r\n\r\n").await.unwrap();
    is_live(&answered(newest).await);
    assert_eq!(answered(slow.remove(0)).await, "", "the oldest is closed without a word");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_closed_after_its_answer() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.connection_age_max_ms = 0).await;
    let answer = answered(open(&app, 2, "GET /health/live HTTP/1.1\r\nHost: bursar\r\n\r\n").await).await;
    is_live(&answer);
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    app.stop().await;
}
