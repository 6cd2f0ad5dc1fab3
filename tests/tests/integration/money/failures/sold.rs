//! Failures 13 to 19 (see `failures.rs`): what was bought is read from the lines of invoices, by price.

use super::super::sold::other_business::overage;
use super::*;
use crate::scene::{SIGNUP, replay_event};

with_shop! {
    async fn failure_13_a_raised_price_takes_nothing_from_whoever_pays_the_old_one(shop: &Shop) {
        let customer = shop.pro().await;
        shop.raise_pro(69_900).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        let renewal = shop.next_month();
        assert_eq!(renewal["total"], MONTH);
        shop.deliver_payment_events(&renewal).await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn failure_14_a_paid_month_under_subscription_update_brings_its_credits(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        let reason = json!({ "billing_reason": "subscription_update" });
        let renewal = shop.stripe.set(stripe::id(&renewal), reason).expect("it is there");
        shop.deliver_payment_events(&renewal).await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn failure_15_an_add_on_of_a_subscription_to_pro_brings_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let first = shop.stripe.list("invoice").remove(0);
        assert!(shop.subscription()["metadata"]["bursar_price"].is_string(), "it is tagged as ours");
        let add_on = shop.stripe.object(&shop.other_price("1200", None).await);
        shop.deliver_event("invoice.paid", &overage(&first, &add_on)).await;
        shop.is_on_pro(&customer, 1).await;
    }

    async fn failure_16_other_business_is_done_at_every_renewal_whoever_pays(shop: &Shop) {
        let price = shop.other_price("1900", None).await;
        let stranger = shop.stranger("pm_card_visa").await;
        let made = shop.subscribe_at_stripe(&stranger, &price, &[]).await;
        shop.deliver_event("customer.subscription.created", &made).await;
        for _ in 0..2 {
            let renewal = shop.next_month();
            assert_eq!((&renewal["status"], &renewal["customer"]), (&json!("paid"), &json!(stranger)));
            // Each of them is processed, and not dead.
            shop.deliver_payment_events(&renewal).await;
        }
    }

    async fn failure_18_a_small_refund_of_what_the_balance_mostly_paid_takes_its_share(shop: &Shop) {
        let customer = shop.pro().await;
        let path = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        shop.ask_stripe("POST", &path, &[("balance", "-50000")]).await;
        let renewal = shop.next_month();
        assert_eq!(renewal["amount_paid"], 9_900);
        shop.deliver_payment_events(&renewal).await;
        let charge = shop.last_charge();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        // 9,900 of 59,900 are nine credits of 60.
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD - 9);
    }

    async fn failure_19_an_invoice_whose_facts_are_missing_waits_for_a_person(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        for lost in [&["lines"][..], &["status"], &["total", "amount_due", "amount_paid"]] {
            let mut invoice = renewal.clone();
            invoice["id"] = json!(format!("in_without_{}", lost[0]));
            take_away(&mut invoice, lost);
            let (event, reason) = shop.dead_event("invoice.paid", &invoice).await;
            assert!(reason.starts_with("shape_incomplete: "), "{reason}");
            // It is not forgotten: it waits to be replayed.
            replay_event(&shop.app, stripe::id(&event), "dead").await;
            shop.is_on_pro(&customer, 1).await;
        }
        shop.deliver_payment_events(&renewal).await;
        shop.is_on_pro(&customer, 2).await;
    }
}

with_backend! {
    async fn failure_17_a_checkout_with_a_stripe_customer_of_its_own_gives_what_was_paid(backend: Backend) {
        let shop = Shop::patient(backend).await;
        let customer = shop.app.onboard().await;
        let first = shop.stripe_customer(&customer).await;
        let naming = ("subscription_data[metadata][bursar_customer_id]", customer.id.as_str());
        let (payer, events) = shop.bought(&[naming, ("customer_email", "else@example.com")]).await;
        assert_ne!(payer, first);
        for event in &events {
            shop.app.deliver(event).await.expect(200);
        }
        for event in &events {
            shop.app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
        shop.close().await;
    }
}
