//! Credit notes.

use crate::client::{Client, text};
use serde_json::{Value, json};

/// A customer with a paid invoice of 700; returns both.
async fn paid_invoice(client: &Client) -> (String, String) {
    let (customer, method) = client.customer_with("pm_card_visa").await;
    let item = [("customer", customer.as_str()), ("amount", "700"), ("currency", "usd")];
    client.post("/v1/invoiceitems", &item).await;
    let form = [("customer", customer.as_str()), ("pending_invoice_items_behavior", "include")];
    let invoice = client.post("/v1/invoices", &form).await.id();
    let paid = client.post(&format!("/v1/invoices/{invoice}/pay"), &[("payment_method", method.as_str())]).await;
    assert_eq!(paid.body["status"], "paid", "{}", paid.body);
    (customer, invoice)
}

#[tokio::test]
async fn a_note_gives_back_by_a_refund_and_onto_the_balance_and_never_more_than_was_paid() {
    let client = Client::start().await;
    let (customer, invoice) = paid_invoice(&client).await;
    let form = [("invoice", invoice.as_str()), ("refund_amount", "300"), ("credit_amount", "100")];
    let note = client.post("/v1/credit_notes", &form).await;
    assert_eq!((note.status, &note.body["type"]), (200, &json!("post_payment")), "{}", note.body);
    assert_eq!((&note.body["amount"], &note.body["refunds"][0]["amount_refunded"]), (&json!(400), &json!(300)));
    let refund = client.sandbox.object(note.body["refunds"][0]["refund"].as_str().unwrap());
    assert_eq!((&refund["object"], &refund["amount"]), (&json!("refund"), &json!(300)));
    assert_eq!(client.sandbox.object(&customer)["balance"], -100);
    assert_eq!(client.sandbox.object(&invoice)["post_payment_credit_notes_amount"], 400);
    let over = client.post("/v1/credit_notes", &[("invoice", invoice.as_str()), ("credit_amount", "301")]).await;
    assert_eq!(over.status, 400);
    let uneven = [("invoice", invoice.as_str()), ("amount", "200"), ("credit_amount", "100")];
    assert_eq!(client.post("/v1/credit_notes", &uneven).await.status, 400);
    let listed = client.get("/v1/credit_notes", &[("invoice", invoice.as_str())]).await.body;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(client.event_types(&note.id()), ["credit_note.created"]);
    assert_eq!(client.post(&format!("/v1/credit_notes/{}/void", note.id()), &[]).await.status, 400);
}

#[tokio::test]
async fn a_voided_note_takes_back_what_it_put_onto_the_balance() {
    let client = Client::start().await;
    let (customer, invoice) = paid_invoice(&client).await;
    let form = [("invoice", invoice.as_str()), ("credit_amount", "700"), ("memo", "sorry")];
    let note = client.post("/v1/credit_notes", &form).await.id();
    client.post(&format!("/v1/credit_notes/{note}"), &[("memo", "again")]).await;
    let void = client.post(&format!("/v1/credit_notes/{note}/void"), &[]).await;
    assert_eq!((&void.body["status"], &void.body["memo"]), (&json!("void"), &json!("again")), "{}", void.body);
    assert_eq!(client.sandbox.object(&customer)["balance"], 0);
    assert_eq!(client.sandbox.object(&invoice)["post_payment_credit_notes_amount"], 0);
    assert_eq!(client.event_types(&note), ["credit_note.created", "credit_note.updated", "credit_note.voided"]);
    assert_eq!(client.post(&format!("/v1/credit_notes/{note}/void"), &[]).await.status, 400);
    assert_eq!(text(&client.get(&format!("/v1/credit_notes/{note}"), &[]).await.body, "status"), "void");
}

#[tokio::test]
async fn a_note_of_an_open_invoice_reduces_it_until_it_is_paid() {
    let client = Client::start().await;
    let customer = client.post("/v1/customers", &[]).await.id();
    let item = [("customer", customer.as_str()), ("amount", "700"), ("currency", "usd")];
    client.post("/v1/invoiceitems", &item).await;
    let form = [("customer", customer.as_str()), ("pending_invoice_items_behavior", "include")];
    let invoice = client.post("/v1/invoices", &form).await.id();
    let draft = client.post("/v1/credit_notes", &[("invoice", invoice.as_str()), ("amount", "1")]).await;
    assert_eq!(draft.status, 400);
    client.post(&format!("/v1/invoices/{invoice}/finalize"), &[]).await;
    for (amount, left, status) in [("200", 500, "open"), ("500", 0, "paid")] {
        let note = client.post("/v1/credit_notes", &[("invoice", invoice.as_str()), ("amount", amount)]).await;
        assert_eq!(note.body["type"], "pre_payment", "{}", note.body);
        let now: Value = client.sandbox.object(&invoice);
        assert_eq!((&now["amount_remaining"], &now["status"]), (&json!(left), &json!(status)));
        assert_eq!(now["total"], 700);
    }
}
