//! Cards that do not pay, and Stripe's errors.

use crate::client::{Client, text};
use serde_json::json;

#[tokio::test]
async fn a_predefined_id_creates_a_new_payment_method() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_visa").await;
    assert_ne!(method, "pm_card_visa");
    let got = client.get(&format!("/v1/payment_methods/{method}"), &[]).await;
    assert_eq!((&got.body["customer"], &got.body["card"]["last4"]), (&json!(customer), &json!("4242")));
}

#[tokio::test]
async fn a_declining_card_is_refused_at_attach() {
    let client = Client::start().await;
    let customer = client.post("/v1/customers", &[]).await.id();
    for (method, code, decline) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ] {
        let refused = client.post(&format!("/v1/payment_methods/{method}/attach"), &[("customer", &customer)]).await;
        let error = &refused.body["error"];
        assert_eq!((refused.status, &error["type"]), (402, &json!("card_error")), "{method}");
        assert_eq!((&error["code"], &error["decline_code"]), (&json!(code), &json!(decline)), "{method}");
    }
    assert!(client.sandbox.list("payment_method").is_empty());
}

#[tokio::test]
async fn card_0341_attaches_and_then_fails_to_charge() {
    let client = Client::start().await;
    let made = client
        .post("/v1/payment_methods", &[("type", "card"), ("card[number]", "4000000000000341"), ("card[cvc]", "1")])
        .await;
    let customer = client.post("/v1/customers", &[]).await.id();
    let path = format!("/v1/payment_methods/{}/attach", made.id());
    assert_eq!(client.post(&path, &[("customer", &customer)]).await.status, 200);
    let failed = client.pay((&customer, &made.id()), &[("off_session", "true")]).await;
    let error = &failed.body["error"];
    assert_eq!((failed.status, &error["decline_code"]), (402, &json!("generic_decline")));
    assert_eq!(error["advice_code"], "try_again_later");
    assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
    let intent = text(&error["payment_intent"], "id");
    assert_eq!(client.event_types(&intent), ["payment_intent.created", "payment_intent.payment_failed"]);
    assert_eq!(client.sandbox.money(&customer).net(), 0);
}

#[tokio::test]
async fn an_off_session_payment_needing_authentication_is_a_402_with_its_intent() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_authenticationRequired").await;
    let refused = client.pay((&customer, &method), &[("off_session", "true")]).await;
    let error = &refused.body["error"];
    assert_eq!((refused.status, refused.code()), (402, "authentication_required"));
    assert_eq!((&error["type"], &error["decline_code"]), (&json!("card_error"), &json!("authentication_required")));
    let intent = &error["payment_intent"];
    assert_eq!(intent["status"], "requires_payment_method");
    assert_eq!(intent["last_payment_error"]["code"], "authentication_required");
    assert_eq!(intent["last_payment_error"]["payment_method"]["id"], json!(method));
    assert!(intent["client_secret"].is_string());
    let command = format!("payment_intents/{}/authenticate", text(intent, "id"));
    let paid = client.command("POST", &command, &json!({})).await;
    assert_eq!((paid.status, &paid.body["status"]), (200, &json!("succeeded")));
    assert_eq!(client.sandbox.money(&customer).captured, 2_900);
}

#[tokio::test]
async fn an_on_session_payment_waits_for_authentication_that_can_pass_or_fail() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_authenticationRequired").await;
    let waiting = client.pay((&customer, &method), &[]).await;
    assert_eq!((waiting.status, &waiting.body["status"]), (200, &json!("requires_action")));
    assert_eq!(waiting.body["next_action"]["type"], "use_stripe_sdk");
    let failed = client.command("POST", &format!("payment_intents/{}/fail", waiting.id()), &json!({})).await;
    assert_eq!(failed.body["status"], "requires_payment_method");
    assert_eq!(failed.body["last_payment_error"]["code"], "payment_intent_authentication_failure");
    let path = format!("/v1/payment_intents/{}/confirm", waiting.id());
    let again = client.post(&path, &[("payment_method", &method)]).await;
    assert_eq!(again.body["status"], "requires_action");
    let passed = client.command("POST", &format!("payment_intents/{}/authenticate", again.id()), &json!({})).await;
    assert_eq!(passed.body["status"], "succeeded");
}

#[tokio::test]
async fn card_3155_pays_off_session_once_it_was_set_up() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_authenticationRequiredOnSetup").await;
    assert_eq!(client.pay((&customer, &method), &[("off_session", "true")]).await.status, 402);
    let first = client.pay((&customer, &method), &[("setup_future_usage", "off_session")]).await;
    client.sandbox.authenticate(&first.id(), true).unwrap();
    assert_eq!(client.pay((&customer, &method), &[("off_session", "true")]).await.body["status"], "succeeded");
}

#[tokio::test]
async fn a_detached_method_cannot_be_used_again() {
    let client = Client::start().await;
    let (customer, method) = client.customer_with("pm_card_visa").await;
    assert_eq!(client.post(&format!("/v1/payment_methods/{method}/detach"), &[]).await.status, 200);
    let path = format!("/v1/payment_methods/{method}/attach");
    assert_eq!(client.post(&path, &[("customer", &customer)]).await.status, 400);
    assert_eq!(client.pay((&customer, &method), &[]).await.status, 400);
    assert_eq!(client.event_types(&method), ["payment_method.attached", "payment_method.detached"]);
}

#[tokio::test]
async fn another_customers_method_does_not_pay() {
    let client = Client::start().await;
    let (_, method) = client.customer_with("pm_card_visa").await;
    let other = client.post("/v1/customers", &[]).await.id();
    let refused = client.pay((&other, &method), &[("off_session", "true")]).await;
    assert_eq!((refused.status, &refused.body["error"]["param"]), (400, &json!("payment_method")));
}
