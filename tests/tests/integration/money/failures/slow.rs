//! 5: a charge whose answer is lost, late or wrong is not made a second time.

use super::*;
use crate::money::between::error;

impl Shop {
    /// One payment was begun at Stripe, and it was taken and settled once.
    async fn charged_once(&self, customer: &TestCustomer) {
        assert_eq!(self.money(customer).await, UNIT);
        assert_eq!(self.stripe.list("payment_intent").len(), 1);
        assert_eq!(self.app.balance(customer).await, 0);
    }
}

shops! {
    async fn failure_5_a_success_whose_answer_is_lost_is_charged_once_and_settled_later(shop: &Shop) {
        let customer = shop.broke("pm_card_visa").await;
        shop.fail_next("POST", PAY, Fault::LoseAnswer { hang_ms: 2 * STRIPE_TIMEOUT_MS });
        // Stripe's answer is lost for longer than a caller here waits at first; its repetition finds it.
        let spent = shop.app.spend(&customer, 1, "unit").await;
        assert!(matches!(spent.status, 200 | 202), "{}", spent.body);
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        assert!(shop.stripe.calls("POST /v1/payment_intents") >= 2);
    }

    async fn failure_5_a_success_slower_than_the_timeout_is_charged_once(shop: &Shop) {
        let customer = shop.broke("pm_card_visa").await;
        // Until it has succeeded, Stripe says of its key that it is in use.
        shop.fail_next("POST", PAY, Fault::Delay { ms: 2 * STRIPE_TIMEOUT_MS });
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
    }

    async fn failure_5_a_month_of_pro_whose_answer_is_lost_is_found_and_charged_once(shop: &Shop) {
        let customer = shop.broke("pm_card_visa").await;
        shop.fail_next("POST", "/v1/subscriptions", Fault::LoseAnswer { hang_ms: 2 * STRIPE_TIMEOUT_MS });
        shop.subscribe_until_done(&customer, "pro").await;
        assert_eq!(shop.money(&customer).await, MONTH);
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}

on_both! {
    async fn failure_5_a_lost_success_and_then_a_refused_key_is_charged_once(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", PAY, Instead::Silence);
        between.next(1, "POST", PAY, Instead::Unheard(401, error("invalid_request_error", "invalid_request_error")));
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }

    async fn failure_5_a_lost_success_with_a_misused_key_is_found_and_charged_once(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", PAY, Instead::Silence);
        between.next(9, "POST", PAY, Instead::Unheard(400, error("idempotency_error", "idempotency_error")));
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }

    async fn failure_5_a_charge_behind_a_stored_failure_is_found_and_not_made_again(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", PAY, Instead::AfterAll(500, error("api_error", "api_error")));
        between.next(9, "POST", PAY, Instead::Stored(500, error("api_error", "api_error")));
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }

    async fn failure_5_a_charge_whose_key_expired_is_found_and_not_made_again(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(usize::MAX, "POST", PAY, Instead::Silence);
        let asked = async { shop.app.spend(&customer, 1, "unit").await };
        let a_day_later = async {
            wait::until("Stripe has charged", || async { (shop.money(&customer).await == UNIT).then_some(()) }).await;
            shop.a_day_passes().await;
            between.clear();
        };
        tokio::join!(asked, a_day_later);
        shop.spend_until_done(&customer, 1, "unit").await;
        shop.charged_once(&customer).await;
        shop.close().await;
    }
}
