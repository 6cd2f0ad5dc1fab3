//! Failure 23 (see `failures.rs`): a customer whose card declines does not make others wait.

use super::*;
use futures_util::future::join_all;

/// Requests of the customer whose card declines.
const FLOOD: usize = 40;
/// So few calls to Stripe that the flood alone takes several seconds.
const RATE_PER_S: u32 = 10;

impl Shop {
    /// Number of calls that made a payment.
    fn payment_calls(&self) -> usize {
        self.stripe.calls(&format!("POST {PAY}"))
    }
}

with_backend! {
    async fn failure_23_many_requests_with_a_declining_card_delay_nobody_else(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.rate_per_s = RATE_PER_S).await;
        let payer = shop.without_credits("pm_card_visa").await;
        let decliner = shop.without_credits("pm_card_chargeCustomerFail").await;
        let before = shop.payment_calls();
        let flood = join_all((0..FLOOD).map(|n| {
            let (app, decliner) = (&shop.app, &decliner);
            async move { app.spend(decliner, 1, &format!("flood-{n}")).await }
        }));
        let pay = async {
            wait::until("the flood is at Stripe", || async { (shop.payment_calls() > before).then_some(()) }).await;
            let before = shop.payment_calls();
            shop.spend_until_done(&payer, 1, "unit").await;
            shop.payment_calls() - before
        };
        let (_, calls) = tokio::join!(flood, pay);
        assert!(calls < FLOOD / 2, "{calls} calls were made before the one of the other customer was answered");
        assert_eq!(shop.net_paid(&payer).await, UNIT);
        assert_eq!(shop.net_paid(&decliner).await, 0);
        shop.close().await;
    }
}
