//! More than the server takes: what is refused, what is closed, and what is answered all the same.

use bursar_tests::{Backend, TestApp, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// A connection on which this was sent.
async fn sent(app: &TestApp, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_places_taken_requests_are_refused_but_health_and_metrics_answer() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.requests_max = 1).await;
    let customer = app.onboard().await;
    // A request whose body does not come keeps the only place. It is sent again each time: the one that
    // asks may have the place just when it arrives.
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
async fn webhooks_have_so_much_memory_together_and_what_was_only_announced_takes_none() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.webhook_body_max_bytes = 10_000;
        config.http.webhook_bodies_max_bytes = 10_000;
    })
    .await;
    let customer = app.onboard().await;
    let head = "POST /webhooks/stripe HTTP/1.1\r\nHost: bursar\r\nContent-Length: 10000\r\n\r\n";
    let unsigned = "x".repeat(4_000);
    let deliver = async || app.deliver_signed(unsigned.as_bytes(), None).await;
    let announced = sent(&app, head).await;
    deliver().await.expect_problem(400, "signature_missing");
    // Most of a body, whose rest does not come. It is sent again each time: it is refused itself while the
    // one that asks is in memory.
    let most = format!("{head}{}", "x".repeat(9_000));
    let waiting = Mutex::new(Vec::new());
    let refused = wait::until("a webhook is refused", || async {
        waiting.lock().await.push(sent(&app, &most).await);
        let answer = deliver().await;
        (answer.status != 400).then_some(answer)
    })
    .await;
    refused.expect_problem(503, "overloaded");
    assert_eq!(refused.retry_after.as_deref(), Some("1"));
    app.spend(&customer, 1, "meanwhile").await.expect(200);
    drop((announced, waiting));
    wait::until("there is room again", || async { (deliver().await.status == 400).then_some(()) }).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_sends_no_whole_request_is_closed_and_makes_room() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.connections_max = 2;
        config.http.idle_timeout_ms = 300;
    })
    .await;
    let mut silent = sent(&app, "").await;
    let mut slow = sent(&app, "GET /health/live HTTP/1.1\r\nHost: bur").await;
    // The third is answered once one of them was closed.
    assert_eq!(app.request("GET", "/health/live", &[], None).await.status, 200);
    for stream in [&mut silent, &mut slow] {
        let mut answer = Vec::new();
        // The end of the stream, or a reset: either way it is over.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    app.stop().await;
}
