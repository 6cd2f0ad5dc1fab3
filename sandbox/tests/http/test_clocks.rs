//! Customers whose time passes on request, and what a customer portal is told.

use crate::client::{Answer, Client, text};
use serde_json::json;

const DAY_S: i64 = 24 * 60 * 60;
const CLOCKS: &str = "/v1/test_helpers/test_clocks";

async fn clock_at(client: &Client, at_s: i64) -> Answer {
    client.post(CLOCKS, &[("frozen_time", &at_s.to_string()), ("name", "a year")]).await
}

async fn advance(client: &Client, clock: &str, to_s: i64) -> Answer {
    client.post(&format!("{CLOCKS}/{clock}/advance"), &[("frozen_time", &to_s.to_string())]).await
}

/// Subscribes a new customer with this clock. Returns both ids.
async fn subscribed(client: &Client, clock: &str) -> (String, String) {
    let new = [("test_clock", clock), ("payment_method", "pm_card_visa")];
    let customer = client.post("/v1/customers", &new).await.id();
    let methods = client.get(&format!("/v1/customers/{customer}/payment_methods"), &[]).await.body;
    let (method, price) = (text(&methods["data"][0], "id"), client.pro().await);
    let form = [("customer", customer.as_str()), ("items[0][price]", &price), ("default_payment_method", &method)];
    let made = client.post("/v1/subscriptions", &form).await;
    assert_eq!((made.status, &made.body["test_clock"]), (200, &json!(clock)), "{}", made.body);
    (customer, made.id())
}

#[tokio::test]
async fn a_test_clock_moves_its_own_customers_through_their_periods_and_nobody_else() {
    let client = Client::start().await;
    let (outside_s, begin_s) = (client.sandbox.now_s(), 1_704_067_200);
    let other = client.subscribe("pm_card_visa", &[]).await;
    let clock = clock_at(&client, begin_s).await;
    assert_eq!((clock.status, &clock.body["status"]), (200, &json!("ready")), "{}", clock.body);
    let (customer, subscription) = subscribed(&client, &clock.id()).await;
    assert_eq!(client.sandbox.object(&subscription)["created"], begin_s);

    let to_s = begin_s + 65 * DAY_S;
    let moving = advance(&client, &clock.id(), to_s).await;
    assert_eq!((moving.status, &moving.body["status"]), (200, &json!("advancing")), "{}", moving.body);
    let there = client.get(&format!("{CLOCKS}/{}", clock.id()), &[]).await.body;
    assert_eq!((&there["status"], &there["frozen_time"]), (&json!("ready"), &json!(to_s)));
    let invoices = client.get("/v1/invoices", &[("customer", &customer)]).await.body;
    let paid: Vec<_> = invoices["data"].as_array().unwrap().iter().map(|row| text(row, "status")).collect();
    assert_eq!(paid, ["paid"; 3], "the first month and two renewals");
    assert_eq!(invoices["data"][0]["test_clock"], json!(clock.id()));
    let renewed_s = invoices["data"][0]["created"].as_i64().unwrap();
    assert!((begin_s + 59 * DAY_S..to_s).contains(&renewed_s), "{renewed_s}");

    let others = client.get("/v1/invoices", &[("customer", &text(&other.body, "customer"))]).await.body;
    assert_eq!(others["data"].as_array().unwrap().len(), 1);
    let events = client.sandbox.list("event");
    let told_s = events.iter().map(|event| event["created"].as_i64().unwrap());
    assert!(told_s.clone().min() >= Some(outside_s) && told_s.max() <= Some(client.sandbox.now_s()));
    assert_eq!(advance(&client, &clock.id(), to_s).await.status, 400, "it never goes back");
}

#[tokio::test]
async fn what_has_a_test_clock_is_listed_by_it_and_goes_with_it() {
    let client = Client::start().await;
    let plain = client.subscribe("pm_card_visa", &[]).await;
    let clock = clock_at(&client, client.sandbox.now_s()).await.id();
    let (customer, subscription) = subscribed(&client, &clock).await;
    for (path, mine, other) in
        [("/v1/customers", &customer, text(&plain.body, "customer")), ("/v1/subscriptions", &subscription, plain.id())]
    {
        let listed = client.get(path, &[]).await.body["data"].clone();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(other)), "{path}");
        let listed = client.get(path, &[("test_clock", &clock)]).await.body["data"].clone();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(mine)), "{path}");
    }
    let of_customer = client.get("/v1/subscriptions", &[("customer", &customer)]).await.body;
    assert_eq!(of_customer["data"][0]["id"], json!(subscription));

    assert_eq!(client.delete(&format!("{CLOCKS}/{clock}")).await.body["deleted"], true);
    assert_eq!(client.sandbox.object(&subscription)["status"], "canceled");
    assert_eq!(client.sandbox.object(&customer)["deleted"], true);
    assert_eq!(client.sandbox.object(&plain.id())["status"], "active");
    let refused = client.post("/v1/customers", &[("test_clock", &clock)]).await;
    assert_eq!((refused.status, refused.code()), (400, "resource_missing"));
}

#[tokio::test]
async fn a_portal_session_is_of_a_customer_and_says_where_its_page_is() {
    let client = Client::start().await;
    let (customer, _) = client.customer_with("pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("return_url", "https://example.com/account")];
    let session = client.post("/v1/billing_portal/sessions", &form).await;
    assert_eq!((session.status, &session.body["return_url"]), (200, &json!("https://example.com/account")));
    let page = reqwest::get(text(&session.body, "url")).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains(&customer));
    for (name, value) in [("customer", "cus_none"), ("flow_data[type]", "subscription_cancel")] {
        let form = [("customer", customer.as_str()), (name, value)];
        assert_eq!(
            client.post("/v1/billing_portal/sessions", &form[usize::from(name == "customer")..]).await.status,
            400
        );
    }
}
