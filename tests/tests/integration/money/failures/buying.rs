//! Failures 20 to 22 (see `failures.rs`): who is charged gets what was bought, a debt can be paid, and no key charges a
//! card without bounds.

use super::super::buying::answers_202_soon;
use super::super::sold::team_monthly;
use super::*;
use futures_util::future::join_all;

/// Requests made at once.
const REQUESTS: usize = 12;
/// The call that makes a subscription.
const SUBSCRIBE: &str = "POST /v1/subscriptions";

impl Shop {
    /// Asks for units with each of these keys at once, and again until each has its last answer.
    async fn spend_at_once(&self, customer: &TestCustomer, units: i64) -> Vec<Answer> {
        let keys: Vec<String> = (0..REQUESTS).map(|n| format!("at-once-{n}")).collect();
        join_all(keys.iter().map(|key| async move {
            wait::until("the request is answered", || async {
                let answer = self.app.spend(customer, units, key).await;
                (answer.status != 202).then_some(answer)
            })
            .await
        }))
        .await
    }

    /// Changes to Team, until that has an answer.
    async fn change_to_team(&self, customer: &TestCustomer, when: &str, key: &str) -> Answer {
        let (path, wanted) = (format!("{SUBSCRIPTION}/change"), json!({ "price": "team_monthly", "when": when }));
        wait::until("the request is answered", || async {
            let answer = self.app.call(customer, "POST", &path, key, Some(&wanted)).await;
            (answer.status != 202).then_some(answer)
        })
        .await
    }

    /// A shop with Team, and a customer on Pro.
    async fn with_one_on_pro(backend: Backend) -> (Self, TestCustomer) {
        let shop = Self::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let pro = json!({ "price": "pro_monthly" });
        shop.app.call(&customer, "POST", SUBSCRIPTION, "pro", Some(&pro)).await.expect(201);
        (shop, customer)
    }

    /// Adds a payment method as the default, while the subscription keeps its own. Returns its id.
    async fn add_beside(&self, customer: &TestCustomer, token: &str, own: &str) -> String {
        let added = self.attach(customer, token, token).await.expect(201);
        let path = format!("/v1/subscriptions/{}", stripe::id(&self.subscription()));
        self.ask_stripe("POST", &path, &[("default_payment_method", own)]).await;
        added["payment_method"]["id"].as_str().expect("an id").to_owned()
    }

    /// Adds a card as the default that is declined for a unit beyond the credits.
    async fn decline_a_purchase(&self, customer: &TestCustomer) {
        self.attach(customer, "pm_card_chargeCustomerFail", "bad").await.expect(201);
        let units = self.app.balance(customer).await + 1;
        self.app.spend(customer, units, "units").await.expect_problem(402, "payment_declined");
    }

    async fn resume_with(&self, customer: &TestCustomer, key: &str) -> Answer {
        self.app.call(customer, "POST", &format!("{SUBSCRIPTION}/resume"), key, None).await
    }

    /// Number of PaymentIntents that took money.
    fn paid_intents(&self) -> usize {
        self.stripe.list("payment_intent").iter().filter(|intent| intent["status"] == "succeeded").count()
    }
}

with_shop! {
    async fn failure_20_a_customer_whose_used_unit_was_refunded_pays_the_debt_and_goes_on(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.spend_until_done(&customer, 1, "used").await;
        let charge = shop.last_charge();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        assert_eq!(shop.app.balance(&customer).await, -1);
        shop.app.spend(&customer, 1, "owing").await.expect_problem(402, "credits_owed");
        let pay = json!({ "pay_debt": true });
        wait::until("the debt is paid", || async {
            let answer = shop.app.call(&customer, "POST", "/api/v1/credits/purchases", "pay", Some(&pay)).await;
            (answer.status != 202).then(|| answer.expect(201))
        })
        .await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.spend_until_done(&customer, 1, "free-again").await;
        assert_eq!(shop.net_paid(&customer).await, 2 * UNIT);
    }

    async fn failure_22_one_key_charges_a_card_no_further_than_its_cap(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let caps = json!({ "day_minor": 3 * UNIT, "month_minor": null });
        shop.app.call(&customer, "PUT", "/api/v1/spend-caps", "", Some(&caps)).await.expect(200);
        let answers = shop.spend_at_once(&customer, 1).await;
        let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        refused.iter().for_each(|answer| answer.expect_problem(402, "spend_cap_reached"));
        assert_eq!((served.len(), shop.paid_intents(), shop.net_paid(&customer).await), (3, 3, 3 * UNIT));
    }

    async fn failure_22_one_key_tries_a_declining_card_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        let before = shop.stripe.calls(&format!("POST {PAY}"));
        for answer in shop.spend_at_once(&customer, 1).await {
            assert!(matches!(answer.code(), "payment_declined" | "card_paused"), "{}", answer.body);
        }
        assert_eq!(shop.stripe.calls(&format!("POST {PAY}")) - before, 1);
    }

    async fn failure_22_a_declining_card_is_not_tried_again_to_subscribe(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.subscribe(&customer, "first").await.expect_problem(402, "payment_declined");
        for key in ["first", "second", "third"] {
            let paused = shop.subscribe(&customer, key).await;
            paused.expect_problem(402, "card_paused");
            assert!(paused.body["retry_at"].is_string(), "{}", paused.body);
        }
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "card_paused");
        assert_eq!((shop.stripe.calls(SUBSCRIBE), shop.charge_calls()), (1, 0));
        shop.hours_pass_since_charges(1).await;
        shop.subscribe(&customer, "first").await.expect_problem(402, "payment_declined");
        shop.hours_pass_since_charges(1).await;
        shop.subscribe(&customer, "first").await.expect_problem(402, "card_paused");
        assert_eq!(shop.stripe.calls(SUBSCRIBE), 2);
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.subscribe(&customer, "first").await.expect(201);
        assert_eq!(shop.net_paid(&customer).await, MONTH);
    }

    async fn failure_22_a_card_that_was_declined_for_usage_is_not_tried_to_subscribe(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_declined");
        shop.subscribe(&customer, "pro").await.expect_problem(402, "card_paused");
        assert_eq!(shop.stripe.calls(SUBSCRIBE), 0);
    }

    async fn failure_22_a_card_that_was_declined_for_a_resume_is_left_alone_and_another_pays_once(shop: &Shop) {
        let customer = shop.pro().await;
        let subscription = shop.subscription();
        let paused = shop.stripe.set(stripe::id(&subscription), json!({ "status": "paused" })).expect("it is there");
        shop.deliver_event("customer.subscription.paused", &paused).await;
        shop.attach(&customer, "pm_card_chargeCustomerFail", "bad").await.expect(201);
        shop.resume_with(&customer, "first").await.expect_problem(402, "payment_declined");
        shop.resume_with(&customer, "second").await.expect_problem(402, "card_paused");
        shop.app.spend(&customer, PERIOD + 1, "units").await.expect_problem(402, "card_paused");
        let resumes = format!("POST /v1/subscriptions/{}/resume", stripe::id(&subscription));
        assert_eq!((shop.stripe.calls(&resumes), shop.charge_calls(), shop.status(&customer).await), (1, 0, "paused".into()));

        shop.hours_pass_since_charges(1).await;
        shop.resume_with(&customer, "second").await.expect_problem(402, "payment_declined");
        shop.attach(&customer, "pm_card_visa", "good").await.expect(201);
        shop.resume_with(&customer, "second").await.expect(200);
        assert_eq!((shop.status(&customer).await, shop.stripe.list("invoice").len()), ("active".into(), 2));
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (2 * MONTH, 2 * PERIOD));
    }

    async fn failure_22_a_first_period_that_cost_nothing_makes_no_good_card_of_a_declining_one(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "payment_declined");
        shop.hours_pass_since_charges(1).await;
        let path = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        shop.ask_stripe("POST", &path, &[("balance", &format!("-{MONTH}"))]).await;
        shop.subscribe(&customer, "pro").await.expect(201);
        let units = shop.app.balance(&customer).await + 1;
        shop.app.spend(&customer, units, "units").await.expect_problem(402, "payment_declined");
        shop.hours_pass_since_charges(1).await;
        shop.app.spend(&customer, units, "units").await.expect_problem(402, "card_paused");
        assert_eq!(shop.charge_calls(), 2, "the second decline in a row waits for four hours");
    }

    async fn failure_22_what_a_subscription_cost_leaves_the_spend_cap_as_it_was(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let caps = json!({ "day_minor": UNIT, "month_minor": null });
        shop.app.call(&customer, "PUT", "/api/v1/spend-caps", "", Some(&caps)).await.expect(200);
        shop.subscribe(&customer, "pro").await.expect(201);
        shop.app.spend(&customer, PERIOD + 1, "one-more").await.expect(200);
    }
}

with_backend! {
    async fn failure_22_a_declining_card_is_tried_once_for_changes(backend: Backend) {
        let (shop, customer) = Shop::with_one_on_pro(backend).await;
        shop.attach(&customer, "pm_card_chargeCustomerFail", "bad").await.expect(201);
        let (path, wanted) = (format!("{SUBSCRIPTION}/change"), json!({ "price": "team_monthly", "when": "now" }));
        let keys: Vec<String> = (0..REQUESTS).map(|n| format!("up-{n}")).collect();
        let answers = join_all(keys.iter().map(|key| {
            wait::until("the request is answered", || async {
                let answer = shop.app.call(&customer, "POST", &path, key, Some(&wanted)).await;
                (answer.status != 202).then_some(answer)
            })
        }));
        for answer in answers.await {
            assert!(matches!(answer.code(), "payment_declined" | "card_paused"), "{}", answer.body);
        }
        let changes = format!("POST /v1/subscriptions/{}", stripe::id(&shop.subscription()));
        assert_eq!(shop.stripe.calls(&changes), 1);
        let preview = format!("{SUBSCRIPTION}/preview");
        shop.app.call(&customer, "POST", &preview, "", Some(&wanted)).await.expect_problem(402, "card_paused");
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        shop.close().await;
    }

    async fn failure_22_a_card_that_has_to_be_authenticated_for_a_change_goes_on_being_charged(backend: Backend) {
        let (shop, customer) = Shop::with_one_on_pro(backend).await;
        shop.attach(&customer, "pm_card_authenticationRequired", "other").await.expect(201);
        shop.change_to_team(&customer, "now", "up").await.expect_problem(402, "payment_declined");
        let units = shop.app.balance(&customer).await + 1;
        payment_to_authenticate(&shop.app.spend(&customer, units, "units").await);
        assert_eq!(shop.charge_calls(), 1, "Stripe is asked");
        shop.close().await;
    }

    async fn a_change_replaces_the_subscriptions_payment_method_unless_declined(backend: Backend) {
        for when in ["now", "period_end"] {
            let (shop, customer) = Shop::with_one_on_pro(backend).await;
            let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
            let own = methods["data"][0]["id"].as_str().expect("an id").to_owned();
            shop.add_beside(&customer, "pm_card_chargeCustomerFail", &own).await;
            shop.change_to_team(&customer, "now", "bad").await.expect_problem(402, "payment_declined");
            assert_eq!(shop.subscription()["default_payment_method"], json!(own), "it renews as before");
            let better = shop.add_beside(&customer, "pm_card_mastercard", &own).await;
            shop.change_to_team(&customer, when, "good").await.expect(200);
            assert_eq!(shop.subscription()["default_payment_method"], json!(better), "{when}");
            shop.close().await;
        }
    }

    async fn a_change_that_a_balance_covers_does_not_wait_for_a_paused_card(backend: Backend) {
        let (shop, customer) = Shop::with_one_on_pro(backend).await;
        shop.decline_a_purchase(&customer).await;
        shop.change_to_team(&customer, "now", "early").await.expect_problem(402, "card_paused");
        let path = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        shop.ask_stripe("POST", &path, &[("balance", "-199900")]).await;
        let (preview, wanted) = (format!("{SUBSCRIPTION}/preview"), json!({ "price": "team_monthly", "when": "now" }));
        let said = shop.app.call(&customer, "POST", &preview, "", Some(&wanted)).await.expect(200);
        assert_eq!(said["due_now_minor"], json!(0), "{said}");
        shop.change_to_team(&customer, "now", "covered").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        shop.close().await;
    }

    async fn a_subscription_whose_invoices_are_sent_is_changed_whatever_the_card(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let prices = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        shop.subscribe_at_stripe(&stripe_customer, stripe::id(&prices["data"][0]), &by_invoice).await;
        let first = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        shop.ask_stripe("POST", &format!("/v1/invoices/{first}/pay"), &[]).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        shop.deliver_event("invoice.paid", &shop.stripe.object(&first)).await;
        shop.decline_a_purchase(&customer).await;
        shop.change_to_team(&customer, "now", "up").await.expect(200);
        assert_eq!(shop.subscription()["items"]["data"][0]["price"]["lookup_key"], json!("team_monthly"));
        shop.close().await;
    }

    async fn failure_21_what_one_request_is_charged_for_no_other_one_spends(backend: Backend) {
        let shop = Shop::open_with(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 1).await.expect(200);
        shop.close_stripe();
        shop.app.spend(&customer, 2, "charged").await.expect(202);
        shop.charged_more_often_than(0).await;
        shop.app.spend(&customer, 1, "meanwhile").await.expect(202);
        shop.open_stripe();
        for (units, key) in [(2, "charged"), (1, "meanwhile")] {
            shop.settle(&customer, units, key).await.expect(200);
        }
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (2 * UNIT, 0));
        shop.close().await;
    }
}
