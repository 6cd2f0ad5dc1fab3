//! Changes while the present period is not paid: a renewal is a draft for an hour, and sent invoices are open for weeks.

use super::*;

const BY_INVOICE: [(&str, &str); 2] = [("collection_method", "send_invoice"), ("days_until_due", "30")];

fn seats(quantity: i64, when: &str) -> Value {
    json!({ "price": "company_monthly", "quantity": quantity, "when": when })
}

fn to_pro(when: &str) -> Value {
    json!({ "price": "pro_monthly", "when": when })
}

impl Shop {
    /// Lets time pass until the next period has begun and its invoice is a draft; returns that.
    fn renewal_is_a_draft(&self) -> Value {
        let ends_s = self.subscription()["items"]["data"][0]["current_period_end"].as_i64().expect("an end");
        let by_s = u64::try_from(ends_s + 600 - self.stripe.now_s()).expect("it is still to come");
        self.stripe.advance(Duration::from_secs(by_s)).expect("time passes");
        let invoice = self.stripe.object(&self.latest_invoice());
        assert_eq!(invoice["status"], "draft");
        invoice
    }

    /// Asserts that a change and its preview are refused because of this invoice, and that Stripe owes nothing.
    async fn refuses_unpaid(&self, customer: &TestCustomer, invoice: Option<&str>, change: Value) {
        for answer in [self.preview(customer, change.clone()).await, self.change(customer, "unpaid", change).await] {
            answer.expect_problem(409, "period_unpaid");
            let detail = answer.body["detail"].as_str().expect("words");
            assert!(detail.contains("period_end") && detail.contains(invoice.unwrap_or("more would be")), "{detail}");
        }
        let stripe_customer = self.stripe_customer(customer).await;
        assert_eq!(self.owed_by_stripe(&stripe_customer).await, 0);
    }

    /// Annuls an open invoice by a credit note, which makes Stripe call it paid.
    async fn annul(&self, invoice: &str) {
        let amount = self.stripe.object(invoice)["amount_remaining"].to_string();
        self.ask_stripe("POST", "/v1/credit_notes", &[("invoice", invoice), ("amount", amount.as_str())]).await;
        assert_eq!(self.stripe.object(invoice)["status"], "paid");
    }

    /// A subscriber by invoice who has paid for one seat and has 100 since, with its Stripe customer and the open invoice
    /// of the others.
    async fn with_unpaid_seats(&self) -> (TestCustomer, String, String) {
        let (customer, stripe_customer) = self.bare().await;
        let price = self.price_of("company_monthly").await;
        self.subscribe_at_stripe(&stripe_customer, &price, &BY_INVOICE).await;
        self.ask_stripe("POST", &payment_of(&self.latest_invoice()), &[]).await;
        self.tell(&stripe_customer, Order::AsTheyCame).await;
        self.change(&customer, "more", seats(100, "now")).await.expect(200);
        let open = self.latest_invoice();
        assert_eq!(self.stripe.object(&open)["status"], "open");
        (customer, stripe_customer, open)
    }
}

with_backend! {
    async fn seats_whose_invoice_is_open_are_credited_once_it_is_paid(backend: Backend) {
        let shop = Shop::selling(backend, &[company_monthly()]).await;
        let (customer, stripe_customer, open) = shop.with_unpaid_seats().await;
        shop.refuses_unpaid(&customer, Some(&open), seats(1, "now")).await;
        shop.preview(&customer, seats(1, "period_end")).await.expect(200);
        shop.ask_stripe("POST", &payment_of(&open), &[]).await;
        shop.tell(&stripe_customer, Order::AsTheyCame).await;
        assert_eq!(shop.app.balance(&customer).await, 2_000);
        shop.change(&customer, "fewer", seats(1, "now")).await.expect(200);
        let owed = shop.owed_by_stripe(&stripe_customer).await;
        assert!((494_900..=495_000).contains(&owed), "99 seats of those that were paid: {owed}");
        shop.close().await;
    }

    async fn a_void_invoice_leaves_time_that_is_not_credited(backend: Backend) {
        let shop = Shop::selling(backend, &[company_monthly()]).await;
        let (customer, stripe_customer, open) = shop.with_unpaid_seats().await;
        shop.ask_stripe("POST", &format!("/v1/invoices/{open}/void"), &[]).await;
        shop.tell(&stripe_customer, Order::AsTheyCame).await;
        shop.refuses_unpaid(&customer, None, seats(1, "now")).await;
        shop.close().await;
    }

    async fn an_invoice_that_a_credit_note_annuls_brings_nothing_and_pays_for_no_time(backend: Backend) {
        let shop = Shop::selling(backend, &[company_monthly()]).await;
        let (customer, stripe_customer, open) = shop.with_unpaid_seats().await;
        shop.annul(&open).await;
        shop.tell(&stripe_customer, Order::EachTwice).await;
        assert_eq!(shop.app.balance(&customer).await, 20);
        shop.refuses_unpaid(&customer, None, seats(1, "now")).await;

        let (other, stripe_customer) = shop.bare().await;
        let price = shop.price_of("company_monthly").await;
        shop.subscribe_at_stripe(&stripe_customer, &price, &BY_INVOICE).await;
        shop.annul(&shop.latest_invoice()).await;
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        assert_eq!(shop.app.balance(&other).await, 0);
        shop.close().await;
    }

    async fn a_renewal_that_is_a_draft_or_open_is_credited_once_it_is_paid(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer) = shop.bare().await;
        shop.subscribe_to(&customer, "team", json!({ "price": "team_monthly" })).await.expect(201);
        let draft = shop.renewal_is_a_draft();
        shop.tell(&stripe_customer, Order::AsTheyCame).await;
        shop.refuses_unpaid(&customer, Some(stripe::id(&draft)), to_pro("now")).await;
        assert_eq!(shop.app.balance(&customer).await, 250);
        shop.preview(&customer, to_pro("period_end")).await.expect(200);
        shop.pass(1);
        assert_eq!(shop.stripe.object(stripe::id(&draft))["status"], "paid");
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        assert_eq!(shop.app.balance(&customer).await, 500);
        shop.change(&customer, "down", to_pro("now")).await.expect(200);
        let owed = shop.owed_by_stripe(&stripe_customer).await;
        assert!(owed > 0 && owed + MONTH < TEAM, "no more than was paid: {owed}");
        shop.close().await;
    }

    async fn what_leaves_a_renewal_in_its_first_hour_takes_nothing_that_it_has_not_brought(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let pro = shop.price_of("pro_monthly").await;
        for is_paid in [true, false] {
            for order in Order::ALL {
                let (customer, stripe_customer) = shop.bare().await;
                shop.subscribe_to(&customer, "team", json!({ "price": "team_monthly" })).await.expect(201);
                let draft = shop.renewal_is_a_draft();
                // In the dashboard, which asks nobody whether the period is paid.
                let now = [("items[0][price]", pro.as_str()), ("billing_cycle_anchor", "now")];
                shop.change_item(&shop.subscription(), &now).await;
                assert_eq!(shop.stripe.object(&shop.latest_invoice())["status"], "paid", "from what was credited");
                shop.tell(&stripe_customer, order).await;
                assert_eq!(shop.app.balance(&customer).await, 310, "{order:?}: a month of each");
                match is_paid {
                    true => shop.pass(1),
                    false => {
                        shop.ask_stripe("POST", &format!("/v1/invoices/{}/finalize", stripe::id(&draft)), &[]).await;
                        shop.ask_stripe("POST", &format!("/v1/invoices/{}/void", stripe::id(&draft)), &[]).await;
                    }
                }
                shop.tell(&stripe_customer, order).await;
                let used = if is_paid { 310..=311 } else { 310..=310 };
                let balance = shop.app.balance(&customer).await;
                assert!(used.contains(&balance), "paid: {is_paid}, {order:?}: {balance}");
                shop.ask_stripe("DELETE", &format!("/v1/subscriptions/{}", stripe::id(&shop.subscription())), &[]).await;
            }
        }
        shop.close().await;
    }
}
