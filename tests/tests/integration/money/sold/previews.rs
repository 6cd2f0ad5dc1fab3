//! Many previews at once: what one customer asks for delays no other.

use super::*;
use futures_util::future::join_all;
use std::sync::Mutex;

const PREVIEW: &str = "/api/v1/subscription/preview";
/// Requests of one customer that may ask Stripe at a time.
const UNDER_WAY_MAX: usize = 3;

impl Shop {
    /// A shop with Team that waits long for Stripe, with two customers on Pro.
    async fn with_two_on_pro(backend: Backend, rate_per_s: u32) -> (Self, TestCustomer, TestCustomer) {
        let shop = Self::selling_with(backend, &[team_monthly()], |config| {
            config.stripe.timeout_ms = 60_000;
            config.stripe.total_timeout_ms = 60_000;
            config.stripe.wait_ms = 20_000;
            config.stripe.rate_per_s = rate_per_s;
        })
        .await;
        let mut customers = Vec::new();
        for _ in 0..2 {
            let customer = shop.without_credits("pm_card_visa").await;
            shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
            customers.push(customer);
        }
        let (other, one) = (customers.remove(1), customers.remove(0));
        (shop, one, other)
    }

    async fn preview_team(&self, customer: &TestCustomer) -> Answer {
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        self.app.call(customer, "POST", PREVIEW, "", Some(&wanted)).await
    }

    async fn until_stripe_was_asked(&self, call: &str, times: usize) {
        wait::until("Stripe was asked", || async { (self.stripe.calls(call) >= times).then_some(()) }).await;
    }
}

with_shop! {
    async fn the_preview_of_a_price_that_stripe_lacks_says_why_and_not_to_try_again(shop: &Shop) {
        let customer = shop.pro().await;
        shop.change_catalogue(|catalogue| {
            let pro = catalogue.plans[2].clone();
            catalogue.plans.push(Plan { key: PlanKey::trusted("team"), ..pro });
            catalogue.prices.push(team_monthly());
        });
        let refused = shop.preview_team(&customer).await;
        refused.expect_problem(503, "payment_unavailable");
        assert_eq!((&refused.body["reason"], refused.retry_after), (&json!("price_missing"), None));
    }
}

with_backend! {
    async fn a_customer_has_a_few_previews_under_way_and_another_customer_is_answered(backend: Backend) {
        const CALL: &str = "/v1/invoices/create_preview";
        let (shop, one, other) = Shop::with_two_on_pro(backend, 0).await;
        // Stripe counts the calls at once, and stays silent for a while.
        let fault = Fault::LoseAnswer { hang_ms: 5_000 };
        let rule = FaultRule { method: None, path: CALL.to_owned(), count: Some(3), probability: None, fault };
        shop.stripe.fault(rule).expect("there is room for a fault");
        let flood = join_all((0..UNDER_WAY_MAX).map(|_| shop.preview_team(&one)));
        let meanwhile = async {
            shop.until_stripe_was_asked(&format!("POST {CALL}"), UNDER_WAY_MAX).await;
            let refused = shop.preview_team(&one).await;
            refused.expect_problem(429, "rate_limited");
            assert_eq!(refused.retry_after.as_deref(), Some("1"));
            shop.preview_team(&other).await.expect(200);
        };
        let (flood, ()) = tokio::join!(flood, meanwhile);
        flood.iter().for_each(|answer| answer.expect_problem(503, "stripe_unavailable"));
        shop.preview_team(&one).await.expect(200);
    }

    async fn among_many_previews_of_one_customer_the_turn_of_another_comes_next(backend: Backend) {
        let (shop, one, other) = Shop::with_two_on_pro(backend, 4).await;
        let subscriptions = shop.stripe.list("subscription");
        let of_one = format!("GET /v1/subscriptions/{}", stripe::id(&subscriptions[0]));
        let before = shop.stripe.calls(&of_one);
        let ended = Mutex::new(Vec::new());
        let preview = async |name, customer| {
            shop.preview_team(customer).await.expect(200);
            ended.lock().expect("nobody panicked").push(name);
        };
        let flood = join_all((0..UNDER_WAY_MAX).map(|_| preview("one", &one)));
        let meanwhile = async {
            shop.until_stripe_was_asked(&of_one, before + 1).await;
            preview("other", &other).await;
        };
        tokio::join!(flood, meanwhile);
        let ended = ended.into_inner().expect("nobody panicked");
        assert_eq!(ended.len(), UNDER_WAY_MAX + 1);
        assert_eq!(ended.last(), Some(&"one"), "the other came later and was done before: {ended:?}");
    }
}
