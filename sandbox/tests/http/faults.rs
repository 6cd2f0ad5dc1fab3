//! Requested faults.

use crate::client::Client;
use bursar_sandbox::{Fault, FaultRule};
use serde_json::json;

#[tokio::test]
async fn a_refused_call_is_not_executed_and_the_next_one_is() {
    let client = Client::start().await;
    let fault = Fault::Refuse { status: 503, should_retry: Some(true) };
    client.sandbox.fault(FaultRule::once("POST", "/v1/customers", fault)).unwrap();
    let refused = client.keyed("k", "/v1/customers", &[]).await;
    assert_eq!((refused.status, refused.header("stripe-should-retry")), (503, Some("true")));
    assert!(client.sandbox.list("customer").is_empty());
    assert_eq!(client.keyed("k", "/v1/customers", &[]).await.status, 200);
    assert_eq!(client.sandbox.calls("POST /v1/customers"), 2);
}

#[tokio::test]
async fn a_call_with_a_lost_answer_is_executed_and_its_connection_cut() {
    let client = Client::start().await;
    client.sandbox.fault(FaultRule::once("POST", "/v1/customers", Fault::LoseAnswer { hang_ms: 0 })).unwrap();
    let lost = client.send("POST", "/v1/customers", &[], &[("Idempotency-Key", "k")]).await;
    assert!(lost.is_err());
    assert_eq!(client.sandbox.list("customer").len(), 1);
    let again = client.keyed("k", "/v1/customers", &[]).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(client.sandbox.list("customer").len(), 1);
}

#[tokio::test]
async fn a_bad_gateway_answers_with_html() {
    let client = Client::start().await;
    client.sandbox.fault(FaultRule::once("GET", "/v1/", Fault::BadGateway)).unwrap();
    let answer = client.get("/v1/balance", &[]).await;
    assert_eq!((answer.status, answer.header("content-type"), answer.body.is_null()), (502, Some("text/html"), true));
}

#[tokio::test]
async fn faults_are_added_and_removed_over_http() {
    let client = Client::start().await;
    let rule = json!({ "method": "GET", "path": "/v1/balance", "fault": "refuse", "status": 500 });
    assert_eq!(client.command("POST", "faults", &rule).await.status, 200);
    assert_eq!(client.get("/v1/balance", &[]).await.status, 500);
    assert_eq!(client.command("DELETE", "faults", &json!({})).await.status, 200);
    assert_eq!(client.get("/v1/balance", &[]).await.status, 200);
    assert_eq!(client.command("POST", "faults", &json!({ "path": "/", "fault": "flood" })).await.status, 400);
}
