//! State that survives a restart.

use crate::client::Client;
use bursar_sandbox::{Error, NewEndpoint, Options, Sandbox};
use std::time::Duration;

#[tokio::test]
async fn objects_answers_and_the_clock_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data_dir: Some(folder.path().to_owned()), seed: Some(9), ..Options::default() };
    let client = Client::with(options.clone()).await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let key = client.keyed("k", "/v1/customers", &[]).await.id();
    client.sandbox.advance(Duration::from_secs(3_600)).unwrap();
    let (now_s, events) = (client.sandbox.now_s(), client.sandbox.list("event").len());
    client.sandbox.stop().await;

    let client = Client::with(options).await;
    assert_eq!(client.sandbox.object(&made.id())["status"], "active");
    assert_eq!(client.sandbox.list("event").len(), events);
    assert!(client.sandbox.now_s() >= now_s);
    let again = client.keyed("k", "/v1/customers", &[]).await;
    assert_eq!((again.id(), again.header("idempotent-replayed")), (key.clone(), Some("true")));
    assert_ne!(client.post("/v1/customers", &[]).await.id(), key, "a seed does not repeat ids after a restart");
    assert_eq!(client.sandbox.list("price").len(), 1);
}

#[tokio::test]
async fn only_endpoints_of_earlier_options_are_deleted_by_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options { data_dir: Some(folder.path().to_owned()), ..Options::default() };
    options.endpoints = vec![NewEndpoint::new("http://127.0.0.1:9/first", "whsec_1")];
    let client = Client::with(options.clone()).await;
    client.sandbox.add_endpoint(&NewEndpoint::new("http://127.0.0.1:9/called", "whsec_2")).unwrap();
    client.sandbox.stop().await;
    options.endpoints = vec![NewEndpoint::new("http://127.0.0.1:9/second", "whsec_1")];
    let client = Client::with(options).await;
    let rows = client.sandbox.list("webhook_endpoint");
    let urls: Vec<&str> = rows.iter().filter_map(|row| row["url"].as_str()).collect();
    assert_eq!(urls, ["http://127.0.0.1:9/called", "http://127.0.0.1:9/second"]);
}

#[tokio::test]
async fn a_secret_of_the_options_is_not_stored_and_signs_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let given = NewEndpoint::new("http://127.0.0.1:9/given", "whsec_given_by_the_options");
    let made_up = NewEndpoint { secret: None, ..NewEndpoint::new("http://127.0.0.1:9/made-up", "") };
    let options =
        Options { data_dir: Some(folder.path().to_owned()), endpoints: vec![given, made_up], ..Options::default() };
    let secrets = |client: &Client| {
        let rows = client.sandbox.list("webhook_endpoint");
        rows.iter().map(|row| row["secret"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let client = Client::with(options.clone()).await;
    let before = secrets(&client);
    client.sandbox.stop().await;
    let client = Client::with(options).await;
    assert_eq!(secrets(&client), before);
    client.sandbox.stop().await;
    let journal = std::fs::read_to_string(folder.path().join("sandbox.jsonl")).unwrap();
    assert!(!journal.contains(&before[0]) && journal.contains(&before[1]), "{journal}");
}

#[tokio::test]
async fn a_public_listen_address_needs_permission() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let refused = Sandbox::start(Options { listen, ..Options::default() }).await;
    assert!(matches!(refused, Err(Error::Options(_))));
}

#[tokio::test]
async fn every_call_is_recorded_with_its_decoded_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let client = Client::with(Options { record: Some(file.clone()), ..Options::default() }).await;
    client.post("/v1/customers", &[("metadata[a]", "1"), ("expand[]", "subscriptions")]).await;
    let text = std::fs::read_to_string(file).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&"POST".into(), &"/v1/customers".into(), &200.into())
    );
    assert_eq!(line["form"], serde_json::json!({ "metadata": { "a": "1" }, "expand": ["subscriptions"] }));
    assert_eq!(line["response"]["object"], "customer");
}
