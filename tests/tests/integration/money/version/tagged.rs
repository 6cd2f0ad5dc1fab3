//! Subscriptions that somebody tagged by hand, at a price that says nothing of us itself.

use super::*;

const TEN_DAYS: Duration = Duration::from_secs(10 * 24 * 60 * 60);

impl Shop {
    /// A customer on Pro by a subscription that somebody tagged, at the amount of the catalogue.
    async fn tagged_by_hand(&self) -> TestCustomer {
        let customer = self.without_credits("pm_card_visa").await;
        let price = self.other_price(&MONTH.to_string(), None).await;
        let tag = [("metadata[bursar_price]", "pro_monthly")];
        let made = self.subscribe_at_stripe(&self.stripe_customer(&customer).await, &price, &tag).await;
        self.deliver_event("customer.subscription.created", &made).await;
        self.is_on_pro(&customer, 1).await;
        customer
    }
}

with_backend! {
    async fn a_subscription_that_somebody_tagged_keeps_the_terms_that_its_tag_named(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.tagged_by_hand().await;
        apply(&shop.app, &changed(raise)).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        assert_eq!((&shown["terms"]["price"]["amount_minor"], &shown["terms"]["is_former"]), (&json!(MONTH), &json!(true)));
        let next = changed(|catalogue| {
            (catalogue.prices[0].amount, catalogue.prices[0].credits) = (MoneyMinor(RAISED.0), Credits(90));
        });
        let planned = plan(&shop.app, &next).await;
        assert_eq!(planned["changes"][0]["customers"], 0, "{planned}");
        let effect = planned["changes"][0]["effect"].as_str().expect("words");
        assert!(effect.ends_with("1 subscriber keeps former terms."), "{effect}");
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 2).await;
        shop.close().await;
    }

    async fn a_change_takes_what_a_period_got_by_a_tag_though_the_amount_has_left_the_catalogue(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.tagged_by_hand().await;
        let sold = |catalogue: &mut Catalogue| {
            raise(catalogue);
            add_team(catalogue);
        };
        apply(&shop.app, &changed(sold)).await;
        shop.stripe.advance(TEN_DAYS).expect("time passes");
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        let path = "/api/v1/subscription/preview";
        let said = shop.app.call(&customer, "POST", path, "", Some(&wanted)).await.expect(200);
        let credits = said["credits_now"].as_i64().expect("credits");
        // A month of Team brings as many, and two thirds of the month of Pro are left.
        assert!((15..25).contains(&credits), "{said}");
        let path = "/api/v1/subscription/change";
        let changed = shop.app.call(&customer, "POST", path, "team", Some(&wanted)).await.expect(200);
        assert_eq!((&changed["plan"], &changed["credit_balance"]), (&json!("team"), &json!(PERIOD + credits)));
        let metadata = shop.subscription()["metadata"].clone();
        assert_eq!(metadata["bursar_plan"], "team", "what the time that is credited was sold with is gone");
        let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.paid", &invoice).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + credits);
        shop.close().await;
    }

    async fn a_switch_at_stripe_takes_what_a_period_got_by_a_tag_though_the_amount_has_left(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.tagged_by_hand().await;
        apply(&shop.app, &changed(raise)).await;
        shop.stripe.advance(TEN_DAYS).expect("time passes");
        let other = shop.other_price("900", None).await;
        let subscription = shop.subscription();
        let form = [
            ("items[0][id]", stripe::id(&subscription["items"]["data"][0])),
            ("items[0][price]", other.as_str()),
            ("proration_behavior", "always_invoice"),
        ];
        shop.ask_stripe("POST", &format!("/v1/subscriptions/{}", stripe::id(&subscription)), &form).await;
        let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        assert!(invoice["total"].as_i64().is_some_and(|total| total < 0), "{invoice}");
        for _ in 0..2 {
            shop.deliver_event("invoice.paid", &invoice).await;
            let balance = shop.app.balance(&customer).await;
            assert!((15..25).contains(&balance), "two thirds of the month are left: {balance}");
        }
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_ne!(shop.plan(&customer).await, "pro");
        shop.close().await;
    }

    async fn a_tag_that_is_taken_off_after_a_move_leaves_what_was_sold_with_it(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.tagged_by_hand().await;
        let tell_of_latest = async || {
            let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
            shop.deliver_event("invoice.paid", &invoice).await;
        };
        shop.stripe.advance(TEN_DAYS).expect("time passes");
        let other = shop.other_price(&MONTH.to_string(), None).await;
        let to = [("items[0][price]", other.as_str()), ("proration_behavior", "always_invoice")];
        shop.change_item(&shop.subscription(), &to).await;
        tell_of_latest().await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("POST", &path, &[("metadata[bursar_price]", "")]).await;
        shop.stripe.advance(TEN_DAYS).expect("time passes");
        shop.ask_stripe("DELETE", &path, &[("prorate", "true"), ("invoice_now", "true")]).await;
        tell_of_latest().await;
        let balance = shop.app.balance(&customer).await;
        assert!((35..45).contains(&balance), "a third of the month is left, and goes: {balance}");
        shop.app.verify().await;
        shop.close().await;
    }

    async fn a_move_of_what_we_sold_to_its_amount_before_a_raise_waits_for_a_person(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        apply(&shop.app, &changed(raise)).await;
        let other = shop.other_price(&MONTH.to_string(), None).await;
        let to = [("items[0][price]", other.as_str()), ("proration_behavior", "none")];
        shop.change_item(&shop.subscription(), &to).await;
        let (_, why) = shop.dead_event("invoice.paid", &shop.next_month()).await;
        assert!(why.starts_with("price_unknown") && why.contains(&other), "{why}");
        shop.is_on_pro(&customer, 1).await;
        shop.close().await;
    }
}
