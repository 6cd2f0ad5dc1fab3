//! Buying is safe: reservations, one charge at a time, declines, spend caps.

mod bonus;
mod cap;
mod decline;
mod hold;
mod pack;
mod queue;
mod reserve;
mod top_up;

use super::interceptor::{Interception, error};
use super::*;
use crate::database::{number, texts};
use crate::scene::with_backend;
use futures_util::future::join_all;

const PAY: &str = "/v1/payment_intents";
const CAPS: &str = "/api/v1/spend-caps";

/// Lets requests that take long be answered 202 after a short wait.
pub(super) fn answers_202_soon(config: &mut Config) {
    config.stripe.wait_ms = 200;
    config.stripe.rate_per_s = 2_000;
}

impl Shop {
    /// Refuses charges until `open_stripe`.
    pub(super) fn close_stripe(&self) {
        let fault = Fault::RateLimit { retry_after_s: None };
        let rule = FaultRule { method: None, path: PAY.to_owned(), count: None, probability: None, fault };
        self.stripe.fault(rule).expect("there is room for a fault");
    }

    pub(super) fn open_stripe(&self) {
        self.stripe.clear_faults();
    }

    /// Waits until Stripe was asked for a charge more often than this.
    pub(super) async fn charged_more_often_than(&self, calls: usize) {
        wait::until("Stripe was asked", || async { (self.charge_calls() > calls).then_some(()) }).await;
    }

    pub(super) fn charge_calls(&self) -> usize {
        self.stripe.calls("POST /v1/payment_intents")
    }

    async fn credits(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "GET", "/api/v1/credits", "", None).await.expect(200)
    }

    /// Waits until each request is answered for good: its units are spent, or it is refused.
    pub(super) async fn settle(&self, customer: &TestCustomer, units: i64, key: &str) -> Answer {
        wait::until(&format!("{key} has its answer"), || async {
            let answer = self.app.spend(customer, units, key).await;
            (answer.status != 202).then_some(answer)
        })
        .await
    }

    /// Makes all ended charges older.
    pub(super) async fn hours_pass_since_charges(&self, hours: i64) {
        let ms = hours * 60 * 60 * 1_000;
        sql(&self.app, &format!("UPDATE charges SET ended_at_ms = ended_at_ms - {ms}")).await;
    }

    async fn count(&self, of: &str) -> i64 {
        number(&self.app, &format!("SELECT COUNT(*) FROM {of}"), []).await
    }
}
