//! Changes of a subscription that are interrupted between two calls to Stripe.

use super::*;
use crate::money::interceptor::{Interception, error};
use crate::scene::{delay_job, resume_job};

const CHANGE: &str = "/api/v1/subscription/change";

impl Shop {
    /// Sells Plus, which is dearer than Pro.
    async fn sell_plus(&self) {
        let plus = priced("plus_monthly", |price| price.amount = MoneyMinor(MONTH + 100));
        self.change_catalogue(|catalogue| catalogue.prices.push(plus));
        let amount = (MONTH + 100).to_string();
        let form = [
            ("unit_amount", amount.as_str()),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "Plus"),
            ("lookup_key", "plus_monthly"),
        ];
        self.ask_stripe("POST", "/v1/prices", &form).await;
    }

    /// Gives the subscription a payment method of its own at Stripe, which the customer has not added here.
    async fn set_other_payer(&self, customer: &TestCustomer) -> String {
        let stripe_customer = self.stripe_customer(customer).await;
        let attach = [("customer", stripe_customer.as_str())];
        let card = self.ask_stripe("POST", "/v1/payment_methods/pm_card_mastercard/attach", &attach).await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&self.subscription()));
        self.ask_stripe("POST", &path, &[("default_payment_method", stripe::id(&card))]).await;
        stripe::id(&card).to_owned()
    }
}

fn busy() -> Interception {
    Interception::Blocked(429, error("invalid_request_error", "rate_limit"))
}

impl Shop {
    /// Repeats a change to Plus until it is made; returns the subscription.
    async fn until_on_plus(&self, customer: &TestCustomer, when: &str) -> Value {
        let wanted = json!({ "price": "plus_monthly", "when": when });
        wait::until("the change is made", || async {
            let answer = self.app.call(customer, "POST", CHANGE, "plus", Some(&wanted)).await;
            (answer.status != 202).then(|| answer.expect(200))
        })
        .await
    }
}

with_backend! {
    async fn a_change_never_made_gets_a_new_key_once_its_own_is_old(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        interceptor.intercept(usize::MAX, "POST", &path, busy());
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "plus", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        shop.a_day_passes().await;
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        assert_eq!(shop.until_on_plus(&customer, "now").await["price"], json!("plus_monthly"));
        assert_eq!(shop.stripe.list("invoice").len(), 2, "it is billed once");
        shop.close().await;
    }

    async fn a_change_whose_key_stripe_knows_for_another_request_is_found_if_it_was_made(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        let reused = Interception::Replaced(400, error("idempotency_error", "idempotency_key_in_use"));
        interceptor.intercept(1, "POST", &path, reused);
        assert_eq!(shop.until_on_plus(&customer, "now").await["price"], json!("plus_monthly"));
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("invoice").len(), 2, "it is billed once");
        shop.close().await;
    }

    async fn a_change_that_a_stored_failure_prevented_is_made_under_a_new_key(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        interceptor.intercept(1, "POST", &path, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        assert_eq!(shop.until_on_plus(&customer, "now").await["price"], json!("plus_monthly"));
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("invoice").len(), 2, "it is billed once");
        shop.close().await;
    }

    async fn a_change_at_the_end_goes_on_with_the_schedule_that_it_has_made(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        interceptor.intercept(1, "POST", "/v1/subscription_schedules/*", busy());
        let changed = shop.until_on_plus(&customer, "period_end").await;
        assert_eq!(changed["pending_change"]["price"], json!("plus_monthly"));
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("subscription_schedule").len(), 1);
        shop.close().await;
    }

    async fn a_change_at_the_end_that_stripe_refuses_leaves_no_schedule(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let refused = Interception::Blocked(400, error("invalid_request_error", "parameter_invalid"));
        interceptor.intercept(1, "POST", "/v1/subscription_schedules/*", refused);
        let wanted = json!({ "price": "plus_monthly", "when": "period_end" });
        let answer = shop.app.call(&customer, "POST", CHANGE, "plus", Some(&wanted)).await;
        assert!(answer.status >= 400, "{}", answer.body);
        assert!(shop.subscription()["schedule"].is_null(), "{}", shop.subscription());
        let changed = shop.until_on_plus(&customer, "period_end").await;
        assert_eq!(changed["pending_change"]["price"], json!("plus_monthly"), "the same request begins anew");
        shop.close().await;
    }

    async fn a_change_to_a_price_that_stripe_does_not_list_is_refused_and_changes_nothing(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let before = shop.subscription();
        let none = json!({ "object": "list", "has_more": false, "data": [] });
        interceptor.intercept(usize::MAX, "GET", "/v1/prices", Interception::Blocked(200, none));
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        let answer = shop.app.call(&customer, "POST", CHANGE, "plus", Some(&wanted)).await;
        answer.expect_problem(503, "payment_unavailable");
        interceptor.clear();
        assert_eq!(shop.subscription()["items"], before["items"]);
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        shop.close().await;
    }

    async fn a_change_that_was_interrupted_before_its_card_was_set_is_finished_with_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let other = shop.set_other_payer(&customer).await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/customers/*", busy);
        let wanted = json!({ "price": "plus_monthly", "when": "period_end" });
        let path = format!("{SUBSCRIPTION}/change");
        shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        assert!(!shop.subscription()["schedule"].is_null(), "the change is made");
        assert_eq!(shop.subscription()["default_payment_method"], json!(other));

        interceptor.clear();
        resume_job(&shop.app, &job).await;
        let changed = wait::until("the change is done", || async {
            let answer = shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await;
            (answer.status != 202).then(|| answer.expect(200))
        })
        .await;
        assert_eq!(changed["pending_change"]["price"], json!("plus_monthly"));
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        assert_eq!(shop.subscription()["default_payment_method"], methods["data"][0]["id"], "the card of the moment");
        shop.close().await;
    }

    async fn a_change_that_waited_while_its_period_was_refunded_is_refused(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let before = shop.subscription();
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/invoices/create_preview", busy);
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        let path = format!("{SUBSCRIPTION}/change");
        shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;

        interceptor.clear();
        resume_job(&shop.app, &job).await;
        let refused = wait::until("the change is refused", || async {
            let answer = shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await;
            (answer.status != 202).then_some(answer)
        })
        .await;
        refused.expect_problem(409, "period_refunded");
        assert_eq!(shop.subscription()["items"], before["items"]);
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.close().await;
    }

    async fn a_change_is_refused_while_a_refund_of_its_period_is_under_way(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/refunds", busy);
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&shop.stripe.list("invoice").remove(0)));
        let asked = shop.app.admin("POST", &path, Some(&json!({ "reason": "ticket 1" }))).await;
        assert_eq!(asked.body["state"], json!("processing"), "{}", asked.body);
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        for path in ["preview", "change"] {
            let path = format!("{SUBSCRIPTION}/{path}");
            let refused = shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await;
            refused.expect_problem(409, "period_refunded");
        }
        interceptor.clear();
        wait::until("the refund is made", || async { (shop.net_paid(&customer).await == 0).then_some(()) }).await;
        shop.announce_refund(stripe::id(&shop.stripe.list("charge").remove(0))).await;
        shop.close().await;
    }
}
