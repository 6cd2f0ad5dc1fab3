//! The life of subscriptions: started twice, cancelled early, paused, past due, recovered and ended.

use super::*;
use crate::scene::PERIOD;
use futures_util::future::join_all;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Shop {
    /// A customer on Pro whose new card does not pay the second month; returns that month's invoice.
    pub(super) async fn past_due(&self, card: &str) -> (TestCustomer, Value) {
        let customer = self.pro().await;
        self.attach(&customer, card, "bad").await.expect(201);
        let invoice = self.next_month();
        assert_eq!((&invoice["status"], &self.subscription()["status"]), (&json!("open"), &json!("past_due")));
        (customer, invoice)
    }

    /// Changes the subscription at Stripe, without the application; returns it.
    async fn change_at_stripe(&self, form: &[(&str, &str)]) -> Value {
        let path = format!("/v1/subscriptions/{}", stripe::id(&self.subscription()));
        self.ask_stripe("POST", &path, form).await;
        self.subscription()
    }

    async fn resume(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "POST", &format!("{SUBSCRIPTION}/resume"), "resume", None).await.expect(200)
    }
}

with_shop! {
    async fn concurrent_requests_to_subscribe_make_one_subscription_and_one_charge(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let answers = join_all(["a", "b", "c", "a", "b", "c"].map(|key| shop.subscribe(&customer, key))).await;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert!(made >= 1, "{answers:?}");
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            assert!(["subscribing", "already_subscribed"].contains(&refused.code()), "{refused:?}");
        }
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_subscription_cancelled_before_its_first_payment_costs_nothing_and_another_can_follow(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let asked = shop.subscribe(&customer, "pro").await;
        asked.expect_problem(402, "authentication_required");
        let path = format!("{SUBSCRIPTION}?at_once=true");
        let ended = shop.app.call(&customer, "DELETE", &path, "stop", None).await.expect(200);
        assert_eq!((&ended["status"], &ended["plan"]), (&json!("incomplete_expired"), &json!("trial")));
        let intent = asked.body["payment_intent"].as_str().expect("the PaymentIntent");
        assert!(shop.stripe.authenticate(intent, true).is_err(), "nobody can pay it any more");
        // The request to subscribe has failed, and may be repeated.
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.subscribe_until_done(&customer, "pro").await;
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn an_end_scheduled_by_date_is_shown_and_can_be_withdrawn(shop: &Shop) {
        let customer = shop.pro().await;
        let end = shop.subscription()["items"]["data"][0]["current_period_end"].to_string();
        let ending = shop.change_at_stripe(&[("cancel_at", &end)]).await;
        assert_eq!(ending["cancel_at_period_end"], false);
        shop.deliver_event("customer.subscription.updated", &ending).await;
        let seen = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!((&seen["cancel_at_period_end"], &seen["plan"]), (&json!(true), &json!("pro")));
        assert_eq!(shop.resume(&customer).await["cancel_at_period_end"], false);
        assert_eq!(shop.subscription()["cancel_at"], Value::Null);
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn a_paused_subscription_gives_no_pro_until_it_is_resumed_and_a_new_month_paid(shop: &Shop) {
        let customer = shop.pro().await;
        let subscription = shop.subscription();
        let paused = shop.stripe.set(stripe::id(&subscription), json!({ "status": "paused" })).expect("it is there");
        shop.deliver_event("customer.subscription.paused", &paused).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("paused".into(), "pay_as_you_go".into()));
        let resumed = shop.resume(&customer).await;
        assert_eq!((&resumed["status"], &resumed["plan"]), (&json!("active"), &json!("pro")));
        shop.deliver_event("customer.subscription.updated", &subscription).await;
        // The month that begins with resuming is billed as a change of the subscription.
        assert_eq!(shop.stripe.list("invoice").pop().expect("an invoice")["billing_reason"], "subscription_update");
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        assert_eq!(shop.net_paid(&customer).await, 2 * MONTH);
    }

    async fn a_new_card_pays_a_past_due_subscription_at_once_and_grants_its_month(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("past_due".into(), "pro".into()));
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.attach(&customer, "pm_card_visa", "good").await.expect(201);
        let paid = shop.stripe.object(stripe::id(&invoice));
        assert_eq!(paid["status"], "paid");
        for _ in 0..2 {
            shop.deliver_event("invoice.paid", &paid).await;
            shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
            // An outdated event.
            shop.deliver_event("invoice.payment_failed", &invoice).await;
        }
        assert_eq!(shop.status_and_plan(&customer).await, ("active".into(), "pro".into()));
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        assert_eq!(shop.net_paid(&customer).await, 2 * MONTH);
    }

    async fn a_past_due_subscription_cancelled_by_stripe_ends_pro_not_the_credits(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        shop.stripe.advance(20 * DAY).expect("time passes");
        let ended = shop.subscription();
        assert_eq!(ended["status"], "canceled");
        for _ in 0..2 {
            shop.deliver_event("customer.subscription.deleted", &ended).await;
        }
        assert_eq!(shop.status_and_plan(&customer).await, ("canceled".into(), "pay_as_you_go".into()));
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        assert_eq!(shop.mails(&customer, "subscription_ended").await, 1);
    }
}
