//! Failure 3 (see `failures.rs`): a late event does not revive an ended subscription.

use super::*;

with_shop! {
    async fn failure_3_a_late_update_after_the_end_asks_stripe_and_does_not_revive_pro(shop: &Shop) {
        let customer = shop.pro().await;
        let early = shop.subscription();
        let path = format!("/v1/subscriptions/{}", stripe::id(&early));
        let ended = shop.ask_stripe("DELETE", &path, &[]).await;
        // The late update arrives before the end is known here, and again after it.
        shop.deliver_event("customer.subscription.updated", &early).await;
        assert_eq!(shop.plan(&customer).await, "pay_as_you_go");
        shop.deliver_event("customer.subscription.deleted", &ended).await;
        for late in ["updated", "created", "resumed"] {
            shop.deliver_event(&format!("customer.subscription.{late}"), &early).await;
            assert_eq!(shop.plan(&customer).await, "pay_as_you_go", "after {late}");
        }
        assert_eq!(shop.status(&customer).await, "canceled");
    }

    async fn failure_3_a_late_update_unknown_to_stripe_does_not_revive_pro(shop: &Shop) {
        let customer = shop.pro().await;
        let early = shop.subscription();
        let path = format!("/v1/subscriptions/{}", stripe::id(&early));
        let ended = shop.ask_stripe("DELETE", &path, &[]).await;
        shop.deliver_event("customer.subscription.deleted", &ended).await;
        shop.fail_next("GET", &path, Fault::Refuse { status: 404, should_retry: None });
        shop.deliver_event("customer.subscription.updated", &early).await;
        assert_eq!(shop.plan(&customer).await, "pay_as_you_go");
    }

    async fn failure_3_a_late_update_of_a_replaced_stripe_customer_does_not_revive_pro(shop: &Shop) {
        let customer = shop.pro().await;
        let (early, first) = (shop.subscription(), shop.stripe_customer(&customer).await);
        let gone = shop.ask_stripe("DELETE", &format!("/v1/customers/{first}"), &[]).await;
        shop.deliver_event("customer.deleted", &gone).await;
        let second = wait::until("there is a new Stripe customer", || async {
            shop.customer(&customer).await["stripe_customer_id"].as_str().map(str::to_owned)
        })
        .await;
        assert_ne!(first, second);
        let path = format!("/v1/subscriptions/{}", stripe::id(&early));
        shop.deliver_event("customer.subscription.updated", &early).await;
        shop.fail_next("GET", &path, Fault::Refuse { status: 404, should_retry: None });
        shop.deliver_event("customer.subscription.updated", &early).await;
        assert_eq!(shop.plan(&customer).await, "pay_as_you_go");
        assert_eq!(shop.stripe_customer(&customer).await, second, "the old one is not linked again");
    }
}
