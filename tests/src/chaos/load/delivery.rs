//! Delivers each event several times, in any order, to any node, until it is accepted.

use super::Load;
use crate::app::WEBHOOK_SECRETS;
use crate::chaos::record::{Customer, Discrepancy};
use crate::chaos::scenario::{self, Delivery};
use crate::stripe::signature;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Deliveries of each event.
const COPIES: RangeInclusive<usize> = 2..=4;
/// The time over which the deliveries are spread, which shuffles them.
const SPREAD_MS: RangeInclusive<u64> = 0..=3_000;
/// A secret that the application does not have.
const FORGED_SECRET: &str = "whsec_somebody_else";

impl Load {
    /// Generates a scenario and delivers its events.
    pub(super) async fn run_scenario(self: &Arc<Self>, customer: &Customer, mut rng: StdRng) {
        let deliveries = scenario::generate(&self.record, customer, &mut rng);
        let mut under_way = JoinSet::new();
        for delivery in deliveries {
            self.tally.events.up();
            let delivery = Arc::new(delivery);
            for copy in 0..rng.random_range(COPIES) {
                let wait = Duration::from_millis(rng.random_range(SPREAD_MS));
                let (load, delivery) = (self.clone(), delivery.clone());
                under_way.spawn(async move {
                    tokio::time::sleep(wait).await;
                    load.deliver(&delivery, WEBHOOK_SECRETS[copy % WEBHOOK_SECRETS.len()]).await;
                });
            }
        }
        while let Some(ended) = under_way.join_next().await {
            if let Err(error) = ended {
                self.record.discrepancy(Discrepancy::wrong(format!("a delivery failed: {error}")));
            }
        }
    }

    async fn deliver(&self, delivery: &Delivery, secret: &str) {
        // The semaphore is never closed.
        let Ok(_permit) = self.deliveries.acquire().await else { return };
        let secret = if delivery.is_forged { FORGED_SECRET } else { secret };
        let answer = self
            .caller
            .until_definite(|client, base| {
                // Signed anew for each try, as Stripe does.
                let signature = signature(&delivery.body, secret);
                let request = client.post(format!("{base}/webhooks/stripe")).header("Stripe-Signature", signature);
                request.body(delivery.body.clone())
            })
            .await;
        let Some(answer) = answer else {
            if let Some(event) = self.record.lock().events.get_mut(delivery.event) {
                event.unanswered += 1;
            }
            return;
        };
        if delivery.is_forged && answer.status == 400 && answer.code().starts_with("signature_") {
            self.tally.forgeries.up();
        } else if answer.is_success() && !delivery.is_forged {
            self.tally.deliveries.up();
            let is_duplicate = answer.body["duplicate"] == json!(true);
            if is_duplicate {
                self.tally.duplicates.up();
            }
            if let Some(event) = self.record.lock().events.get_mut(delivery.event) {
                event.acknowledged += 1;
                event.fresh += u64::from(!is_duplicate);
            }
        } else {
            let what = self.record.lock().events.get(delivery.event).map(|event| event.what.clone());
            let text = format!("{} was answered with {} {}", what.unwrap_or_default(), answer.status, answer.body);
            self.record.discrepancy(Discrepancy::wrong(text));
        }
    }
}
