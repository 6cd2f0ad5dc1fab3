//! Overload: refused requests, closed connections, and requests that are answered all the same.

mod answer;
mod attack;
mod body;
mod credentials;
mod ops;
mod peer;
mod shutdown;
mod webhook;

use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, wait, with_app};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;

/// The receive buffer of a client that may not read: what the system keeps for it counts, too.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1_024;

/// Opens a connection and sends this text.
async fn sent(app: &TestApp, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Opens a connection from an address of this machine, such as 127.0.0.2, and sends this text.
async fn sent_from(from: impl Into<IpAddr>, to: SocketAddr, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    // A refused connection may be closed already.
    let _ = stream.write_all(text.as_bytes()).await;
    stream
}

/// Reads until the server closes the connection.
async fn answered(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // The end of the stream or a reset; both end it.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Takes the only slot of an application with `requests_max` 1, until the transaction that it returns ends.
async fn take_only_slot(app: &TestApp, customer: &TestCustomer) -> (DatabaseConnection, Vec<TcpStream>) {
    let mut options = ConnectOptions::new(app.config.database_url());
    options.max_connections(1);
    let other = Database::connect(options).await.unwrap();
    // Requests that write wait for this transaction.
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let waiting = Mutex::new(Vec::new());
    let refused = wait::until("a request is refused", || async {
        // Sent again each time: the probe itself may take the slot first, and a wait for the database ends.
        let spend = format!(
            "POST /api/v1/usage HTTP/1.1\r\nHost: bursar\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\
             Idempotency-Key: {}\r\nx-api-key: {}\r\n\r\n{{\"units\":1}}",
            unique(),
            customer.api_key
        );
        waiting.lock().await.push(sent(app, &spend).await);
        let answer = app.call(customer, "GET", "/api/v1/customer", "", None).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.expect_problem(503, "overloaded");
    (other, waiting.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_capacity_requests_are_refused_but_health_and_metrics_answer() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.requests_max = 1).await;
    let customer = app.onboard().await;
    let (other, waiting) = take_only_slot(&app, &customer).await;
    for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
        assert_eq!(app.request("GET", path, &[], None).await.status, 200, "{path}");
    }
    other.execute_unprepared("ROLLBACK").await.unwrap();
    drop(waiting);
    wait::until("the place is free again", || async {
        (app.call(&customer, "GET", "/api/v1/customer", "", None).await.status == 200).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_whole_request_is_closed() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.idle_timeout_ms = 300;
        config.http.header_timeout_ms = 100;
    })
    .await;
    let silent = sent(&app, "").await;
    let slow = sent(&app, "GET /health/live HTTP/1.1\r\nHost: bur").await;
    assert_eq!(answered(silent).await, "");
    is_problem(&answered(slow).await, 408, "head_timeout");
    app.stop().await;
}

/// Asserts that a whole answer is a problem document.
fn is_problem(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.to_lowercase().contains("content-type: application/problem+json"), "{answer}");
    let problem: serde_json::Value = serde_json::from_str(body).expect(answer);
    assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{answer}");
}

with_app! {
    async fn only_http_1_is_spoken(app: &TestApp) {
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let answer = answered(sent(app, preface).await).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
        // A request to upgrade to HTTP/2 is ignored.
        let upgrade = "GET /health/live HTTP/1.1\r\nHost: bursar\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\
                       Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
        let answer = answered(sent(app, upgrade).await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    async fn a_head_that_cannot_be_read_is_answered_with_a_problem(app: &TestApp) {
        let head = |more: &str| format!("GET /health/live HTTP/1.1\r\nHost: bursar\r\nConnection: close\r\n{more}\r\n");
        let long = |len: usize| head(&format!("X: {}\r\n", "x".repeat(len)));
        assert!(answered(sent(app, &long(16_000)).await).await.starts_with("HTTP/1.1 200"));
        is_problem(&answered(sent(app, &long(64_000)).await).await, 431, "head_too_large");
        let many = head(&"X: x\r\n".repeat(101));
        is_problem(&answered(sent(app, &many).await).await, 431, "head_too_large");
        for wrong in ["GET  HTTP/1.1\r\n\r\n", "G@T / HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
            is_problem(&answered(sent(app, wrong).await).await, 400, "bad_request");
        }
        is_problem(&answered(sent(app, &head("no colon\r\n")).await).await, 400, "bad_request");
    }

    async fn a_bad_head_after_a_good_request_is_answered_with_a_problem(app: &TestApp) {
        let good = "GET /health/live HTTP/1.1\r\nHost: bursar\r\n\r\n";
        let answer = answered(sent(app, &format!("{good}{good}nonsense\r\n\r\n")).await).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
        let (_, last) = answer.rsplit_once("HTTP/1.1 ").unwrap();
        is_problem(&format!("HTTP/1.1 {last}"), 400, "bad_request");
    }
}
