//! Packs, and units that are bought in steps.

use super::*;
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::Pack;
use bursar_engine::key::PackKey;

const PURCHASES: &str = "/api/v1/credits/purchases";

/// The price of the pack, in minor units.
const PACK: i64 = 20_000;

/// The built-in catalogue with a pack that is offered and one that is not.
fn with_pack(config: &mut Config) {
    config.catalogue = catalogue_with(|catalogue| {
        let pack = |key: &str, credits: i64, offered: bool| Pack {
            key: PackKey::trusted(key),
            name: format!("{credits} fixes"),
            credits: Credits(credits),
            amount: MoneyMinor(PACK),
            currency: catalogue.currency.clone(),
            lifetime_days: Some(90),
            offered,
        };
        catalogue.packs = vec![pack("ten", 10, true), pack("gone", 5, false)];
    });
}

impl Shop {
    async fn buy(&self, customer: &TestCustomer, key: &str) -> Answer {
        self.app.call(customer, "POST", PURCHASES, key, Some(&json!({ "pack": "ten" }))).await
    }
}

with_backend! {
    async fn a_pack_is_charged_and_granted_once_with_its_lifetime(backend: Backend) {
        let shop = Shop::open_with(backend, with_pack).await;
        let listed = shop.app.request("GET", "/api/v1/packs", &[], None).await.expect(200);
        let keys: Vec<&Value> = listed["data"].as_array().expect("packs").iter().map(|pack| &pack["key"]).collect();
        assert_eq!(keys, ["ten"], "only what is offered");
        let customer = shop.app.onboard().await;
        shop.buy(&customer, "early").await.expect_problem(402, "payment_method_missing");
        shop.attach_until_done(&customer, "pm_card_visa").await;
        let bought = shop.buy(&customer, "pack").await.expect(201);
        assert_eq!((&bought["transaction"]["amount"], &bought["credit_balance"]), (&json!(10), &json!(20)));
        assert!(bought["transaction"]["expires_at"].is_string(), "{bought}");
        let again = shop.buy(&customer, "pack").await.expect(201);
        assert_eq!((&again["transaction"], &again["replayed"]), (&bought["transaction"], &json!(true)));
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (PACK, 20));
        let body = json!({ "pack": "gone" });
        shop.app.call(&customer, "POST", PURCHASES, "gone", Some(&body)).await.expect_problem(404, "pack_not_offered");
        let other = shop.app.call(&customer, "POST", PURCHASES, "pack", Some(&body)).await;
        other.expect_problem(422, "idempotency_key_reused");
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let operation = &operations["data"][0];
        assert_eq!((&operation["kind"], &operation["transaction"]["amount"]), (&json!("pack_purchase"), &json!(10)));
        shop.close().await;
    }

    async fn a_pack_pays_a_debt_first_and_a_refund_takes_its_credits_back(backend: Backend) {
        let shop = Shop::open_with(backend, with_pack).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 3, "units").await.expect(200);
        let first = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&first, None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&first)).await;
        assert_eq!(shop.app.balance(&customer).await, -3);
        let bought = shop.buy(&customer, "pack").await.expect(201);
        assert_eq!(bought["credit_balance"], 7, "the debt is paid first");
        let charges = shop.stripe.list("charge");
        let second = charges.iter().find(|charge| charge["amount"] == PACK).expect("the pack's charge");
        let second = stripe::id(second).to_owned();
        shop.stripe.refund(&second, Some(PACK / 2)).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&second)).await;
        assert_eq!(shop.app.balance(&customer).await, 2, "half of the pack's credits");
        shop.close().await;
    }

    async fn credits_that_a_won_dispute_returns_end_when_they_would_have_ended(backend: Backend) {
        let shop = Shop::open_with(backend, with_pack).await;
        let customer = shop.app.onboard().await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        let bought = shop.buy(&customer, "pack").await.expect(201);
        shop.app.spend(&customer, 4, "work").await.expect(200);
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        let dispute = shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
        shop.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
        assert_eq!(shop.app.balance(&customer).await, 6);
        let won = shop.stripe.close_dispute(stripe::id(&dispute), true).expect("it is open");
        for _ in 0..2 {
            shop.deliver_event("charge.dispute.closed", &won).await;
            assert_eq!(shop.app.balance(&customer).await, 16);
        }
        let listed = shop.app.call(&customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
        let rows = listed["data"].as_array().expect("a list").iter();
        let returned: Vec<_> = rows.filter(|row| row["source"] == "reinstatement").collect();
        let ends: Vec<_> = returned.iter().map(|row| (&row["amount"], &row["expires_at"])).collect();
        let end = &bought["transaction"]["expires_at"];
        // Four came from credits that do not end, and came back first. Six were left of the pack. The latest is listed first.
        assert_eq!(ends, [(&json!(6), end), (&json!(4), &Value::Null)], "{listed}");
        shop.close().await;
    }

    async fn packs_obey_the_rules_of_all_charges(backend: Backend) {
        let shop = Shop::open_with(backend, with_pack).await;
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.buy(&customer, "a").await.expect_problem(402, "payment_declined");
        shop.buy(&customer, "a").await.expect_problem(402, "card_paused");
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "card_paused");
        shop.attach(&customer, "pm_card_visa", "better").await.expect(201);
        let caps = json!({ "month_minor": PACK + UNIT });
        shop.app.call(&customer, "PUT", CAPS, "", Some(&caps)).await.expect(200);
        shop.buy(&customer, "a").await.expect(201);
        shop.buy(&customer, "b").await.expect_problem(402, "spend_cap_reached");
        shop.app.spend(&customer, 11, "eleven").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (PACK + UNIT, 0));
        shop.close().await;
    }

    async fn units_are_bought_in_steps_and_the_rest_stays(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                catalogue.plans.iter_mut().for_each(|plan| plan.unit_step = Credits(10));
            });
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        let spent = shop.app.spend(&customer, 1, "one").await.expect(200);
        assert_eq!((&spent["credit_balance"], shop.net_paid(&customer).await), (&json!(9), 10 * UNIT));
        let spent = shop.app.spend(&customer, 9, "nine").await.expect(200);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (10 * UNIT, 0));
        // What is told is what is charged.
        let words = "You have no fix credits left. The next 10 fixes cost $290.00.";
        assert_eq!((&spent["warning"], &shop.credits(&customer).await["warning"]), (&json!(words), &json!(words)));
        let summary = shop.app.call(&customer, "GET", "/api/v1/usage/summary", "", None).await.expect(200);
        assert_eq!(summary["warnings"], json!([{ "code": "no_credits", "message": words }]));
        assert_eq!(summary["next_price"], "$290.00 for 10 fixes");
        shop.close().await;
    }
}

with_shop! {
    async fn a_debt_is_paid_by_request_and_then_there_is_none(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let pay = |key: &'static str, body: Value| {
            let (app, customer) = (&shop.app, &customer);
            async move { app.call(customer, "POST", PURCHASES, key, Some(&body)).await }
        };
        pay("none", json!({ "pay_debt": true })).await.expect_problem(409, "nothing_owed");
        shop.spend_until_done(&customer, 3, "units").await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        shop.app.spend(&customer, 1, "work").await.expect_problem(402, "credits_owed");
        for body in [json!({}), json!({ "pay_debt": false }), json!({ "pack": "ten", "pay_debt": true })] {
            pay("bad", body).await.expect_problem(400, "invalid_purchase");
        }
        let paid = pay("debt", json!({ "pay_debt": true })).await.expect(201);
        assert_eq!((&paid["transaction"]["amount"], &paid["credit_balance"]), (&json!(3), &json!(0)));
        let again = pay("debt", json!({ "pay_debt": true })).await.expect(201);
        assert_eq!(again["replayed"], true);
        pay("more", json!({ "pay_debt": true })).await.expect_problem(409, "nothing_owed");
        assert_eq!(shop.net_paid(&customer).await, 3 * UNIT);
        shop.app.spend(&customer, 1, "work").await.expect(200);
    }
}
