//! Subscriptions over time, with an advanced clock.

use crate::client::{Answer, Client, text};
use bursar_sandbox::{AfterRetries, Options, Rules};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

/// Invoices of a subscription: reason, status and amount paid.
fn invoices(client: &Client) -> Vec<(String, String, i64)> {
    let rows = client.sandbox.list("invoice");
    rows.iter()
        .map(|row| (text(row, "billing_reason"), text(row, "status"), row["amount_paid"].as_i64().unwrap_or(-1)))
        .collect()
}

/// The PaymentIntent of a new subscription's first invoice.
fn first_intent(client: &Client, made: &Answer) -> Value {
    let payment = &made.body["latest_invoice"]["payments"]["data"][0]["payment"];
    client.sandbox.object(&text(payment, "payment_intent"))
}

fn invoice(reason: &str, status: &str, paid: i64) -> (String, String, i64) {
    (reason.to_owned(), status.to_owned(), paid)
}

#[tokio::test]
async fn the_first_payment_activates_a_subscription() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    assert_eq!((made.status, &made.body["status"]), (200, &json!("active")), "{}", made.body);
    let first = &made.body["latest_invoice"];
    assert_eq!((&first["billing_reason"], &first["amount_paid"]), (&json!("subscription_create"), &json!(59_900)));
    assert_eq!(first_intent(&client, &made)["status"], "succeeded");
    assert_eq!(first["parent"]["subscription_details"]["subscription"], made.body["id"]);
    assert_eq!(first["lines"]["data"][0]["pricing"]["price_details"]["price"], json!(client.pro().await));
    assert_eq!(client.event_types(&made.id()), ["customer.subscription.created"]);
    let told = client.event_types(&text(first, "id"));
    assert_eq!(
        told,
        ["invoice.created", "invoice.finalized", "invoice.updated", "invoice.paid", "invoice.payment_succeeded"]
    );
}

#[tokio::test]
async fn a_renewal_after_a_period_is_paid_an_hour_later() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    client.sandbox.advance(days(32)).unwrap();
    let renewed = client.get(&format!("/v1/subscriptions/{}", made.id()), &[]).await.body;
    assert_eq!(renewed["status"], "active");
    assert_eq!(
        renewed["items"]["data"][0]["current_period_start"],
        made.body["items"]["data"][0]["current_period_end"]
    );
    let paid = [invoice("subscription_create", "paid", 59_900), invoice("subscription_cycle", "paid", 59_900)];
    assert_eq!(invoices(&client), paid);
}

#[tokio::test]
async fn a_failed_renewal_is_past_due_until_it_is_paid() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let path = format!("/v1/subscriptions/{}", made.id());
    let customer = text(&made.body, "customer");
    let bad = client.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &[("customer", &customer)]).await;
    client.post(&path, &[("default_payment_method", &bad.id())]).await;
    client.sandbox.advance(days(32)).unwrap();
    let late = client.get(&path, &[("expand[]", "latest_invoice")]).await.body;
    assert_eq!((&late["status"], &late["latest_invoice"]["status"]), (&json!("past_due"), &json!("open")));
    assert!(late["latest_invoice"]["next_payment_attempt"].is_i64());
    let good = client.post("/v1/payment_methods/pm_card_visa/attach", &[("customer", &customer)]).await;
    client.post(&path, &[("default_payment_method", &good.id())]).await;
    client.sandbox.advance(days(4)).unwrap();
    assert_eq!(client.get(&path, &[]).await.body["status"], "active");
    assert_eq!(invoices(&client)[1], invoice("subscription_cycle", "paid", 59_900));
}

async fn never_paid(after_retries: AfterRetries) -> (Client, String) {
    let rules = Rules { after_retries, ..Rules::default() };
    let client = Client::with(Options { rules, ..Options::default() }).await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let customer = text(&made.body, "customer");
    let bad = client.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", &[("customer", &customer)]).await;
    let path = format!("/v1/subscriptions/{}", made.id());
    client.post(&path, &[("default_payment_method", &bad.id())]).await;
    client.sandbox.advance(days(50)).expect("fifty days pass");
    (client, made.id())
}

#[tokio::test]
async fn a_renewal_that_is_never_paid_ends_the_subscription() {
    let (client, id) = never_paid(AfterRetries::Cancel).await;
    let ended = client.sandbox.object(&id);
    assert_eq!(
        (&ended["status"], &ended["cancellation_details"]["reason"]),
        (&json!("canceled"), &json!("payment_failed"))
    );
    assert_eq!(client.event_types(&id).last().unwrap(), "customer.subscription.deleted");
    let tries = client.sandbox.list("invoice")[1]["attempt_count"].clone();
    assert_eq!(tries, 4, "one attempt and three retries");
}

#[tokio::test]
async fn a_renewal_that_is_never_paid_makes_it_unpaid_if_configured() {
    let (client, id) = never_paid(AfterRetries::Unpaid).await;
    assert_eq!(client.sandbox.object(&id)["status"], "unpaid");
}

#[tokio::test]
async fn an_unpaid_subscription_is_incomplete_and_expires_after_23_hours() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_chargeCustomerFail", &[]).await;
    assert_eq!((made.status, &made.body["status"]), (200, &json!("incomplete")));
    client.sandbox.advance(Duration::from_secs(22 * HOUR)).unwrap();
    assert_eq!(client.sandbox.object(&made.id())["status"], "incomplete");
    client.sandbox.advance(Duration::from_secs(HOUR)).unwrap();
    assert_eq!(client.sandbox.object(&made.id())["status"], "incomplete_expired");
    assert_eq!(invoices(&client), [invoice("subscription_create", "void", 0)]);
}

#[tokio::test]
async fn authentication_activates_an_incomplete_subscription() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_authenticationRequired", &[("off_session", "true")]).await;
    assert_eq!((made.status, &made.body["status"]), (200, &json!("incomplete")));
    let intent = first_intent(&client, &made);
    assert_eq!(intent["status"], "requires_action");
    let told = client.event_types(&text(&made.body["latest_invoice"], "id"));
    assert!(told.iter().any(|kind| kind == "invoice.payment_action_required"), "{told:?}");
    client.sandbox.authenticate(&text(&intent, "id"), true).unwrap();
    assert_eq!(client.sandbox.object(&made.id())["status"], "active");
    assert_eq!(invoices(&client), [invoice("subscription_create", "paid", 59_900)]);
}

#[tokio::test]
async fn error_if_incomplete_leaves_nothing_behind() {
    let client = Client::start().await;
    let refused = client.subscribe("pm_card_chargeCustomerFail", &[("payment_behavior", "error_if_incomplete")]).await;
    assert_eq!((refused.status, refused.code()), (402, "card_declined"));
    assert!(client.sandbox.list("subscription").is_empty() && client.sandbox.list("invoice").is_empty());
}

#[tokio::test]
async fn default_incomplete_waits_for_the_client_to_pay() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[("payment_behavior", "default_incomplete")]).await;
    assert_eq!(made.body["status"], "incomplete");
    let intent = first_intent(&client, &made);
    assert_eq!(intent["status"], "requires_confirmation");
    client.post(&format!("/v1/payment_intents/{}/confirm", text(&intent, "id")), &[]).await;
    assert_eq!(client.sandbox.object(&made.id())["status"], "active");
}

#[tokio::test]
async fn a_trial_is_free_and_its_announced_end_is_paid() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[("trial_period_days", "14")]).await;
    assert_eq!(made.body["status"], "trialing");
    assert_eq!(invoices(&client), [invoice("subscription_create", "paid", 0)]);
    client.sandbox.advance(days(11)).unwrap();
    assert_eq!(client.event_types(&made.id()).last().unwrap(), "customer.subscription.trial_will_end");
    client.sandbox.advance(days(4)).unwrap();
    assert_eq!(client.sandbox.object(&made.id())["status"], "active");
    assert_eq!(invoices(&client)[1], invoice("subscription_cycle", "paid", 59_900));
}

#[tokio::test]
async fn a_trial_without_a_method_can_pause_and_resume() {
    let client = Client::start().await;
    let customer = client.post("/v1/customers", &[]).await.id();
    let price = client.pro().await;
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", price.as_str()),
        ("trial_period_days", "7"),
        ("trial_settings[end_behavior][missing_payment_method]", "pause"),
    ];
    let id = client.post("/v1/subscriptions", &form).await.id();
    client.sandbox.advance(days(8)).unwrap();
    assert_eq!(client.sandbox.object(&id)["status"], "paused");
    let method = client.post("/v1/payment_methods/pm_card_visa/attach", &[("customer", &customer)]).await.id();
    let path = format!("/v1/subscriptions/{id}");
    client.post(&path, &[("default_payment_method", &method)]).await;
    let resumed = client.post(&format!("{path}/resume"), &[]).await;
    assert_eq!((resumed.status, &resumed.body["status"]), (200, &json!("active")), "{}", resumed.body);
    assert_eq!(client.event_types(&id).last().unwrap(), "customer.subscription.resumed");
}

#[tokio::test]
async fn an_end_at_the_period_can_be_withdrawn_or_happens() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let path = format!("/v1/subscriptions/{}", made.id());
    let ending = client.post(&path, &[("cancel_at_period_end", "true")]).await.body;
    assert_eq!((&ending["status"], &ending["cancel_at_period_end"]), (&json!("active"), &json!(true)));
    assert_eq!(ending["cancel_at"], ending["items"]["data"][0]["current_period_end"]);
    let staying = client.post(&path, &[("cancel_at_period_end", "false")]).await.body;
    assert_eq!((&staying["cancel_at"], &staying["canceled_at"]), (&Value::Null, &Value::Null));
    client.post(&path, &[("cancel_at_period_end", "true")]).await;
    client.sandbox.advance(days(32)).unwrap();
    assert_eq!(client.sandbox.object(&made.id())["status"], "canceled");
    assert_eq!(invoices(&client).len(), 1, "no renewal");
}

#[tokio::test]
async fn a_cancelled_subscription_ends_at_once_and_permanently() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let path = format!("/v1/subscriptions/{}", made.id());
    assert_eq!(client.delete(&path).await.body["status"], "canceled");
    assert_eq!(client.delete(&path).await.status, 404);
    assert_eq!(client.post(&path, &[("cancel_at_period_end", "true")]).await.status, 400);
    client.sandbox.advance(days(40)).unwrap();
    assert_eq!(invoices(&client).len(), 1);
}

#[tokio::test]
async fn a_change_of_price_is_prorated_on_an_invoice_of_its_own() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let price = client
        .post(
            "/v1/prices",
            &[
                ("currency", "usd"),
                ("unit_amount", "119800"),
                ("recurring[interval]", "month"),
                ("product_data[name]", "Bigger"),
            ],
        )
        .await
        .id();
    client.sandbox.advance(days(10)).unwrap();
    let item = text(&made.body["items"]["data"][0], "id");
    let change =
        [("items[0][id]", item.as_str()), ("items[0][price]", &price), ("proration_behavior", "always_invoice")];
    let changed = client.post(&format!("/v1/subscriptions/{}", made.id()), &change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let rows = client.sandbox.list("invoice");
    let prorated = &rows[1];
    assert_eq!((&prorated["billing_reason"], &prorated["status"]), (&json!("subscription_update"), &json!("paid")));
    let paid = prorated["amount_paid"].as_i64().unwrap();
    assert!(paid > 35_000 && paid < 45_000, "about two thirds of the difference: {paid}");
    let lines = prorated["lines"]["data"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["parent"]["invoice_item_details"]["proration"] == true));
}

#[tokio::test]
async fn paused_collection_voids_new_invoices() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let path = format!("/v1/subscriptions/{}", made.id());
    client.post(&path, &[("pause_collection[behavior]", "void")]).await;
    client.sandbox.advance(days(32)).unwrap();
    assert_eq!(invoices(&client)[1], invoice("subscription_cycle", "void", 0));
    assert_eq!(client.sandbox.object(&made.id())["status"], "active");
}

#[tokio::test]
async fn a_year_is_twelve_renewals_in_order() {
    let client = Client::start().await;
    client.subscribe("pm_card_visa", &[]).await;
    client.sandbox.advance(days(366)).unwrap();
    let rows = client.sandbox.list("invoice");
    assert_eq!(rows.len(), 13);
    assert!(rows.windows(2).all(|pair| pair[0]["created"].as_i64() < pair[1]["created"].as_i64()));
    assert!(rows.iter().all(|row| row["status"] == "paid"));
}

/// When the events of paid invoices were made, in their order.
fn told_of_paid(client: &Client) -> Vec<i64> {
    let events = client.sandbox.list("event");
    let paid = events.iter().filter(|event| event["type"] == "invoice.paid");
    paid.map(|event| event["created"].as_i64().expect("a time")).collect()
}

#[tokio::test]
async fn each_renewal_of_a_year_that_passes_at_once_is_told_in_order_and_kept_for_a_month() {
    let client = Client::start().await;
    client.subscribe("pm_card_visa", &[]).await;
    client.sandbox.advance(days(366)).unwrap();
    let told = told_of_paid(&client);
    assert_eq!(told.len(), 12, "that of the start is older than the year");
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    client.sandbox.advance(days(20)).unwrap();
    assert_eq!(told_of_paid(&client).first(), told.first());
    client.sandbox.advance(days(11)).unwrap();
    assert!(told_of_paid(&client).first() > told.last(), "they are forgotten a month after the clock was moved");
}

#[tokio::test]
async fn a_transferred_lookup_key_leaves_the_old_price_to_its_subscribers() {
    let client = Client::start().await;
    let made = client.subscribe("pm_card_visa", &[]).await;
    let old = client.pro().await;
    let raised = [
        ("currency", "usd"),
        ("unit_amount", "69900"),
        ("recurring[interval]", "month"),
        ("product_data[name]", "Pro"),
        ("lookup_key", "pro_monthly"),
    ];
    assert_eq!(client.post("/v1/prices", &raised).await.status, 400, "another price has the key");
    let transfer = [raised.as_slice(), &[("transfer_lookup_key", "true")]].concat();
    let new = client.post("/v1/prices", &transfer).await.id();
    assert_eq!(client.pro().await, new);
    assert_eq!(client.event_types(&old), ["price.updated"]);
    let shown = client.get(&format!("/v1/subscriptions/{}", made.id()), &[]).await.body;
    let price = &shown["items"]["data"][0]["price"];
    assert_eq!((&price["id"], &price["lookup_key"]), (&json!(old), &Value::Null));
    client.sandbox.advance(days(32)).unwrap();
    assert_eq!(invoices(&client)[1], invoice("subscription_cycle", "paid", 59_900));
    // It can be given back.
    let back = [("lookup_key", "pro_monthly"), ("transfer_lookup_key", "true")];
    assert_eq!(client.post(&format!("/v1/prices/{old}"), &back[..1]).await.status, 400);
    assert_eq!(client.post(&format!("/v1/prices/{old}"), &back).await.status, 200);
    assert_eq!(client.pro().await, old);
}
