//! Failure 5 (see `failures.rs`): a charge with a lost, late or wrong answer is not made again.

use super::*;
use crate::money::interceptor::error;

impl Shop {
    /// Asserts that one payment was created at Stripe, paid and settled once.
    async fn charged_once(&self, customer: &TestCustomer) {
        assert_eq!(self.net_paid(customer).await, UNIT);
        assert_eq!(self.stripe.list("payment_intent").len(), 1);
        assert_eq!(self.app.balance(customer).await, 0);
    }
}

with_shop! {
    async fn failure_5_a_success_whose_answer_is_lost_is_charged_once_and_settled_later(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.fail_next("POST", PAY, Fault::LoseAnswer { hang_ms: 2 * STRIPE_TIMEOUT_MS });
        // The answer is lost for longer than the first timeout; the retry finds the payment.
        let spent = shop.app.spend(&customer, 1, "unit").await;
        assert!(matches!(spent.status, 200 | 202), "{}", spent.body);
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        assert!(shop.stripe.calls("POST /v1/payment_intents") >= 2);
    }

    async fn failure_5_a_success_slower_than_the_timeout_is_charged_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        // Until it has succeeded, Stripe answers that its key is in use.
        shop.fail_next("POST", PAY, Fault::Delay { ms: 2 * STRIPE_TIMEOUT_MS });
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
    }

    async fn failure_5_a_month_of_pro_whose_answer_is_lost_is_found_and_charged_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.fail_next("POST", "/v1/subscriptions", Fault::LoseAnswer { hang_ms: 2 * STRIPE_TIMEOUT_MS });
        shop.subscribe_until_done(&customer, "pro").await;
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}

with_backend! {
    async fn failure_5_a_lost_success_and_then_a_refused_key_is_charged_once(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::AnswerLost);
        interceptor.intercept(1, "POST", PAY, Interception::Blocked(401, error("invalid_request_error", "invalid_request_error")));
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }

    async fn failure_5_a_lost_success_with_a_misused_key_is_found_and_charged_once(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::AnswerLost);
        interceptor.intercept(9, "POST", PAY, Interception::Blocked(400, error("idempotency_error", "idempotency_error")));
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }

    async fn failure_5_a_charge_behind_a_stored_failure_is_found_and_not_made_again(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::Replaced(500, error("api_error", "api_error")));
        interceptor.intercept(9, "POST", PAY, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }

    async fn failure_5_a_charge_whose_key_expired_is_found_and_not_made_again(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(usize::MAX, "POST", PAY, Interception::AnswerLost);
        let asked = async { shop.app.spend(&customer, 1, "unit").await };
        let a_day_later = async {
            wait::until("Stripe has charged", || async { (shop.net_paid(&customer).await == UNIT).then_some(()) }).await;
            shop.a_day_passes().await;
            interceptor.clear();
        };
        tokio::join!(asked, a_day_later);
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }
}
