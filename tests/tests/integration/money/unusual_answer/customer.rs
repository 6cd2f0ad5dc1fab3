//! Unusual answers to calls that create Stripe customers.

use super::*;

with_backend! {
    async fn a_stripe_customer_is_found_if_the_answer_to_its_creation_was_lost(backend: Backend) {
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
        interceptor.intercept(1, "POST", "/v1/customers", Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        let wrong_key = error("invalid_request_error", "invalid_api_key");
        interceptor.intercept(1, "POST", "/v1/customers", Interception::Blocked(401, wrong_key));
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        interceptor.until_all_intercepted().await;
        // After a permanent error the job is dead. The Stripe customer is created once the customer adds a card.
        for (answer, dead) in [(answers_400(), 1), (Interception::Replaced(200, json!({ "object": "customer" })), 2)] {
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

    async fn a_stripe_customer_job_whose_customer_is_gone_is_dead_and_names_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        interceptor.intercept(usize::MAX, "POST", "/v1/customers", answers_429());
        let customer = shop.app.onboard().await;
        interceptor.until_any_intercepted().await;
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

with_backend! {
    async fn a_stripe_customer_whose_answer_was_lost_is_found_after_its_key_was_given_up(backend: Backend) {
        const HOURS_MS: i64 = 3 * 60 * 60 * 1_000;
        let (shop, interceptor) = Shop::intercepted(backend).await;
        interceptor.intercept(1, "POST", "/v1/customers", Interception::AnswerLost);
        let customer = shop.app.onboard().await;
        let job = delay_job(&shop.app, "stripe.customer").await;
        sql(&shop.app, &format!("UPDATE jobs SET created_at_ms = created_at_ms - {HOURS_MS} WHERE id = '{job}'")).await;
        resume_job(&shop.app, &job).await;
        let made = shop.stripe.list("customer");
        assert_eq!((made.len(), shop.stripe_customer(&customer).await.as_str()), (1, stripe::id(&made[0])));
        shop.close().await;
    }
}
