//! One charge at a time per customer; others wait for their turn.

use super::*;
use bursar_engine::ids::OperationId;

with_backend! {
    async fn equal_requests_at_once_are_answered_by_the_first_ones_charge(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.jobs.sweep_grace_ms = 3_600_000).await;
        for _ in 0..4 {
            let customer = shop.without_credits("pm_card_visa").await;
            let answers = join_all((0..16).map(|_| shop.app.spend(&customer, 2, "same"))).await;
            for answer in &answers {
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            let replayed = answers.iter().filter(|answer| answer.body["replayed"] == true).count();
            assert!(replayed < answers.len(), "one was the first");
            assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
        }
        shop.close().await;
    }

    async fn one_charge_at_a_time_and_who_waits_is_decided_again(backend: Backend) {
        let shop = Shop::open_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.close_stripe();
        shop.app.spend(&customer, 1, "first").await.expect(202);
        shop.charged_more_often_than(0).await;
        for key in ["second", "third"] {
            shop.app.spend(&customer, 1, key).await.expect(202);
        }
        assert_eq!(shop.count("charges WHERE state = 'open'").await, 1, "the others are not decided yet");
        shop.app.adjust(&customer, 2).await.expect(200);
        shop.open_stripe();
        for key in ["first", "second", "third"] {
            shop.settle(&customer, 1, key).await.expect(200);
        }
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, 0));
        assert_eq!(shop.count("charges WHERE state = 'succeeded'").await, 1);
        shop.close().await;
    }

    async fn another_customer_does_not_wait(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, answers_202_soon).await;
        let (slow, quick) = (shop.without_credits("pm_card_visa").await, shop.without_credits("pm_card_visa").await);
        interceptor.intercept(1, "POST", PAY, Interception::RequestLost);
        shop.app.spend(&slow, 1, "slow").await.expect(202);
        shop.settle(&quick, 1, "quick").await.expect(200);
        assert_eq!((shop.net_paid(&slow).await, shop.net_paid(&quick).await), (0, UNIT));
        shop.settle(&slow, 1, "slow").await.expect(200);
        shop.close().await;
    }

    async fn no_more_than_fifty_purchases_of_a_customer_wait(backend: Backend) {
        let shop = Shop::open_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.close_stripe();
        shop.app.spend(&customer, 1, "first").await.expect(202);
        let copied = "customer_id, kind, request, request_hash, state, round, created_at_ms, round_at_ms, updated_at_ms";
        for n in 0..47 {
            let statement = format!(
                "INSERT INTO operations (id, idempotency_key, {copied}) SELECT 'op_copy{n}', 'copy{n}', {copied} \
                 FROM operations WHERE idempotency_key = 'api:first'"
            );
            sql(&shop.app, &statement).await;
        }
        // One has failed, and may be tried again.
        let failed = OperationId::new();
        let statement = format!(
            "INSERT INTO operations (id, idempotency_key, {copied}) SELECT '{failed}', 'api:failed', {copied} \
             FROM operations WHERE idempotency_key = 'api:first'"
        );
        sql(&shop.app, &statement).await;
        sql(&shop.app, &format!("UPDATE operations SET state = 'failed' WHERE id = '{failed}'")).await;
        let keys: Vec<String> = (0..8).map(|n| format!("key-{n}")).collect();
        let answers = join_all(keys.iter().map(|key| shop.app.spend(&customer, 1, key))).await;
        let accepted = answers.iter().filter(|answer| answer.status == 202).count();
        assert_eq!(accepted, 2, "48 waited before: {answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 202) {
            answer.expect_problem(429, "purchases_waiting");
        }
        shop.app.spend(&customer, 1, "first").await.expect(202);
        shop.app.spend(&customer, 1, "failed").await.expect_problem(429, "purchases_waiting");
        sql(&shop.app, &format!("DELETE FROM operations WHERE id LIKE 'op_copy%' OR id = '{failed}'")).await;
        shop.open_stripe();
        shop.settle(&customer, 1, "first").await.expect(200);
        for key in &keys {
            shop.settle(&customer, 1, key).await.expect(200);
        }
        shop.close().await;
    }
}

with_shop! {
    async fn a_subscription_that_waits_for_its_customer_or_has_failed_is_no_purchase_to_cancel(shop: &Shop) {
        for card in ["pm_card_authenticationRequired", "pm_card_chargeCustomerFail"] {
            let customer = shop.without_credits(card).await;
            let refused = shop.subscribe(&customer, "pro").await;
            assert_eq!(refused.status, 402, "{}", refused.body);
            let page = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
            let latest = &page["data"][0];
            assert_eq!(latest["kind"], "subscription_create", "{page}");
            let path = format!("/api/v1/operations/{}/cancel", latest["id"].as_str().expect("an id"));
            shop.app.call(&customer, "POST", &path, "", None).await.expect_problem(409, "operation_not_waiting");
        }
    }

    async fn a_charge_that_waits_for_its_customer_holds_nobody_up(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "first").await);
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.app.spend(&customer, 1, "second").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        assert_eq!(shop.stripe.object(&intent)["status"], "canceled", "it gave way");
        shop.app.spend(&customer, 1, "first").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (2 * UNIT, 0));
    }
}
