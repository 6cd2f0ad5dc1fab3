//! Customers, lists, expansion, versions, keys.

use crate::client::{Client, text};
use serde_json::json;

#[tokio::test]
async fn metadata_merges_over_updates() {
    let client = Client::start().await;
    let made = client.post("/v1/customers", &[("metadata[a]", "1"), ("metadata[b]", "2")]).await;
    let path = format!("/v1/customers/{}", made.id());
    let changed = client.post(&path, &[("metadata[a]", ""), ("metadata[c]", "3")]).await;
    assert_eq!(changed.body["metadata"], json!({ "b": "2", "c": "3" }));
    let events = client.sandbox.list("event");
    assert_eq!(events[1]["data"]["previous_attributes"], json!({ "metadata": { "a": "1", "b": "2" } }));
}

#[tokio::test]
async fn customers_are_found_by_address_in_pages() {
    let client = Client::start().await;
    for _ in 0..3 {
        client.post("/v1/customers", &[("email", "ada@example.com")]).await;
    }
    client.post("/v1/customers", &[("email", "bob@example.com")]).await;
    let page = client.get("/v1/customers", &[("email", "ada@example.com"), ("limit", "2")]).await.body;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(true)));
    let last = text(&page["data"][1], "id");
    let query = [("email", "ada@example.com"), ("limit", "2"), ("starting_after", last.as_str())];
    let rest = client.get("/v1/customers", &query).await.body;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (1, &json!(false)));
}

#[tokio::test]
async fn a_deleted_customer_is_marked_deleted_and_its_subscriptions_end() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let path = format!("/v1/customers/{}", text(&made.body, "customer"));
    assert_eq!(client.delete(&path).await.body["deleted"], true);
    assert_eq!(client.get(&path, &[]).await.body["deleted"], true);
    assert_eq!(client.post(&path, &[]).await.status, 404);
    assert_eq!(client.sandbox.object(&made.id())["status"], "canceled");
}

#[tokio::test]
async fn expansion_reaches_into_lists_and_refuses_unknown_paths() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_visa").await;
    client.pay((&customer, &method), &[("off_session", "true")]).await;
    let query = [("expand[]", "data.latest_charge.balance_transaction"), ("expand[]", "data.customer")];
    let page = client.get("/v1/payment_intents", &query).await.body;
    let intent = &page["data"][0];
    assert_eq!(intent["latest_charge"]["balance_transaction"]["amount"], 2_900);
    assert_eq!(intent["customer"]["email"], "ada@example.com");
    let before = client.sandbox.list("customer").len();
    let refused = client.post("/v1/customers", &[("expand[]", "nonsense")]).await;
    assert_eq!(refused.status, 400);
    assert_eq!(client.sandbox.list("customer").len(), before, "a refused call leaves nothing");
    let deep = [("expand[]", "data.latest_charge.balance_transaction.source.customer")];
    let refused = client.get("/v1/payment_intents", &deep).await;
    assert_eq!((refused.status, refused.code()), (400, "property_expansion_max_depth"));
}

#[tokio::test]
async fn an_unknown_id_is_a_404_in_the_path_and_a_400_as_a_parameter() {
    let client = Client::start().await;
    let missing = client.get("/v1/customers/cus_nobody", &[]).await;
    assert_eq!(
        (missing.status, missing.code(), &missing.body["error"]["param"]),
        (404, "resource_missing", &json!("id"))
    );
    let form = [("amount", "2900"), ("currency", "usd"), ("customer", "cus_nobody")];
    let missing = client.post("/v1/payment_intents", &form).await;
    assert_eq!((missing.status, missing.code()), (400, "resource_missing"));
    assert_eq!(missing.body["error"]["param"], "customer");
    assert_eq!(client.get("/v1/nothing", &[]).await.status, 404);
}

#[tokio::test]
async fn a_missing_key_and_a_live_key_are_refused() {
    let client = Client::start().await;
    for key in ["", "Bearer sk_live_1", "Bearer nonsense"] {
        let refused = client.send("GET", "/v1/balance", &[], &[("Authorization", key)]).await.unwrap();
        assert_eq!(refused.status, 401, "{key}");
    }
    let basic = client.send("GET", "/v1/balance", &[], &[("Authorization", "Basic c2tfdGVzdF8xOg==")]).await.unwrap();
    assert_eq!(basic.status, 200);
}

#[tokio::test]
async fn every_answer_says_sandbox_and_carries_a_request_id_and_a_version() {
    let client = Client::start().await;
    let answer = client.send("GET", "/v1/balance", &[], &[("Stripe-Version", "2024-06-20")]).await.unwrap();
    assert_eq!(answer.header("sandbox"), Some("SANDBOX - no real money moves"));
    assert!(answer.header("request-id").unwrap().starts_with("req_"));
    assert_eq!(answer.header("stripe-version"), Some("2024-06-20"));
    let wrong = client.send("GET", "/v1/balance", &[], &[("Stripe-Version", "yesterday")]).await.unwrap();
    assert_eq!(wrong.status, 400);
    let price = client.get("/v1/prices", &[("lookup_keys[]", "pro_monthly"), ("expand[]", "data.product")]).await.body;
    assert_eq!(price["data"][0]["product"]["name"], "Pro (SANDBOX)");
    assert_eq!(
        (&price["data"][0]["unit_amount"], &price["data"][0]["metadata"]["plan"]),
        (&json!(59_900), &json!("pro"))
    );
}

#[tokio::test]
async fn a_misspelt_parameter_is_refused_and_named() {
    let client = Client::start().await;
    let refused = client.post("/v1/customers", &[("e_mail", "ada@example.com")]).await;
    assert_eq!((refused.status, refused.code()), (400, "parameter_unknown"));
    assert_eq!(refused.body["error"]["param"], "e_mail");
}
