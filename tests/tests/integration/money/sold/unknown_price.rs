//! Prices of which Stripe cannot tell what they are.

use super::*;
use crate::money::interceptor::{Interception, error};

/// A subscription that Stripe does not have, at a price that it does not have.
fn subscription_at_unknown_price(customer: &str, metadata: &Value) -> Value {
    let mut subscription = stripe::pro_subscription(customer, None, "active");
    subscription["metadata"] = metadata.clone();
    subscription["items"]["data"][0]["price"] = json!("price_gone");
    subscription
}

with_shop! {
    async fn a_price_that_stripe_does_not_have_is_other_business_unless_our_tag_names_it(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let bare = subscription_at_unknown_price(&stripe_customer, &json!({}));
        shop.deliver_event("customer.subscription.updated", &bare).await;
        assert_eq!(shop.plan(&customer).await, "trial");
        let tag = json!({ "bursar_price": "pro_monthly" });
        let mut tagged = [subscription_at_unknown_price(&stripe_customer, &tag), bare.clone()];
        tagged[1]["items"]["data"][0]["metadata"] = tag;
        for (at, subscription) in tagged.iter_mut().enumerate() {
            subscription["items"]["data"][0]["price"] = json!(format!("price_gone_{at}"));
            let (_, reason) = shop.dead_event("customer.subscription.updated", subscription).await;
            assert!(reason.starts_with("price_unknown: ") && reason.contains("Stripe does not have it"), "{reason}");
        }
        assert_eq!(shop.plan(&customer).await, "trial");
    }
}

with_backend! {
    async fn a_price_that_the_catalogue_names_is_ours_even_while_stripe_cannot_be_asked(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| catalogue.prices[0].stripe = vec!["price_named".to_owned()]);
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        let mut invoice = stripe::pro_invoice(&shop.stripe_customer(&customer).await, None);
        invoice["lines"]["data"][0]["pricing"]["price_details"]["price"] = json!("price_named");
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "GET", "/v1/prices/*", busy);
        shop.deliver_event("invoice.paid", &invoice).await;
        assert_eq!((shop.plan(&customer).await.as_str(), shop.app.balance(&customer).await), ("pro", PERIOD));
        interceptor.clear();
        shop.close().await;
    }
}
