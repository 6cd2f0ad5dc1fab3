//! Pro: subscribe, pay, cancel, resume.

use super::*;
use crate::scene::{delay_job, resume_job};
use sea_orm::ConnectionTrait;

with_shop! {
    async fn subscribing_grants_the_months_credits_at_once_and_only_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let made = shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!((&made["status"], &made["plan"]), (&json!("active"), &json!("pro")));
        assert_eq!(made["credit_balance"], 60);
        assert_eq!(shop.net_paid(&customer).await, 59_900);
        shop.subscribe(&customer, "pro").await.expect(201);
        shop.subscribe(&customer, "again").await.expect_problem(409, "already_subscribed");
        let invoice = shop.stripe.list("invoice").remove(0);
        for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
            shop.deliver_event(event_type, &invoice).await;
        }
        let payment = json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice["id"] });
        shop.deliver_event("invoice_payment.paid", &payment).await;
        let subscription = shop.stripe.list("subscription").remove(0);
        shop.deliver_event("customer.subscription.created", &subscription).await;
        assert_eq!(shop.app.balance(&customer).await, 60);
        shop.app.spend(&customer, 60, "month").await.expect(200);
        shop.app.spend(&customer, 1, "more").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, 59_900 + 1_500);
        let invoices = shop.app.call(&customer, "GET", "/api/v1/invoices", "", None).await.expect(200);
        assert_eq!(invoices["data"][0]["amount_paid_minor"], 59_900);
    }

    async fn a_cancellation_can_be_withdrawn_and_an_immediate_one_keeps_the_credits(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe(&customer, "pro").await.expect(201);
        let ending = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!((&ending["cancel_at_period_end"], &ending["plan"]), (&json!(true), &json!("pro")));
        let resume = format!("{SUBSCRIPTION}/resume");
        let resumed = shop.app.call(&customer, "POST", &resume, "resume", None).await.expect(200);
        assert_eq!(resumed["cancel_at_period_end"], false);
        let end = format!("{SUBSCRIPTION}?at_once=true");
        let ended = shop.app.call(&customer, "DELETE", &end, "now", None).await.expect(200);
        assert_eq!((&ended["status"], &ended["plan"]), (&json!("canceled"), &json!("pay_as_you_go")));
        assert_eq!(shop.app.balance(&customer).await, 60);
    }

    async fn an_event_of_an_unlinked_stripe_customer_asks_stripe_whose_it_is(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let id = shop.stripe_customer(&customer).await;
        // Stripe knows the customer of its Stripe customer; Bursar does not, and the event does not name it.
        let forget = format!("UPDATE customers SET stripe_customer_id = NULL WHERE id = '{}'", customer.id);
        shop.app.app.db.write().execute_unprepared(&forget).await.expect("the link is forgotten");
        for _ in 0..2 {
            let event = stripe::event("invoice.paid", &stripe::pro_invoice(&id, None));
            shop.app.deliver(&event).await.expect(200);
            let done = shop.app.event_in_state(stripe::id(&event), "processed").await;
            assert_eq!(done["event"]["attempts"], 1, "{done}");
        }
        assert_eq!(shop.stripe_customer(&customer).await, id);
        assert_eq!(shop.app.balance(&customer).await, 120);
    }

    async fn a_replayed_event_uses_stripes_current_state(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        // Another Stripe customer pays, which names nobody until after the first attempt.
        let made = shop.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        let payer = stripe::id(&made).to_owned();
        let failing = stripe::event("invoice.paid", &stripe::pro_invoice(&payer, None));
        shop.app.deliver(&failing).await.expect(200);
        let job = delay_job(&shop.app, "stripe.event").await;
        let path = format!("/v1/customers/{payer}");
        shop.ask_stripe("POST", &path, &[("metadata[bursar_customer_id]", customer.id.as_str())]).await;
        resume_job(&shop.app, &job).await;
        let healed = shop.app.event_in_state(stripe::id(&failing), "processed").await;
        let attempts = healed["attempts"].as_array().expect("attempts");
        assert!(attempts[0]["reason"].as_str().is_some_and(|reason| reason.contains("customer_unknown")), "{healed}");
        assert_eq!(attempts.last().expect("an attempt")["outcome"], "done", "{healed}");
        // Now the customer is known.
        let next = stripe::event("invoice.paid", &stripe::pro_invoice(&payer, None));
        shop.app.deliver(&next).await.expect(200);
        let second = shop.app.event_in_state(stripe::id(&next), "processed").await;
        assert_eq!(second["event"]["attempts"], 1);
        assert_eq!(shop.app.balance(&customer).await, 125);
    }

    async fn an_attempt_after_a_lost_answer_finds_the_first_result_and_its_failure(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        // The first attempt ends the unpaid subscription and loses the answer. The second one gets, under the same
        // key, the answer that the subscription was created.
        shop.fail_next("DELETE", "/v1/subscriptions", Fault::LoseAnswer { hang_ms: 0 });
        let answer = shop.subscribe(&customer, "pro").await;
        answer.expect_problem(402, "payment_declined");
        assert_eq!((&answer.body["reason"], &answer.body["decline_code"]), (&json!("card_declined"), &json!("generic_decline")));
        assert_eq!(shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200)["status"], "incomplete_expired");
    }

    async fn an_unpaid_subscription_expires_with_its_stripe_customer(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        shop.subscribe(&customer, "pro").await.expect_problem(402, "authentication_required");
        let id = shop.stripe_customer(&customer).await;
        let url = format!("{}/v1/customers/{id}", shop.stripe.url());
        shop.app.client.delete(url).bearer_auth("sk_test_sandbox").send().await.expect("it is deleted");
        shop.deliver_event("customer.deleted", &json!({ "id": id, "object": "customer" })).await;
        assert_eq!(shop.stripe.list("subscription")[0]["status"], "incomplete_expired");
        assert_eq!(shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200)["status"], "incomplete_expired");
        assert_eq!(shop.plan(&customer).await, "trial");
    }
}
