//! Prices on which a person decides.

use super::*;

impl Shop {
    /// Decides what a price at Stripe sells.
    pub(super) async fn decide(&self, price: &str, body: Value) {
        let mut body = body;
        body["reason"] = json!("ticket 4711");
        self.app.admin("POST", &format!("/admin/v1/prices/{price}/decision"), Some(&body)).await.expect(200);
    }

    /// Asserts that a decision on a price is refused because of what has it; returns why.
    async fn price_is_in_use(&self, price: &str, body: Value) -> String {
        let mut body = body;
        body["reason"] = json!("ticket 4711");
        let refused = self.app.admin("POST", &format!("/admin/v1/prices/{price}/decision"), Some(&body)).await;
        refused.expect_problem(409, "price_in_use");
        refused.body["detail"].as_str().expect("a reason").to_owned()
    }

    /// A customer on Pro whose last month was paid at a price of our product that the catalogue does not have; returns
    /// the price and the dead event as well.
    pub(super) async fn paid_at_another_price(&self) -> (TestCustomer, String, Value) {
        let customer = self.pro().await;
        let product = self.pro_price().await["product"].clone();
        let cheaper = self.other_price("49900", product.as_str()).await;
        let change = [("items[0][price]", cheaper.as_str()), ("proration_behavior", "none")];
        self.change_item(&self.subscription(), &change).await;
        let (event, reason) = self.dead_event("invoice.paid", &self.next_month()).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains(&cheaper), "{reason}");
        assert_eq!(self.app.balance(&customer).await, PERIOD);
        (customer, cheaper, event)
    }
}

with_shop! {
    async fn a_payment_at_a_price_that_support_decides_is_ours_brings_its_credits_once(shop: &Shop) {
        let (customer, price, event) = shop.paid_at_another_price().await;
        let waiting = shop.app.admin("GET", "/admin/v1/prices?decision=undecided", None).await.expect(200);
        assert_eq!((&waiting["data"][0]["id"], waiting["data"].as_array().unwrap().len()), (&json!(price), 1));
        shop.decide(&price, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        for _ in 0..2 {
            replay_event(&shop.app, stripe::id(&event), "processed").await;
            assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        }
        assert_eq!(shop.plan(&customer).await, "pro");
    }

    async fn a_payment_at_a_price_that_support_decides_is_other_business_brings_nothing(shop: &Shop) {
        let (customer, price, event) = shop.paid_at_another_price().await;
        shop.decide(&price, json!({ "decision": "not_ours" })).await;
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_decision_that_is_taken_back_leaves_the_price_to_the_rules(shop: &Shop) {
        let (customer, price, event) = shop.paid_at_another_price().await;
        shop.decide(&price, json!({ "decision": "not_ours" })).await;
        shop.decide(&price, json!({ "decision": "undecided" })).await;
        let (_, reason) = shop.dead_event("invoice.paid", &event["data"]["object"]).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains(&price), "{reason}");
        let found = shop.app.admin("GET", &format!("/admin/v1/prices/{price}"), None).await.expect(200);
        assert_eq!([&found["price"]["decision"], &found["price"]["decided_by"]], ["undecided", "product"]);

        // Once its lookup key says that it is ours, nobody has to decide.
        shop.ask_stripe("POST", &format!("/v1/prices/{price}"), &[("metadata[bursar_plan]", "pro")]).await;
        let form = [("lookup_key", "pro_monthly"), ("transfer_lookup_key", "true")];
        shop.ask_stripe("POST", &format!("/v1/prices/{price}"), &form).await;
        shop.decide(&price, json!({ "decision": "undecided" })).await;
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn what_the_catalogue_sells_is_not_decided_away(shop: &Shop) {
        let price = stripe::id(&shop.pro_price().await).to_owned();
        shop.price_is_in_use(&price, json!({ "decision": "not_ours" })).await;
        let customer = shop.pro().await;
        assert_eq!((shop.plan(&customer).await.as_str(), shop.app.balance(&customer).await), ("pro", PERIOD));
    }

    async fn a_price_that_a_subscription_has_is_not_decided_away_until_that_ends(shop: &Shop) {
        let customer = shop.pro().await;
        let price = stripe::id(&shop.pro_price().await).to_owned();
        shop.change_catalogue(|catalogue| catalogue.prices[0].offered = false);
        for decision in ["not_ours", "undecided"] {
            let refused = shop.price_is_in_use(&price, json!({ "decision": decision })).await;
            assert!(refused.contains(stripe::id(&shop.subscription())), "{refused}");
        }
        assert_eq!(shop.plan(&customer).await, "pro");
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("DELETE", &path, &[]).await;
        shop.decide(&price, json!({ "decision": "not_ours" })).await;
    }

    async fn nobody_is_charged_by_a_price_that_support_decided_is_other_business(shop: &Shop) {
        let price = stripe::id(&shop.pro_price().await).to_owned();
        shop.change_catalogue(|catalogue| catalogue.prices[0].offered = false);
        shop.decide(&price, json!({ "decision": "not_ours" })).await;
        shop.change_catalogue(|catalogue| catalogue.prices[0].offered = true);
        let customer = shop.without_credits("pm_card_visa").await;
        let answer = shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await;
        answer.expect_problem(503, "payment_unavailable");
        assert_eq!((shop.stripe.list("subscription").len(), shop.stripe.list("invoice").len()), (0, 0));
    }

    async fn what_cannot_be_an_id_at_stripe_is_no_price(shop: &Shop) {
        for id in ["..%2Fbalance", "x%2F..%2Fbalance", "price%3F1"] {
            let body = json!({ "decision": "not_ours", "reason": "ticket 4711" });
            let refused = shop.app.admin("POST", &format!("/admin/v1/prices/{id}/decision"), Some(&body)).await;
            assert_eq!(refused.status, 404, "{id}");
        }
        let prices = shop.app.admin("GET", "/admin/v1/prices?decision=not_ours", None).await.expect(200);
        assert_eq!(prices["data"], json!([]));
    }

    async fn a_price_that_stripe_does_not_have_is_not_decided(shop: &Shop) {
        let body = json!({ "decision": "ours", "price": "pro_monthly", "reason": "ticket 4711" });
        let refused = shop.app.admin("POST", "/admin/v1/prices/price_TYPO/decision", Some(&body)).await;
        refused.expect_problem(422, "stripe_price_unknown");
        shop.app.admin("GET", "/admin/v1/prices/price_TYPO", None).await.expect_problem(404, "not_found");
    }

    async fn a_monthly_price_is_not_decided_to_sell_a_year(shop: &Shop) {
        let (customer, price, event) = shop.paid_at_another_price().await;
        shop.change_catalogue(|catalogue| catalogue.prices.push(pro_yearly(GrantSchedule::Monthly)));
        let body = json!({ "decision": "ours", "price": "pro_yearly", "reason": "ticket 4711" });
        let refused = shop.app.admin("POST", &format!("/admin/v1/prices/{price}/decision"), Some(&body)).await;
        refused.expect_problem(422, "stripe_price_differs");
        let (_, reason) = shop.dead_event("invoice.paid", &event["data"]["object"]).await;
        assert!(reason.starts_with("price_unknown: "), "{reason}");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_price_that_was_never_seen_is_decided_before_its_first_payment(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let price = shop.other_price("49900", None).await;
        shop.decide(&price, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        shop.subscribe_at_stripe(&stripe_customer, &price, &[]).await;
        shop.deliver_event("invoice.paid", &shop.stripe.list("invoice")[0]).await;
        assert_eq!((shop.plan(&customer).await.as_str(), shop.app.balance(&customer).await), ("pro", PERIOD));
    }
}

with_backend! {
    async fn a_price_that_is_billed_each_month_is_never_sold_as_a_year(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        // Somebody moved the lookup key of the year to a price that is billed each month.
        let form = [
            ("unit_amount", "59900"),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "pro"),
            ("lookup_key", "pro_yearly"),
            ("transfer_lookup_key", "true"),
        ];
        let price = stripe::id(&shop.ask_stripe("POST", "/v1/prices", &form).await).to_owned();
        shop.subscribe_at_stripe(&stripe_customer, &price, &[]).await;
        let (_, reason) = shop.dead_event("invoice.paid", &shop.stripe.list("invoice")[0]).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains("paid each month"), "{reason}");
        assert_eq!(shop.app.balance(&customer).await, 0);
        let body = json!({ "decision": "ours", "price": "pro_yearly", "reason": "ticket 4711" });
        let refused = shop.app.admin("POST", &format!("/admin/v1/prices/{price}/decision"), Some(&body)).await;
        refused.expect_problem(422, "stripe_price_differs");
        shop.close().await;
    }
}
