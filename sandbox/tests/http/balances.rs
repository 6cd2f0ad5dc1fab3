//! The customer's invoice balance: each invoice that becomes final takes what there is at that moment.

use crate::client::{Client, text};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR_S: u64 = 3_600;

async fn set_balance(client: &Client, customer: &str, balance: i64) {
    let path = format!("/v1/customers/{customer}");
    assert_eq!(client.post(&path, &[("balance", &balance.to_string())]).await.status, 200);
}

fn balance(client: &Client, customer: &str) -> Value {
    client.sandbox.object(customer)["balance"].clone()
}

/// A draft of an amount.
async fn draft(client: &Client, customer: &str, amount: i64) -> String {
    let item = [("customer", customer), ("amount", &amount.to_string()), ("currency", "usd")];
    client.post("/v1/invoiceitems", &item).await;
    let form = [("customer", customer), ("pending_invoice_items_behavior", "include")];
    client.post("/v1/invoices", &form).await.id()
}

/// What an invoice says of the balance and of what is due.
fn due(client: &Client, invoice: &str) -> [Value; 4] {
    let invoice = client.sandbox.object(invoice);
    ["total", "starting_balance", "amount_due", "ending_balance"].map(|field| invoice[field].clone())
}

/// A subscriber to Pro with a renewal that is a draft in its hour: the customer and the invoice.
async fn renewing(client: &Client, more: &[(&str, &str)]) -> (String, String) {
    let made = client.subscribe("pm_card_visa", &[]).await;
    if !more.is_empty() {
        client.post(&format!("/v1/subscriptions/{}", made.id()), more).await;
    }
    let end_s = made.body["items"]["data"][0]["current_period_end"].as_i64().expect("an end");
    let left_s = u64::try_from(end_s - client.sandbox.now_s()).expect("time is left");
    client.sandbox.advance(Duration::from_secs(left_s + HOUR_S / 2)).expect("time passes");
    let invoice = text(&client.sandbox.object(&made.id()), "latest_invoice");
    assert_eq!(client.sandbox.object(&invoice)["status"], "draft");
    (text(&made.body, "customer"), invoice)
}

#[tokio::test]
async fn a_renewal_takes_the_credit_that_arose_while_it_was_a_draft() {
    let client = Client::start().await;
    let (customer, invoice) = renewing(&client, &[]).await;
    assert_eq!(due(&client, &invoice), [json!(59_900), json!(0), json!(59_900), Value::Null]);
    set_balance(&client, &customer, -13_995).await;
    assert_eq!(due(&client, &invoice), [json!(59_900), json!(-13_995), json!(45_905), Value::Null]);
    client.sandbox.advance(Duration::from_secs(HOUR_S)).expect("time passes");
    assert_eq!(due(&client, &invoice), [json!(59_900), json!(-13_995), json!(45_905), json!(0)]);
    let paid = client.sandbox.object(&invoice);
    assert_eq!((&paid["status"], &paid["amount_paid"]), (&json!("paid"), &json!(45_905)));
    assert_eq!(client.sandbox.list("charge")[1]["amount"], 45_905);
    assert_eq!(balance(&client, &customer), 0);
}

#[tokio::test]
async fn every_way_to_finalise_takes_the_balance_of_that_moment() {
    let client = Client::start().await;
    for way in ["finalize", "pay", "send"] {
        let (customer, method) = client.customer_with("pm_card_visa").await;
        let settings = [("invoice_settings[default_payment_method]", method.as_str())];
        client.post(&format!("/v1/customers/{customer}"), &settings).await;
        let (first, second) = (draft(&client, &customer, 2_000).await, draft(&client, &customer, 3_000).await);
        for credit in [-500, -900] {
            set_balance(&client, &customer, credit).await;
            assert_eq!(due(&client, &first)[1], credit, "{way}");
        }
        client.post(&format!("/v1/invoices/{first}/{way}"), &[]).await;
        assert_eq!(due(&client, &first), [json!(2_000), json!(-900), json!(1_100), json!(0)], "{way}");
        assert_eq!(due(&client, &second), [json!(3_000), json!(0), json!(3_000), Value::Null], "{way}");
        // What the customer owes is due, too.
        set_balance(&client, &customer, 250).await;
        client.post(&format!("/v1/invoices/{second}/{way}"), &[]).await;
        assert_eq!(due(&client, &second), [json!(3_000), json!(250), json!(3_250), json!(0)], "{way}");
        assert_eq!(balance(&client, &customer), 0, "{way}");
    }
}

#[tokio::test]
async fn a_change_that_is_invoiced_at_once_takes_the_balance() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let customer = text(&made.body, "customer");
    set_balance(&client, &customer, -10_000).await;
    let path = format!("/v1/subscriptions/{}", made.id());
    let form = [("items[0][quantity]", "2"), ("billing_cycle_anchor", "now"), ("proration_behavior", "none")];
    let changed = client.post(&path, &form).await.body;
    let invoice = text(&changed, "latest_invoice");
    assert_eq!(due(&client, &invoice), [json!(119_800), json!(-10_000), json!(109_800), json!(0)]);
}

#[tokio::test]
async fn an_invoice_that_the_balance_covers_is_paid_without_a_charge() {
    let client = Client::start().await;
    let (customer, _) = client.customer_with("pm_card_visa").await;
    let invoice = draft(&client, &customer, 2_000).await;
    set_balance(&client, &customer, -5_000).await;
    client.post(&format!("/v1/invoices/{invoice}/finalize"), &[]).await;
    assert_eq!(due(&client, &invoice), [json!(2_000), json!(-5_000), json!(0), json!(-3_000)]);
    assert_eq!(client.sandbox.object(&invoice)["status"], "paid");
    assert!(client.sandbox.list("payment_intent").is_empty());
    assert_eq!(balance(&client, &customer), -3_000);
}

#[tokio::test]
async fn an_item_that_is_added_to_a_draft_counts_with_the_balance() {
    let client = Client::start().await;
    let (customer, _) = client.customer_with("pm_card_visa").await;
    set_balance(&client, &customer, -500).await;
    let invoice = draft(&client, &customer, 2_000).await;
    let item =
        [("customer", customer.as_str()), ("amount", "1000"), ("currency", "usd"), ("invoice", invoice.as_str())];
    client.post("/v1/invoiceitems", &item).await;
    assert_eq!(due(&client, &invoice), [json!(3_000), json!(-500), json!(2_500), Value::Null]);
}

#[tokio::test]
async fn voiding_an_invoice_returns_the_balance_that_it_took() {
    let client = Client::start().await;
    let (customer, _) = client.customer_with("pm_card_visa").await;
    set_balance(&client, &customer, -500).await;
    let invoice = draft(&client, &customer, 2_000).await;
    client.post(&format!("/v1/invoices/{invoice}/finalize"), &[]).await;
    assert_eq!(balance(&client, &customer), 0);
    client.post(&format!("/v1/invoices/{invoice}/void"), &[]).await;
    assert_eq!(balance(&client, &customer), -500);
}

#[tokio::test]
async fn paused_collection_keeps_the_balance_unless_it_covers_the_invoice() {
    let client = Client::start().await;
    for (credit, status, left) in [(-10_000, "void", -10_000), (-60_000, "paid", -100)] {
        let (customer, invoice) = renewing(&client, &[("pause_collection[behavior]", "void")]).await;
        set_balance(&client, &customer, credit).await;
        client.sandbox.advance(Duration::from_secs(HOUR_S)).expect("time passes");
        assert_eq!(client.sandbox.object(&invoice)["status"], status);
        assert_eq!(balance(&client, &customer), left);
    }
}
