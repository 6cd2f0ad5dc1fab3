//! Prices that change: at Stripe, and in the catalogue.

use super::*;
use crate::money::interceptor::Interception;

impl Shop {
    /// Raises the price of Pro: a new price at Stripe takes over the lookup key, and the catalogue has the new amount.
    /// Returns the id of the new price.
    pub(in crate::money) async fn raise_pro(&self, amount: i64) -> String {
        let old = self.pro_price().await;
        // Its lookup key is not all that it loses.
        self.ask_stripe("POST", &format!("/v1/prices/{}", stripe::id(&old)), &[("metadata[plan]", "")]).await;
        let text = amount.to_string();
        let form = [
            ("product", old["product"].as_str().expect("a product")),
            ("unit_amount", text.as_str()),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
            ("lookup_key", "pro_monthly"),
            ("transfer_lookup_key", "true"),
        ];
        let new = self.ask_stripe("POST", "/v1/prices", &form).await;
        let shown = self.stripe.object(stripe::id(&old));
        assert_eq!((&shown["lookup_key"], &shown["metadata"]), (&Value::Null, &json!({})));
        self.change_catalogue(|catalogue| catalogue.prices[0].amount = MoneyMinor(amount));
        stripe::id(&new).to_owned()
    }

    /// The customer is on Pro with this many months of credits.
    pub(in crate::money) async fn is_on_pro(&self, customer: &TestCustomer, months: i64) {
        assert_eq!(self.status_and_plan(customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!(self.app.balance(customer).await, months * PERIOD);
    }

    /// A subscriber to Pro whose change to Team waits for an invoice, with the price of Pro at Stripe.
    async fn waiting_for_an_invoice(&self) -> (TestCustomer, Value, String) {
        let customer = self.without_credits("pm_card_visa").await;
        let (stripe_customer, pro) = (self.stripe_customer(&customer).await, self.pro_price().await);
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        let subscription = self.subscribe_at_stripe(&stripe_customer, stripe::id(&pro), &by_invoice).await;
        let first = subscription["latest_invoice"].as_str().expect("an invoice");
        let paid = self.ask_stripe("POST", &format!("/v1/invoices/{first}/pay"), &[]).await;
        self.deliver_event("customer.subscription.updated", &self.subscription()).await;
        self.deliver_event("invoice.paid", &paid).await;
        self.is_on_pro(&customer, 1).await;
        let up = json!({ "price": "team_monthly", "when": "now" });
        let waiting =
            self.app.call(&customer, "POST", &format!("{SUBSCRIPTION}/change"), "up", Some(&up)).await.expect(200);
        let unpaid = waiting["unpaid_invoice"].as_str().expect("an invoice").to_owned();
        assert_eq!(waiting["plan"], json!("pro"));
        (customer, pro, unpaid)
    }
}

with_shop! {
    async fn a_raised_price_is_paid_by_new_subscribers_and_who_pays_the_old_one_keeps_its_plan(shop: &Shop) {
        const RAISED: i64 = 69_900;
        let early = shop.pro().await;
        let new = shop.raise_pro(RAISED).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&early, 1).await;
        let renewal = shop.next_month();
        assert_eq!(renewal["total"], MONTH);
        shop.deliver_event("invoice.paid", &renewal).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&early, 2).await;

        let late = shop.without_credits("pm_card_visa").await;
        shop.subscribe(&late, "pro").await.expect(201);
        shop.is_on_pro(&late, 1).await;
        assert_eq!(shop.net_paid(&late).await, RAISED);
        assert_eq!(shop.subscription()["items"]["data"][0]["price"]["id"], json!(new));
        shop.is_on_pro(&early, 2).await;
        // Each sees what it pays, beside what is sold now.
        for (customer, amount, is_former) in [(&early, MONTH, true), (&late, RAISED, false)] {
            let shown = shop.app.call(customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
            let (price, former) = (&shown["terms"]["price"], &shown["terms"]["is_former"]);
            assert_eq!((&price["key"], &price["amount_minor"]), (&shown["price"], &json!(amount)));
            assert_eq!((&price["credits"], former), (&json!(PERIOD), &json!(is_former)));
        }
    }

    async fn a_price_known_from_an_event_stays_known_after_its_lookup_key_has_moved(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let (stripe_customer, price) = (shop.stripe_customer(&customer).await, shop.pro_price().await);
        shop.subscribe_at_stripe(&stripe_customer, stripe::id(&price), &[]).await;
        shop.deliver_event("invoice.paid", &shop.stripe.list("invoice")[0]).await;
        shop.is_on_pro(&customer, 1).await;
        shop.raise_pro(69_900).await;
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_price_known_from_the_catalogue_stays_known_after_that_names_another(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let (stripe_customer, price) = (shop.stripe_customer(&customer).await, shop.pro_price().await);
        let id = stripe::id(&price).to_owned();
        shop.change_catalogue(|catalogue| catalogue.prices[0].stripe = vec![id]);
        shop.subscribe_at_stripe(&stripe_customer, stripe::id(&price), &[]).await;
        shop.deliver_event("invoice.paid", &shop.stripe.list("invoice")[0]).await;
        shop.is_on_pro(&customer, 1).await;
        let new = shop.raise_pro(69_900).await;
        shop.change_catalogue(|catalogue| catalogue.prices[0].stripe = vec![new]);
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_price_of_our_product_at_another_amount_waits_for_a_person_and_takes_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let pro = shop.pro_price().await;
        let cheaper = shop.other_price("49900", pro["product"].as_str()).await;
        let change = [("items[0][price]", cheaper.as_str()), ("proration_behavior", "none")];
        shop.change_item(&shop.subscription(), &change).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        let renewal = shop.next_month();
        assert_eq!((&renewal["status"], &renewal["total"]), (&json!("paid"), &json!(49_900)));
        let (event, reason) = shop.dead_event("invoice.paid", &renewal).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains(&cheaper), "{reason}");
        shop.is_on_pro(&customer, 1).await;

        shop.change_catalogue(|catalogue| catalogue.prices[0].stripe = vec![stripe::id(&pro).to_owned(), cheaper]);
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn a_subscription_to_such_a_price_gives_its_plan_once_the_catalogue_names_it(shop: &Shop) {
        shop.pro().await;
        let pro = shop.pro_price().await;
        let cheaper = shop.other_price("49900", pro["product"].as_str()).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let made = shop.subscribe_at_stripe(&stripe_customer, &cheaper, &[]).await;
        let (event, reason) = shop.dead_event("customer.subscription.created", &made).await;
        assert!(reason.starts_with("price_unknown: "), "{reason}");
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), 0));

        shop.change_catalogue(|catalogue| catalogue.prices[0].stripe = vec![stripe::id(&pro).to_owned(), cheaper]);
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        shop.is_on_pro(&customer, 1).await;
    }

    async fn a_price_that_left_the_catalogue_waits_for_a_person_and_takes_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        let mut left = Vec::new();
        shop.change_catalogue(|catalogue| left = std::mem::take(&mut catalogue.prices));
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        let (event, reason) = shop.dead_event("invoice.paid", &renewal).await;
        assert!(reason.starts_with("price_unknown: ") && reason.contains("pro_monthly"), "{reason}");
        shop.is_on_pro(&customer, 1).await;
        shop.change_catalogue(|catalogue| catalogue.prices = left);
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        shop.is_on_pro(&customer, 2).await;
    }

    async fn an_invoice_is_granted_once_whatever_its_price_becomes(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        let types = ["invoice.paid", "invoice.payment_succeeded", "invoice.paid"];
        for event_type in types {
            shop.deliver_event(event_type, &renewal).await;
            shop.is_on_pro(&customer, 2).await;
        }
        let id = stripe::id(&shop.pro_price().await).to_owned();
        shop.change_catalogue(|catalogue| {
            let price = &mut catalogue.prices[0];
            (price.credits, price.rollover) = (Credits(100), Rollover::Reset);
            (price.lookup_key, price.stripe) = ("pro_again".to_owned(), vec![id]);
        });
        for event_type in types {
            shop.deliver_event(event_type, &renewal).await;
            shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
            shop.is_on_pro(&customer, 2).await;
        }
        // The next month is one of the price as it is now.
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD + 100);
    }
}

with_backend! {
    async fn a_year_granted_whole_is_not_granted_again_in_parts(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Whole)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
        assert_eq!(shop.app.balance(&customer).await, 720);
        shop.change_catalogue(|catalogue| catalogue.prices[1].grant = GrantSchedule::Monthly);
        shop.deliver_event("invoice.paid", &shop.stripe.list("invoice")[0]).await;
        let parts = crate::database::texts(&shop.app, "SELECT id FROM jobs WHERE kind = 'credits.grant'").await;
        assert_eq!((parts.len(), shop.app.balance(&customer).await), (0, 720));
        shop.close().await;
    }

    async fn a_change_that_waits_for_its_invoice_is_not_taken_back_by_resuming(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, pro, unpaid) = shop.waiting_for_an_invoice().await;
        let (change, resume) = (format!("{SUBSCRIPTION}/change"), format!("{SUBSCRIPTION}/resume"));
        let refuses = async |path: &str, key: &str, body: Option<&Value>| {
            let refused = shop.app.call(&customer, "POST", path, key, body).await;
            refused.expect_problem(409, "change_pending");
            let said = refused.body["detail"].as_str().expect("a reason").to_owned();
            assert!(said.contains(&unpaid) && said.contains("at_once"), "{said}");
        };
        refuses(&resume, "resume", None).await;
        refuses(&change, "back", Some(&json!({ "price": "pro_monthly", "when": "now" }))).await;
        // An end is taken back all the same.
        let ends = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        let goes_on = shop.app.call(&customer, "POST", &resume, "go-on", None).await.expect(200);
        let shown = [ends, goes_on].map(|shown| shown["cancel_at_period_end"].clone());
        assert_eq!(shown, [json!(true), json!(false)]);
        refuses(&resume, "again", None).await;

        // What support does. Once the invoice is voided nobody waits for it, and nobody has paid for the better plan.
        let void = shop.ask_stripe("POST", &format!("/v1/invoices/{unpaid}/void"), &[]).await;
        for _ in 0..2 {
            shop.deliver_event("invoice.voided", &void).await;
            let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
            assert_eq!((&shown["plan"], &shown["unpaid_invoice"]), (&json!("pro"), &Value::Null));
            let shown = shop.app.admin("GET", &format!("/admin/v1/customers/{}", customer.id), None).await.expect(200);
            assert_eq!(shown["subscriptions"][0]["unpaid_invoice"], Value::Null);
            let summary = shop.app.call(&customer, "GET", "/api/v1/usage/summary", "", None).await.expect(200);
            let words = summary["subscription"]["message"].as_str().expect("words");
            assert!(words.contains(&unpaid) && words.contains("was voided"), "{words}");
        }
        refuses(&resume, "void", None).await;
        let back = [("items[0][price]", stripe::id(&pro)), ("proration_behavior", "none")];
        shop.change_item(&shop.subscription(), &back).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.is_on_pro(&customer, 1).await;
        let shown = shop.app.call(&customer, "POST", &resume, "well", None).await.expect(200);
        assert_eq!((&shown["price"], &shown["unpaid_invoice"]), (&json!("pro_monthly"), &Value::Null));
        shop.close().await;
    }

    async fn a_lost_event_of_a_voided_invoice_is_made_up_for_by_a_comparison(backend: Backend) {
        for of_customer in [true, false] {
            let (shop, interceptor) = Shop::intercepted_with(backend, |config| {
                config.catalogue = Shop::catalogue_with_team(&[team_monthly()]);
                config.stripe.reconcile_grace_s = 0;
            })
            .await;
            shop.make_prices(&[team_monthly()]).await;
            let none = json!({ "object": "list", "data": [], "has_more": false, "url": "/v1/events" });
            interceptor.intercept(usize::MAX, "GET", "/v1/events", Interception::Blocked(200, none));
            let (customer, _, unpaid) = shop.waiting_for_an_invoice().await;
            let compared = async || match of_customer {
                true => crate::reconcile::reconcile_as(&shop.app, &json!({ "repair": true, "customer_id": customer.id })).await,
                false => crate::reconcile::reconcile(&shop.app, true).await,
            };
            let differs = ("subscription_differs", 1, 1);
            assert!(!crate::reconcile::found(&compared().await).contains(&differs));
            shop.ask_stripe("POST", &format!("/v1/invoices/{unpaid}/void"), &[]).await;
            let run = compared().await;
            assert!(crate::reconcile::found(&run).contains(&differs), "{run:#}");
            let shown = shop.app.call(&customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
            assert_eq!((&shown["plan"], &shown["unpaid_invoice"]), (&json!("pro"), &Value::Null));
            assert!(!crate::reconcile::found(&compared().await).contains(&differs));
            shop.close().await;
        }
    }
}
