//! Refunds that Stripe refuses, forgets or answers in doubt: each is made once, or ends with the reason.

use super::super::interceptor::{Interception, Interceptor, error};
use super::*;
use crate::scene::{delay_job, resume_job};

const REFUNDS: &str = "/v1/refunds";

impl Shop {
    /// A shop that waits shortly for Stripe, with a customer on Pro and the id of its payment.
    async fn with_payment(backend: Backend) -> (Self, Interceptor, TestCustomer, String) {
        let (shop, interceptor) = Self::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        (shop, interceptor, customer, payment)
    }

    /// Asks for a refund of half a month.
    async fn ask_for_half(&self, payment: &str) -> Value {
        let body = json!({ "amount_minor": MONTH / 2, "reason": "half a month" });
        self.refund_under("once", payment, &body).await.expect(200)
    }

    /// Asks for a refund of half a month until it has ended so; returns the answer.
    async fn half_ends_as(&self, payment: &str, state: &str) -> Value {
        wait::until(&format!("the refund is {state}"), || async {
            let answer = self.ask_for_half(payment).await;
            (answer["state"] == state).then_some(answer)
        })
        .await
    }

    /// Half a month was given back once, with its credits.
    async fn half_is_back_once(&self, customer: &TestCustomer) {
        self.balance_becomes(customer, PERIOD / 2).await;
        assert_eq!((self.stripe.list("refund").len(), self.net_paid(customer).await), (1, MONTH - MONTH / 2));
    }
}

fn failure() -> Value {
    error("api_error", "api_error")
}

fn answers_429() -> Interception {
    Interception::Blocked(429, error("invalid_request_error", "rate_limit"))
}

fn answers_400() -> Interception {
    Interception::Blocked(400, error("invalid_request_error", "parameter_invalid"))
}

/// Calls for a refund of half a month come to this until its key is old. Half a month is given back once all the same.
async fn half_ends_a_day_after(backend: Backend, calls: Interception) {
    let (shop, interceptor, customer, payment) = Shop::with_payment(backend).await;
    interceptor.intercept(usize::MAX, "POST", REFUNDS, calls);
    assert_eq!(shop.ask_for_half(&payment).await["state"], "processing");
    let job = delay_job(&shop.app, "operation.run").await;
    shop.a_day_passes().await;
    interceptor.clear();
    resume_job(&shop.app, &job).await;
    shop.half_ends_as(&payment, "succeeded").await;
    shop.half_is_back_once(&customer).await;
    shop.close().await;
}

with_backend! {
    async fn a_refund_whose_key_is_old_is_found_and_not_made_again(backend: Backend) {
        half_ends_a_day_after(backend, Interception::AnswerLost).await;
    }

    async fn a_refund_never_made_gets_a_new_key_once_its_own_is_old(backend: Backend) {
        half_ends_a_day_after(backend, answers_429()).await;
    }

    async fn a_refund_behind_a_stored_failure_is_found_and_not_made_again(backend: Backend) {
        let (shop, interceptor, customer, payment) = Shop::with_payment(backend).await;
        interceptor.intercept(1, "POST", REFUNDS, Interception::Replaced(500, failure()));
        interceptor.intercept(9, "POST", REFUNDS, Interception::BlockedAsReplayed(500, failure()));
        shop.half_ends_as(&payment, "succeeded").await;
        interceptor.clear();
        shop.half_is_back_once(&customer).await;
        shop.close().await;
    }

    async fn a_refund_that_a_stored_failure_prevented_is_made_under_a_new_key(backend: Backend) {
        let (shop, interceptor, customer, payment) = Shop::with_payment(backend).await;
        interceptor.intercept(1, "POST", REFUNDS, Interception::Blocked(500, failure()));
        interceptor.intercept(1, "POST", REFUNDS, Interception::BlockedAsReplayed(500, failure()));
        shop.half_ends_as(&payment, "succeeded").await;
        interceptor.until_all_intercepted().await;
        shop.half_is_back_once(&customer).await;
        shop.close().await;
    }

    async fn a_refund_whose_answer_was_lost_is_found_although_stripe_refuses_its_repetition(backend: Backend) {
        let (shop, interceptor, customer, payment) = Shop::with_payment(backend).await;
        interceptor.intercept(1, "POST", REFUNDS, Interception::AnswerLost);
        interceptor.intercept(1, "POST", REFUNDS, answers_400());
        shop.half_ends_as(&payment, "succeeded").await;
        interceptor.until_all_intercepted().await;
        shop.half_is_back_once(&customer).await;
        shop.close().await;
    }

    async fn a_refund_that_stripe_refuses_or_the_bank_does_not_take_fails_with_the_reason(backend: Backend) {
        let failed = json!({ "id": "re_failed", "object": "refund", "status": "failed", "failure_reason": "declined" });
        let nameless = json!({ "object": "refund", "status": "succeeded" });
        for (answer, why) in [
            (answers_400(), "intercepted"),
            (Interception::Blocked(200, failed), "The bank did not take the money back (declined)."),
            (Interception::Blocked(200, nameless), "Stripe's answer names no refund."),
        ] {
            let (shop, interceptor, customer, payment) = Shop::with_payment(backend).await;
            interceptor.intercept(1, "POST", REFUNDS, answer);
            let ended = shop.half_ends_as(&payment, "failed").await;
            assert!(ended["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{ended}");
            assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (PERIOD, MONTH), "{why}");
            shop.close().await;
        }
    }
}
