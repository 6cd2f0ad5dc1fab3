//! Overload: refused requests, closed connections, and requests that are answered all the same.

mod answer;
mod webhook;

use bursar_tests::{Backend, TestApp, wait, with_app};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Opens a connection and sends this text.
async fn sent(app: &TestApp, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads until the server closes the connection.
async fn answered(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // The end of the stream or a reset; both end it.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_capacity_requests_are_refused_but_health_and_metrics_answer() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.requests_max = 1).await;
    let customer = app.onboard().await;
    // A request without its body takes the only slot. It is sent again each time, because the probe itself may take
    // the slot first.
    let head = "POST /api/v1/usage HTTP/1.1\r\nHost: bursar\r\nContent-Length: 100\r\n\r\n";
    let waiting = Mutex::new(Vec::new());
    let refused = wait::until("a request is refused", || async {
        waiting.lock().await.push(sent(&app, head).await);
        let answer = app.call(&customer, "GET", "/api/v1/customer", "", None).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.expect_problem(503, "overloaded");
    for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
        assert_eq!(app.request("GET", path, &[], None).await.status, 200, "{path}");
    }
    drop(waiting);
    wait::until("the place is free again", || async {
        (app.spend(&customer, 1, "afterwards").await.status == 200).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_whole_request_is_closed() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.connections_max = 2;
        config.http.idle_timeout_ms = 300;
    })
    .await;
    let silent = sent(&app, "").await;
    let slow = sent(&app, "GET /health/live HTTP/1.1\r\nHost: bur").await;
    // The third one is answered once another one was closed.
    assert_eq!(app.request("GET", "/health/live", &[], None).await.status, 200);
    for stream in [silent, slow] {
        let answer = answered(stream).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    app.stop().await;
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

    async fn a_request_whose_head_is_too_large_is_refused(app: &TestApp) {
        let head = |len: usize| {
            format!("GET /health/live HTTP/1.1\r\nHost: bursar\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(len))
        };
        assert!(answered(sent(app, &head(16_000)).await).await.starts_with("HTTP/1.1 200"));
        assert!(answered(sent(app, &head(64_000)).await).await.starts_with("HTTP/1.1 431"));
    }
}
