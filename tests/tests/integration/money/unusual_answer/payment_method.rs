//! Unusual answers to calls that attach or detach payment methods, or change the default one.

use super::*;
use bursar_engine::amount::Credits;

with_backend! {
    async fn a_failed_attachment_succeeds_under_a_new_key(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.app.onboard().await;
        let attach = "/v1/payment_methods/pm_card_visa/attach";
        interceptor.intercept(1, "POST", attach, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        interceptor.intercept(1, "POST", attach, Interception::Blocked(400, error("idempotency_error", "idempotency_error")));
        shop.attach_until_done(&customer, "pm_card_visa").await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("payment_method").len(), 1);
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + 5);
        shop.close().await;
    }

    async fn an_operation_that_fails_every_round_ends_and_is_shown_to_support(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let attach = "/v1/payment_methods/pm_card_visa/attach";
        interceptor.intercept(usize::MAX, "POST", attach, answers_429());
        let job = shop.expect_202_and_delay_job(shop.attach(&customer, "pm_card_visa", "card").await).await;
        sql(&shop.app, "UPDATE operations SET round = 20").await;
        let key = "REPLACE(unique_key || ':', ':1:', ':20')";
        sql(&shop.app, &format!("UPDATE jobs SET unique_key = {key} WHERE id = '{job}'")).await;
        interceptor.clear();
        interceptor.intercept(1, "POST", attach, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        wait::until("the operation is given up", || async {
            (shop.attach(&customer, "pm_card_visa", "card").await.code() == "stripe_unavailable").then_some(())
        })
        .await;
        shop.wait_for_operation_job("dead").await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.close().await;
    }

    async fn a_declined_or_missing_card_does_not_become_the_default(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let first = shop.default_method(&customer).await;
        let body = json!({ "payment_method": "pm_card_mastercard", "consent": true, "make_default": false });
        let other = shop.app.call(&customer, "POST", METHODS, "other", Some(&body)).await.expect(201);
        let other = other["payment_method"]["id"].as_str().expect("an id").to_owned();
        let stripe_customer = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        let make_default = format!("{METHODS}/{other}/default");
        interceptor.intercept(1, "POST", &stripe_customer, Interception::Blocked(402, error("card_error", "card_declined")));
        let declined = shop.app.call(&customer, "POST", &make_default, "1", None).await;
        declined.expect_problem(402, "payment_declined");
        interceptor.intercept(1, "POST", &stripe_customer, answers_404());
        let gone = shop.app.call(&customer, "POST", &make_default, "2", None).await;
        gone.expect_problem(422, "refused_by_stripe");
        assert_eq!(gone.body["reason"], "stripe_not_found");
        assert_eq!(shop.default_method(&customer).await, first);
        shop.app.call(&customer, "POST", &make_default, "3", None).await.expect(200);
        assert_eq!(shop.default_method(&customer).await, other);
        shop.close().await;
    }

    async fn reattaching_the_default_keeps_it_and_a_busy_stripe_delays_detaching(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let id = shop.default_method(&customer).await;
        let body = json!({ "payment_method": id, "consent": true, "make_default": false });
        shop.app.call(&customer, "POST", METHODS, "again", Some(&body)).await.expect(201);
        assert_eq!(shop.default_method(&customer).await, id);
        interceptor.intercept(1, "POST", &format!("/v1/payment_methods/{id}/detach"), answers_429());
        shop.app.call(&customer, "DELETE", &format!("{METHODS}/{id}"), "gone", None).await.expect(200);
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.object(&id)["customer"], Value::Null);
        shop.close().await;
    }

    async fn a_payment_method_that_a_subscription_is_being_bought_with_stays(backend: Backend) {
        let shop = Shop::open_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let remove = format!("{METHODS}/{}", shop.default_method(&customer).await);
        let (path, fault) = (SUBSCRIPTIONS.to_owned(), Fault::RateLimit { retry_after_s: None });
        let rule = FaultRule { method: None, path, count: None, probability: None, fault };
        shop.stripe.fault(rule).expect("there is room for a fault");
        shop.subscribe(&customer, "pro").await.expect(202);
        let removed = async || shop.app.call(&customer, "DELETE", &remove, "gone", None).await;
        removed().await.expect_problem(409, "payment_method_in_use");
        shop.stripe.clear_faults();
        shop.subscribe_until_done(&customer, "pro").await;
        removed().await.expect_problem(409, "payment_method_in_use");
        shop.close().await;
    }

    async fn a_subscriptions_payment_method_follows_the_default_unless_refused(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let first = shop.default_method(&customer).await;
        let id = stripe::id(&shop.subscription()).to_owned();
        let path = format!("{SUBSCRIPTIONS}/{id}");
        shop.ask_stripe("POST", &path, &[("default_payment_method", &first)]).await;
        shop.attach(&customer, "pm_card_mastercard", "second").await.expect(201);
        let second = shop.default_method(&customer).await;
        assert_ne!(first, second);
        assert_eq!(shop.subscription()["default_payment_method"], json!(second));
        // A rate limit and an invalid key are retried; a missing subscription is ignored.
        interceptor.intercept(1, "GET", &path, answers_429());
        interceptor.intercept(1, "GET", &path, Interception::Blocked(401, error("invalid_request_error", "invalid_api_key")));
        interceptor.intercept(1, "GET", &path, answers_404());
        let make_default = format!("{METHODS}/{first}/default");
        shop.app.call(&customer, "POST", &make_default, "default-1", None).await.expect(200);
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.default_method(&customer).await, first);
        assert_eq!(shop.subscription()["default_payment_method"], json!(second));
        // An ended subscription is not changed.
        let end = format!("{SUBSCRIPTION}?at_once=true");
        shop.app.call(&customer, "DELETE", &end, "end", None).await.expect(200);
        interceptor.intercept(1, "GET", &path, answers_400());
        let make_default = format!("{METHODS}/{second}/default");
        shop.app.call(&customer, "POST", &make_default, "default-2", None).await.expect(200);
        assert!(interceptor.has_unused());
        interceptor.clear();
        shop.close().await;
    }

    async fn without_configured_credits_none_are_granted_or_clawed_back(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                catalogue.plans[0].payment_method_credits = Credits::ZERO;
                catalogue.prices[0].credits = Credits::ZERO;
            });
        })
        .await;
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_card_visa", "card").await.expect(201);
        shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), SIGNUP));
        let charge = shop.stripe.list("charge").remove(0);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        assert_eq!(shop.app.balance(&customer).await, SIGNUP);
        shop.close().await;
    }

    async fn a_database_failure_during_an_operation_delays_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let attach = "/v1/payment_methods/pm_card_visa/attach";
        interceptor.intercept(usize::MAX, "POST", attach, answers_429());
        let job = shop.expect_202_and_delay_job(shop.attach(&customer, "pm_card_visa", "card").await).await;
        interceptor.clear();
        resume_job_without(&shop.app, &job, "payment_methods").await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        assert_eq!(shop.stripe.list("payment_method").len(), 1);
        shop.close().await;
    }
}
