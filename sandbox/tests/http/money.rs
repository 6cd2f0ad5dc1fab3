//! Refunds and disputes, to the cent.

use crate::client::{Client, text};
use bursar_sandbox::Money;
use serde_json::json;

async fn charge(client: &Client, method: &str) -> (String, String) {
    let (customer, method) = client.customer_with(method).await;
    let paid = client.pay((&customer, &method), &[("off_session", "true")]).await;
    (customer, text(&paid.body, "latest_charge"))
}

#[tokio::test]
async fn refunds_add_up_and_never_exceed_the_charge() {
    let client = Client::start().await;
    let (customer, charge) = charge(&client, "pm_card_visa").await;
    for (amount, refunded) in [("1000", 1_000), ("1900", 2_900)] {
        let made = client.post("/v1/refunds", &[("charge", &charge), ("amount", amount)]).await;
        assert_eq!((made.status, &made.body["status"]), (200, &json!("succeeded")));
        assert_eq!(client.sandbox.object(&charge)["amount_refunded"], refunded);
    }
    let over = client.post("/v1/refunds", &[("charge", &charge)]).await;
    assert_eq!((over.status, over.code()), (400, "charge_already_refunded"));
    assert_eq!(client.event_types(&charge), ["charge.succeeded", "charge.refunded", "charge.refunded"]);
    assert_eq!(client.sandbox.money(&customer), Money { captured: 2_900, refunded: 2_900, disputed: 0 });
}

#[tokio::test]
async fn a_lost_dispute_withdraws_the_money_and_a_won_one_reinstates_it() {
    let client = Client::start().await;
    let (customer, charge) = charge(&client, "pm_card_visa").await;
    let opened = client.command("POST", "disputes", &json!({ "charge": charge })).await;
    assert_eq!(opened.body["status"], "needs_response", "{}", opened.body);
    assert_eq!(client.sandbox.money(&customer).disputed, 2_900);
    let refused = client.post("/v1/refunds", &[("charge", &charge)]).await;
    assert_eq!((refused.status, refused.code()), (400, "charge_disputed"));
    let evidence = [("evidence[uncategorized_text]", "winning_evidence"), ("submit", "true")];
    let won = client.post(&format!("/v1/disputes/{}", opened.id()), &evidence).await;
    assert_eq!(won.body["status"], "won");
    assert_eq!(client.sandbox.money(&customer).disputed, 0);
    assert_eq!(
        client.event_types(&opened.id()),
        [
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.updated",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed"
        ]
    );
}

#[tokio::test]
async fn a_bank_may_dispute_more_than_the_charge() {
    let client = Client::start().await;
    let (customer, charge) = charge(&client, "pm_card_visa").await;
    let opened = client.command("POST", "disputes", &json!({ "charge": charge, "amount": 3_000 })).await;
    assert_eq!((&opened.body["amount"], client.sandbox.money(&customer).disputed), (&json!(3_000), 3_000));
    let refused = client.command("POST", "disputes", &json!({ "charge": charge, "amount": 0 })).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn losing_evidence_loses_the_dispute() {
    let client = Client::start().await;
    let (customer, _) = charge(&client, "pm_card_createDispute").await;
    let dispute = text(&client.sandbox.list("dispute")[0], "id");
    let lost =
        client.post(&format!("/v1/disputes/{dispute}"), &[("evidence[uncategorized_text]", "losing_evidence")]).await;
    assert_eq!(lost.body["status"], "lost");
    assert_eq!(client.sandbox.money(&customer), Money { captured: 2_900, refunded: 0, disputed: 2_900 });
}

#[tokio::test]
async fn an_inquiry_moves_no_money() {
    let client = Client::start().await;
    let (customer, _) = charge(&client, "pm_card_createDisputeInquiry").await;
    let dispute = client.sandbox.list("dispute").remove(0);
    assert_eq!(dispute["status"], "warning_needs_response");
    assert_eq!(client.sandbox.money(&customer).disputed, 0);
}

#[tokio::test]
async fn reserved_money_is_captured_in_part_or_released() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_visa").await;
    let reserved = client.pay((&customer, &method), &[("capture_method", "manual")]).await;
    assert_eq!(reserved.body["status"], "requires_capture");
    let path = format!("/v1/payment_intents/{}/capture", reserved.id());
    let captured = client.post(&path, &[("amount_to_capture", "1000")]).await;
    assert_eq!((&captured.body["status"], &captured.body["amount_received"]), (&json!("succeeded"), &json!(1_000)));
    assert_eq!(client.sandbox.money(&customer).captured, 1_000);
    let other = client.pay((&customer, &method), &[("capture_method", "manual")]).await;
    let cancelled = client.post(&format!("/v1/payment_intents/{}/cancel", other.id()), &[]).await;
    assert_eq!(cancelled.body["status"], "canceled");
    assert_eq!(client.sandbox.money(&customer).captured, 1_000);
}

#[tokio::test]
async fn a_cancelled_payment_intent_cannot_be_paid() {
    let client = Client::start().await;
    let made = client.post("/v1/payment_intents", &[("amount", "2900"), ("currency", "usd")]).await;
    client.post(&format!("/v1/payment_intents/{}/cancel", made.id()), &[]).await;
    let path = format!("/v1/payment_intents/{}/confirm", made.id());
    let refused = client.post(&path, &[("payment_method", "pm_card_visa")]).await;
    assert_eq!((refused.status, refused.code()), (400, "payment_intent_unexpected_state"));
}
