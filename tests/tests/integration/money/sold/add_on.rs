//! Other business at the amount of a price of ours, on a subscription of ours: what its tag names is another line, and
//! nothing follows for whoever else has the same price.

use super::*;

impl Shop {
    /// What is known of a price, and who or what decided it.
    async fn decision(&self, price: &str) -> [String; 2] {
        let found = self.app.admin("GET", &format!("/admin/v1/prices/{price}"), None).await.expect(200);
        ["decision", "decided_by"].map(|field| found["price"][field].as_str().expect("a word").to_owned())
    }

    /// Another customer subscribes to a price at Stripe, and gets nothing for it.
    async fn brings_nobody_anything(&self, price: &str) {
        let customer = self.without_credits("pm_card_visa").await;
        let made = self.subscribe_at_stripe(&self.stripe_customer(&customer).await, price, &[]).await;
        self.deliver_event("customer.subscription.created", &made).await;
        let invoice = self.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
        assert_eq!(invoice["status"], "paid");
        self.deliver_event("invoice.paid", &invoice).await;
        assert_eq!((self.plan(&customer).await, self.app.balance(&customer).await), ("trial".to_owned(), 0));
        assert_eq!(self.decision(price).await, ["not_ours", "nothing"]);
    }
}

with_shop! {
    async fn an_add_on_at_the_amount_of_our_price_is_other_business_for_everybody(shop: &Shop) {
        let customer = shop.pro().await;
        let add_on = shop.other_price(&MONTH.to_string(), None).await;
        let more = [("items[1][price]", add_on.as_str()), ("items[1][quantity]", "7"), ("proration_behavior", "none")];
        shop.change_item(&shop.subscription(), &more).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        let renewal = shop.next_month();
        assert_eq!(renewal["total"], 8 * MONTH);
        shop.deliver_event("invoice.paid", &renewal).await;
        shop.is_on_pro(&customer, 2).await;
        shop.brings_nobody_anything(&add_on).await;
        // Support may say so, too: nobody loses anything by that.
        let body = json!({ "decision": "not_ours", "reason": "an add-on" });
        shop.app.admin("POST", &format!("/admin/v1/prices/{add_on}/decision"), Some(&body)).await.expect(200);
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_subscription_that_is_moved_to_another_product_of_our_amount_is_ours_no_longer(shop: &Shop) {
        let customer = shop.pro().await;
        assert!(shop.subscription()["metadata"]["bursar_price"].is_string(), "the tag stays");
        let other = shop.other_price(&MONTH.to_string(), None).await;
        shop.change_item(&shop.subscription(), &[("items[0][price]", &other), ("proration_behavior", "none")]).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_ne!(shop.plan(&customer).await, "pro");
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.brings_nobody_anything(&other).await;
    }

    async fn a_tag_that_somebody_wrote_counts_for_its_subscription_and_for_no_other(shop: &Shop) {
        let price = shop.other_price(&MONTH.to_string(), None).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let tag = [("metadata[bursar_price]", "pro_monthly")];
        let made = shop.subscribe_at_stripe(&shop.stripe_customer(&customer).await, &price, &tag).await;
        shop.deliver_event("customer.subscription.created", &made).await;
        shop.is_on_pro(&customer, 1).await;
        let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!(shown["terms"]["price"]["amount_minor"], MONTH);
        let invoice = shop.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.paid", &invoice).await;
        shop.is_on_pro(&customer, 1).await;
        shop.brings_nobody_anything(&price).await;
    }
}
