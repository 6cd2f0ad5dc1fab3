//! Invoices created by calls.

use crate::client::{Client, text};
use serde_json::json;

async fn draft(client: &Client, method: &str) -> (String, String) {
    let (customer, method) = client.customer_with(method).await;
    let item = [("customer", customer.as_str()), ("amount", "2000"), ("currency", "usd")];
    client.post("/v1/invoiceitems", &item).await;
    let form = [("customer", customer.as_str()), ("pending_invoice_items_behavior", "include")];
    let made = client.post("/v1/invoices", &form).await;
    assert_eq!((&made.body["status"], &made.body["amount_due"]), (&json!("draft"), &json!(2_000)), "{}", made.body);
    (made.id(), method)
}

#[tokio::test]
async fn a_draft_is_finalised_and_paid() {
    let client = Client::start().await;
    let (invoice, method) = draft(&client, "pm_card_visa").await;
    let paid = client.post(&format!("/v1/invoices/{invoice}/pay"), &[("payment_method", &method)]).await;
    assert_eq!((paid.status, &paid.body["status"]), (200, &json!("paid")), "{}", paid.body);
    assert_eq!(client.event_types(&invoice).last().unwrap(), "invoice.payment_succeeded");
    let intent = text(&client.sandbox.list("payment_intent")[0], "id");
    let query = [("payment[type]", "payment_intent"), ("payment[payment_intent]", intent.as_str())];
    let link = client.get("/v1/invoice_payments", &query).await.body;
    assert_eq!((&link["data"][0]["invoice"], &link["data"][0]["status"]), (&json!(invoice), &json!("paid")));
    let again = client.post(&format!("/v1/invoices/{invoice}/pay"), &[]).await;
    assert_eq!((again.status, again.code()), (400, "invoice_already_paid"));
}

#[tokio::test]
async fn a_declined_invoice_stays_open() {
    let client = Client::start().await;
    let (invoice, method) = draft(&client, "pm_card_chargeCustomerFail").await;
    let failed = client.post(&format!("/v1/invoices/{invoice}/pay"), &[("payment_method", &method)]).await;
    assert_eq!((failed.status, failed.code()), (402, "card_declined"));
    assert_eq!(client.sandbox.object(&invoice)["status"], "open");
    assert!(client.event_types(&invoice).contains(&"invoice.payment_failed".to_owned()));
}

#[tokio::test]
async fn an_invoice_that_needs_authentication_has_a_client_secret() {
    let client = Client::start().await;
    let (invoice, method) = draft(&client, "pm_card_threeDSecure2Required").await;
    let failed = client.post(&format!("/v1/invoices/{invoice}/pay"), &[("payment_method", &method)]).await;
    assert_eq!((failed.status, failed.code()), (402, "invoice_payment_intent_requires_action"));
    assert!(client.event_types(&invoice).contains(&"invoice.payment_action_required".to_owned()));
    let secret = client.get(&format!("/v1/invoices/{invoice}"), &[("expand[]", "confirmation_secret")]).await.body;
    assert!(secret["confirmation_secret"]["client_secret"].is_string());
}

#[tokio::test]
async fn a_voided_invoice_cancels_its_payment() {
    let client = Client::start().await;
    let (invoice, _) = draft(&client, "pm_card_visa").await;
    client.post(&format!("/v1/invoices/{invoice}/finalize"), &[]).await;
    let voided = client.post(&format!("/v1/invoices/{invoice}/void"), &[]).await;
    assert_eq!(voided.body["status"], "void");
    assert_eq!(client.sandbox.list("payment_intent")[0]["status"], "canceled");
}

#[tokio::test]
async fn a_checkout_session_ends_in_a_payment_or_a_subscription() {
    let client = Client::start().await;
    let price = client.pro().await;
    let form =
        [("mode", "subscription"), ("line_items[0][price]", price.as_str()), ("success_url", "https://example.com")];
    let session = client.post("/v1/checkout/sessions", &form).await;
    let command = format!("checkout/{}/complete", session.id());
    let done = client.command("POST", &command, &json!({ "payment_method": "pm_card_visa" })).await;
    assert_eq!((done.status, &done.body["status"]), (200, &json!("complete")), "{}", done.body);
    assert_eq!(client.sandbox.object(&text(&done.body, "subscription"))["status"], "active");
    assert_eq!(client.event_types(&session.id()), ["checkout.session.completed"]);
    assert_eq!(client.command("POST", &command, &json!({})).await.status, 400);
}
