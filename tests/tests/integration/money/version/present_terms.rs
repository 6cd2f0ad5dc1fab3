//! Subscribers at a former price who take their price as it is sold now.

use super::*;
use crate::cli::Program;

const CHANGE: &str = "/api/v1/subscription/change";
const PREVIEW: &str = "/api/v1/subscription/preview";

/// The lowered price of a month of Pro, and its credits.
const LOWERED: (i64, i64) = (49_900, 80);

/// The built-in catalogue with Pro at another amount and other credits, as TOML.
fn selling_at((amount, credits): (i64, i64)) -> String {
    changed(|catalogue| {
        (catalogue.prices[0].amount, catalogue.prices[0].credits) = (MoneyMinor(amount), Credits(credits));
    })
}

fn same_price(when: &str, present_terms: bool) -> Value {
    match present_terms {
        true => json!({ "price": "pro_monthly", "when": when, "present_terms": true }),
        false => json!({ "price": "pro_monthly", "when": when }),
    }
}

impl Shop {
    async fn asks(&self, customer: &TestCustomer, path: &str, key: &str, change: &Value) -> Answer {
        self.app.call(customer, "POST", path, key, Some(change)).await
    }

    /// The id of the price at Stripe that the subscription has.
    fn price_had(&self) -> String {
        stripe::id(&self.subscription()["items"]["data"][0]["price"]).to_owned()
    }
}

with_backend! {
    async fn a_lowered_price_is_taken_at_once_on_request_and_only_then(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        let former = shop.price_had();
        let nothing = shop.asks(&customer, CHANGE, "nothing", &same_price("now", true)).await;
        nothing.expect_problem(409, "subscription_unchanged");
        apply(&shop.app, &selling_at(LOWERED)).await;
        for (path, when) in [(CHANGE, "now"), (CHANGE, "period_end"), (PREVIEW, "now"), (PREVIEW, "period_end")] {
            let refused = shop.asks(&customer, path, when, &same_price(when, false)).await;
            refused.expect_problem(409, "subscription_unchanged");
            let words = refused.body["detail"].as_str().expect("words");
            assert!(words.contains("present_terms: true"), "{path} {when}: {words}");
        }
        assert_eq!(shop.price_had(), former);

        let wanted = same_price("now", true);
        let said = shop.asks(&customer, PREVIEW, "", &wanted).await.expect(200);
        let next = (&said["due_now_minor"], &said["next_amount_minor"], &said["next_credits"], &said["credits_now"]);
        assert_eq!(next, (&json!(0), &json!(LOWERED.0), &json!(LOWERED.1), &json!(LOWERED.1 - PERIOD)), "{said}");
        let changed = shop.asks(&customer, CHANGE, "lower", &wanted).await.expect(200);
        assert_eq!((&changed["terms"]["is_former"], &changed["credit_balance"]), (&json!(false), &json!(LOWERED.1)));
        assert_eq!(changed["terms"]["price"]["amount_minor"], json!(LOWERED.0));
        let present = stripe::id(&shop.keyed_price("pro_monthly").await).to_owned();
        assert_eq!((shop.price_had(), shop.net_paid(&customer).await), (present, MONTH));
        let again = shop.asks(&customer, CHANGE, "again", &wanted).await;
        again.expect_problem(409, "subscription_unchanged");
        assert_eq!(shop.next_month()["total"], json!(LOWERED.0));
        shop.close().await;
    }

    async fn support_sees_the_terms_that_a_subscription_keeps(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        let (program, id) = (Program::of(&shop.app.config, &shop.app.base), customer.id.as_str());
        let words = program.well(&["customers", "show", id]).await;
        assert!(words.contains("$599.00") && !words.contains("former"), "{words}");
        apply(&shop.app, &selling_at(LOWERED)).await;
        let shown = program.json(&["customers", "show", id]).await;
        let own = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!(shown["subscriptions"][0]["terms"], own["terms"]);
        let terms = &own["terms"];
        assert_eq!((&terms["price"]["amount_minor"], &terms["is_former"]), (&json!(MONTH), &json!(true)));
        let words = program.well(&["customers", "show", id]).await;
        assert!(words.contains("$599.00") && words.contains("former"), "{words}");
        shop.close().await;
    }

    async fn present_terms_come_with_the_end_of_the_period_on_request(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        apply(&shop.app, &selling_at(LOWERED)).await;
        let wanted = same_price("period_end", true);
        let said = shop.asks(&customer, PREVIEW, "", &wanted).await.expect(200);
        let next = (&said["due_now_minor"], &said["next_amount_minor"], &said["next_credits"], &said["credits_now"]);
        assert_eq!(next, (&json!(0), &json!(LOWERED.0), &json!(LOWERED.1), &json!(0)), "{said}");
        let changed = shop.asks(&customer, CHANGE, "end", &wanted).await.expect(200);
        assert_eq!(changed["pending_change"]["price"], json!("pro_monthly"));
        assert_eq!(changed["terms"]["is_former"], json!(true), "nothing changes before the end");

        let renewal = shop.next_month();
        assert_eq!(renewal["total"], json!(LOWERED.0));
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.deliver_event("invoice.paid", &renewal).await;
        let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!((&shown["terms"]["is_former"], &shown["pending_change"]), (&json!(false), &Value::Null));
        assert_eq!(shop.app.balance(&customer).await, PERIOD + LOWERED.1);
        shop.close().await;
    }
}
