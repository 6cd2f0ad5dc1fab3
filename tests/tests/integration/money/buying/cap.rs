//! Spend caps.

use super::*;

impl Shop {
    async fn set_caps(&self, customer: &TestCustomer, body: Value) -> Answer {
        self.app.call(customer, "PUT", CAPS, "", Some(&body)).await
    }
}

with_shop! {
    async fn parallel_charges_reach_a_cap_exactly(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.set_caps(&customer, json!({ "day_minor": 5 * UNIT, "month_minor": null })).await.expect(200);
        let keys: Vec<String> = (0..12).map(|n| format!("key-{n}")).collect();
        join_all(keys.iter().map(|key| shop.app.spend(&customer, 1, key))).await;
        let mut spent = 0;
        for key in &keys {
            let answer = shop.settle(&customer, 1, key).await;
            if answer.status == 200 {
                spent += 1;
                continue;
            }
            answer.expect_problem(402, "spend_cap_reached");
            assert!(answer.body["retry_at"].is_string(), "{}", answer.body);
        }
        assert_eq!((spent, shop.net_paid(&customer).await), (5, 5 * UNIT));
        let caps = shop.app.call(&customer, "GET", CAPS, "", None).await.expect(200);
        assert_eq!((&caps["day"]["charged_minor"], &caps["day"]["left_minor"]), (&json!(5 * UNIT), &json!(0)));
        assert_eq!(caps["month"]["cap_minor"], 100_000, "the default");
    }

    async fn a_charge_that_may_still_succeed_counts_and_one_that_failed_does_not(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.set_caps(&customer, json!({ "day_minor": null, "month_minor": UNIT })).await.expect(200);
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "first").await);
        shop.app.spend(&customer, 1, "second").await.expect_problem(402, "spend_cap_reached");
        // The first request still gets its own answer.
        payment_to_authenticate(&shop.app.spend(&customer, 1, "first").await);
        shop.stripe.authenticate(&intent, false).expect("it waits");
        wait::until("it has failed", || async {
            (shop.app.spend(&customer, 1, "first").await.code() == "payment_declined").then_some(())
        })
        .await;
        payment_to_authenticate(&shop.app.spend(&customer, 1, "second").await);
    }

    async fn a_customer_lowers_its_caps_and_support_raises_them(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let too_high = shop.set_caps(&customer, json!({ "month_minor": 100_001 })).await;
        too_high.expect_problem(400, "invalid_spend_cap");
        shop.set_caps(&customer, json!({ "day_minor": -1 })).await.expect_problem(400, "invalid_spend_cap");
        shop.set_caps(&customer, json!({ "month_minor": 0 })).await.expect(200);
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "spend_cap_reached");
        assert_eq!(shop.count("operations WHERE kind = 'usage_charge'").await, 0, "a refusal leaves nothing behind");
        let path = format!("/admin/v1/customers/{}/spend-caps", customer.id);
        shop.app.admin("POST", &path, Some(&json!({ "month_minor": 1 }))).await.expect(400);
        let raised = json!({ "month_minor": 200_000, "day_minor": 3_000, "reason": "ticket 1" });
        let raised = shop.app.admin("POST", &path, Some(&raised)).await.expect(200);
        assert_eq!((&raised["month"]["highest_minor"], &raised["month"]["cap_minor"]), (&json!(200_000), &json!(0)));
        shop.set_caps(&customer, json!({ "month_minor": 150_000 })).await.expect(200);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "spend_cap_reached");
        let audit = shop.app.admin("GET", &format!("/admin/v1/audit?target={}", customer.id), None).await.expect(200);
        assert_eq!(audit["data"][0]["action"], "customer.spend_caps", "{audit}");
        assert_eq!(shop.app.admin("GET", &path, None).await.expect(200)["day"]["charged_minor"], UNIT);
    }

    async fn a_subscription_does_not_count(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.set_caps(&customer, json!({ "month_minor": UNIT })).await.expect(200);
        shop.subscribe(&customer, "pro").await.expect(201);
        let caps = shop.app.call(&customer, "GET", CAPS, "", None).await.expect(200);
        assert_eq!(caps["month"]["charged_minor"], 0);
    }
}
