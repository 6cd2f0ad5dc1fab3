//! Refunds by support that the bank returns after they were made.

use super::super::interceptor::Interception;
use super::*;

/// Events about a refund that failed, in all their forms.
const EVENTS: [&str; 3] = ["refund.failed", "refund.updated", "charge.refund.updated"];

impl Shop {
    /// Refunds all of a payment under this key; returns the answer.
    async fn refund_all(&self, key: &str, payment: &str, credits: &str) -> Value {
        self.refund_under(key, payment, &json!({ "credits": credits, "reason": "all of it" })).await.expect(200)
    }

    /// Lets the bank return the money of a refund; returns the refund. Nobody tells of it.
    fn return_refund(&self, made: &Value) -> Value {
        self.stripe.fail_refund(made["refund"].as_str().expect("a refund")).expect("it fails")
    }

    /// A refund by support as lists of operations show it.
    async fn refund_row(&self, made: &Value) -> Value {
        let listed = self.app.admin("GET", "/admin/v1/operations?kind=payment_refund", None).await.expect(200);
        let rows = listed["data"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["id"] == made["operation_id"]).expect("the refund")
    }

    async fn refund_is(&self, made: &Value, state: &str) {
        wait::until(&format!("the refund is {state}"), || async {
            (self.refund_row(made).await["state"] == state).then_some(())
        })
        .await;
    }
}

with_shop! {
    async fn a_refund_that_the_bank_returns_ends_as_failed_and_can_be_made_again(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let made = shop.refund_all("once", &payment, "unspent").await;
        shop.balance_becomes(&customer, 0).await;
        let failed = shop.return_refund(&made);
        for event in EVENTS.into_iter().chain(EVENTS) {
            shop.deliver_event(event, &failed).await;
            let row = shop.refund_row(&made).await;
            assert_eq!([&row["state"], &row["reason"]], ["failed", "refund_failed"], "after {event}");
            assert_eq!(shop.app.balance(&customer).await, PERIOD, "after {event}");
        }
        let shown = shop.refund_row(&made).await;
        assert!(shown["detail"].as_str().is_some_and(|why| why.contains("(expired_or_canceled_card)")), "{shown}");
        let history = shop.history(&payment).await;
        let step = "a refund of $599.00 by support failed: The bank did not take the money back";
        assert!(history.iter().any(|what| what.starts_with(step)), "{history:#?}");
        let path = format!("/admin/v1/customers/{}/timeline", customer.id);
        let timeline = shop.app.admin("GET", &path, None).await.expect(200).to_string();
        assert!(timeline.contains("\"refund_failed\"") && timeline.contains("\"expired_or_canceled_card\""), "{timeline}");
        // The same request is the same refund, and another one is made anew.
        let same = shop.refund_all("once", &payment, "unspent").await;
        assert_eq!((&same["state"], &same["operation_id"]), (&json!("failed"), &made["operation_id"]));
        let again = shop.refund_all("again", &payment, "unspent").await;
        assert_eq!(again["state"], "succeeded", "{again}");
        shop.balance_becomes(&customer, 0).await;
        for event in EVENTS {
            shop.deliver_event(event, &failed).await;
        }
        assert_eq!(shop.refund_row(&again).await["state"], "succeeded", "the first one failed");
        assert_eq!(shop.stripe.list("refund").len(), 2);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
    }

    async fn an_old_event_after_the_failure_does_not_make_the_refund_succeed(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let made = shop.refund_all("once", &payment, "all").await;
        let before = shop.stripe.object(made["refund"].as_str().expect("a refund"));
        shop.balance_becomes(&customer, 0).await;
        for status in ["pending", "succeeded"] {
            let mut early = before.clone();
            early["status"] = json!(status);
            shop.deliver_event("refund.updated", &early).await;
            assert_eq!(shop.refund_row(&made).await["state"], "succeeded");
        }
        let failed = shop.return_refund(&made);
        shop.deliver_event("refund.failed", &failed).await;
        for event in ["refund.created", "refund.updated"] {
            shop.deliver_event(event, &before).await;
            assert_eq!(shop.refund_row(&made).await["state"], "failed", "after {event}");
        }
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn of_two_refunds_of_a_payment_the_one_that_the_bank_returns_fails(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let half = json!({ "amount_minor": MONTH / 2, "credits": "none", "reason": "half a month" });
        let first = shop.refund_under("first", &payment, &half).await.expect(200);
        let second = shop.refund_under("second", &payment, &half).await.expect(200);
        let failed = shop.return_refund(&first);
        // Without its metadata, as somebody may have changed it at Stripe.
        let mut bare = failed.clone();
        bare["metadata"] = json!({});
        shop.deliver_event("refund.failed", &bare).await;
        let states = [shop.refund_row(&first).await["state"].clone(), shop.refund_row(&second).await["state"].clone()];
        assert_eq!(states, ["failed", "succeeded"]);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH / 2, PERIOD));
    }

    async fn a_refund_that_somebody_made_at_stripe_ends_no_operation(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let made = shop.refund_under("once", &payment, &json!({ "amount_minor": 100, "reason": "a part" })).await;
        let made = made.expect(200);
        let other = shop.stripe.refund(&shop.charge(), Some(200)).expect("a refund");
        let failed = shop.stripe.fail_refund(stripe::id(&other)).expect("it fails");
        for event in EVENTS {
            shop.deliver_event(event, &failed).await;
        }
        assert_eq!(shop.refund_row(&made).await["state"], "succeeded");
    }
}

with_backend! {
    async fn a_failure_that_is_told_before_the_refund_is_known_to_be_made_ends_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        interceptor.intercept(2, "POST", "/v1/refunds", Interception::AnswerLost);
        let asked = shop.refund_all("once", &payment, "none").await;
        let refund = wait::until("Stripe has made it", || async { shop.stripe.list("refund").pop() }).await;
        let failed = shop.stripe.fail_refund(stripe::id(&refund)).expect("it fails");
        shop.deliver_event("refund.failed", &failed).await;
        shop.refund_is(&asked, "failed").await;
        assert_eq!(shop.refund_row(&asked).await["reason"], "refund_failed");
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.list("refund").len()), (MONTH, 1));
        shop.close().await;
    }

    async fn a_failure_of_which_nobody_tells_is_found_although_the_credits_agree(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.reconcile_grace_s = 0).await;
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let made = shop.refund_all("once", &payment, "none").await;
        shop.refund_is(&made, "succeeded").await;
        // The review that comes with the success would find the failure, too.
        shop.nothing_waits().await;
        shop.return_refund(&made);
        shop.compare_customer(&customer).await;
        shop.refund_is(&made, "failed").await;
        let run = shop.comparison_of(&customer).await;
        assert!(crate::reconcile::found(&run).is_empty(), "{run:#}");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }
}
