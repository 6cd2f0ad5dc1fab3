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

    async fn another_purchase_cancels_a_payment_that_waits_and_uses_its_credits(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 10).await.expect(200);
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 12, "twelve").await);
        assert_eq!(shop.credits(&customer).await["available"], 0);
        let spent = shop.settle(&customer, 5, "five").await.expect(200);
        assert_eq!((&spent["credit_balance"], &spent["held"]), (&json!(5), &json!(0)));
        assert_eq!(shop.stripe.object(&intent)["status"], "canceled");
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations?limit=2", "", None).await.expect(200);
        let first = &operations["data"][1];
        assert_eq!([&first["state"], &first["problem"]["code"]], ["failed", "payment_canceled"], "{first}");
        // What is missing is bought, and no more.
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        shop.settle(&customer, 12, "twelve").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (7 * UNIT, 0));
    }

    async fn a_purchase_that_waits_is_no_cap_and_no_lack_of_a_card_for_the_next_one(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 2).await.expect(200);
        shop.app.call(&customer, "PUT", CAPS, "", Some(&json!({ "day_minor": 2 * UNIT }))).await.expect(200);
        payment_to_authenticate(&shop.app.spend(&customer, 4, "four").await);
        let second = payment_to_authenticate(&shop.app.spend(&customer, 3, "three").await);
        assert_eq!(shop.stripe.object(&second)["amount"], UNIT, "two credits came back");
        let open = shop.stripe.list("payment_intent").into_iter().filter(|intent| intent["status"] != "canceled");
        assert_eq!(open.count(), 1, "one charge at a time");
    }

    async fn the_same_request_with_another_default_card_tries_that_one(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 5, "five").await);
        let again = payment_to_authenticate(&shop.app.spend(&customer, 5, "five").await);
        assert_eq!(intent, again, "with the same card it is the same payment");
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        let spent = shop.app.spend(&customer, 5, "five").await.expect(200);
        assert_eq!((&spent["credit_balance"], &spent["held"]), (&json!(0), &json!(0)));
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.object(&intent)["status"].clone()), (2 * UNIT, json!("canceled")));
    }

    async fn a_customer_cancels_a_purchase_that_waits(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let refused = shop.app.spend(&customer, 5, "five").await;
        let intent = payment_to_authenticate(&refused);
        let path = format!("/api/v1/operations/{}/cancel", refused.body["operation_id"].as_str().expect("an id"));
        let stranger = shop.app.onboard().await;
        shop.app.call(&stranger, "POST", &path, "", None).await.expect_problem(404, "not_found");
        for _ in 0..2 {
            let ended = shop.app.call(&customer, "POST", &path, "", None).await.expect(200);
            assert_eq!([&ended["state"], &ended["problem"]["code"]], ["failed", "payment_canceled"], "{ended}");
        }
        assert_eq!(shop.stripe.object(&intent)["status"], "canceled");
        let credits = shop.credits(&customer).await;
        assert_eq!((&credits["available"], &credits["holds"]), (&json!(3), &json!([])), "{credits}");
        // The same request begins anew.
        let second = payment_to_authenticate(&shop.app.spend(&customer, 5, "five").await);
        shop.stripe.authenticate(&second, true).expect("it waits");
        shop.spend_until_done(&customer, 5, "five").await;
        shop.app.call(&customer, "POST", &path, "", None).await.expect_problem(409, "operation_not_waiting");
        assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
    }

    async fn a_payment_that_succeeded_before_it_gives_way_spends_its_units(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.app.adjust(&customer, 1).await.expect(200);
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 2, "two").await);
        shop.stripe.authenticate(&intent, true).expect("it waits");
        payment_to_authenticate(&shop.app.spend(&customer, 1, "one").await);
        assert_eq!(shop.app.spend(&customer, 2, "two").await.expect(200)["replayed"], true);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, 0));
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
