//! What is bought costs what the catalogue shows, or is not bought.

use super::*;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::catalogue::write::write;

with_backend! {
    async fn nobody_is_charged_another_amount_than_the_catalogue_shows(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let shared = &shop.app.app.config.catalogue;
        let shown = shared.now();
        // Stripe's price has the lookup key, and costs something else.
        shared.replace(catalogue_with(|catalogue| catalogue.prices[0].amount = MoneyMinor(MONTH - 1)).now());
        let refused = shop.subscribe(&customer, "pro").await;
        refused.expect_problem(503, "payment_unavailable");
        assert_eq!((&refused.body["reason"], refused.retry_after), (&json!("price_missing"), None));
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("subscription").len()), (0, 0));
        shared.replace(shown);
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn while_prices_change_whoever_buys_is_told_to_try_again_shortly(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |_| {}).await;
        let customer = shop.pro().await;
        let other = shop.without_credits("pm_card_visa").await;
        let shared = &shop.app.app.config.catalogue;
        interceptor.intercept(usize::MAX, "POST", "/v1/prices", answers_429());
        let raised = catalogue_with(|catalogue| catalogue.prices[0].amount = MoneyMinor(MONTH + 1)).now();
        let body = json!({ "catalogue": write(&raised), "reason": "a test", "expected_version": 1 });
        let asked = shop.app.admin("POST", "/admin/v1/catalogue/apply", Some(&body)).await.expect(202);
        let job = asked["job"]["id"].as_str().expect("a job").to_owned();
        // The price at Stripe is another one already.
        shared.replace(catalogue_with(|catalogue| catalogue.prices[0].amount = MoneyMinor(MONTH - 1)).now());
        let refused = shop.subscribe(&other, "pro").await;
        refused.expect_problem(503, "prices_changing");
        assert!(refused.retry_after.is_some());
        let body = json!({ "price": "pro_monthly", "quantity": 1, "when": "now", "present_terms": true });
        let preview = "/api/v1/subscription/preview";
        shop.app.call(&customer, "POST", preview, "", Some(&body)).await.expect_problem(503, "prices_changing");
        assert_eq!((shop.net_paid(&other).await, shop.stripe.list("subscription").len()), (0, 1));
        let dead = shop.app.admin("GET", "/admin/v1/jobs?state=dead", None).await.expect(200);
        assert_eq!(dead["data"], json!([]));
        // The new version comes into force, and the same request buys by it.
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        wait::until("it is in force", || async { (shared.version() == 2).then_some(()) }).await;
        shop.subscribe(&other, "pro").await.expect(201);
        assert_eq!(shop.net_paid(&other).await, MONTH + 1);
        shop.close().await;
    }

    async fn a_price_that_is_withdrawn_while_its_request_waits_is_not_sold(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "GET", SUBSCRIPTIONS, answers_429());
        let job = shop.expect_202_and_delay_job(shop.subscribe(&customer, "pro").await).await;
        shop.app.app.config.catalogue.replace(catalogue_with(|catalogue| catalogue.prices[0].offered = false).now());
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        let id = shop.last_operation(&customer).await;
        let failed = shop.operation(&customer, &id, "failed").await;
        assert_eq!(failed["problem"]["code"], "price_missing", "{failed}");
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("subscription").len()), (0, 0));
        shop.close().await;
    }
}

with_shop! {
    async fn a_key_that_was_used_for_another_request_begins_nothing(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_card_visa", "key").await.expect(201);
        shop.attach(&customer, "pm_card_mastercard", "key").await.expect_problem(422, "idempotency_key_reused");
        shop.subscribe(&customer, "key").await.expect_problem(422, "idempotency_key_reused");
        assert_eq!((shop.stripe.list("payment_method").len(), shop.stripe.list("subscription").len()), (1, 0));
    }

    async fn a_default_that_is_added_again_without_being_made_the_default_stays_it(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_card_visa", "first").await.expect(201);
        let id = shop.default_method(&customer).await;
        let body = json!({ "payment_method": id, "consent": true, "make_default": false });
        shop.app.call(&customer, "POST", METHODS, "again", Some(&body)).await.expect(201);
        assert_eq!(shop.default_method(&customer).await, id);
        assert_eq!(shop.stripe.list("payment_method").len(), 1);
    }
}
