//! Other business at the amount of a price of ours, on a subscription of ours: what its tag names is another line, and
//! nothing follows for whoever else has the same price.

use super::left::HALF_MONTH;
use super::*;
use crate::reconcile::{found, reconcile, reconcile_as};

impl Shop {
    /// What is known of a price, and who or what decided it.
    async fn decision(&self, price: &str) -> [String; 2] {
        let found = self.app.admin("GET", &format!("/admin/v1/prices/{price}"), None).await.expect(200);
        ["decision", "decided_by"].map(|field| found["price"][field].as_str().expect("a word").to_owned())
    }

    /// Another customer subscribes to a price at Stripe, of which events tell; returns it with the subscription.
    async fn another_at(&self, price: &str) -> (TestCustomer, Value) {
        let customer = self.without_credits("pm_card_visa").await;
        let made = self.subscribe_at_stripe(&self.stripe_customer(&customer).await, price, &[]).await;
        self.deliver_event("customer.subscription.created", &made).await;
        let invoice = self.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
        assert_eq!(invoice["status"], "paid");
        self.deliver_event("invoice.paid", &invoice).await;
        (customer, made)
    }

    /// Another customer subscribes to a price at Stripe, and gets nothing for it, also by a comparison.
    async fn brings_nobody_anything(&self, price: &str) {
        let (customer, _) = self.another_at(price).await;
        let run = reconcile(&self.app, true).await;
        assert!(found(&run).iter().all(|(class, ..)| *class != "invoice_not_granted"), "{run:#}");
        assert_eq!((self.plan(&customer).await, self.app.balance(&customer).await), ("trial".to_owned(), 0));
    }

    /// Adds seven of another product's price to the subscription, from its next period on.
    async fn add(&self, subscription: &Value, price: &str) {
        let more = [("items[1][price]", price), ("items[1][quantity]", "7"), ("proration_behavior", "none")];
        self.change_item(subscription, &more).await;
        let now = self.stripe.object(stripe::id(subscription));
        self.deliver_event("customer.subscription.updated", &now).await;
    }

    /// Lets a month pass and tells of a subscription's payment for the next; returns the invoice.
    async fn renew(&self, subscription: &Value) -> Value {
        self.next_month();
        let now = self.stripe.object(stripe::id(subscription));
        let renewal = self.stripe.object(now["latest_invoice"].as_str().expect("an invoice"));
        self.deliver_event("invoice.paid", &renewal).await;
        renewal
    }

    /// Makes a price known as an earlier release left it: ours for everybody, because one subscription was tagged.
    async fn poison(&self, price: &str) {
        let known = "decision = 'ours', catalogue_price = 'pro_monthly', decided_by = 'sold', reason = NULL";
        sql(&self.app, &format!("UPDATE prices SET {known} WHERE id = '{price}'")).await;
        assert_eq!(self.decision(price).await, ["ours", "sold"]);
    }

    /// A customer whose subscription was moved to another product at the amount of Pro, and paid for a month since;
    /// returns it with the price and the event of the payment, which waits for a person.
    async fn moved(&self) -> (TestCustomer, String, Value) {
        let customer = self.pro().await;
        let subscription = self.subscription();
        assert!(subscription["metadata"]["bursar_price"].is_string(), "the tag stays");
        let other = self.other_price(&MONTH.to_string(), None).await;
        self.change_item(&subscription, &[("items[0][price]", &other), ("proration_behavior", "none")]).await;
        self.deliver_event("customer.subscription.updated", &self.subscription()).await;
        assert_eq!(self.plan(&customer).await, "pro");
        assert_eq!(self.decision(&other).await, ["not_ours", "nothing"]);
        let run = reconcile(&self.app, true).await;
        assert!(found(&run).contains(&("subscription_price_unknown", 1, 0)), "{run:#}");
        let (event, reason) = self.dead_event("invoice.paid", &self.next_month()).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains(&other), "{reason}");
        self.is_on_pro(&customer, 1).await;
        (customer, other, event)
    }

    /// A customer whose subscription was moved in the middle of its month to another product at the amount of Pro, which
    /// was settled at once; returns it with the price and the invoice of that.
    async fn moved_at_once(&self) -> (TestCustomer, String, Value) {
        let customer = self.pro().await;
        let other = self.other_price(&MONTH.to_string(), None).await;
        self.stripe.advance(HALF_MONTH).expect("time passes");
        let to = [("items[0][price]", other.as_str()), ("proration_behavior", "always_invoice")];
        self.change_item(&self.subscription(), &to).await;
        let settled = self.stripe.object(self.subscription()["latest_invoice"].as_str().expect("an invoice"));
        assert_eq!((&settled["total"], &settled["status"]), (&json!(0), &json!("paid")));
        (customer, other, settled)
    }

    /// Lets the invoice of such a move wait for a person, and a comparison take nothing; returns its event.
    async fn waits_for_decision(&self, customer: &TestCustomer, other: &str, settled: &Value) -> Value {
        let (event, reason) = self.dead_event("invoice.paid", settled).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains(other), "{reason}");
        self.deliver_event("customer.subscription.updated", &self.subscription()).await;
        let run = self.reconcile_customer(customer).await;
        assert!(found(&run).contains(&("invoice_price_unknown", 1, 0)), "{run:#}");
        self.is_on_pro(customer, 1).await;
        event
    }

    /// Asserts that a comparison finds all invoices as the rules decide them, and changes no credits.
    async fn finds_invoices_settled(&self, customer: &TestCustomer) {
        let before = self.app.balance(customer).await;
        let run = self.reconcile_customer(customer).await;
        assert!(found(&run).iter().all(|(class, ..)| !class.starts_with("invoice")), "{run:#}");
        assert_eq!(self.app.balance(customer).await, before);
    }

    /// Compares all that a customer has, also what Stripe's clock, which is ahead of ours, has made since.
    async fn reconcile_customer(&self, customer: &TestCustomer) -> Value {
        reconcile_as(&self.app, &json!({ "repair": true, "customer_id": customer.id })).await
    }

    async fn decide_not_ours(&self, price: &str) -> Answer {
        let body = json!({ "decision": "not_ours", "reason": "other business" });
        self.app.admin("POST", &format!("/admin/v1/prices/{price}/decision"), Some(&body)).await
    }
}

with_shop! {
    async fn an_add_on_at_the_amount_of_our_price_is_other_business_for_everybody(shop: &Shop) {
        let customer = shop.pro().await;
        let add_on = shop.other_price(&MONTH.to_string(), None).await;
        let subscription = shop.subscription();
        shop.add(&subscription, &add_on).await;
        let renewal = shop.renew(&subscription).await;
        assert_eq!(renewal["total"], 8 * MONTH);
        shop.is_on_pro(&customer, 2).await;
        assert_eq!(shop.decision(&add_on).await, ["not_ours", "nothing"]);
        shop.brings_nobody_anything(&add_on).await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_subscription_that_is_moved_to_another_product_of_our_amount_goes_on_if_support_says_so(shop: &Shop) {
        let (customer, other, event) = shop.moved().await;
        shop.decide(&other, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        for _ in 0..2 {
            replay_event(&shop.app, stripe::id(&event), "processed").await;
            shop.is_on_pro(&customer, 2).await;
        }
        shop.renew(&shop.subscription()).await;
        shop.is_on_pro(&customer, 3).await;
    }

    async fn a_subscription_that_is_moved_to_other_business_of_our_amount_ends_if_support_says_so(shop: &Shop) {
        let (customer, other, event) = shop.moved().await;
        shop.decide_not_ours(&other).await.expect(200);
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_ne!(shop.plan(&customer).await, "pro");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.brings_nobody_anything(&other).await;
    }

    async fn a_move_that_is_settled_at_once_takes_nothing_if_support_says_that_it_is_ours(shop: &Shop) {
        let (customer, other, settled) = shop.moved_at_once().await;
        let event = shop.waits_for_decision(&customer, &other, &settled).await;
        let (renewal, _) = shop.dead_event("invoice.paid", &shop.next_month()).await;
        shop.decide(&other, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        for event in [&renewal, &event, &event] {
            replay_event(&shop.app, stripe::id(event), "processed").await;
            shop.is_on_pro(&customer, 2).await;
        }
        shop.finds_invoices_settled(&customer).await;
    }

    async fn a_move_that_is_settled_at_once_takes_the_rest_if_support_says_that_it_is_not_ours(shop: &Shop) {
        let (customer, other, settled) = shop.moved_at_once().await;
        let event = shop.waits_for_decision(&customer, &other, &settled).await;
        shop.decide_not_ours(&other).await.expect(200);
        for _ in 0..2 {
            replay_event(&shop.app, stripe::id(&event), "processed").await;
            let left = shop.app.balance(&customer).await;
            assert!((PERIOD / 2 - 2..=PERIOD / 2 + 2).contains(&left), "half of the month: {left}");
        }
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_ne!(shop.plan(&customer).await, "pro");
        shop.finds_invoices_settled(&customer).await;
    }

    async fn a_move_to_a_price_that_support_has_decided_is_settled_without_waiting(shop: &Shop) {
        let (customer, other, settled) = shop.moved_at_once().await;
        shop.decide(&other, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        shop.deliver_event("invoice.paid", &settled).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        shop.finds_invoices_settled(&customer).await;
    }

    async fn a_move_of_what_somebody_tagged_takes_nothing_whichever_event_comes_first(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let (pro, other) = (shop.pro_price().await, shop.other_price(&MONTH.to_string(), None).await);
        let tag = [("metadata[bursar_price]", "pro_monthly")];
        let made = shop.subscribe_at_stripe(&shop.stripe_customer(&customer).await, stripe::id(&pro), &tag).await;
        shop.deliver_event("customer.subscription.created", &made).await;
        let first = shop.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.paid", &first).await;
        let to = [("items[0][price]", other.as_str()), ("proration_behavior", "always_invoice")];
        shop.change_item(&made, &to).await;
        let settled = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.paid", &settled).await;
        shop.is_on_pro(&customer, 1).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.renew(&shop.subscription()).await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_subscription_that_an_earlier_release_kept_at_another_price_keeps_its_plan_and_waits(shop: &Shop) {
        let (customer, other, event) = shop.moved().await;
        shop.poison(&other).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.dead_event("invoice.paid", &event["data"]["object"]).await;
        shop.is_on_pro(&customer, 1).await;
        shop.decide(&other, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_subscription_that_an_earlier_release_kept_at_another_price_ends_if_support_says_so(shop: &Shop) {
        let (customer, other, event) = shop.moved().await;
        shop.poison(&other).await;
        shop.decide_not_ours(&other).await.expect(200);
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_ne!(shop.plan(&customer).await, "pro");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.brings_nobody_anything(&other).await;
    }

    async fn a_tag_that_somebody_wrote_counts_for_its_subscription_and_for_no_other(shop: &Shop) {
        let price = shop.other_price(&MONTH.to_string(), None).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let tag = [("metadata[bursar_price]", "pro_monthly")];
        let made = shop.subscribe_at_stripe(&shop.stripe_customer(&customer).await, &price, &tag).await;
        shop.deliver_event("customer.subscription.created", &made).await;
        let invoice = shop.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.paid", &invoice).await;
        shop.is_on_pro(&customer, 1).await;
        assert_eq!(shop.decision(&price).await, ["ours", "sold"]);
        shop.brings_nobody_anything(&price).await;
        shop.is_on_pro(&customer, 1).await;
        // Support cannot take away what it is charged for, as long as it is tagged.
        shop.decide_not_ours(&price).await.expect_problem(409, "price_in_use");
        shop.ask_stripe("DELETE", &format!("/v1/subscriptions/{}", stripe::id(&made)), &[]).await;
        shop.decide_not_ours(&price).await.expect(200);
    }

    async fn a_price_that_an_earlier_release_took_for_ours_sells_nothing_any_longer(shop: &Shop) {
        let customer = shop.pro().await;
        let (subscription, add_on) = (shop.subscription(), shop.other_price(&MONTH.to_string(), None).await);
        shop.add(&subscription, &add_on).await;
        // Whoever had it got what that release took it for.
        shop.decide(&add_on, json!({ "decision": "ours", "price": "pro_monthly" })).await;
        let (other, of_other) = shop.another_at(&add_on).await;
        shop.is_on_pro(&other, 1).await;
        shop.poison(&add_on).await;

        let run = reconcile(&shop.app, false).await;
        let classes: Vec<&str> = found(&run).into_iter().map(|(class, ..)| class).collect();
        assert!(classes.contains(&"subscription_differs") && classes.contains(&"grant_without_line"), "{run:#}");
        shop.brings_nobody_anything(&add_on).await;
        shop.deliver_event("customer.subscription.updated", &shop.stripe.object(stripe::id(&of_other))).await;
        assert_ne!(shop.plan(&other).await, "pro");
        shop.renew(&of_other).await;
        assert_eq!(shop.app.balance(&other).await, PERIOD, "nothing is taken, and nothing comes");
        shop.renew(&subscription).await;
        shop.is_on_pro(&customer, 2).await;
        shop.decide_not_ours(&add_on).await.expect(200);
    }
}
