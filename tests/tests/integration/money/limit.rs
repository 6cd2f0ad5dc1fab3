//! Unsuccessful operations are limited, paid charges are not.

use super::*;
use crate::database::number;
use crate::scene::with_backend;
use bursar_tests::unique::unique;

const OPERATIONS: &str = "SELECT COUNT(*) FROM operations WHERE customer_id = $1";

with_backend! {
    async fn unsuccessful_operations_are_limited_and_paid_charges_are_not(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            (config.limits.writes_per_second, config.limits.writes_burst) = (1, 30);
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        for _ in 0..10 {
            shop.app.spend(&customer, 1, &unique()).await.expect(200);
        }
        let count = async || number(&shop.app, OPERATIONS, [customer.id.as_str().into()]).await;
        let limited = wait::until("an operation is refused", || async {
            let answer = shop.attach(&customer, "pm_unknown", &unique()).await;
            (answer.status == 429).then_some(answer)
        })
        .await;
        limited.expect_problem(429, "rate_limited");
        let before = count().await;
        shop.attach(&customer, "pm_unknown", "refused").await.expect_problem(429, "rate_limited");
        assert_eq!(count().await, before, "a refused request wrote something");
        // Earlier requests get their answers as before.
        shop.attach(&customer, "pm_card_visa", "card").await.expect(201);
        shop.close().await;
    }
}
