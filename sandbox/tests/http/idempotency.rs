//! Idempotency keys, as in Stripe's documentation.

use crate::client::Client;
use bursar_sandbox::{Fault, FaultRule};
use serde_json::json;
use std::time::Duration;

const CUSTOMER: &[(&str, &str)] = &[("email", "ada@example.com")];

#[tokio::test]
async fn the_same_key_repeats_the_first_answer_and_creates_nothing_twice() {
    let client = Client::start().await;
    let first = client.keyed("k", "/v1/customers", CUSTOMER).await;
    let second = client.keyed("k", "/v1/customers", CUSTOMER).await;
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    assert_eq!(second.header("original-request"), first.header("request-id"));
    assert_eq!(client.sandbox.list("customer").len(), 1);
}

#[tokio::test]
async fn the_same_key_with_other_parameters_is_an_idempotency_error() {
    let client = Client::start().await;
    client.keyed("k", "/v1/customers", CUSTOMER).await;
    let other = client.keyed("k", "/v1/customers", &[("email", "bob@example.com")]).await;
    assert_eq!((other.status, &other.body["error"]["type"]), (400, &json!("idempotency_error")));
    assert_eq!(client.sandbox.list("customer").len(), 1);
}

#[tokio::test]
async fn a_decline_is_stored_and_a_new_key_tries_again() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_chargeCustomerFail").await;
    let pay = [
        ("amount", "2900"),
        ("currency", "usd"),
        ("customer", customer.as_str()),
        ("payment_method", method.as_str()),
        ("confirm", "true"),
        ("off_session", "true"),
    ];
    let first = client.keyed("k", "/v1/payment_intents", &pay).await;
    let again = client.keyed("k", "/v1/payment_intents", &pay).await;
    assert_eq!((first.status, again.status), (402, 402));
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(client.sandbox.list("payment_intent").len(), 1);
    client.keyed("k2", "/v1/payment_intents", &pay).await;
    assert_eq!(client.sandbox.list("payment_intent").len(), 2);
}

#[tokio::test]
async fn a_500_is_stored_under_its_key() {
    let client = Client::start().await;
    client.sandbox.fault(FaultRule::once("POST", "/v1/customers", Fault::StoreFailure { status: 500 })).unwrap();
    assert_eq!(client.keyed("k", "/v1/customers", CUSTOMER).await.status, 500);
    let again = client.keyed("k", "/v1/customers", CUSTOMER).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (500, Some("true")));
    assert_eq!(client.keyed("k2", "/v1/customers", CUSTOMER).await.status, 200);
}

#[tokio::test]
async fn a_call_refused_before_execution_is_not_stored() {
    let client = Client::start().await;
    let bad = client.keyed("k", "/v1/payment_intents", &[("amount", "many"), ("currency", "usd")]).await;
    assert_eq!((bad.status, bad.code()), (400, "parameter_invalid_integer"));
    let good = client.keyed("k", "/v1/payment_intents", &[("amount", "2900"), ("currency", "usd")]).await;
    assert_eq!(good.status, 200, "{}", good.body);
}

#[tokio::test]
async fn a_429_is_not_stored() {
    let client = Client::start().await;
    let fault = Fault::RateLimit { retry_after_s: Some(3) };
    client.sandbox.fault(FaultRule::once("POST", "/v1/customers", fault)).unwrap();
    let limited = client.keyed("k", "/v1/customers", CUSTOMER).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("3")));
    assert_eq!(client.keyed("k", "/v1/customers", CUSTOMER).await.status, 200);
}

#[tokio::test]
async fn concurrent_uses_of_a_key_are_a_conflict() {
    let client = Client::start().await;
    client.sandbox.fault(FaultRule::once("POST", "/v1/customers", Fault::Delay { ms: 1_000 })).unwrap();
    let use_it = || client.keyed("k", "/v1/customers", CUSTOMER);
    let (one, other) = tokio::join!(use_it(), use_it());
    let (won, lost) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!((won.status, lost.status, lost.code()), (200, 409, "idempotency_key_in_use"));
    let later = client.keyed("k", "/v1/customers", CUSTOMER).await;
    assert_eq!((later.status, later.header("idempotent-replayed")), (200, Some("true")), "a 409 is not stored");
}

#[tokio::test]
async fn a_key_is_deleted_after_24_hours() {
    let client = Client::start().await;
    let first = client.keyed("k", "/v1/customers", CUSTOMER).await;
    client.sandbox.advance(Duration::from_secs(23 * 3_600)).unwrap();
    assert_eq!(client.keyed("k", "/v1/customers", CUSTOMER).await.id(), first.id());
    client.sandbox.advance(Duration::from_secs(2 * 3_600)).unwrap();
    assert_ne!(client.keyed("k", "/v1/customers", CUSTOMER).await.id(), first.id());
}

#[tokio::test]
async fn get_requests_ignore_keys() {
    let client = Client::start().await;
    let id = client.post("/v1/customers", CUSTOMER).await.id();
    let headers = [("Idempotency-Key", "k")];
    let path = format!("/v1/customers/{id}");
    for _ in 0..2 {
        let got = client.send("GET", &path, &[], &headers).await.unwrap();
        assert_eq!((got.status, got.header("idempotent-replayed")), (200, None));
    }
}
