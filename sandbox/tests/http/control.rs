//! The control API.

use crate::client::Client;
use serde_json::json;

#[tokio::test]
async fn the_state_shows_all_totals_and_counts() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_visa").await;
    client.pay((&customer, &method), &[]).await;
    let state = client.command("GET", "state", &json!({})).await.body;
    assert_eq!(state["money"][&customer], json!({ "captured": 2_900, "refunded": 0, "disputed": 0 }));
    assert_eq!((&state["counts"]["charge"], &state["total"]["captured"]), (&json!(1), &json!(2_900)));
    let calls = client.command("GET", "calls?method=POST&path=/v1/payment_intents", &json!({})).await.body;
    assert_eq!(calls["count"], 1);
}

#[tokio::test]
async fn the_clock_can_be_read_and_advanced_but_never_goes_back() {
    let client = Client::start().await;
    let before = client.command("GET", "clock", &json!({})).await.body["now"].as_i64().unwrap();
    let moved = client.command("POST", "clock", &json!({ "advance_s": 1_000 })).await;
    assert!(moved.body["now"].as_i64().unwrap() >= before + 1_000);
    assert_eq!(client.command("POST", "clock", &json!({ "to": before - 1 })).await.status, 400);
    assert_eq!(client.command("POST", "clock", &json!({ "backwards": 1 })).await.status, 400);
}

#[tokio::test]
async fn a_reset_deletes_everything_but_the_permanent_price() {
    let client = Client::start().await;
    client.subscribe("pm_card_visa", &[]).await;
    assert_eq!(client.command("POST", "reset", &json!({})).await.status, 200);
    assert!(client.sandbox.list("customer").is_empty() && client.sandbox.list("event").is_empty());
    assert!(client.pro().await.starts_with("price_"));
}

#[tokio::test]
async fn web_pages_cannot_send_commands() {
    let client = Client::start().await;
    let url = format!("{}/sandbox/v1/reset", client.sandbox.url());
    let refused = reqwest::Client::new().post(url).header("Origin", "https://example.com").send().await.unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn html_pages_say_sandbox_and_escape_customers_text() {
    let client = Client::start().await;
    client.post("/v1/customers", &[("name", "<script>alert(1)</script>")]).await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let invoice = made.body["latest_invoice"]["hosted_invoice_url"].as_str().unwrap().to_owned();
    for url in [client.sandbox.url().to_owned(), invoice] {
        let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
        assert!(page.contains("SANDBOX - no real money moves"), "{url}");
        assert!(!page.contains("<script>"), "{url}");
    }
}
