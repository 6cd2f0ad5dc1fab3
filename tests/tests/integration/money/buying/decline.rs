//! Declines slow down and then stop.

use super::*;

/// A decline with this advice.
fn declined(advice: &str) -> Interception {
    let mut body = error("card_error", "card_declined");
    body["error"]["decline_code"] = "generic_decline".into();
    body["error"]["advice_code"] = advice.into();
    Interception::Blocked(402, body)
}

with_shop! {
    async fn a_declined_card_is_tried_after_one_hour_four_and_a_day_and_then_not_again(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        for (calls, hours) in (1..).zip([1, 4, 24]) {
            shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_declined");
            for key in ["unit", "other"] {
                let paused = shop.app.spend(&customer, 1, key).await;
                paused.expect_problem(402, "card_paused");
                assert!(paused.body["retry_at"].is_string(), "{}", paused.body);
            }
            assert_eq!(shop.charge_calls(), calls, "the pause asks Stripe for nothing");
            shop.hours_pass_since_charges(hours).await;
        }
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_declined");
        shop.hours_pass_since_charges(10_000).await;
        let stopped = shop.app.spend(&customer, 1, "unit").await;
        stopped.expect_problem(402, "card_paused");
        assert_eq!(stopped.body["retry_at"], Value::Null, "{}", stopped.body);
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn a_declining_card_is_charged_once_however_many_ask_at_a_time(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        let keys: Vec<String> = (0..20).map(|n| format!("key-{}", n % 10)).collect();
        let answers = join_all(keys.iter().map(|key| shop.app.spend(&customer, 1, key))).await;
        for answer in &answers {
            assert_eq!(answer.status, 402, "{}", answer.body);
            assert!(matches!(answer.code(), "payment_declined" | "card_paused"), "{}", answer.body);
        }
        assert_eq!(shop.charge_calls(), 1);
        assert!(shop.mails(&customer, "payment_failed").await <= 1);
    }

    async fn a_declined_card_that_is_added_again_is_the_same_card(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_declined");
        shop.attach(&customer, "pm_card_chargeCustomerFail", "again").await.expect(201);
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "card_paused");
        assert_eq!(shop.charge_calls(), 1);
    }

    async fn a_failed_authentication_is_no_decline(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
        shop.stripe.authenticate(&intent, false).expect("it waits");
        wait::until("it has failed", || async {
            let answer = shop.app.spend(&customer, 1, "unit").await;
            (answer.code() == "payment_declined").then_some(())
        })
        .await;
        payment_to_authenticate(&shop.app.spend(&customer, 1, "unit").await);
    }
}

with_backend! {
    async fn the_networks_advice_is_obeyed(backend: Backend) {
        for (advice, may_retry) in [("do_not_try_again", false), ("confirm_card_data", false), ("try_again_later", true)] {
            let (shop, interceptor) = Shop::intercepted(backend).await;
            let customer = shop.without_credits("pm_card_visa").await;
            interceptor.intercept(1, "POST", PAY, declined(advice));
            shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_declined");
            shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "card_paused");
            shop.hours_pass_since_charges(1).await;
            let later = shop.app.spend(&customer, 1, "unit").await;
            assert_eq!(later.status == 200, may_retry, "{advice}: {}", later.body);
            shop.close().await;
        }
    }

    async fn at_most_one_mail_an_hour_tells_of_failed_charges(backend: Backend) {
        let shop = Shop::open_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        for key in ["first", "second"] {
            let calls = shop.charge_calls();
            shop.close_stripe();
            shop.app.spend(&customer, 1, key).await.expect(202);
            shop.charged_more_often_than(calls).await;
            shop.open_stripe();
            assert_eq!(shop.settle(&customer, 1, key).await.status, 402);
            let waiting = "jobs WHERE kind = 'mail.send' AND args LIKE '%purchase%' AND state IN ('available', 'running')";
            wait::until("no mail waits", || async { (shop.count(waiting).await == 0).then_some(()) }).await;
            assert_eq!(shop.count("mails WHERE template = 'payment_failed'").await, 1, "{key}");
            shop.hours_pass_since_charges(30).await;
        }
        assert_eq!(shop.count("jobs WHERE kind = 'mail.send' AND args LIKE '%purchase%'").await, 2);
        shop.close().await;
    }
}
