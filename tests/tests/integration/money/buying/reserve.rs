//! Nobody is charged and then refused.

use super::*;

with_shop! {
    async fn what_the_customer_has_is_reserved_while_the_rest_is_bought(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        shop.close_stripe();
        let asked = async { shop.app.spend(&customer, 5, "five").await };
        let meanwhile = async {
            shop.charged_more_often_than(0).await;
            let credits = shop.credits(&customer).await;
            let hold = credits["holds"][0].clone();
            assert_eq!((&credits["available"], &hold["amount"]), (&json!(0), &json!(3)), "{credits}");
            let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
            assert_eq!(hold["operation_id"], operations["data"][0]["id"], "it says what it is for");
            let release = format!("/api/v1/holds/{}/release", hold["id"].as_str().expect("an id"));
            let answer = shop.app.call(&customer, "POST", &release, "mine", None).await;
            assert!(answer.status >= 400, "the customer cannot release it: {}", answer.body);
            shop.open_stripe();
        };
        let (asked, ()) = tokio::join!(asked, meanwhile);
        assert!(matches!(asked.status, 200 | 202), "{}", asked.body);
        let spent = shop.settle(&customer, 5, "five").await.expect(200);
        assert_eq!((&spent["transaction"]["amount"], &spent["credit_balance"]), (&json!(-5), &json!(0)));
        let credits = shop.credits(&customer).await;
        assert_eq!((&credits["held"], &credits["holds"]), (&json!(0), &json!([])));
        assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
    }

    async fn parallel_requests_are_never_charged_and_then_refused(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 4).await.expect(200);
        let requests: Vec<(i64, String)> = (0..8).map(|n| (1 + n % 3, format!("key-{n}"))).collect();
        join_all(requests.iter().map(|(units, key)| shop.app.spend(&customer, *units, key))).await;
        let mut wanted = 0;
        for (units, key) in &requests {
            let spent = shop.settle(&customer, *units, key).await.expect(200);
            assert_eq!(spent["transaction"]["amount"], -units, "{key}");
            wanted += units;
        }
        assert_eq!(shop.net_paid(&customer).await, (wanted - 4) * UNIT, "only what was missing");
        assert_eq!(shop.app.balance(&customer).await, 0);
        assert_eq!(shop.credits(&customer).await["held"], 0);
    }

    async fn a_charge_that_fails_returns_what_was_reserved(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        shop.app.spend(&customer, 5, "five").await.expect_problem(402, "payment_declined");
        let credits = shop.credits(&customer).await;
        assert_eq!((&credits["available"], &credits["holds"]), (&json!(3), &json!([])), "{credits}");
        shop.app.spend(&customer, 3, "three").await.expect(200);
    }

    async fn a_charge_that_waits_for_its_customer_keeps_its_credits_until_it_fails(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 5, "five").await);
        assert_eq!(shop.credits(&customer).await["held"], 3);
        shop.stripe.authenticate(&intent, false).expect("it waits");
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        let spent = wait::until("another card pays", || async {
            let answer = shop.app.spend(&customer, 5, "five").await;
            (answer.status == 200).then_some(answer.body)
        })
        .await;
        assert_eq!((&spent["credit_balance"], &spent["held"]), (&json!(0), &json!(0)));
        assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
    }

    async fn a_success_that_an_event_reports_spends_what_was_reserved(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 1).await.expect(200);
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 2, "two").await);
        shop.stripe.authenticate(&intent, true).expect("it waits");
        for _ in 0..2 {
            shop.deliver_event("payment_intent.succeeded", &shop.stripe.object(&intent)).await;
        }
        assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (0, UNIT));
        let again = shop.app.spend(&customer, 2, "two").await.expect(200);
        assert_eq!((&again["replayed"], &again["held"]), (&json!(true), &json!(0)));
    }

    async fn credits_clawed_back_during_a_charge_do_not_refuse_what_it_paid_for(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.spend_until_done(&customer, 2, "first").await;
        let first = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.app.adjust(&customer, 1).await.expect(200);
        let calls = shop.charge_calls();
        shop.close_stripe();
        let asked = async { shop.app.spend(&customer, 2, "second").await };
        let meanwhile = async {
            shop.charged_more_often_than(calls).await;
            shop.stripe.refund(&first, None).expect("a refund");
            shop.deliver_event("charge.refunded", &shop.stripe.object(&first)).await;
            shop.open_stripe();
        };
        tokio::join!(asked, meanwhile);
        shop.settle(&customer, 2, "second").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, -2), "the debt stays");
        shop.app.spend(&customer, 1, "third").await.expect_problem(402, "credits_owed");
    }
}

with_backend! {
    async fn a_reservation_survives_the_death_of_its_job_and_serves_the_repeated_request(backend: Backend) {
        let shop = Shop::open_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        shop.close_stripe();
        shop.app.spend(&customer, 5, "five").await.expect(202);
        let job = crate::scene::delay_job(&shop.app, "operation.run").await;
        sql(&shop.app, &format!("UPDATE jobs SET state = 'dead', last_error = 'test' WHERE id = '{job}'")).await;
        shop.open_stripe();
        assert_eq!(shop.credits(&customer).await["held"], 3);
        shop.settle(&customer, 5, "five").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (2 * UNIT, 0));
        let rounds = texts(&shop.app, "SELECT kind FROM ledger_entries WHERE hold_id LIKE 'rsv_%' ORDER BY seq").await;
        assert_eq!(rounds, ["hold", "release"], "it was reserved once");
        shop.close().await;
    }
}
