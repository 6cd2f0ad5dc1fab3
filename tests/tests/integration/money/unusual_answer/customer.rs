//! Stripe customers.

use super::*;

with_backend! {
    async fn a_stripe_customer_created_without_an_answer_is_found_by_the_next_attempt(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        interceptor.intercept(1, "POST", "/v1/customers", Interception::AnswerLost);
        let customer = shop.app.onboard().await;
        let linked = shop.stripe_customer(&customer).await;
        let made: Vec<Value> = shop.stripe.list("customer").into_iter().map(|row| row["id"].clone()).collect();
        assert_eq!(made, [json!(linked)]);
        shop.close().await;
    }

    async fn a_stripe_customer_is_created_after_any_first_error(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        interceptor.intercept(1, "POST", "/v1/customers", Interception::BlockedAsStored(500, error("api_error", "api_error")));
        let wrong_key = error("invalid_request_error", "invalid_api_key");
        interceptor.intercept(1, "POST", "/v1/customers", Interception::Blocked(401, wrong_key));
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        interceptor.until_used_up().await;
        // A permanent error waits until the customer needs a Stripe customer.
        for (answer, dead) in [(refused(), 1), (Interception::Replaced(200, json!({ "object": "customer" })), 2)] {
            interceptor.intercept(1, "POST", "/v1/customers", answer);
            let customer = shop.app.onboard().await;
            wait::until("the job is dead", || async {
                let sql = "SELECT id FROM jobs WHERE kind = 'stripe.customer' AND state = 'dead'";
                (texts(&shop.app, sql).await.len() == dead).then_some(())
            })
            .await;
            shop.attach_until_done(&customer, "pm_card_visa").await;
        }
        shop.close().await;
    }

    async fn a_stripe_customer_job_without_a_customer_ends_with_that_reason(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        interceptor.intercept(usize::MAX, "POST", "/v1/customers", busy());
        let customer = shop.app.onboard().await;
        interceptor.until_used().await;
        let args = r#"{"customer":"cst_gone"}"#;
        sql(&shop.app, &format!("UPDATE jobs SET args = '{args}' WHERE kind = 'stripe.customer'")).await;
        let reason = wait::until("the job is dead", || async {
            let sql = "SELECT last_error FROM jobs WHERE kind = 'stripe.customer' AND state = 'dead'";
            texts(&shop.app, sql).await.pop()
        })
        .await;
        assert!(reason.contains("there is no customer cst_gone"), "{reason}");
        interceptor.clear();
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.close().await;
    }
}
