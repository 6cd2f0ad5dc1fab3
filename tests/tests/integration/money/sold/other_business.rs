//! Other business in the same Stripe account: another plan, an add-on, another product. It brings nothing, changes
//! nothing and leaves no dead event, whoever its customer is.

use super::*;
use crate::reconcile::{found, reconcile};

impl Shop {
    /// A Stripe customer that is not ours, with this payment method.
    pub(in crate::money) async fn stranger(&self, payment_method: &str) -> String {
        let made = self.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        self.pays_with(stripe::id(&made), payment_method).await;
        stripe::id(&made).to_owned()
    }

    /// Makes a payment method the one that pays a Stripe customer's invoices.
    async fn pays_with(&self, stripe_customer: &str, payment_method: &str) {
        let path = format!("/v1/payment_methods/{payment_method}/attach");
        let method = self.ask_stripe("POST", &path, &[("customer", stripe_customer)]).await;
        let default = [("invoice_settings[default_payment_method]", stripe::id(&method))];
        self.ask_stripe("POST", &format!("/v1/customers/{stripe_customer}"), &default).await;
    }

    /// A customer that subscribes to a cheap plan of the account switches to Pro and back, and pays nothing for Pro.
    async fn switches_to_pro_and_back(&self) {
        let customer = self.without_credits("pm_card_visa").await;
        let (stripe_customer, pro) = (self.stripe_customer(&customer).await, self.pro_price().await);
        let basic = self.other_price("900", None).await;
        let ours = [("metadata[bursar_customer_id]", customer.id.as_str())];
        let made = self.subscribe_at_stripe(&stripe_customer, &basic, &ours).await;
        for price in [stripe::id(&pro), &basic] {
            self.processes_all_events().await;
            self.change_item(&made, &[("items[0][price]", price), ("proration_behavior", "create_prorations")]).await;
            self.processes_all_events().await;
            assert_eq!(self.app.balance(&customer).await, 0);
        }
        self.pass_two_months().await;
        assert_eq!(self.app.balance(&customer).await, 0);
        assert_ne!(self.plan(&customer).await, "pro");
    }
}

/// An invoice of a subscription to Pro for nothing but 12 pieces of another price.
pub(in crate::money) fn overage(invoice: &Value, price: &Value) -> Value {
    let mut overage = invoice.clone();
    overage["id"] = json!(format!("in_of_{}", stripe::id(price)));
    overage["billing_reason"] = json!("subscription_cycle");
    for amount in ["total", "subtotal", "amount_due", "amount_paid"] {
        overage[amount] = json!(1_200);
    }
    let line = &mut overage["lines"]["data"][0];
    (line["amount"], line["quantity"]) = (json!(1_200), json!(12));
    line["pricing"]["price_details"] = json!({ "price": price["id"], "product": price["product"] });
    overage
}

with_backend! {
    async fn a_cheap_plan_that_is_switched_to_pro_and_back_brings_no_credits(backend: Backend) {
        let shop = Shop::open_with_events(backend).await;
        shop.switches_to_pro_and_back().await;
        // The same with Pro known by the id of its price.
        let id = stripe::id(&shop.pro_price().await).to_owned();
        shop.change_catalogue(|catalogue| catalogue.prices[0].stripe = vec![id]);
        shop.switches_to_pro_and_back().await;
        shop.close().await;
    }

    async fn another_product_of_the_account_changes_nothing_and_leaves_no_dead_event(backend: Backend) {
        let shop = Shop::open_with_events(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let price = shop.other_price("1900", None).await;
        let (own, stranger) = (shop.stripe_customer(&customer).await, shop.stranger("pm_card_visa").await);
        let late = shop.stranger("pm_card_visa").await;
        let mut made = Vec::new();
        for payer in [&own, &stranger, &late] {
            made.push(shop.subscribe_at_stripe(payer, &price, &[]).await);
        }
        shop.processes_all_events().await;
        let run = reconcile(&shop.app, false).await;
        assert!(found(&run).is_empty(), "{run:#}");

        for charge in shop.stripe.list("charge").iter().take(2) {
            shop.stripe.refund(stripe::id(charge), Some(900)).expect("a refund");
        }
        shop.pays_with(&late, "pm_card_chargeCustomerFail").await;
        shop.pass_two_months().await;
        for subscription in &made[..2] {
            shop.ask_stripe("DELETE", &format!("/v1/subscriptions/{}", stripe::id(subscription)), &[]).await;
        }
        shop.processes_all_events().await;
        let types = ["invoice.paid", "invoice.payment_failed", "charge.refunded", "customer.subscription.deleted"];
        for event_type in types {
            let delivered = events(&shop.app, &format!("type={event_type}")).await;
            assert!(!delivered.is_empty(), "{event_type} was delivered");
        }
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), 0));
        shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect_problem(404, "not_found");
        for template in ["payment_failed", "subscription_ended"] {
            assert_eq!(shop.mails(&customer, template).await, 0, "{template}");
        }
        shop.close().await;
    }
}

with_shop! {
    async fn overage_of_a_subscription_to_pro_brings_no_credits_and_changes_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let (pro, first) = (shop.pro_price().await, shop.stripe.list("invoice").remove(0));
        let elsewhere = shop.other_price("100", None).await;
        // What is billed by use may well belong to the same product.
        let metered = shop.other_price("100", pro["product"].as_str()).await;
        let mut recurring = shop.stripe.object(&metered)["recurring"].clone();
        recurring["usage_type"] = json!("metered");
        shop.stripe.set(&metered, json!({ "recurring": recurring })).expect("it is there");
        let id = stripe::id(&pro).to_owned();
        for ids in [Vec::new(), vec![id]] {
            shop.change_catalogue(|catalogue| catalogue.prices[0].stripe = ids);
            for price in [&elsewhere, &metered] {
                shop.deliver_event("invoice.paid", &overage(&first, &shop.stripe.object(price))).await;
                assert_eq!(shop.app.balance(&customer).await, PERIOD);
                assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
            }
        }
        // In one invoice with a month of Pro, only that counts.
        let piece = ("items[1][price]", elsewhere.as_str());
        let more = [piece, ("items[1][quantity]", "12"), ("proration_behavior", "none")];
        shop.change_item(&shop.subscription(), &more).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        let renewal = shop.next_month();
        assert_eq!(renewal["total"], MONTH + 1_200);
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn an_invoice_of_another_product_is_done_in_every_format_whoever_its_customer_is(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let price = shop.stripe.object(&shop.other_price("1900", None).await);
        for payer in [shop.stripe_customer(&customer).await, "cus_else".to_owned()] {
            let invoice = |line: Value| {
                let mut invoice = stripe::pro_invoice(&payer, None);
                let data = &mut invoice["lines"]["data"][0];
                for (name, value) in line.as_object().expect("fields") {
                    data[name.as_str()] = value.clone();
                }
                invoice
            };
            let details = json!({ "price": price["id"], "product": price["product"] });
            for invoice in [
                invoice(json!({ "pricing": { "type": "price_details", "price_details": details } })),
                invoice(json!({ "pricing": null, "type": "subscription", "proration": false, "price": price })),
            ] {
                shop.deliver_event("invoice.paid", &invoice).await;
                let mut failed = invoice;
                failed["status"] = json!("open");
                shop.deliver_event("invoice.payment_failed", &failed).await;
            }
        }
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), SIGNUP));
    }
}

with_shop! {
    async fn a_subscription_that_is_other_business_by_now_keeps_its_own_payment_method(shop: &Shop) {
        let customer = shop.pro().await;
        let made = shop.subscription();
        let other = shop.other_price("900", None).await;
        shop.change_item(&made, &[("items[0][price]", &other), ("proration_behavior", "none")]).await;
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        let own = methods["data"][0]["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/subscriptions/{}", stripe::id(&made));
        shop.ask_stripe("POST", &path, &[("default_payment_method", &own)]).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.attach(&customer, "pm_card_mastercard", "other").await.expect(201);
        assert_eq!(shop.subscription()["default_payment_method"], json!(own));
    }
}
