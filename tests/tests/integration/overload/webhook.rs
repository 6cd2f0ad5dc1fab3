//! Unsigned webhooks: refused by their headers, or dropped in favour of signed ones.

use super::{answered, sent, take_only_slot};
use bursar_engine::clock::Clock;
use bursar_tests::app::WEBHOOK_SECRETS;
use bursar_tests::{Backend, TestApp, github, stripe, with_app};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(super) const LARGE: usize = 4 * 1_024 * 1_024;
const SMALL: usize = 256 * 1_024;

/// A signature header that anybody can make.
pub(super) fn forged() -> String {
    format!("Stripe-Signature: t={},v1={}\r\n", Clock::System.now_ms() / 1_000, "00".repeat(32))
}

pub(super) fn head(path: &str, header: &str, len: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: bursar\r\n{header}Content-Length: {len}\r\n\r\n")
}

/// Sends all of a body but its last byte, or as much as the server accepts.
async fn withheld(app: &TestApp, header: &str, len: usize) -> TcpStream {
    let mut stream = sent(app, &head("/webhooks/stripe", header, len)).await;
    let _ = stream.write_all(&vec![b'x'; len - 1]).await;
    stream
}

pub(super) fn event(bytes: usize) -> serde_json::Value {
    stripe::event("product.created", &json!({ "id": "prod_1", "object": "product", "text": "x".repeat(bytes) }))
}

with_app! {
    async fn an_invalid_webhook_header_is_refused_before_the_body_arrives(app: &TestApp) {
        let now_s = Clock::System.now_ms() / 1_000;
        let stripe = |value: String| format!("Stripe-Signature: {value}\r\n");
        let mac = "00".repeat(32);
        for (path, header, code) in [
            ("/webhooks/stripe", String::new(), "signature_missing"),
            ("/webhooks/stripe", stripe("t=1".to_owned()), "signature_malformed"),
            ("/webhooks/stripe", stripe(format!("t={now_s},v1={mac}{}", ",v1=00".repeat(1_000))), "signature_malformed"),
            ("/webhooks/stripe", stripe(format!("t={},v1={mac}", now_s - 400)), "signature_stale"),
            ("/webhooks/stripe", stripe(format!("t={},v1={mac}", now_s + 400)), "signature_future"),
            ("/webhooks/github", String::new(), "signature_missing"),
            ("/webhooks/github", "X-Hub-Signature-256: sha256=00\r\n".to_owned(), "signature_malformed"),
        ] {
            // Without any body it is answered and the connection closed.
            let answer = answered(sent(app, &head(path, &header, LARGE)).await).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{path} {header}: {answer}");
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{path} {header}: {answer}");
        }
        let too_large = answered(sent(app, &head("/webhooks/stripe", &forged(), LARGE + 1)).await).await;
        assert!(too_large.starts_with("HTTP/1.1 413"), "{too_large}");
    }

    async fn a_refused_sender_of_a_whole_body_gets_its_answer(app: &TestApp) {
        let body = "x".repeat(200_000);
        app.deliver_signed(body.as_bytes(), None).await.expect_problem(400, "signature_missing");
        app.deliver_github_bytes(body.as_bytes(), &[]).await.expect_problem(400, "signature_missing");
    }

    async fn withheld_bodies_do_not_block_signed_webhooks(app: &TestApp) {
        for (clients, len) in [(16, LARGE), (200, LARGE), (200, SMALL)] {
            for header in [forged(), String::new()] {
                let withheld = join_all((0..clients).map(|_| withheld(app, &header, len))).await;
                app.deliver(&event(10)).await.expect(200);
                app.deliver(&event(200_000)).await.expect(200);
                app.deliver(&event(2_000_000)).await.expect(200);
                let purchase = github::purchase("purchased", github::account(), "Pro", &github::in_days(0));
                app.deliver_github(&github::delivery(), &purchase).await.expect(200);
                drop(withheld);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_requests_do_not_block_webhooks() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.requests_max = 1).await;
    let customer = app.onboard().await;
    let (other, _waiting) = take_only_slot(&app, &customer).await;
    // The signature is checked, so the webhook was let in. It could not be stored, because the database is locked.
    let signature = stripe::signature(b"another body", WEBHOOK_SECRETS[0]);
    app.deliver_signed(b"{}", Some(&signature)).await.expect_problem(400, "signature_mismatch");
    other.execute_unprepared("ROLLBACK").await.unwrap();
    app.deliver(&event(10)).await.expect(200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_beyond_their_limit_leave_requests_alone() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.webhooks_max = 1).await;
    let customer = app.onboard().await;
    let body = event(10).to_string();
    let signature = stripe::signature(body.as_bytes(), WEBHOOK_SECRETS[0]);
    let deliveries = join_all((0..40).map(|_| app.deliver_signed(body.as_bytes(), Some(&signature)))).await;
    for answer in deliveries {
        assert!(answer.status == 200 || answer.code() == "overloaded", "{}", answer.body);
    }
    app.spend(&customer, 1, "meanwhile").await.expect(200);
    app.deliver_signed(body.as_bytes(), Some(&signature)).await.expect(200);
    app.stop().await;
}
