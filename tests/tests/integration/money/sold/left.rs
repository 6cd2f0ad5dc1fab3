//! Periods that are left before their end: the credits of the time that is left go, once, and on the terms on which
//! they came.

use super::*;
use crate::scene::customer_id;
use bursar_engine::infra::store::account::account_find;

pub(super) const HALF_MONTH: Duration = Duration::from_secs(15 * 24 * 60 * 60);

impl Shop {
    /// A subscriber to Pro with the credits of its month, and its Stripe customer.
    pub(super) async fn subscriber(&self) -> (TestCustomer, String) {
        let customer = self.without_credits("pm_card_visa").await;
        let stripe_customer = self.stripe_customer(&customer).await;
        let price = stripe::id(&self.pro_price().await).to_owned();
        self.subscribe_at_stripe(&stripe_customer, &price, &[]).await;
        self.tell_invoices(&stripe_customer).await;
        assert_eq!(self.app.balance(&customer).await, PERIOD);
        (customer, stripe_customer)
    }

    /// Switches to the price with this lookup key within the period, billed at once, as Stripe's portal does.
    async fn switch_at_stripe(&self, key: &str) {
        let found = self.ask_stripe("GET", &format!("/v1/prices?lookup_keys[]={key}"), &[]).await;
        let to = [("items[0][price]", stripe::id(&found["data"][0])), ("proration_behavior", "always_invoice")];
        self.change_item(&self.subscription(), &to).await;
    }

    /// Ends the subscription now, with a credit for the time that is left.
    pub(super) async fn leave_at_stripe(&self, stripe_customer: &str) {
        let path = format!("/v1/subscriptions/{}", stripe::id(&self.subscription()));
        self.ask_stripe("DELETE", &path, &[("prorate", "true"), ("invoice_now", "true")]).await;
        self.tell_invoices(stripe_customer).await;
    }

    /// Tells of the paid invoices of a Stripe customer.
    async fn tell_invoices(&self, stripe_customer: &str) {
        let is_told =
            |event: &Value| event["data"]["object"]["customer"] == stripe_customer && event["type"] == "invoice.paid";
        for event in self.stripe.list("event").into_iter().filter(is_told) {
            self.deliver_event("invoice.paid", &event["data"]["object"]).await;
        }
    }

    /// Gives this much of the first payment back and tells of it.
    async fn give_back(&self, amount: Option<i64>) {
        let charge = stripe::id(&self.stripe.list("charge").remove(0)).to_owned();
        self.stripe.refund(&charge, amount).expect("a refund");
        self.announce_refund(&charge).await;
    }

    /// The credits that are left, with when they end.
    async fn ends(&self, customer: &TestCustomer) -> Vec<(i64, Option<i64>)> {
        let account = account_find(self.app.app.db.read(), &customer_id(customer)).await.expect("an account");
        let grants = account.expect("an account").open.grants;
        grants.iter().map(|open| (open.remaining.0, open.expires_at_ms)).collect()
    }

    /// The credits that the customer's invoices are still to bring.
    async fn to_come(&self, customer: &TestCustomer) -> i64 {
        let path = format!("/admin/v1/invoices?customer={}", customer.id);
        let listed = self.app.admin("GET", &path, None).await.expect(200);
        let rows = listed["data"].as_array().expect("invoices").iter();
        rows.filter_map(|row| row["credits_to_come"].as_i64()).sum()
    }

    async fn until_left(&self, customer: &TestCustomer, credits: i64) {
        wait::until(&format!("{credits} credits are left"), || async {
            (self.app.balance(customer).await == credits).then_some(())
        })
        .await;
        self.app.verify().await;
    }
}

with_backend! {
    async fn the_credits_of_time_that_is_left_go_however_often_plans_were_switched(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        for switches in [&["team_monthly"][..], &["team_monthly", "pro_monthly"], &["team_monthly", "pro_monthly", "team_monthly"]] {
            let (customer, stripe_customer) = shop.subscriber().await;
            for key in switches {
                shop.switch_at_stripe(key).await;
                shop.tell_invoices(&stripe_customer).await;
            }
            shop.leave_at_stripe(&stripe_customer).await;
            let left = shop.app.balance(&customer).await;
            assert!((0..=1).contains(&left), "{switches:?}: {left}");
        }
        shop.close().await;
    }

    async fn what_a_period_brought_goes_with_it_whatever_the_catalogue_says_since(backend: Backend) {
        for (granted, later) in [(60, 600), (600, 60)] {
            let shop = Shop::selling(backend, &[]).await;
            shop.change_catalogue(|catalogue| catalogue.prices[0].credits = Credits(granted));
            let customer = shop.without_credits("pm_card_visa").await;
            let stripe_customer = shop.stripe_customer(&customer).await;
            let price = stripe::id(&shop.pro_price().await).to_owned();
            shop.subscribe_at_stripe(&stripe_customer, &price, &[]).await;
            shop.tell_invoices(&stripe_customer).await;
            assert_eq!(shop.app.balance(&customer).await, granted);
            shop.change_catalogue(|catalogue| catalogue.prices[0].credits = Credits(later));
            shop.leave_at_stripe(&stripe_customer).await;
            let left = shop.app.balance(&customer).await;
            assert!((0..=granted / 60).contains(&left), "of {granted}, then {later}: {left}");
            shop.app.verify().await;
            shop.close().await;
        }
    }

    async fn a_year_is_left_in_the_parts_in_which_it_was_sold(backend: Backend) {
        for (sold, since, brings) in
            [(GrantSchedule::Monthly, GrantSchedule::Whole, 60), (GrantSchedule::Whole, GrantSchedule::Monthly, 720)]
        {
            let shop = Shop::selling(backend, &[pro_yearly(sold)]).await;
            let customer = shop.without_credits("pm_card_visa").await;
            let stripe_customer = shop.stripe_customer(&customer).await;
            let found = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_yearly", &[]).await;
            shop.subscribe_at_stripe(&stripe_customer, stripe::id(&found["data"][0]), &[]).await;
            shop.tell_invoices(&stripe_customer).await;
            assert_eq!(shop.app.balance(&customer).await, brings);
            shop.change_catalogue(|catalogue| {
                let year = catalogue.prices.iter_mut().find(|price| price.key.as_str() == "pro_yearly");
                year.expect("the price").grant = since;
            });
            // The whole time is left, so all goes that came.
            shop.leave_at_stripe(&stripe_customer).await;
            let left = shop.app.balance(&customer).await;
            assert!((0..=brings / 60).contains(&left), "sold {sold:?}: {left}");
            shop.app.verify().await;
            shop.close().await;
        }
    }

    async fn what_is_left_after_a_change_lasts_as_long_as_what_it_was_bought_with(backend: Backend) {
        let reset = priced("pro_reset", |price| price.rollover = Rollover::Reset);
        let shop = Shop::selling(backend, &[reset, pro_yearly(GrantSchedule::Monthly)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_reset" })).await.expect(201);
        assert!(shop.ends(&customer).await.iter().all(|(_, end)| end.is_some()), "they end with the month");
        let wanted = json!({ "price": "pro_yearly", "when": "now" });
        shop.app.call(&customer, "POST", "/api/v1/subscription/change", "keep", Some(&wanted)).await.expect(200);
        // The month that was left brought as many credits as the first month of the year does.
        let ends = shop.ends(&customer).await;
        let kept: i64 = ends.iter().filter(|(_, end)| end.is_none()).map(|(credits, _)| credits).sum();
        assert_eq!((kept, shop.app.balance(&customer).await), (PERIOD, PERIOD), "{ends:?}");
        // And back again: what is bought for a month ends with it.
        let wanted = json!({ "price": "pro_reset", "when": "now" });
        shop.app.call(&customer, "POST", "/api/v1/subscription/change", "reset", Some(&wanted)).await.expect(200);
        let ends = shop.ends(&customer).await;
        assert!(ends.iter().all(|(_, end)| end.is_some()), "{ends:?}");
        shop.close().await;
    }

    async fn of_a_year_that_was_left_or_given_back_only_what_is_paid_for_is_to_come(backend: Backend) {
        let year = pro_yearly(GrantSchedule::Monthly).amount.0;
        for (way, amount, to_come) in [
            ("left", 0, 0),
            ("unspent", year, 0),
            ("none", year, 660),
            ("unspent", year / 2, 330),
            ("all", year / 3, 440),
            ("none", year / 2, 660),
        ] {
            let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
            let customer = shop.without_credits("pm_card_visa").await;
            let stripe_customer = shop.stripe_customer(&customer).await;
            shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
            assert_eq!(shop.to_come(&customer).await, 660);
            if way == "left" {
                shop.leave_at_stripe(&stripe_customer).await;
            } else {
                let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
                let amount = amount.to_string();
                let form =
                    [("charge", charge.as_str()), ("amount", amount.as_str()), ("metadata[bursar_credits]", way)];
                shop.ask_stripe("POST", "/v1/refunds", &form).await;
                shop.announce_refund(&charge).await;
            }
            assert_eq!(shop.to_come(&customer).await, to_come, "{way}, {amount}");
            shop.close().await;
        }
    }

    async fn a_period_that_is_left_before_it_is_paid_takes_nothing_and_brings_what_was_used(backend: Backend) {
        for is_void in [false, true] {
            let shop = Shop::selling(backend, &[]).await;
            let (customer, stripe_customer) = shop.subscriber().await;
            shop.attach(&customer, "pm_card_chargeCustomerFail", "bad").await.expect(201);
            shop.stripe.advance(Duration::from_secs(31 * 24 * 60 * 60 + 2 * 60 * 60)).expect("time passes");
            let renewal = shop.stripe.list("invoice").into_iter().find(|invoice| invoice["status"] == "open");
            let path = format!("/v1/invoices/{}", stripe::id(&renewal.expect("an open invoice")));
            if is_void {
                shop.ask_stripe("POST", &format!("{path}/void"), &[]).await;
            }
            shop.leave_at_stripe(&stripe_customer).await;
            assert_eq!(shop.app.balance(&customer).await, PERIOD, "of the period before");
            if !is_void {
                shop.attach(&customer, "pm_card_visa", "good").await.expect(201);
                let paid = shop.ask_stripe("POST", &format!("{path}/pay"), &[]).await;
                assert_eq!(paid["status"], "paid", "{paid}");
                for _ in 0..2 {
                    shop.tell_invoices(&stripe_customer).await;
                    let balance = shop.app.balance(&customer).await;
                    assert!((PERIOD..PERIOD + 10).contains(&balance), "the days that were used: {balance}");
                }
            }
            shop.app.verify().await;
            shop.close().await;
        }
    }

    async fn an_invoice_that_costs_nothing_or_less_is_found_by_its_id(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let (customer, stripe_customer) = shop.subscriber().await;
        shop.leave_at_stripe(&stripe_customer).await;
        let is_credit = |invoice: &&Value| invoice["total"].as_i64().is_some_and(|total| total < 0);
        let invoice = shop.stripe.list("invoice").into_iter().find(|invoice| is_credit(&invoice)).expect("a credit");
        let id = stripe::id(&invoice);
        let shown = shop.app.admin("GET", &format!("/admin/v1/payments/{id}"), None).await.expect(200);
        let (payment, credit) = (&shown["payment"], invoice["total"].as_i64().map(i64::abs));
        assert_eq!((&payment["customer_id"], &payment["amount_minor"]), (&json!(customer.id), &json!(0)));
        assert_eq!(payment["balance_credit_minor"], json!(credit), "nobody paid less than nothing");
        let history = shown["history"].to_string();
        assert!(history.contains("60 credits were taken back"), "{history}");
        let found = shop.app.admin("GET", &format!("/admin/v1/customers?search={id}"), None).await.expect(200);
        assert_eq!(found["data"][0]["id"], json!(customer.id));
        let listed = shop.app.admin("GET", &format!("/admin/v1/invoices?customer={}", customer.id), None).await.expect(200);
        assert!(listed["data"].as_array().expect("invoices").iter().any(|row| row["id"] == id), "{listed}");
        shop.close().await;
    }

    async fn what_went_with_the_money_does_not_go_once_more_when_the_period_is_left(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let (customer, stripe_customer) = shop.subscriber().await;
        shop.give_back(None).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.stripe.advance(HALF_MONTH).expect("time passes");
        shop.leave_at_stripe(&stripe_customer).await;
        shop.until_left(&customer, 0).await;
        shop.close().await;
    }

    async fn what_went_when_the_period_was_left_does_not_go_once_more_with_the_money(backend: Backend) {
        // All of the money, and a tenth of it.
        for (amount, goes) in [(None, PERIOD), (Some(MONTH / 10), PERIOD / 10)] {
            let shop = Shop::selling(backend, &[]).await;
            let (customer, stripe_customer) = shop.subscriber().await;
            shop.stripe.advance(HALF_MONTH).expect("time passes");
            shop.leave_at_stripe(&stripe_customer).await;
            let left = shop.app.balance(&customer).await;
            shop.give_back(amount).await;
            shop.until_left(&customer, (left - goes).max(0)).await;
            shop.close().await;
        }
    }

    async fn an_invoice_that_brings_just_what_it_takes_counts_as_having_taken_it(backend: Backend) {
        for is_refunded_first in [false, true] {
            let plus = priced("plus_monthly", |price| price.amount = MoneyMinor(MONTH + 100));
            let shop = Shop::selling(backend, &[plus]).await;
            let (customer, stripe_customer) = shop.subscriber().await;
            if is_refunded_first {
                shop.give_back(None).await;
                assert_eq!(shop.app.balance(&customer).await, 0);
            }
            let found = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=plus_monthly", &[]).await;
            let to = [("items[0][price]", stripe::id(&found["data"][0])), ("billing_cycle_anchor", "now")];
            shop.change_item(&shop.subscription(), &to).await;
            shop.tell_invoices(&stripe_customer).await;
            if !is_refunded_first {
                assert_eq!(shop.app.balance(&customer).await, PERIOD);
                shop.give_back(None).await;
            }
            shop.until_left(&customer, PERIOD).await;
            shop.close().await;
        }
    }
}
