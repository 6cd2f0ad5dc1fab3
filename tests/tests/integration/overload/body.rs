//! Bodies: how long they may take, and how much of one client is kept.

use super::webhook::{LARGE, event, forged, head};
use super::{answered, is_problem, sent, sent_from};
use bursar_engine::config::Config;
use bursar_tests::app::{GITHUB_SECRETS, WEBHOOK_SECRETS};
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, github, stripe};
use futures_util::future::join_all;
use std::net::IpAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const ATTACKER: [u8; 4] = [127, 0, 0, 2];

/// Announces a body from an address and sends all of it but the last byte, or as much as the server accepts.
async fn withheld_from(from: impl Into<IpAddr>, app: &TestApp, more: &str, len: usize) -> TcpStream {
    let text = head("/webhooks/stripe", &format!("{}{more}Connection: close\r\n", forged()), len);
    let mut stream = sent_from(from, app.address(), &text).await;
    let _ = stream.write_all(&vec![b'x'; len - 1]).await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_body_times_out() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.http.small_body_timeout_ms = 300;
        config.http.body_timeout_ms = 600;
    })
    .await;
    let customer = app.onboard().await;
    let github = format!("X-Hub-Signature-256: {}\r\n", github::signature(b"", GITHUB_SECRETS[0]));
    let spend = format!(
        "Content-Type: application/json\r\nIdempotency-Key: {}\r\nx-api-key: {}\r\n",
        unique(),
        customer.api_key
    );
    for (path, header, len) in [
        ("/webhooks/stripe", forged(), 1_000),
        ("/webhooks/stripe", forged(), 100_000),
        ("/webhooks/github", github, 1_000),
        ("/api/v1/usage", spend, 1_000),
        ("/api/v1/customers/onboard", "Content-Type: application/json\r\n".to_owned(), 1_000),
    ] {
        let answer = answered(sent(&app, &format!("{}{{", head(path, &header, len))).await).await;
        is_problem(&answer, 503, "timeout");
    }
    app.stop().await;
}

/// An application in which only the memory of bodies is limited, not their time.
async fn patient(change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::start_with(Backend::Embedded, |config| {
        config.http.body_timeout_ms = 120_000;
        config.http.timeout_ms = 120_000;
        config.http.idle_timeout_ms = 300_000;
        change(config);
    })
    .await
}

/// Sends the last byte of each body and counts those of which the server has kept all the others.
async fn kept(streams: Vec<TcpStream>) -> usize {
    let answers = streams.into_iter().map(|mut stream| async {
        let _ = stream.write_all(b"x").await;
        answered(stream).await
    });
    join_all(answers).await.iter().filter(|answer| answer.contains("\"signature_mismatch\"")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_withheld_bodies_of_one_address_leave_others_their_room() {
    let app = patient(|_| {}).await;
    // Another address begins a body first, and so has the oldest of all.
    let body = event(3_000_000).to_string();
    let signature = stripe::signature(body.as_bytes(), WEBHOOK_SECRETS[0]);
    let header = format!("Stripe-Signature: {signature}\r\nConnection: close\r\n");
    let mut honest = sent_from([127, 0, 0, 3], app.address(), &head("/webhooks/stripe", &header, body.len())).await;
    let (first, last) = body.as_bytes().split_at(2_000_000);
    honest.write_all(first).await.unwrap();
    let withheld = join_all((0..16).map(|_| withheld_from(ATTACKER, &app, "", LARGE))).await;
    honest.write_all(last).await.unwrap();
    let answer = answered(honest).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Most of the attacker's were dropped for its own newer ones: two fit into its limit.
    let kept = kept(withheld).await;
    assert!(kept <= 2, "{kept}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_trusted_proxy_the_client_that_it_names_has_the_limit() {
    let app = patient(|config| {
        config.http.trusted_proxies = vec!["127.0.0.9".to_owned()];
        config.http.webhook_bodies_max_bytes = 1_000_000_000;
    })
    .await;
    let withheld = async |named: fn(usize) -> usize| {
        let bodies = (0..16).map(|number| {
            let (app, more) = (&app, format!("X-Forwarded-For: 203.0.113.{}\r\n", named(number)));
            async move { withheld_from([127, 0, 0, 9], app, &more, LARGE).await }
        });
        join_all(bodies).await
    };
    // Sixteen clients with one body each are all kept; one client with sixteen is not.
    let (of_many, of_one) = (withheld(|number| number).await, withheld(|_| 99).await);
    assert_eq!(kept(of_many).await, 16);
    let kept = kept(of_one).await;
    assert!(kept <= 2, "{kept}");
    app.stop().await;
}
