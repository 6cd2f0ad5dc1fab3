//! Changes of a subscription: requested here with their preview, and made at Stripe and told in every order.

mod unpaid;

use super::*;
use crate::database::texts;
use crate::scene::{job_in_state, resume_job};
use bursar_engine::domain::job::JobState;
use bursar_engine::ids::JobId;

const CHANGE: &str = "/api/v1/subscription/change";
const PREVIEW: &str = "/api/v1/subscription/preview";
const DAY_S: u64 = 24 * 60 * 60;
const TEAM: i64 = 199_900;

fn company_monthly() -> Price {
    priced("company_monthly", |price| {
        (price.amount, price.credits, price.per_seat) = (MoneyMinor(5_000), Credits(20), true);
    })
}

/// The order in which events are told.
#[derive(Debug, Clone, Copy)]
enum Order {
    AsTheyCame,
    LatestFirst,
    SecondHalfFirst,
    EachTwice,
}

impl Order {
    const ALL: [Self; 4] = [Self::AsTheyCame, Self::LatestFirst, Self::SecondHalfFirst, Self::EachTwice];

    fn arrange(self, mut events: Vec<Value>) -> Vec<Value> {
        match self {
            Self::AsTheyCame => {}
            Self::LatestFirst => events.reverse(),
            Self::SecondHalfFirst => {
                let half = events.len() / 2;
                events.rotate_left(half);
            }
            Self::EachTwice => events = events.iter().chain(events.iter().rev()).cloned().collect(),
        }
        events
    }
}

impl Shop {
    async fn change(&self, customer: &TestCustomer, key: &str, request: Value) -> Answer {
        self.app.call(customer, "POST", CHANGE, key, Some(&request)).await
    }

    async fn preview(&self, customer: &TestCustomer, request: Value) -> Answer {
        self.app.call(customer, "POST", PREVIEW, "", Some(&request)).await
    }

    async fn shown(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "GET", SUBSCRIPTION, "", None).await.expect(200)
    }

    fn pass(&self, days: u64) {
        self.stripe.advance(Duration::from_secs(days * DAY_S)).expect("time passes");
    }

    /// A customer without credits, and its Stripe customer.
    async fn bare(&self) -> (TestCustomer, String) {
        let customer = self.without_credits("pm_card_visa").await;
        let id = self.stripe_customer(&customer).await;
        (customer, id)
    }

    /// The id of the price at Stripe with this lookup key.
    async fn price_of(&self, key: &str) -> String {
        let found = self.ask_stripe("GET", &format!("/v1/prices?lookup_keys[]={key}"), &[]).await;
        stripe::id(&found["data"][0]).to_owned()
    }

    /// Tells all that happened to a Stripe customer's subscriptions and invoices, in this order.
    async fn tell(&self, stripe_customer: &str, order: Order) {
        let events = self.stripe.list("event").into_iter().filter(|event| {
            let (event_type, object) = (event["type"].as_str().unwrap_or_default(), &event["data"]["object"]);
            let is_ruled = ["customer.subscription.", "invoice.paid", "invoice.payment_failed"];
            object["customer"] == stripe_customer && is_ruled.iter().any(|prefix| event_type.starts_with(prefix))
        });
        for told in order.arrange(events.collect()) {
            let event_type = told["type"].as_str().expect("a type");
            self.deliver_event(event_type, &told["data"]["object"]).await;
        }
    }

    /// Makes the job of the next part of a year's credits due and waits for its end.
    async fn part_ends_as(&self, state: JobState) {
        let sql = "SELECT id FROM jobs WHERE kind = 'credits.grant' AND state = 'available' ORDER BY run_at_ms LIMIT 1";
        let job = texts(&self.app, sql).await.remove(0);
        resume_job(&self.app, &job).await;
        job_in_state(&self.app, &JobId::parse(&job).expect("an id"), state).await;
    }
}

with_backend! {
    async fn an_upgrade_costs_and_brings_what_its_preview_said_once(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, _) = shop.bare().await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        shop.pass(10);
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        let said = shop.preview(&customer, wanted.clone()).await.expect(200);
        assert_eq!((&said["plan"], &said["currency"]), (&json!("team"), &json!("usd")));
        assert_eq!((&said["next_amount_minor"], &said["next_credits"]), (&json!(TEAM), &json!(250)));
        let (due, credits) = (said["due_now_minor"].as_i64().expect("money"), said["credits_now"].as_i64().expect("credits"));
        assert!((TEAM - MONTH..TEAM).contains(&due) && (191..250).contains(&credits), "{said}");
        assert_eq!((shop.net_paid(&customer).await, shop.plan(&customer).await), (MONTH, "pro".to_owned()));

        for _ in 0..2 {
            let changed = shop.change(&customer, "up", wanted.clone()).await.expect(200);
            assert_eq!((&changed["plan"], &changed["price"]), (&json!("team"), &json!("team_monthly")));
            assert_eq!(changed["credit_balance"], json!(PERIOD + credits));
        }
        assert_eq!(shop.net_paid(&customer).await, MONTH + due);
        let metadata = &shop.subscription()["metadata"];
        assert_eq!((&metadata["bursar_price"], &metadata["bursar_plan"]), (&json!("team_monthly"), &json!("team")));
        shop.change(&customer, "again", wanted).await.expect_problem(409, "subscription_unchanged");
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + credits + 250);
        shop.close().await;
    }

    async fn a_change_that_cannot_be_paid_changes_nothing(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, _) = shop.bare().await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        shop.attach(&customer, "pm_card_chargeCustomerFail", "bad").await.expect(201);
        let before = shop.subscription();
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.change(&customer, "up", wanted.clone()).await.expect_problem(402, "payment_declined");
        assert_eq!(shop.subscription()["items"], before["items"]);
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));
        // The same request with another card.
        shop.attach(&customer, "pm_card_visa", "good").await.expect(201);
        let changed = shop.change(&customer, "up", wanted).await.expect(200);
        assert_eq!(changed["plan"], json!("team"));
        shop.close().await;
    }

    async fn a_downgrade_comes_with_the_end_of_the_period(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer) = shop.bare().await;
        shop.subscribe_to(&customer, "team", json!({ "price": "team_monthly" })).await.expect(201);
        let wanted = json!({ "price": "pro_monthly", "when": "period_end" });
        let said = shop.preview(&customer, wanted.clone()).await.expect(200);
        let now = (&said["due_now_minor"], &said["credits_now"], &said["next_amount_minor"], &said["next_credits"]);
        assert_eq!(now, (&json!(0), &json!(0), &json!(MONTH), &json!(PERIOD)));
        let changed = shop.change(&customer, "down", wanted.clone()).await.expect(200);
        assert_eq!((&changed["plan"], &changed["price"]), (&json!("team"), &json!("team_monthly")));
        assert_eq!(changed["pending_change"]["price"], json!("pro_monthly"));
        assert_eq!(changed["pending_change"]["at"], changed["current_period_end"]);
        assert_eq!(said["takes_effect_at"], changed["current_period_end"]);
        for (key, when) in [("more", "now"), ("later", "period_end")] {
            let other = json!({ "price": "pro_monthly", "when": when });
            shop.change(&customer, key, other).await.expect_problem(409, "change_pending");
        }
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (TEAM, 250));

        let renewal = shop.next_month();
        assert_eq!((&renewal["total"], &renewal["billing_reason"]), (&json!(MONTH), &json!("subscription_cycle")));
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        let shown = shop.shown(&customer).await;
        assert_eq!((&shown["plan"], &shown["price"], &shown["pending_change"]), (&json!("pro"), &json!("pro_monthly"), &Value::Null));
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (TEAM + MONTH, 250 + PERIOD));
        // The schedule has done its work, and does not stand in the way of an end.
        let ends = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!(ends["cancel_at_period_end"], json!(true));
        shop.change(&customer, "late", json!({ "price": "team_monthly", "when": "now" }))
            .await
            .expect_problem(409, "subscription_ending");
        shop.close().await;
    }

    async fn a_change_that_is_to_come_is_taken_back_or_dropped_with_the_end(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, _) = shop.bare().await;
        shop.subscribe_to(&customer, "team", json!({ "price": "team_monthly" })).await.expect(201);
        let wanted = json!({ "price": "pro_monthly", "when": "period_end" });
        shop.change(&customer, "down", wanted.clone()).await.expect(200);
        let path = format!("{SUBSCRIPTION}/resume");
        let resumed = shop.app.call(&customer, "POST", &path, "resume", None).await.expect(200);
        assert_eq!(resumed["pending_change"], Value::Null);
        assert_eq!(shop.subscription()["schedule"], Value::Null);
        shop.change(&customer, "down-again", wanted).await.expect(200);
        let ends = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!((&ends["cancel_at_period_end"], &ends["pending_change"]), (&json!(true), &Value::Null));
        shop.close().await;
    }

    async fn a_change_whose_answer_was_lost_is_made_once(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, _) = shop.bare().await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.fail_next("POST", "/v1/subscriptions/", Fault::LoseAnswer { hang_ms: 0 });
        wait::until("the change is made", || async {
            (shop.change(&customer, "up", wanted.clone()).await.status == 200).then_some(())
        })
        .await;
        let paid = shop.net_paid(&customer).await;
        assert!((TEAM..=TEAM + 10).contains(&paid), "the whole of Pro was credited: {paid}");
        assert_eq!(shop.app.balance(&customer).await, 250);
        let back = json!({ "price": "pro_monthly", "when": "period_end" });
        shop.fail_next("POST", "/v1/subscription_schedules/", Fault::LoseAnswer { hang_ms: 0 });
        wait::until("the change is to come", || async {
            (shop.change(&customer, "down", back.clone()).await.status == 200).then_some(())
        })
        .await;
        assert_eq!(shop.shown(&customer).await["pending_change"]["price"], json!("pro_monthly"));
        assert_eq!(shop.stripe.list("subscription_schedule").len(), 1);
        shop.close().await;
    }

    async fn seats_are_changed_now_or_at_the_end(backend: Backend) {
        let shop = Shop::selling(backend, &[company_monthly()]).await;
        let (customer, stripe_customer) = shop.bare().await;
        shop.subscribe_to(&customer, "three", json!({ "price": "company_monthly", "quantity": 3 })).await.expect(201);
        let more = json!({ "price": "company_monthly", "quantity": 5, "when": "now" });
        let changed = shop.change(&customer, "five", more).await.expect(200);
        assert_eq!((&changed["quantity"], &changed["credit_balance"]), (&json!(5), &json!(100)));
        let fewer = json!({ "price": "company_monthly", "quantity": 2, "when": "period_end" });
        shop.change(&customer, "two", fewer).await.expect(200);
        assert_eq!(shop.next_month()["total"], json!(10_000));
        shop.tell(&stripe_customer, Order::SecondHalfFirst).await;
        assert_eq!((&shop.shown(&customer).await["quantity"], shop.app.balance(&customer).await), (&json!(2), 140));
        for (quantity, price) in [(0, "company_monthly"), (2, "pro_monthly")] {
            let wrong = json!({ "price": price, "quantity": quantity, "when": "now" });
            shop.preview(&customer, wrong).await.expect_problem(400, "invalid_quantity");
        }
        shop.close().await;
    }

    async fn a_year_that_is_left_takes_the_months_rest_and_brings_no_more_months(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let (customer, _) = shop.bare().await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let year = json!({ "price": "pro_yearly", "when": "now" });
        let said = shop.preview(&customer, year.clone()).await.expect(200);
        assert_eq!((&said["credits_now"], &said["credits_later"]), (&json!(0), &json!(660)));
        let changed = shop.change(&customer, "year", year).await.expect(200);
        assert_eq!(changed["credit_balance"], json!(PERIOD), "the month of Pro was left at once");
        shop.part_ends_as(JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);

        let month = json!({ "price": "pro_monthly", "when": "now" });
        let said = shop.preview(&customer, month.clone()).await.expect(200);
        assert_eq!(said["due_now_minor"], json!(0));
        assert!(said["credited_minor"].as_i64().expect("money") > 8 * MONTH, "{said}");
        shop.change(&customer, "month", month).await.expect(200);
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD, "a month for a month");
        shop.part_ends_as(JobState::Cancelled).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.close().await;
    }

    async fn a_year_that_was_ended_with_a_credit_brings_no_more_months(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let (customer, stripe_customer) = shop.bare().await;
        shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
        shop.pass(15);
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("DELETE", &path, &[("prorate", "true")]).await;
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        shop.part_ends_as(JobState::Cancelled).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }

    async fn a_year_that_was_ended_without_a_credit_still_brings_what_was_paid(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let (customer, _) = shop.bare().await;
        shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
        let end = format!("{SUBSCRIPTION}?at_once=true");
        shop.app.call(&customer, "DELETE", &end, "end", None).await.expect(200);
        shop.part_ends_as(JobState::Succeeded).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.close().await;
    }

    async fn switching_at_stripe_brings_the_same_in_every_order_and_multiplies_nothing(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly(), pro_yearly(GrantSchedule::Whole)]).await;
        let prices = ["pro_yearly", "pro_monthly", "team_monthly", "pro_monthly", "pro_yearly", "team_monthly"];
        for order in Order::ALL {
            let (customer, stripe_customer) = shop.bare().await;
            let first = shop.price_of("pro_monthly").await;
            shop.subscribe_at_stripe(&stripe_customer, &first, &[]).await;
            for key in prices {
                let price = shop.price_of(key).await;
                let change = [("items[0][price]", price.as_str()), ("billing_cycle_anchor", "now")];
                shop.change_item(&shop.subscription(), &change).await;
            }
            shop.tell(&stripe_customer, order).await;
            // Each was left at once, so what counts is the last.
            let balance = shop.app.balance(&customer).await;
            assert!((250 - 7..=250).contains(&balance), "{order:?}: {balance}");
            assert_eq!(shop.plan(&customer).await, "team", "{order:?}");
        }
        shop.close().await;
    }

    async fn a_reset_anchor_brings_the_share_of_the_time_that_was_used_in_every_order(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let price = shop.price_of("pro_monthly").await;
        let mut balances = Vec::new();
        for order in Order::ALL {
            let (customer, stripe_customer) = shop.bare().await;
            shop.subscribe_at_stripe(&stripe_customer, &price, &[]).await;
            shop.pass(7);
            shop.change_item(&shop.subscription(), &[("billing_cycle_anchor", "now")]).await;
            shop.tell(&stripe_customer, order).await;
            balances.push(shop.app.balance(&customer).await);
        }
        // 7 days of a month of 28 to 31 days, and a new month.
        assert!(balances.iter().all(|balance| (PERIOD + 12..=PERIOD + 15).contains(balance)), "{balances:?}");
        shop.close().await;
    }

    async fn a_better_plan_that_waits_for_its_invoice_counts_when_that_is_paid(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer) = shop.bare().await;
        let (pro, team) = (shop.price_of("pro_monthly").await, shop.price_of("team_monthly").await);
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        shop.subscribe_at_stripe(&stripe_customer, &pro, &by_invoice).await;
        shop.tell(&stripe_customer, Order::AsTheyCame).await;
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), 0));
        let first = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        shop.ask_stripe("POST", &payment_of(&first), &[]).await;
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));

        let change = [("items[0][price]", team.as_str()), ("billing_cycle_anchor", "now")];
        shop.change_item(&shop.subscription(), &change).await;
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        let shown = shop.shown(&customer).await;
        assert_eq!((&shown["plan"], &shown["price"]), (&json!("pro"), &json!("team_monthly")));
        let latest = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        assert_eq!(shown["unpaid_invoice"], json!(latest));
        shop.change(&customer, "now", json!({ "price": "pro_monthly", "when": "now" }))
            .await
            .expect_problem(409, "change_pending");
        shop.ask_stripe("POST", &payment_of(&latest), &[]).await;
        shop.tell(&stripe_customer, Order::SecondHalfFirst).await;
        let shown = shop.shown(&customer).await;
        assert_eq!((&shown["plan"], &shown["unpaid_invoice"]), (&json!("team"), &Value::Null));
        assert_eq!(shop.app.balance(&customer).await, 250, "the month of Pro was left at once");
        shop.close().await;
    }

    async fn a_trial_gives_its_plan_and_the_first_paid_period_its_credits(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let price = shop.price_of("pro_monthly").await;
        for order in Order::ALL {
            let (customer, stripe_customer) = shop.bare().await;
            shop.subscribe_at_stripe(&stripe_customer, &price, &[("trial_period_days", "7")]).await;
            shop.tell(&stripe_customer, order).await;
            assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), 0));
            let at_end = json!({ "price": "team_monthly", "when": "period_end" });
            shop.change(&customer, "end", at_end).await.expect_problem(409, "subscription_inactive");
            let changed = shop.change(&customer, "now", json!({ "price": "team_monthly", "when": "now" })).await.expect(200);
            assert_eq!((&changed["status"], &changed["plan"]), (&json!("trialing"), &json!("team")));
            assert_eq!((shop.net_paid(&customer).await, &changed["credit_balance"]), (0, &json!(0)));
            shop.pass(8);
            shop.tell(&stripe_customer, order).await;
            assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (TEAM, 250), "{order:?}");
        }
        shop.close().await;
    }

    async fn periods_that_a_coupon_leaves_nothing_of_bring_nothing_and_the_next_one_does(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let price = shop.price_of("pro_monthly").await;
        let coupon = [("percent_off", "100"), ("duration", "repeating"), ("duration_in_months", "2")];
        let coupon = shop.ask_stripe("POST", "/v1/coupons", &coupon).await;
        for order in Order::ALL {
            let (customer, stripe_customer) = shop.bare().await;
            let discount = [("discounts[0][coupon]", stripe::id(&coupon))];
            shop.subscribe_at_stripe(&stripe_customer, &price, &discount).await;
            for (paid, credits) in [(0, 0), (MONTH, PERIOD)] {
                shop.next_month();
                shop.tell(&stripe_customer, order).await;
                assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (paid, credits), "{order:?}");
            }
            let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
            shop.ask_stripe("DELETE", &path, &[]).await;
        }
        shop.close().await;
    }

    async fn a_preview_says_what_a_coupon_leaves_of_the_next_period(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        for (percent, duration, amount, credits) in [
            ("100", "forever", 0, 0),
            ("50", "forever", TEAM / 2, 250),
            ("50", "repeating", TEAM / 2, 250),
            ("100", "once", TEAM, 250),
        ] {
            let customer = shop.without_credits("pm_card_visa").await;
            shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
            let mut coupon = vec![("percent_off", percent), ("duration", duration)];
            coupon.extend((duration == "repeating").then_some(("duration_in_months", "3")));
            let coupon = shop.ask_stripe("POST", "/v1/coupons", &coupon).await;
            let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
            shop.ask_stripe("POST", &path, &[("discounts[0][coupon]", stripe::id(&coupon))]).await;
            let said = shop.preview(&customer, json!({ "price": "team_monthly", "when": "now" })).await.expect(200);
            let next = (&said["next_amount_minor"], &said["next_credits"]);
            assert_eq!(next, (&json!(amount), &json!(credits)), "{percent} % {duration}");
            if duration != "once" {
                let wanted = json!({ "price": "team_monthly", "when": "period_end" });
                let said = shop.preview(&customer, wanted).await.expect(200);
                let next = (&said["next_amount_minor"], &said["next_credits"]);
                assert_eq!(next, (&json!(amount), &json!(credits)), "{percent} % at the end");
            }
            shop.ask_stripe("DELETE", &path, &[]).await;
        }
        shop.close().await;
    }

    async fn whoever_pays_half_by_a_coupon_gains_nothing_by_switching(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (pro, team) = (shop.price_of("pro_monthly").await, shop.price_of("team_monthly").await);
        let coupon = shop.ask_stripe("POST", "/v1/coupons", &[("percent_off", "50"), ("duration", "forever")]).await;
        for order in Order::ALL {
            let (customer, stripe_customer) = shop.bare().await;
            let discount = [("discounts[0][coupon]", stripe::id(&coupon))];
            shop.subscribe_at_stripe(&stripe_customer, &pro, &discount).await;
            for price in [&team, &pro, &team, &pro] {
                let change = [("items[0][price]", price.as_str()), ("billing_cycle_anchor", "now")];
                shop.change_item(&shop.subscription(), &change).await;
            }
            shop.tell(&stripe_customer, order).await;
            let balance = shop.app.balance(&customer).await;
            assert!((PERIOD - 4..=PERIOD).contains(&balance), "{order:?}: {balance}");
        }
        shop.close().await;
    }

    async fn a_resume_that_bills_a_new_period_brings_its_credits_in_every_order(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let price = shop.price_of("pro_monthly").await;
        for order in Order::ALL {
            let (customer, stripe_customer) = shop.bare().await;
            let default = format!("/v1/customers/{stripe_customer}");
            let method = shop.ask_stripe("GET", &default, &[]).await["invoice_settings"]["default_payment_method"].clone();
            let trial =
                [("trial_period_days", "7"), ("trial_settings[end_behavior][missing_payment_method]", "pause")];
            shop.subscribe_at_stripe(&stripe_customer, &price, &trial).await;
            let detach = format!("/v1/payment_methods/{}/detach", method.as_str().expect("a default"));
            shop.ask_stripe("POST", &detach, &[]).await;
            shop.pass(8);
            shop.tell(&stripe_customer, order).await;
            assert_eq!((&shop.subscription()["status"], shop.app.balance(&customer).await), (&json!("paused"), 0));
            assert_ne!(shop.plan(&customer).await, "pro", "{order:?}");

            let attach = [("customer", stripe_customer.as_str())];
            let card = shop.ask_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", &attach).await;
            let settings = [("invoice_settings[default_payment_method]", stripe::id(&card))];
            shop.ask_stripe("POST", &default, &settings).await;
            let resume = format!("/v1/subscriptions/{}/resume", stripe::id(&shop.subscription()));
            shop.ask_stripe("POST", &resume, &[("billing_cycle_anchor", "now")]).await;
            shop.tell(&stripe_customer, order).await;
            assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH, PERIOD), "{order:?}");
            assert_eq!(shop.plan(&customer).await, "pro", "{order:?}");
        }
        shop.close().await;
    }

    async fn a_pause_of_collection_is_shown_and_brings_nothing_until_it_ends(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let (customer, stripe_customer) = shop.bare().await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("POST", &path, &[("pause_collection[behavior]", "void")]).await;
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        let shown = shop.shown(&customer).await;
        assert_eq!((&shown["status"], &shown["plan"]), (&json!("active"), &json!("pro")));
        assert_eq!(shown["paused_collection"]["behavior"], json!("void"));
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.change(&customer, "up", wanted).await.expect_problem(409, "subscription_inactive");
        assert_eq!(shop.next_month()["status"], json!("void"));
        shop.tell(&stripe_customer, Order::SecondHalfFirst).await;
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));

        shop.ask_stripe("POST", &path, &[("pause_collection", "")]).await;
        shop.next_month();
        shop.tell(&stripe_customer, Order::LatestFirst).await;
        assert_eq!(shop.shown(&customer).await["paused_collection"], Value::Null);
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.close().await;
    }
}

/// The path of the call that pays an invoice.
fn payment_of(invoice: &str) -> String {
    format!("/v1/invoices/{invoice}/pay")
}
