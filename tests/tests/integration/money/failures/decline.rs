//! Failure 6 (see `failures.rs`): after a decline the same request makes a new attempt, with the current card.

use super::*;

fn intent(status: &str, error: Value) -> Value {
    json!({
        "id": "pi_slow", "object": "payment_intent", "amount": UNIT, "currency": "usd", "status": status,
        "metadata": {}, "last_payment_error": error,
    })
}

with_shop! {
    async fn failure_6_the_decline_of_one_card_is_not_replayed_for_another(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        let declined = shop.app.spend(&customer, 1, "unit").await;
        declined.expect_problem(402, "payment_declined");
        assert_eq!(declined.body["decline_code"], "generic_decline");
        assert_eq!(declined.body["advice_code"], "try_again_later");
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn failure_6_a_failed_authentication_is_not_replayed_for_another_card(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let asked = shop.app.spend(&customer, 1, "unit").await;
        asked.expect_problem(402, "authentication_required");
        let first = asked.body["payment_intent"].as_str().expect("the PaymentIntent").to_owned();
        shop.stripe.authenticate(&first, false).expect("it waits");
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        assert_eq!(shop.stripe.object(&first)["status"], "canceled", "nobody can pay it any more");
    }

    async fn failure_6_a_declined_first_payment_leaves_no_subscription(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.subscribe(&customer, "pro").await.expect_problem(402, "payment_declined");
        assert_eq!(shop.plan(&customer).await, "trial");
        assert_eq!(shop.app.balance(&customer).await, 0);
        assert_eq!(shop.stripe.list("subscription")[0]["status"], "incomplete_expired");
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}

with_backend! {
    async fn failure_6_a_late_decline_is_not_replayed_for_another_card(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::Blocked(200, intent("processing", Value::Null)));
        let slow = "/v1/payment_intents/pi_slow";
        let declined = json!({ "type": "card_error", "code": "card_declined", "message": "Your card was declined." });
        interceptor.intercept(usize::MAX, "GET", slow, Interception::Blocked(200, intent("requires_payment_method", declined)));
        wait::until("the decline is known", || async {
            (shop.app.spend(&customer, 1, "unit").await.code() == "payment_declined").then_some(())
        })
        .await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.attach(&customer, "pm_card_mastercard", "other").await.expect(201);
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        shop.close().await;
    }
}
