//! Unread answers: their memory, and how long they are kept.

use super::answered;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, wait};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const CLIENTS: usize = 200;
/// Maximum memory for all of them.
const MEMORY_MAX_BYTES: u64 = 50 * 1_024 * 1_024;

/// A connection of a client with a tiny receive buffer that reads nothing.
async fn unread(app: &TestApp, requests: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(app.address()).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    stream
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: bursar\r\n{more}\r\n")
}

/// Resident memory of this process, which includes the application and the clients.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1_024
}

/// Answered requests for documents and metrics.
fn answers(app: &TestApp) -> u64 {
    let metrics = app.app.render_metrics();
    let counted = metrics.lines().filter(|line| line.starts_with("bursar_http_requests_total{route=\"other\""));
    counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The memory used by clients that send these requests and read nothing.
async fn cost(app: &TestApp, requests: &str) -> u64 {
    let (before, answered) = (resident_bytes(), answers(app));
    let clients = join_all((0..CLIENTS).map(|_| unread(app, requests))).await;
    wait::until("all requests are answered", || async { (answers(app) >= answered + CLIENTS as u64).then_some(()) })
        .await;
    let cost = resident_bytes().saturating_sub(before);
    drop(clients);
    cost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_that_read_no_document_cost_less_than_50_mib() {
    let app = TestApp::start(Backend::Embedded).await;
    super::attack::compressed(&app.client, &app.base).await;
    for path in ["/docs", "/openapi.json", "/metrics"] {
        for requests in [get(path, ""), get(path, "").repeat(20)] {
            let cost = cost(&app, &requests).await;
            assert!(cost < MEMORY_MAX_BYTES, "{path} × {}: {cost} bytes", requests.len());
        }
    }
    // The documents are served all the same.
    for (path, text) in [("/docs", "</html>"), ("/openapi.json", "\"openapi\"")] {
        let answer = answered(super::sent(&app, &get(path, "Connection: close\r\n")).await).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(text), "{path}: {} bytes", answer.len());
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_large_answers_share_a_memory_limit() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.answers_max_bytes = 400_000).await;
    let customer = app.onboard_with(200).await;
    for _ in 0..100 {
        let body = json!({ "units": 1, "metadata": { "text": "x".repeat(4_000) } });
        app.call(&customer, "POST", "/api/v1/usage", &unique(), Some(&body)).await.expect(200);
    }
    // About 450 KB, of which the system buffers 128 and the client almost nothing.
    let path = "/api/v1/credits/transactions?limit=100";
    let list = async || app.call(&customer, "GET", path, "", None).await;
    assert_eq!(list().await.expect(200)["data"].as_array().unwrap().len(), 100);
    let key = format!("x-api-key: {}\r\n", customer.api_key);
    let waiting = Mutex::new(Vec::new());
    wait::until("a list is refused", || async {
        // Open another unread list each time: the probe below may have taken the memory that the previous one needed to
        // be kept.
        let client = unread(&app, &get(path, &key)).await;
        waiting.lock().unwrap().push(client);
        let answer = list().await;
        (answer.status != 200).then(|| answer.expect_problem(503, "overloaded"))
    })
    .await;
    // Small answers are still sent, and read or dropped answers make room.
    app.spend(&customer, 1, "meanwhile").await.expect(200);
    drop(waiting);
    wait::until("there is room again", || async { (list().await.status == 200).then_some(()) }).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_answer_is_dropped() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.connections_max = 1;
        config.http.answer_timeout_ms = 300;
    })
    .await;
    let unread = unread(&app, &get("/docs", "")).await;
    // The next one is answered once the first one was closed.
    assert_eq!(app.request("GET", "/health/live", &[], None).await.status, 200);
    assert!(!answered(unread).await.ends_with("</html>\n"), "it got all of it");
    app.stop().await;
}
