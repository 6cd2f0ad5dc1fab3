//! Money comes back of what a customer bought on a Stripe customer that another one has by now.

use super::*;
use crate::reconcile::{found, reconcile};

impl Shop {
    /// A customer with three credits, of which a charge bought one; its Stripe customer is then linked to another.
    /// Returns both customers and the charge.
    async fn bought_before_the_link_moved(&self) -> (TestCustomer, TestCustomer, String) {
        let (customer, charge) = self.customer_with_purchase().await;
        let theirs = self.stripe_customer(&customer).await;
        let path = format!("/admin/v1/customers/{}/stripe-unlink", customer.id);
        self.app.admin("POST", &path, Some(&json!({ "reason": "a wrong link" }))).await.expect(200);
        let other = self.app.onboard().await;
        self.stripe_customer(&other).await;
        let body = json!({ "stripe_customer_id": theirs, "credits_from": null, "reason": "the right one" });
        self.app.admin("POST", &format!("/admin/v1/customers/{}/stripe-link", other.id), Some(&body)).await.expect(200);
        wait::until("the link is known at Stripe", || async {
            (self.stripe.object(&theirs)["metadata"]["bursar_customer_id"] == other.id.as_str()).then_some(())
        })
        .await;
        (customer, other, charge)
    }
}

with_shop! {
    async fn a_refund_takes_the_credits_of_whoever_bought_them(shop: &Shop) {
        let (customer, other, charge) = shop.bought_before_the_link_moved().await;
        let before = shop.app.balance(&other).await;
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.tell_of_refunds(&charge).await;
        assert_eq!((shop.app.balance(&customer).await, shop.app.balance(&other).await), (2, before));
    }

    async fn a_refund_by_support_takes_them_too(shop: &Shop) {
        let (customer, other, charge) = shop.bought_before_the_link_moved().await;
        let before = shop.app.balance(&other).await;
        let payment = shop.payment_of(&customer).await;
        let body = json!({ "reason": "given back", "credits": "all" });
        let made = shop.refund(payment["id"].as_str().expect("an id"), &body).await.expect(200);
        assert_eq!((&made["state"], &made["credits_to_go"]), (&json!("succeeded"), &json!(1)));
        shop.balance_becomes(&customer, 2).await;
        shop.tell_of_refunds(&charge).await;
        assert_eq!((shop.app.balance(&customer).await, shop.app.balance(&other).await), (2, before));
    }

    async fn a_comparison_of_whoever_bought_them_finds_what_nobody_told(shop: &Shop) {
        let (customer, other, charge) = shop.bought_before_the_link_moved().await;
        let before = shop.app.balance(&other).await;
        shop.stripe.refund(&charge, None).expect("a refund");
        let body = json!({ "repair": true, "customer_id": customer.id });
        shop.app.admin("POST", "/admin/v1/stripe/reconciliations", Some(&body)).await.expect(202);
        shop.balance_becomes(&customer, 2).await;
        assert_eq!(shop.app.balance(&other).await, before);
    }

    async fn a_comparison_of_everything_finds_it_too(shop: &Shop) {
        let (customer, other, charge) = shop.bought_before_the_link_moved().await;
        let before = shop.app.balance(&other).await;
        shop.stripe.refund(&charge, None).expect("a refund");
        // The event that nobody delivered is among those that Stripe lists, and is taken in.
        let run = reconcile(&shop.app, true).await;
        assert!(found(&run).iter().any(|(class, ..)| *class == "event_missing"), "{run:#}");
        shop.balance_becomes(&customer, 2).await;
        assert_eq!(shop.app.balance(&other).await, before);
    }
}
