//! Payment methods and Stripe customers that are deleted at Stripe.

use super::*;
use crate::scene::{PERIOD, admin_post, job_of, now_ms};
use bursar_engine::domain::payment_method::PaymentMethod;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::payment_method::{payment_method_detach, payment_method_list, payment_method_put};
use bursar_engine::infra::store::subscription::subscription_list;
use bursar_engine::usecase::handler::replay::dry_run;

with_shop! {
    async fn a_payment_method_detached_at_stripe_is_missing_and_another_one_pays(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let path = "/api/v1/payment-methods";
        let known = shop.app.call(&customer, "GET", path, "", None).await.expect(200);
        let id = known["data"][0]["id"].as_str().expect("an id").to_owned();
        shop.ask_stripe("POST", &format!("/v1/payment_methods/{id}/detach"), &[]).await;
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_method_missing");
        let left = shop.app.call(&customer, "GET", path, "", None).await.expect(200);
        assert_eq!(left["data"], json!([]));
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn a_dry_run_about_a_missing_payment_method_changes_nothing_at_stripe(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        let stripe_customer = shop.stripe_customer(&customer).await;
        let db = shop.app.app.db.read();
        let known = payment_method_list(db, &CustomerId::trusted(customer.id.clone())).await.expect("payment methods");
        let gone = known.iter().find(|method| method.is_default).expect("one is charged").id.clone();
        // The stream exists, and is paused.
        shop.deliver_event("customer.updated", &shop.stripe.object(&stripe_customer)).await;
        let stream = format!("/admin/v1/streams/stripe:{stripe_customer}");
        admin_post(&shop.app, &format!("{stream}/pause"), "to try first").await.expect(200);
        let event = stripe::event("payment_method.detached", &shop.stripe.object(&gone));
        shop.ask_stripe("POST", &format!("/v1/payment_methods/{gone}/detach"), &[]).await;
        shop.app.deliver(&event).await.expect(200);

        let calls = || shop.stripe.calls(&format!("POST /v1/customers/{stripe_customer}"));
        let before = calls();
        let job = job_of(&shop.app, &event).await;
        let report = dry_run(&shop.app.app.runtime.handlers, &job.id, now_ms()).await.expect("a report");
        assert_eq!((&report["outcome"], &report["changes"]), (&json!("done"), &json!(1)), "{report}");
        assert_eq!(calls(), before);
        admin_post(&shop.app, &format!("{stream}/resume"), "tried").await.expect(200);
        shop.app.event_in_state(stripe::id(&event), "processed").await;
        assert_eq!(calls(), before + 1);
    }

    async fn a_subscription_paid_before_its_customer_was_deleted_is_canceled(shop: &Shop) {
        let customer = shop.without_credits("pm_card_authenticationRequired").await;
        let refused = shop.subscribe(&customer, "pro").await;
        refused.expect_problem(402, "authentication_required");
        shop.stripe.authenticate(refused.body["payment_intent"].as_str().expect("a payment"), true).expect("it waits");
        let gone = shop.stripe_customer(&customer).await;
        let deleted = shop.ask_stripe("DELETE", &format!("/v1/customers/{gone}"), &[]).await;
        // The customer's deletion arrives first, and the payment is unknown.
        shop.deliver_event("customer.deleted", &deleted).await;
        assert_eq!(shop.status(&customer).await, "incomplete_expired");
        shop.deliver_event("customer.subscription.deleted", &shop.subscription()).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("canceled".to_owned(), "trial".to_owned()));
        // The paid month is granted all the same.
        let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.paid", &invoice).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn consent_ends_with_a_detached_payment_method_and_does_not_return(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let (id, db) = (CustomerId::trusted(customer.id.clone()), shop.app.app.db.write());
        let method = payment_method_list(db, &id).await.expect("payment methods").remove(0);
        let without = PaymentMethod { consent_at_ms: None, ..method.clone() };
        // Stored again while it is attached, for example by a webhook: the consent stays.
        payment_method_put(db, &without).await.expect("a write");
        shop.app.spend(&customer, 1, "agreed").await.expect(200);
        payment_method_detach(db, &id, &method.id, 1).await.expect("a write");
        payment_method_put(db, &without).await.expect("a write");
        shop.app.spend(&customer, 1, "not-agreed").await.expect_problem(402, "insufficient_credits");
        payment_method_put(db, &method).await.expect("a write");
        shop.app.spend(&customer, 1, "agreed-again").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
    }

    async fn a_customer_deleted_at_stripe_loses_pro_and_old_refunds_still_count(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        shop.subscribe(&customer, "pro").await.expect(201);
        let first = shop.stripe_customer(&customer).await;
        let gone = shop.ask_stripe("DELETE", &format!("/v1/customers/{first}"), &[]).await;
        for _ in 0..2 {
            shop.deliver_event("customer.deleted", &gone).await;
        }
        assert_eq!(shop.plan(&customer).await, "pay_as_you_go");
        let second = shop.stripe_customer(&customer).await;
        assert_ne!(first, second);
        assert_eq!(shop.app.balance(&customer).await, 3 + PERIOD);
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2 + PERIOD);
        // The new Stripe customer pays for later purchases.
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.app.spend(&customer, 3 + PERIOD, "all-and-one-more").await.expect(200);
        assert_eq!(shop.stripe.money(&second).net(), UNIT);
    }
}

with_shop! {
    async fn a_deleted_stripe_customer_ends_only_its_own_subscriptions(shop: &Shop) {
        let customer = shop.pro().await;
        let own = stripe::id(&shop.subscription()).to_owned();
        let form = [("email", "else@example.com"), ("metadata[bursar_customer_id]", customer.id.as_str())];
        let other = stripe::id(&shop.ask_stripe("POST", "/v1/customers", &form).await).to_owned();
        let method = shop.ask_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", &[("customer", &other)]).await;
        let prices = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        let form = [
            ("customer", other.as_str()),
            ("items[0][price]", stripe::id(&prices["data"][0])),
            ("default_payment_method", stripe::id(&method)),
            ("metadata[bursar_customer_id]", customer.id.as_str()),
        ];
        let kept = stripe::id(&shop.ask_stripe("POST", "/v1/subscriptions", &form).await).to_owned();
        shop.deliver_event("customer.subscription.created", &shop.stripe.object(&kept)).await;

        let gone = shop.stripe_customer(&customer).await;
        let deleted = shop.ask_stripe("DELETE", &format!("/v1/customers/{gone}"), &[]).await;
        shop.deliver_event("customer.deleted", &deleted).await;
        let rows = subscription_list(shop.app.app.db.read(), &CustomerId::trusted(customer.id.clone())).await;
        let rows = rows.expect("subscriptions");
        let status = |id: &str| rows.iter().find(|row| row.id == id).map(|row| row.status.as_str());
        assert_eq!((status(&own), status(&kept)), (Some("canceled"), Some("active")));
        assert_eq!(shop.plan(&customer).await, "pro");
    }
}
