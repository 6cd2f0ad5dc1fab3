//! Holds that buy what is missing.

use super::*;

const HOLDS: &str = "/api/v1/holds";

impl Shop {
    async fn hold(&self, customer: &TestCustomer, units: i64, key: &str) -> Answer {
        self.app.call(customer, "POST", HOLDS, key, Some(&json!({ "units": units, "expires_in_s": 600 }))).await
    }
}

with_shop! {
    async fn a_hold_buys_what_is_missing_once_and_reserves_all_of_it(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 2).await.expect(200);
        let held = shop.hold(&customer, 5, "hold").await.expect(201);
        assert_eq!((&held["hold"]["units"], &held["held"], &held["available"]), (&json!(5), &json!(5), &json!(0)));
        let again = shop.hold(&customer, 5, "hold").await.expect(201);
        assert_eq!((&again["hold"]["id"], &again["replayed"]), (&held["hold"]["id"], &json!(true)));
        let path = format!("{HOLDS}/{}/capture", held["hold"]["id"].as_str().expect("an id"));
        let spent = shop.app.call(&customer, "POST", &path, "capture", Some(&json!({ "units": 4 }))).await.expect(200);
        assert_eq!((&spent["credit_balance"], &spent["held"]), (&json!(1), &json!(0)));
        assert_eq!(shop.net_paid(&customer).await, 3 * UNIT);
    }

    async fn a_hold_that_cannot_be_bought_reserves_nothing(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.adjust(&customer, 2).await.expect(200);
        shop.hold(&customer, 5, "hold").await.expect_problem(402, "payment_declined");
        shop.hold(&customer, 5, "hold").await.expect_problem(402, "card_paused");
        assert_eq!(shop.credits(&customer).await["available"], 2);
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        shop.hold(&customer, 5, "hold").await.expect(201);
        assert_eq!(shop.net_paid(&customer).await, 3 * UNIT);
    }

    async fn parallel_holds_and_usage_are_each_paid_and_none_is_refused(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let keys: Vec<String> = (0..4).map(|n| format!("hold-{n}")).collect();
        let holds = join_all(keys.iter().map(|key| shop.hold(&customer, 2, key)));
        let spent = join_all(["u-1", "u-2"].into_iter().map(|key| shop.app.spend(&customer, 2, key)));
        tokio::join!(holds, spent);
        for key in &keys {
            wait::until("the hold is open", || async {
                (shop.hold(&customer, 2, key).await.status == 201).then_some(())
            })
            .await;
        }
        for key in ["u-1", "u-2"] {
            shop.settle(&customer, 2, key).await.expect(200);
        }
        assert_eq!(shop.net_paid(&customer).await, 9 * UNIT);
        let credits = shop.credits(&customer).await;
        assert_eq!((&credits["balance"], &credits["held"]), (&json!(8), &json!(8)));
    }
}
