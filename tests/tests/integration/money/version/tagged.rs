//! Subscriptions that somebody tagged by hand, at a price that says nothing of us itself.

use super::*;

with_backend! {
    async fn a_subscription_that_somebody_tagged_keeps_the_terms_that_its_tag_named(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let price = shop.other_price(&MONTH.to_string(), None).await;
        let tag = [("metadata[bursar_price]", "pro_monthly")];
        let made = shop.subscribe_at_stripe(&shop.stripe_customer(&customer).await, &price, &tag).await;
        shop.deliver_event("customer.subscription.created", &made).await;
        shop.is_on_pro(&customer, 1).await;
        apply(&shop.app, &changed(raise)).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 2).await;
        shop.close().await;
    }
}
