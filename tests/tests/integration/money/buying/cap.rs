//! Spend caps.

use super::*;
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::currency::Currency;
use bursar_engine::domain::catalogue::{Catalogue, Pack};
use bursar_engine::key::PackKey;

/// The price of the pack, in cents of dollars.
const PACK: i64 = 1_100;

fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency")
}

/// Units are sold in euros, and a pack in dollars.
fn sell_units_in_euros(catalogue: &mut Catalogue) {
    catalogue.currency = currency("eur");
    for plan in &mut catalogue.plans {
        plan.unit_prices.insert(currency("eur"), MoneyMinor(UNIT));
    }
    catalogue.packs = vec![Pack {
        key: PackKey::trusted("dollars"),
        name: "10 fixes".to_owned(),
        credits: Credits(10),
        amount: MoneyMinor(PACK),
        currency: currency("usd"),
        lifetime_days: None,
        offered: true,
    }];
}

impl Shop {
    async fn buy_for_dollars(&self, customer: &TestCustomer, key: &str) -> Answer {
        let body = json!({ "pack": "dollars" });
        self.app.call(customer, "POST", "/api/v1/credits/purchases", key, Some(&body)).await
    }

    async fn caps(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "GET", CAPS, "", None).await.expect(200)
    }

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
        let charged = async || {
            let caps = shop.app.call(&customer, "GET", CAPS, "", None).await.expect(200);
            caps["month"]["charged_minor"].as_i64().expect("money")
        };
        let intent = payment_to_authenticate(&shop.app.spend(&customer, 1, "first").await);
        assert_eq!(charged().await, UNIT);
        // It gives way to another one, and no longer counts.
        let second = payment_to_authenticate(&shop.app.spend(&customer, 1, "second").await);
        assert_eq!((&shop.stripe.object(&intent)["status"], charged().await), (&json!("canceled"), UNIT));
        shop.stripe.authenticate(&second, false).expect("it waits");
        wait::until("it has failed", || async {
            (shop.app.spend(&customer, 1, "second").await.code() == "payment_declined").then_some(())
        })
        .await;
        assert_eq!(charged().await, 0);
        let third = payment_to_authenticate(&shop.app.spend(&customer, 1, "third").await);
        shop.stripe.authenticate(&third, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "third").await;
        shop.app.spend(&customer, 1, "fourth").await.expect_problem(402, "spend_cap_reached");
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

with_shop! {
    async fn a_charge_above_a_whole_cap_has_no_time_to_retry_at(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.set_caps(&customer, json!({ "day_minor": 2 * UNIT - 1 })).await.expect(200);
        let refused = shop.app.spend(&customer, 2, "two").await;
        refused.expect_problem(402, "spend_cap_reached");
        assert_eq!(refused.body["retry_at"], Value::Null, "{}", refused.body);
        shop.app.spend(&customer, 1, "one").await.expect(200);
        let refused = shop.app.spend(&customer, 1, "another").await;
        refused.expect_problem(402, "spend_cap_reached");
        assert!(refused.body["retry_at"].is_string(), "{}", refused.body);
    }
}

with_backend! {
    async fn a_cap_holds_in_each_currency_by_itself(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                sell_units_in_euros(catalogue);
                catalogue.plans.iter_mut().for_each(|plan| plan.spend_cap_day = Some(MoneyMinor(3_000)));
            });
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.buy_for_dollars(&customer, "first").await.expect(201);
        shop.buy_for_dollars(&customer, "second").await.expect(201);
        shop.buy_for_dollars(&customer, "third").await.expect_problem(402, "spend_cap_reached");
        // What was charged in dollars takes nothing from the cap in euros.
        shop.app.spend(&customer, 21, "units").await.expect(200);
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "spend_cap_reached");
        let caps = shop.caps(&customer).await;
        assert_eq!((&caps["currency"], &caps["day"]["charged_minor"]), (&json!("eur"), &json!(UNIT)));
        let other = &caps["other_currencies"][0];
        assert_eq!((&other["currency"], &other["day"]["charged_minor"]), (&json!("usd"), &json!(2 * PACK)));
        assert_eq!((&other["day"]["cap_minor"], &other["day"]["left_minor"]), (&json!(3_000), &json!(800)));
        shop.close().await;
    }

    async fn a_cap_of_nothing_forbids_charges_in_every_currency(backend: Backend) {
        let shop =
            Shop::open_with(backend, |config| config.catalogue = catalogue_with(sell_units_in_euros)).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.set_caps(&customer, json!({ "month_minor": 0 })).await.expect(200);
        shop.buy_for_dollars(&customer, "pack").await.expect_problem(402, "spend_cap_reached");
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "spend_cap_reached");
        // What support sets holds for dollars, too.
        shop.set_caps(&customer, json!({})).await.expect(200);
        let path = format!("/admin/v1/customers/{}/spend-caps", customer.id);
        let highest = json!({ "month_minor": PACK, "reason": "ticket 1" });
        shop.app.admin("POST", &path, Some(&highest)).await.expect(200);
        shop.buy_for_dollars(&customer, "pack").await.expect(201);
        shop.buy_for_dollars(&customer, "again").await.expect_problem(402, "spend_cap_reached");
        assert_eq!(shop.stripe.list("charge").len(), 1);
        shop.close().await;
    }

    async fn another_currency_of_the_catalogue_loosens_no_cap(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.set_caps(&customer, json!({ "month_minor": UNIT })).await.expect(200);
        let path = format!("/admin/v1/customers/{}/spend-caps", customer.id);
        let highest = json!({ "day_minor": 2 * UNIT, "month_minor": 90_000, "reason": "ticket 1" });
        shop.app.admin("POST", &path, Some(&highest)).await.expect(200);
        shop.app.app.config.catalogue.replace(catalogue_with(sell_units_in_euros).now());
        let caps = shop.caps(&customer).await;
        assert_eq!((&caps["currency"], &caps["month"]["own_minor"]), (&json!("eur"), &json!(UNIT)));
        assert_eq!((&caps["month"]["highest_minor"], &caps["day"]["support_minor"]), (&json!(90_000), &json!(2 * UNIT)));
        shop.app.spend(&customer, 1, "one").await.expect(200);
        shop.app.spend(&customer, 1, "two").await.expect_problem(402, "spend_cap_reached");
        // A new cap of the customer leaves support's as they are.
        let caps = shop.set_caps(&customer, json!({ "month_minor": 3 * UNIT })).await.expect(200);
        assert_eq!((&caps["month"]["own_minor"], &caps["day"]["cap_minor"]), (&json!(3 * UNIT), &json!(2 * UNIT)));
        shop.close().await;
    }
}
