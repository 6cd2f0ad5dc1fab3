//! Failure 8 (see `failures.rs`): a payment that requires authentication is kept until the customer authenticates, or
//! until it expires.

use super::*;
use crate::scene::metric;

with_shop! {
    async fn failure_8_a_payment_requiring_authentication_is_kept_and_completed(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        assert_eq!(payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await), intent);
        assert_eq!(shop.stripe.list("payment_intent").len(), 1, "no second payment is begun");

        let paid = shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.deliver_event("payment_intent.succeeded", &paid).await;
        let spent = shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(spent["credit_balance"], 0);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        let label = r#"kind="usage_charge",state="succeeded""#;
        assert!(metric(&shop.app, "bursar_operations_total", label) > 0.0, "an operation that an event settles is counted, too");
    }

    async fn failure_8_an_authenticated_payment_is_found_by_the_repeated_request(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn failure_8_a_subscription_requiring_authentication_is_kept_and_completed(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.subscribe(&customer, "pro").await);
        assert_eq!(payment_to_authenticate(&shop.subscribe(&customer, "pro").await), intent);
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), 0));
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        let made = shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!((&made["status"], &made["credit_balance"]), (&json!("active"), &json!(PERIOD)));
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!(shop.stripe.list("subscription").len(), 1);
    }

    async fn failure_8_an_authenticated_subscription_is_found_by_the_repeated_request(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.subscribe(&customer, "pro").await);
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.subscribe_until_done(&customer, "pro").await;
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));
        assert_eq!(shop.net_paid(&customer).await, MONTH);
    }

    async fn failure_8_an_unauthenticated_payment_is_cancelled_in_the_end(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let first = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        shop.a_day_passes().await;
        let expired = wait::until("the authentication has expired", || async {
            let answer = shop.app.spend(&customer, 1, "unit").await;
            (answer.code() == "payment_declined").then_some(answer.body)
        })
        .await;
        assert_eq!(expired["reason"], "authentication_expired");
        assert_eq!(shop.stripe.object(&first)["status"], "canceled");
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        // The same request starts again with a new payment.
        let second = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        assert_ne!(first, second);
        shop.stripe.authenticate(&second, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn failure_8_an_unauthenticated_subscription_ends_and_can_be_requested_again(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let first = payment_to_authenticate(&shop.subscribe(&customer, "pro").await);
        shop.a_day_passes().await;
        assert_eq!(shop.subscription()["status"], "incomplete_expired");
        wait::until("the authentication has expired", || async {
            (shop.subscribe(&customer, "pro").await.code() == "payment_declined").then_some(())
        })
        .await;
        let second = payment_to_authenticate(&shop.subscribe(&customer, "pro").await);
        assert_ne!(first, second);
        assert_eq!((shop.plan(&customer).await, shop.net_paid(&customer).await), ("trial".to_owned(), 0));
    }

    async fn failure_8_a_cancelled_subscription_ends_its_waiting_operation(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let asked = shop.subscribe(&customer, "pro").await;
        let first = payment_to_authenticate(&asked);
        let id = asked.body["operation_id"].as_str().expect("an operation");
        let path = format!("/api/v1/operations/{id}/cancel");
        let refused = shop.app.call(&customer, "POST", &path, "", None).await;
        refused.expect_problem(409, "operation_not_waiting");
        let detail = refused.body["detail"].as_str().expect("words");
        assert!(detail.contains("DELETE /api/v1/subscription?at_once=true"), "it says what works: {detail}");

        let path = format!("{SUBSCRIPTION}?at_once=true");
        shop.app.call(&customer, "DELETE", &path, "cancel", None).await.expect(200);
        let ended = shop.operation(&customer, id, "failed").await;
        assert_eq!(ended["problem"]["code"], "payment_canceled", "{ended}");
        assert_eq!(shop.stripe.object(&first)["status"], "canceled");
        assert_eq!((shop.plan(&customer).await, shop.net_paid(&customer).await), ("trial".to_owned(), 0));
        let second = payment_to_authenticate(&shop.subscribe(&customer, "pro").await);
        assert_ne!(first, second);
    }

    async fn failure_8_a_subscription_cancelled_at_stripe_ends_its_waiting_operation(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let asked = shop.subscribe(&customer, "pro").await;
        payment_to_authenticate(&asked);
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        let ended = shop.ask_stripe("DELETE", &path, &[]).await;
        for _ in 0..2 {
            shop.deliver_event("customer.subscription.deleted", &ended).await;
        }
        let id = asked.body["operation_id"].as_str().expect("an operation");
        let ended = shop.operation(&customer, id, "failed").await;
        assert_eq!(ended["problem"]["code"], "payment_canceled", "{ended}");
    }
}

with_backend! {
    async fn failure_8_a_subscription_paid_during_its_replacement_is_charged_once(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.subscribe(&customer, "first").await);
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        // The customer completes the payment after Stripe said that it waits.
        let stripe_customer = shop.stripe_customer(&customer).await;
        let before = shop.ask_stripe("GET", &format!("/v1/subscriptions?customer={stripe_customer}"), &[]).await;
        assert_eq!(before["data"][0]["status"], "incomplete");
        shop.stripe.authenticate(&intent, true).expect("it waits");
        interceptor.intercept(2, "GET", "/v1/subscriptions", Interception::Replaced(200, before));
        let refused = shop.subscribe(&customer, "second").await;
        refused.expect_problem(409, "subscription_paid_meanwhile");
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        assert_eq!(shop.subscription()["status"], "canceled");
        shop.close().await;
    }
}
