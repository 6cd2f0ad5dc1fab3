//! The control API.

use crate::client::Client;
use bursar_sandbox::{Error, Options, Sandbox};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

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
async fn commands_need_the_token_and_reads_do_too() {
    let client = Client::start().await;
    let http = reqwest::Client::new();
    for (method, command) in [("GET", "state"), ("GET", "objects/cus_1"), ("POST", "reset"), ("DELETE", "faults")] {
        let method: reqwest::Method = method.parse().unwrap();
        let url = format!("{}/sandbox/v1/{command}", client.sandbox.url());
        for token in [None, Some("sk_test_1"), Some("")] {
            let mut request = http.request(method.clone(), &url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let refused = request.send().await.unwrap();
            assert_eq!(refused.status(), 401, "{command} with {token:?}");
            assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"sandbox\"");
        }
    }
    assert_eq!(client.command("GET", "state", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_restricted_key_is_told_which_permission_it_lacks() {
    let permissions = Some(vec!["rak_customer_write".to_owned()]);
    let client = Client::with(Options { permissions, ..Options::default() }).await;
    let restricted = [("Authorization", "Bearer rk_test_1")];
    let send = async |method: &str, path: &str| client.send(method, path, &[], &restricted).await.unwrap();
    assert_eq!(send("POST", "/v1/customers").await.status, 200);
    assert_eq!(send("GET", "/v1/customers").await.status, 200, "who may write may read");
    let refused = send("GET", "/v1/prices").await;
    assert_eq!((refused.status, &refused.body["error"]["type"]), (403, &json!("invalid_request_error")));
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("Having the 'rak_plan_read' permission"), "{message}");
    assert_eq!(client.get("/v1/prices", &[]).await.status, 200, "a secret key may do everything");
    let misspelt = Some(vec!["rak_customers_write".to_owned()]);
    let refused = Sandbox::start(Options { permissions: misspelt, ..Options::default() }).await;
    assert!(matches!(refused, Err(Error::Options(_))), "{:?}", refused.err());
}

#[tokio::test]
async fn the_imitated_api_does_not_take_the_control_token() {
    let client = Client::start().await;
    let bearer = format!("Bearer {}", client.sandbox.control_token().reveal());
    let refused = client.send("GET", "/v1/customers", &[], &[("Authorization", &bearer)]).await.unwrap();
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn a_short_token_is_refused_at_start() {
    let options = Options { control_token: Some("short".into()), ..Options::default() };
    assert!(matches!(Sandbox::start(options).await, Err(Error::Options(_))));
}

#[tokio::test]
async fn the_secret_of_an_endpoint_is_answered_once_and_never_shown_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let client = Client::with(Options { record: Some(file.clone()), ..Options::default() }).await;
    let form = [("url", "https://h/webhooks/stripe"), ("enabled_events[]", "invoice.paid")];
    let made = client.post("/v1/webhook_endpoints", &form).await;
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    let id = made.id();
    let changed = [("enabled_events[]", "invoice.paid"), ("enabled_events[]", "charge.refunded"), ("disabled", "true")];
    let changed = client.post(&format!("/v1/webhook_endpoints/{id}"), &changed).await;
    assert_eq!(
        (&changed.body["status"], changed.body["enabled_events"][1].as_str()),
        (&json!("disabled"), Some("charge.refunded"))
    );
    let mut shown = vec![changed];
    shown.push(client.get(&format!("/v1/webhook_endpoints/{id}"), &[]).await);
    shown.push(client.get("/v1/webhook_endpoints", &[]).await);
    shown.push(client.command("GET", "webhook_endpoints", &json!({})).await);
    shown.push(client.command("GET", &format!("objects/{id}"), &json!({})).await);
    for answer in shown {
        let text = answer.body.to_string();
        assert!(answer.status == 200 && text.contains(&id) && !text.contains(&secret), "{text}");
    }
    let recorded = std::fs::read_to_string(&file).unwrap();
    assert!(recorded.contains("whsec_masked") && !recorded.contains(&secret));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn web_pages_cannot_send_commands() {
    let client = Client::start().await;
    let url = format!("{}/sandbox/v1/reset", client.sandbox.url());
    let request = reqwest::Client::new().post(url).bearer_auth(client.sandbox.control_token().reveal());
    let refused = request.header("Origin", "https://example.com").send().await.unwrap();
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
