//! Webhooks.

use crate::client::{Client, text};
use crate::receiver::Receiver;
use bursar_sandbox::{NewEndpoint, Options, Policy};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECRET: &str = "whsec_test";

async fn start(receiver: &Receiver, options: Options) -> Client {
    let endpoints = vec![NewEndpoint::new(&receiver.url, SECRET)];
    Client::with(Options { endpoints, seed: Some(3), ..options }).await
}

/// Waits until no delivery is waiting.
async fn wait_until_delivered(client: &Client) {
    while client.sandbox.deliveries_waiting() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_event_arrives_signed_and_pretty_printed_at_the_real_time() {
    let mut receiver = Receiver::start().await;
    let client = start(&receiver, Options::default()).await;
    client.sandbox.advance(Duration::from_secs(90 * 86_400)).unwrap();
    let customer = client.post("/v1/customers", &[("email", "ada@example.com")]).await.id();
    let arrived = receiver.next().await;
    let (t, v1) = arrived.signature.split_once(",v1=").unwrap();
    let t = t.strip_prefix("t=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{t}.{}", arrived.body).as_bytes());
    mac.verify_slice(&hex::decode(v1).unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the machine's clock is what it is held against")]
    let real_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(real_s.abs_diff(t.parse().unwrap()) < 300, "the sandbox's clock is three months ahead");
    assert!(arrived.body.starts_with("{\n  \""));
    let event = arrived.event();
    assert_eq!((&event["type"], &event["data"]["object"]["id"]), (&json!("customer.created"), &json!(customer)));
    assert!(event["request"]["id"].as_str().unwrap().starts_with("req_"));
    assert!(!arrived.body.contains("\"_"), "nothing of the sandbox's own leaves it");
}

#[tokio::test]
async fn what_was_not_delivered_when_a_quarter_passes_is_delivered_then() {
    let receiver = Receiver::start().await;
    let policy = Policy { is_paused: true, ..Policy::default() };
    let client = start(&receiver, Options { policy, ..Options::default() }).await;
    client.subscribe("pm_card_visa", &[]).await;
    let waiting = client.sandbox.deliveries_waiting();
    client.sandbox.advance(Duration::from_secs(100 * 86_400)).unwrap();
    let events = client.sandbox.list("event");
    assert!(events.iter().any(|event| event["type"] == "customer.subscription.created"), "it waits since the start");
    assert_eq!(events.iter().filter(|event| event["type"] == "invoice.paid").count(), 4);
    assert!(client.sandbox.deliveries_waiting() > waiting);
}

#[tokio::test]
async fn a_failed_delivery_is_retried_hours_later_and_is_pending_until_then() {
    let mut receiver = Receiver::start().await;
    receiver.answers(500);
    let client = start(&receiver, Options::default()).await;
    client.post("/v1/customers", &[]).await;
    let event = text(&receiver.next().await.event(), "id");
    receiver.answers(200);
    let pending = client.get("/v1/events", &[("delivery_success", "false")]).await.body;
    assert_eq!((text(&pending["data"][0], "id"), &pending["data"][0]["pending_webhooks"]), (event.clone(), &json!(1)));
    // The first try is recorded before the clock advances.
    while client.sandbox.list("_delivery").iter().any(|row| row["tries"] == 0) {
        tokio::task::yield_now().await;
    }
    client.sandbox.advance(Duration::from_secs(3_600)).unwrap();
    assert_eq!(text(&receiver.next().await.event(), "id"), event);
    wait_until_delivered(&client).await;
    let pending = client.get("/v1/events", &[("delivery_success", "false")]).await.body;
    assert_eq!(pending["data"], json!([]));
}

#[tokio::test]
async fn after_three_tries_an_event_stays_undelivered_until_it_is_redelivered() {
    let mut receiver = Receiver::start().await;
    receiver.answers(500);
    let client = start(&receiver, Options { retry_scale: 0.0, ..Options::default() }).await;
    client.post("/v1/customers", &[]).await;
    for _ in 0..3 {
        receiver.next().await;
    }
    wait_until_delivered(&client).await;
    receiver.answers(200);
    assert_eq!(client.sandbox.redeliver(None).unwrap(), 1);
    receiver.next().await;
    wait_until_delivered(&client).await;
    assert_eq!(client.get("/v1/events", &[("delivery_success", "false")]).await.body["data"], json!([]));
}

#[tokio::test]
async fn deliveries_can_be_duplicated_and_dropped() {
    let mut receiver = Receiver::start().await;
    let policy = Policy { duplicates_max: 3, ..Policy::default() };
    let client = start(&receiver, Options { policy, ..Options::default() }).await;
    for _ in 0..10 {
        client.post("/v1/customers", &[]).await;
    }
    wait_until_delivered(&client).await;
    let mut arrived = Vec::new();
    while arrived.len() < 11 {
        arrived.push(text(&receiver.next().await.event(), "id"));
    }
    client.sandbox.set_policy(Policy { drop_probability: 1.0, ..Policy::default() });
    client.post("/v1/customers", &[]).await;
    let pending = client.get("/v1/events", &[("delivery_success", "false")]).await.body;
    assert_eq!(pending["data"].as_array().unwrap().len(), 1);
    assert_eq!(client.sandbox.deliveries_waiting(), 0);
}

#[tokio::test]
async fn an_endpoint_gets_only_its_event_types_in_its_version() {
    let mut receiver = Receiver::start().await;
    let client = Client::start().await;
    let endpoint = NewEndpoint {
        enabled_events: vec!["payment_method.*".to_owned()],
        api_version: Some("2024-06-20".to_owned()),
        ..NewEndpoint::new(&receiver.url, SECRET)
    };
    client.sandbox.add_endpoint(&endpoint).unwrap();
    client.customer_with("pm_card_visa").await;
    let event = receiver.next().await.event();
    assert_eq!((&event["type"], &event["api_version"]), (&json!("payment_method.attached"), &json!("2024-06-20")));
}

#[tokio::test]
async fn a_thin_event_names_its_object_and_its_twin() {
    let mut receiver = Receiver::start().await;
    let client = Client::start().await;
    let endpoint = NewEndpoint { is_thin: true, ..NewEndpoint::new(&receiver.url, SECRET) };
    client.sandbox.add_endpoint(&endpoint).unwrap();
    let customer = client.post("/v1/customers", &[]).await.id();
    let event = receiver.next_of("v1.customer.created").await.event();
    assert_eq!((&event["object"], event.get("data")), (&json!("v2.core.event"), None));
    assert_eq!(event["related_object"]["url"], format!("/v1/customers/{customer}"));
    let twin = client.get(&format!("/v1/events/{}", text(&event, "snapshot_event")), &[]).await;
    assert_eq!(twin.body["data"]["object"]["id"], json!(customer));
}
