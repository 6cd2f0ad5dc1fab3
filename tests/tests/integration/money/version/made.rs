//! What an application makes at Stripe, and what becomes of it if Stripe refuses.

use super::*;
use crate::money::interceptor::error;

with_backend! {
    async fn the_catalogue_in_force_is_applied_again_without_a_new_version(backend: Backend) {
        let shop = Shop::open(backend).await;
        let asked = ask_to_apply(&shop.app, &changed(|_| {}), 1).await.expect(202);
        job_in_state(&shop.app, &job_id(&asked), JobState::Succeeded).await;
        assert_eq!((version(&shop.app).await, shop.stripe.list("price").len()), (1, 1));
        shop.close().await;
    }

    async fn more_prices_than_one_attempt_makes_are_all_made_before_the_version_is_in_force(backend: Backend) {
        const ADDED: i64 = 45;
        let shop = Shop::open(backend).await;
        let many = changed(|catalogue| {
            catalogue.prices.extend((1..=ADDED).map(|at| Price {
                key: PriceKey::trusted(&format!("pro_{at}")),
                lookup_key: format!("pro_{at}"),
                amount: MoneyMinor(1_000 + at),
                ..Catalogue::built_in().prices[0].clone()
            }));
        });
        apply(&shop.app, &many).await;
        assert_eq!((version(&shop.app).await, shop.stripe.list("price").len()), (2, 46));
        assert_eq!(shop.keyed_price("pro_45").await["unit_amount"], 1_000 + ADDED);
        shop.close().await;
    }

    async fn an_object_that_stripe_refuses_leaves_the_version_in_force(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let refused = Interception::Blocked(400, error("invalid_request_error", "parameter_invalid"));
        interceptor.intercept(1, "POST", "/v1/prices", refused);
        let asked = ask_to_apply(&shop.app, &changed(raise), 1).await.expect(202);
        let dead = job_in_state(&shop.app, &job_id(&asked), JobState::Dead).await;
        assert!(dead.last_error.is_some_and(|why| why.contains("intercepted")));
        assert_eq!((version(&shop.app).await, shop.stripe.list("price").len()), (1, 1));
        shop.close().await;
    }

    async fn a_failure_that_stripe_has_stored_is_not_met_for_ever_and_a_product_that_is_there_is_used(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        for path in ["/v1/products", "/v1/prices"] {
            let failure = error("api_error", "api_error");
            interceptor.intercept(1, "POST", path, Interception::Blocked(500, failure.clone()));
            interceptor.intercept(1, "POST", path, Interception::BlockedAsReplayed(500, failure));
        }
        let form = [("id", "bursar_team"), ("name", "Team")];
        shop.ask_stripe("POST", "/v1/products", &form).await;
        apply(&shop.app, &changed(add_team)).await;
        interceptor.until_all_intercepted().await;
        assert_eq!((shop.stripe.list("price").len(), shop.stripe.list("product").len()), (3, 2));
        for key in ["team_monthly", "team_small"] {
            assert_eq!(shop.keyed_price(key).await["product"], "bursar_team");
        }
        shop.close().await;
    }

    async fn an_id_that_stripe_does_not_have_is_refused_and_nothing_is_planned_while_stripe_is_down(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let named = changed(|catalogue| catalogue.prices[0].stripe = vec!["price_missing".to_owned()]);
        let planned = plan(&shop.app, &named).await;
        let reason = planned["refusals"][0]["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("Stripe has no price price_missing"), "{planned}");
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(1, "GET", "/v1/prices/price_missing", busy);
        let planned = plan(&shop.app, &named).await;
        assert_eq!(planned["refusals"], json!([]), "{planned}");
        let note = planned["stripe_note"].as_str().unwrap_or_default();
        assert!(note.starts_with("Stripe cannot be asked what it has"), "{planned}");
        assert_eq!(version(&shop.app).await, 1);
        shop.close().await;
    }
}
