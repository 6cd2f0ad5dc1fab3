//! What Stripe answers to operations once in a blue moon: without what every answer has, refused though
//! nothing is wrong, or of another time.

use super::between::{Between, Instead, error};
use super::*;
use crate::database::texts;
use crate::scene::{PERIOD, SIGNUP, on_both, sql};

const PAY: &str = "/v1/payment_intents";
const METHODS: &str = "/api/v1/payment-methods";
const SUBSCRIPTIONS: &str = "/v1/subscriptions";

/// Too many requests: nothing was done.
fn busy() -> Instead {
    Instead::Unheard(429, error("invalid_request_error", "rate_limit"))
}

/// Something is wrong with the request.
fn refused() -> Instead {
    Instead::Unheard(400, error("invalid_request_error", "parameter_invalid"))
}

/// There is no such thing.
pub(super) fn missing() -> Instead {
    Instead::Unheard(404, error("invalid_request_error", "resource_missing"))
}

/// A list without an end: more follows one object that is nobody's.
fn endless(object: &str) -> Instead {
    let row = json!({ "id": format!("{object}_other"), "object": object });
    Instead::Unheard(200, json!({ "object": "list", "has_more": true, "data": [row] }))
}

fn list(rows: &[Value]) -> Value {
    json!({ "object": "list", "has_more": false, "data": rows })
}

/// Whoever asks for something that takes long is told so soon.
fn impatient(config: &mut Config) {
    config.stripe.wait_ms = 200;
    config.stripe.rate_per_s = 2_000;
}

impl Shop {
    /// Asks for a unit until the answer has this code.
    async fn spend_until(&self, customer: &TestCustomer, code: &str) -> Answer {
        wait::until(code, || async {
            let answer = self.app.spend(customer, 1, "unit").await;
            (answer.code() == code).then_some(answer)
        })
        .await
    }

    /// Subscribes until the answer has this code.
    async fn subscribe_until(&self, customer: &TestCustomer, code: &str) -> Answer {
        wait::until(code, || async {
            let answer = self.subscribe(customer, "pro").await;
            (answer.code() == code).then_some(answer)
        })
        .await
    }

    /// Begins something that Stripe takes no calls for, and that waits for another attempt; the reason.
    async fn begin(&self, begun: Answer) -> String {
        assert_eq!(begun.status, 202, "{}", begun.body);
        wait::until("an attempt has failed", || async {
            let sql = "SELECT a.reason FROM attempts a JOIN jobs j ON j.id = a.job_id \
                       WHERE j.kind = 'operation.run' AND j.state <> 'succeeded'";
            texts(&self.app, sql).await.pop()
        })
        .await
    }

    /// Whether some job of an operation is in a state.
    async fn operations_job(&self, state: &str) {
        wait::until(&format!("a job is {state}"), || async {
            let sql = format!("SELECT id FROM jobs WHERE kind = 'operation.run' AND state = '{state}'");
            texts(&self.app, &sql).await.pop()
        })
        .await;
    }

    async fn default_method(&self, customer: &TestCustomer) -> String {
        let methods = self.app.call(customer, "GET", METHODS, "", None).await.expect(200);
        let rows = methods["data"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["is_default"] == true).expect("a default");
        row["id"].as_str().expect("an id").to_owned()
    }

    /// One month was paid, and one subscription is there.
    async fn pro_once(&self, customer: &TestCustomer) {
        assert_eq!(self.stripe.list("subscription").len(), 1);
        assert_eq!((self.money(customer).await, self.app.balance(customer).await), (MONTH, PERIOD));
        assert_eq!(self.plan(customer).await, "pro");
    }
}

// Units.

on_both! {
    async fn a_payment_without_an_id_is_shown_to_support_and_settled_when_it_is_asked_for_again(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", PAY, Instead::AfterAll(200, json!({ "object": "payment_intent", "status": "succeeded" })));
        shop.app.spend(&customer, 1, "unit").await.expect(202);
        shop.operations_job("dead").await;
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!((shop.money(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_kept_payment_that_is_answered_without_its_id_goes_on_waiting(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        let asked = shop.app.spend(&customer, 1, "unit").await;
        asked.expect_problem(402, "authentication_required");
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        let nameless = json!({ "object": "payment_intent", "status": "requires_payment_method" });
        between.next(1, "GET", &format!("{PAY}/{intent}"), Instead::AfterAll(200, nameless));
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "authentication_required");
        between.used().await;
        shop.operations_job("dead").await;
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.money(&customer).await, UNIT);
        shop.close().await;
    }

    async fn an_authentication_that_names_no_payment_to_finish_is_a_decline(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", PAY, Instead::Unheard(402, error("card_error", "authentication_required")));
        let declined = shop.app.spend(&customer, 1, "unit").await;
        declined.expect_problem(402, "payment_declined");
        assert_eq!(declined.body["reason"], "authentication_required");
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.money(&customer).await, UNIT);
        shop.close().await;
    }

    async fn a_payment_that_stripe_refuses_is_told_apart_from_a_payment_method_that_is_gone(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        let method = format!("/v1/payment_methods/{}", shop.default_method(&customer).await);
        between.next(1, "POST", PAY, refused());
        shop.app.spend(&customer, 1, "unit").await.expect_problem(422, "refused_by_stripe");
        // Stripe cannot say whose it is at first.
        between.next(2, "POST", PAY, refused());
        between.next(1, "GET", &method, busy());
        between.next(1, "GET", &method, missing());
        shop.spend_until(&customer, "payment_method_missing").await;
        assert_eq!((shop.money(&customer).await, shop.stripe.list("payment_intent").len()), (0, 0));
        shop.attach(&customer, "pm_card_visa", "another").await.expect(201);
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!(shop.money(&customer).await, UNIT);
        shop.close().await;
    }

    async fn a_payment_whose_end_stripe_refuses_goes_on_waiting_until_it_ends(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        let asked = shop.app.spend(&customer, 1, "unit").await;
        asked.expect_problem(402, "authentication_required");
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        let cancel = format!("{PAY}/{intent}/cancel");
        between.next(1, "POST", &cancel, busy());
        between.next(1, "POST", &cancel, refused());
        sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 86400000").await;
        let expired = shop.spend_until(&customer, "payment_declined").await;
        assert_eq!(expired.body["reason"], "authentication_expired");
        between.used().await;
        assert_eq!(shop.stripe.object(&intent)["status"], "canceled");
        shop.close().await;
    }

    async fn a_payment_that_somebody_else_cancelled_has_failed(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        let asked = shop.app.spend(&customer, 1, "unit").await;
        asked.expect_problem(402, "authentication_required");
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        shop.ask_stripe("POST", &format!("{PAY}/{intent}/cancel"), &[]).await;
        let failed = shop.spend_until(&customer, "payment_declined").await;
        assert_eq!(failed.body["reason"], "payment_canceled");
        assert_eq!((shop.money(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.close().await;
    }

    async fn a_payment_is_looked_for_on_page_after_page_and_not_made_again(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(usize::MAX, "POST", PAY, Instead::Silence);
        shop.begin(shop.app.spend(&customer, 1, "unit").await).await;
        assert_eq!(shop.money(&customer).await, UNIT);
        // The first look comes to no end, the second one needs two pages.
        between.next(51, "GET", PAY, endless("payment_intent"));
        shop.a_day_passes().await;
        shop.spend_until_done(&customer, 1, "unit").await;
        between.clear();
        assert_eq!((shop.money(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_payment_behind_a_stored_failure_that_wants_authentication_is_found_and_finished(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        between.next(1, "POST", PAY, Instead::AfterAll(500, error("api_error", "api_error")));
        between.next(9, "POST", PAY, Instead::Stored(500, error("api_error", "api_error")));
        let asked = shop.spend_until(&customer, "authentication_required").await;
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        between.clear();
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!((shop.money(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_charge_that_was_never_made_gets_another_key_when_its_own_is_forgotten(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, |config| {
            impatient(config);
            config.stripe.doubt_ms = 60_000;
        })
        .await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(usize::MAX, "POST", PAY, busy());
        shop.begin(shop.app.spend(&customer, 1, "unit").await).await;
        // Half a minute before its key may be forgotten nothing is begun under it any more.
        const ALMOST_A_DAY_MS: i64 = 23 * 60 * 60 * 1_000 - 30_000;
        sql(&shop.app, &format!("UPDATE operations SET round_at_ms = round_at_ms - {ALMOST_A_DAY_MS}")).await;
        wait::until("it waits for the end of its key", || async {
            shop.app.spend(&customer, 1, "unit").await.expect(202);
            let later = crate::scene::now_ms() + 10_000;
            let sql = format!("SELECT id FROM jobs WHERE kind = 'operation.run' AND run_at_ms > {later}");
            texts(&shop.app, &sql).await.pop()
        })
        .await;
        between.clear();
        sql(&shop.app, "UPDATE operations SET round_at_ms = round_at_ms - 60000").await;
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!((shop.money(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn an_event_that_settles_a_charge_first_leaves_its_job_nothing_to_do(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(usize::MAX, "POST", PAY, Instead::Silence);
        shop.begin(shop.app.spend(&customer, 1, "unit").await).await;
        let paid = shop.stripe.list("payment_intent").remove(0);
        shop.announce("payment_intent.succeeded", &paid).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        wait::until("no job is left", || async {
            let sql = "SELECT id FROM jobs WHERE kind = 'operation.run' AND state <> 'succeeded'";
            texts(&shop.app, sql).await.is_empty().then_some(())
        })
        .await;
        between.clear();
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        assert_eq!((shop.money(&customer).await, shop.stripe.list("payment_intent").len()), (UNIT, 1));
        shop.close().await;
    }

    async fn a_charge_whose_credits_are_owed_by_the_time_that_it_is_settled_says_so_to_whoever_polls(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        shop.app.spend(&customer, 2, "first").await.expect(200);
        let first = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        between.next(usize::MAX, "POST", PAY, Instead::Silence);
        shop.begin(shop.app.spend(&customer, 1, "unit").await).await;
        shop.stripe.refund(&first, None).expect("a refund");
        shop.announce("charge.refunded", &shop.stripe.object(&first)).await;
        assert_eq!(shop.app.balance(&customer).await, -2);
        between.clear();
        let operations = shop.app.call(&customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        let id = operations["data"][0]["id"].as_str().expect("an id").to_owned();
        let polled = shop.operation(&customer, &id, "failed").await;
        assert_eq!(polled["problem"]["code"], "credits_owed");
        shop.app.spend(&customer, 1, "unit").await.expect_problem(402, "credits_owed");
        assert_eq!((shop.money(&customer).await, shop.app.balance(&customer).await), (UNIT, -1));
        shop.close().await;
    }

    async fn a_job_whose_operation_or_customer_is_not_there_ends_with_that_reason(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(usize::MAX, "POST", PAY, busy());
        shop.begin(shop.app.spend(&customer, 1, "unit").await).await;
        let job = "kind = 'operation.run' AND state <> 'succeeded'";
        let args = texts(&shop.app, &format!("SELECT args FROM jobs WHERE {job}")).await.remove(0);
        sql(&shop.app, &format!(r#"UPDATE jobs SET args = '{{"operation":"op_gone"}}' WHERE {job}"#)).await;
        shop.operations_job("dead").await;
        let error = texts(&shop.app, &format!("SELECT last_error FROM jobs WHERE {job}")).await.remove(0);
        assert!(error.contains("there is no operation op_gone"), "{error}");
        sql(&shop.app, &format!("UPDATE jobs SET args = '{args}' WHERE {job}")).await;
        between.clear();
        shop.spend_until_done(&customer, 1, "unit").await;
        assert_eq!(shop.money(&customer).await, UNIT);
        shop.close().await;
    }
}

// Payment methods.

on_both! {
    async fn a_payment_method_that_stripe_fails_to_attach_is_attached_under_another_key(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.app.onboard().await;
        let attach = "/v1/payment_methods/pm_card_visa/attach";
        between.next(1, "POST", attach, Instead::Stored(500, error("api_error", "api_error")));
        between.next(1, "POST", attach, Instead::Unheard(400, error("idempotency_error", "idempotency_error")));
        shop.attach_until_done(&customer, "pm_card_visa").await;
        between.used().await;
        assert_eq!(shop.stripe.list("payment_method").len(), 1);
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + 5);
        shop.close().await;
    }

    async fn an_operation_that_fails_round_after_round_ends_and_support_sees_it(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let attach = "/v1/payment_methods/pm_card_visa/attach";
        between.next(usize::MAX, "POST", attach, busy());
        shop.begin(shop.attach(&customer, "pm_card_visa", "card").await).await;
        sql(&shop.app, "UPDATE operations SET round = 20").await;
        sql(&shop.app, "UPDATE jobs SET unique_key = REPLACE(unique_key, ':1', ':20') WHERE kind = 'operation.run'").await;
        between.clear();
        between.next(1, "POST", attach, Instead::Stored(500, error("api_error", "api_error")));
        wait::until("it is given up", || async {
            (shop.attach(&customer, "pm_card_visa", "card").await.code() == "stripe_unavailable").then_some(())
        })
        .await;
        shop.operations_job("dead").await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.close().await;
    }

    async fn a_card_that_is_declined_or_gone_when_it_is_to_be_the_default_is_not_made_it(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        let first = shop.default_method(&customer).await;
        let body = json!({ "payment_method": "pm_card_mastercard", "consent": true, "make_default": false });
        let other = shop.app.call(&customer, "POST", METHODS, "other", Some(&body)).await.expect(201);
        let other = other["payment_method"]["id"].as_str().expect("an id").to_owned();
        let stripe_customer = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        let make_default = format!("{METHODS}/{other}/default");
        between.next(1, "POST", &stripe_customer, Instead::Unheard(402, error("card_error", "card_declined")));
        let declined = shop.app.call(&customer, "POST", &make_default, "1", None).await;
        declined.expect_problem(402, "payment_declined");
        between.next(1, "POST", &stripe_customer, missing());
        let gone = shop.app.call(&customer, "POST", &make_default, "2", None).await;
        gone.expect_problem(422, "refused_by_stripe");
        assert_eq!(gone.body["reason"], "stripe_not_found");
        assert_eq!(shop.default_method(&customer).await, first);
        shop.app.call(&customer, "POST", &make_default, "3", None).await.expect(200);
        assert_eq!(shop.default_method(&customer).await, other);
        shop.close().await;
    }

    async fn the_default_that_is_attached_again_stays_it_and_one_that_is_detached_late_is_detached(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        let id = shop.default_method(&customer).await;
        let body = json!({ "payment_method": id, "consent": true, "make_default": false });
        shop.app.call(&customer, "POST", METHODS, "again", Some(&body)).await.expect(201);
        assert_eq!(shop.default_method(&customer).await, id);
        between.next(1, "POST", &format!("/v1/payment_methods/{id}/detach"), busy());
        shop.app.call(&customer, "DELETE", &format!("{METHODS}/{id}"), "gone", None).await.expect(200);
        between.used().await;
        assert_eq!(shop.stripe.object(&id)["customer"], Value::Null);
        shop.close().await;
    }

    async fn what_a_subscription_names_to_pay_for_it_follows_the_default_unless_stripe_will_not(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.pro().await;
        let first = shop.default_method(&customer).await;
        let id = stripe::id(&shop.subscription()).to_owned();
        let path = format!("{SUBSCRIPTIONS}/{id}");
        shop.ask_stripe("POST", &path, &[("default_payment_method", &first)]).await;
        shop.attach(&customer, "pm_card_mastercard", "second").await.expect(201);
        let second = shop.default_method(&customer).await;
        assert_ne!(first, second);
        assert_eq!(shop.subscription()["default_payment_method"], json!(second));
        // Busy and wrong keys pass; what is gone or refused is the subscription's own business.
        between.next(1, "GET", &path, busy());
        between.next(1, "GET", &path, Instead::Unheard(401, error("invalid_request_error", "invalid_api_key")));
        between.next(1, "GET", &path, missing());
        let make_default = format!("{METHODS}/{first}/default");
        shop.app.call(&customer, "POST", &make_default, "default-1", None).await.expect(200);
        between.used().await;
        assert_eq!(shop.default_method(&customer).await, first);
        assert_eq!(shop.subscription()["default_payment_method"], json!(second));
        // One that has ended is let be.
        let end = format!("{SUBSCRIPTION}?at_once=true");
        shop.app.call(&customer, "DELETE", &end, "end", None).await.expect(200);
        between.next(1, "GET", &path, refused());
        let make_default = format!("{METHODS}/{second}/default");
        shop.app.call(&customer, "POST", &make_default, "default-2", None).await.expect(200);
        assert!(between.is_unused());
        between.clear();
        shop.close().await;
    }

    async fn where_the_configuration_gives_no_credits_none_are_given_or_taken_back(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            (config.credits.payment_method_bonus, config.credits.pro_period) = (0, 0);
        })
        .await;
        let customer = shop.app.onboard().await;
        shop.attach(&customer, "pm_card_visa", "card").await.expect(201);
        shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), SIGNUP));
        let charge = shop.stripe.list("charge").remove(0);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.announce("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        assert_eq!(shop.app.balance(&customer).await, SIGNUP);
        shop.close().await;
    }

    async fn a_database_that_fails_in_the_middle_of_an_operation_delays_it(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let attach = "/v1/payment_methods/pm_card_visa/attach";
        between.next(usize::MAX, "POST", attach, busy());
        shop.begin(shop.attach(&customer, "pm_card_visa", "card").await).await;
        sql(&shop.app, "ALTER TABLE payment_methods RENAME TO payment_methods_away").await;
        between.clear();
        wait::until("an attempt met the database's failure", || async {
            let reasons = texts(&shop.app, "SELECT reason FROM attempts WHERE reason IS NOT NULL").await;
            reasons.iter().any(|reason| reason.contains("payment_methods")).then_some(())
        })
        .await;
        sql(&shop.app, "ALTER TABLE payment_methods_away RENAME TO payment_methods").await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        assert_eq!(shop.stripe.list("payment_method").len(), 1);
        shop.close().await;
    }
}

// Pro.

/// A subscription to Pro as Stripe might tell of it.
fn subscription_of(stripe_customer: &str, id: &str, status: &str) -> Value {
    let price = json!({ "id": "price_1", "object": "price", "lookup_key": "pro_monthly" });
    json!({
        "id": id, "object": "subscription", "customer": stripe_customer, "status": status, "metadata": {},
        "items": { "object": "list", "has_more": false, "data": [{ "price": price, "current_period_end": 4_000_000_000_i64 }] },
    })
}

/// Stripe makes a subscription and says nothing; the application has an operation for it under way.
async fn made_in_silence(shop: &Shop, between: &Between, customer: &TestCustomer) -> Value {
    between.next(1, "POST", SUBSCRIPTIONS, Instead::Silence);
    between.next(1, "GET", SUBSCRIPTIONS, Instead::Unheard(200, list(&[])));
    between.next(usize::MAX, "GET", SUBSCRIPTIONS, busy());
    shop.begin(shop.subscribe(customer, "pro").await).await;
    let id = stripe::id(&shop.subscription()).to_owned();
    shop.ask_stripe("GET", &format!("{SUBSCRIPTIONS}/{id}?expand[]=latest_invoice"), &[]).await
}

on_both! {
    async fn a_subscription_that_was_never_made_gets_another_key_when_its_own_is_forgotten(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(usize::MAX, "POST", SUBSCRIPTIONS, busy());
        shop.begin(shop.subscribe(&customer, "pro").await).await;
        shop.a_day_passes().await;
        between.clear();
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn without_an_active_price_nobody_can_subscribe_until_there_is_one_or_its_id_is_configured(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "GET", "/v1/prices", Instead::Unheard(200, list(&[])));
        shop.subscribe(&customer, "pro").await.expect_problem(503, "payment_unavailable");
        let prices = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        let Shop { app, stripe } = shop;
        let (mut config, folder) = app.halt().await;
        config.stripe.pro_price_id = Some(stripe::id(&prices["data"][0]).to_owned());
        let shop = Shop { app: TestApp::start_on(config, folder).await, stripe };
        between.next(usize::MAX, "GET", "/v1/prices", Instead::Unheard(200, list(&[])));
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_subscription_behind_a_stored_failure_is_found_and_not_made_again(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", SUBSCRIPTIONS, Instead::AfterAll(500, error("api_error", "api_error")));
        between.next(1, "POST", SUBSCRIPTIONS, Instead::Stored(500, error("api_error", "api_error")));
        // Stripe's list shows it only after the failure was repeated.
        between.next(2, "GET", SUBSCRIPTIONS, Instead::Unheard(200, list(&[])));
        shop.subscribe_until_done(&customer, "pro").await;
        between.used().await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn only_what_is_or_may_be_pro_keeps_a_subscription_from_being_made(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        let unknown = json!({ "id": "sub_1", "object": "subscription", "status": "incomplete", "metadata": {} });
        between.next(1, "GET", SUBSCRIPTIONS, Instead::Unheard(200, list(&[unknown])));
        shop.subscribe(&customer, "first").await.expect_problem(409, "already_subscribed");
        let mut other = subscription_of("cus_1", "sub_2", "active");
        other["items"]["data"][0]["price"] = json!({ "id": "price_2", "object": "price", "lookup_key": "other" });
        let nameless = json!({ "object": "subscription", "status": "active" });
        between.next(1, "GET", SUBSCRIPTIONS, Instead::Unheard(200, list(&[nameless, other])));
        shop.subscribe(&customer, "pro").await.expect(201);
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_subscription_that_waits_for_its_bank_makes_room_for_another_request(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        shop.subscribe(&customer, "first").await.expect_problem(402, "authentication_required");
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.subscribe(&customer, "second").await.expect(201);
        let statuses: Vec<Value> = shop.stripe.list("subscription").into_iter().map(|row| row["status"].clone()).collect();
        assert_eq!(statuses, [json!("incomplete_expired"), json!("active")]);
        assert_eq!((shop.money(&customer).await, shop.app.balance(&customer).await), (MONTH, PERIOD));
        shop.close().await;
    }

    async fn a_subscription_without_an_id_is_shown_to_support_and_found_when_it_is_asked_for_again(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", SUBSCRIPTIONS, Instead::AfterAll(200, json!({ "object": "subscription" })));
        shop.subscribe(&customer, "pro").await.expect(202);
        shop.operations_job("dead").await;
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn a_customer_that_fails_at_its_bank_may_try_again_until_its_time_is_over(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        let asked = shop.subscribe(&customer, "pro").await;
        asked.expect_problem(402, "authentication_required");
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        shop.stripe.authenticate(&intent, false).expect("it waits");
        let id = stripe::id(&shop.subscription()).to_owned();
        // For a moment it looks as if it were paid.
        let paid = subscription_of(&shop.stripe_customer(&customer).await, &id, "active");
        between.next(1, "GET", &format!("{SUBSCRIPTIONS}/{id}"), Instead::AfterAll(200, paid));
        shop.subscribe(&customer, "pro").await.expect_problem(402, "authentication_required");
        between.used().await;
        wait::until("that is looked into", || async {
            let sql = "SELECT id FROM jobs WHERE unique_key LIKE '%:settle:%' AND state = 'succeeded'";
            texts(&shop.app, sql).await.pop()
        })
        .await;
        shop.subscribe(&customer, "pro").await.expect_problem(402, "authentication_required");
        shop.a_day_passes().await;
        shop.subscribe_until(&customer, "payment_declined").await;
        assert_eq!((shop.money(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.close().await;
    }

    async fn a_first_payment_made_just_when_its_subscription_is_ended_for_a_decline_brings_its_month(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_chargeCustomerFail").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let mut ended = subscription_of(&stripe_customer, "sub_paid", "canceled");
        ended["latest_invoice"] = stripe::pro_invoice(&stripe_customer, None);
        between.next(1, "DELETE", "/v1/subscriptions/*", Instead::AfterAll(200, ended));
        shop.subscribe(&customer, "pro").await.expect_problem(409, "subscription_paid_meanwhile");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }

    async fn a_declined_subscription_whose_end_stripe_refuses_is_looked_at_again(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_chargeCustomerFail").await;
        let gone = error("invalid_request_error", "resource_missing");
        between.next(1, "DELETE", "/v1/subscriptions/*", Instead::AfterAll(404, gone));
        shop.subscribe(&customer, "pro").await.expect_problem(402, "payment_declined");
        assert_eq!(shop.subscription()["status"], "incomplete_expired");
        assert_eq!(shop.status(&customer).await, "incomplete_expired");
        shop.close().await;
    }

    async fn a_first_payment_that_its_bank_works_on_is_looked_at_until_it_is_decided(backend: Backend) {
        let (shop, between) = Shop::behind_with(backend, impatient).await;
        let customer = shop.broke("pm_card_authenticationRequired").await;
        let made = made_in_silence(&shop, &between, &customer).await;
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&made));
        // At first Stripe names no payment; then one under way, expanded as old versions have it.
        let mut nameless = made.clone();
        nameless["latest_invoice"] = json!({ "id": made["latest_invoice"]["id"], "object": "invoice" });
        let mut under_way = nameless.clone();
        under_way["latest_invoice"]["payment_intent"] = json!({ "id": "pi_1", "status": "processing" });
        under_way["latest_invoice"]["confirmation_secret"] = json!({ "client_secret": "pi_1_secret" });
        between.clear();
        between.next(1, "GET", &path, Instead::AfterAll(200, nameless));
        between.next(1, "GET", &path, Instead::AfterAll(200, under_way));
        let asked = shop.subscribe_until(&customer, "authentication_required").await;
        between.used().await;
        let intent = asked.body["payment_intent"].as_str().expect("a PaymentIntent").to_owned();
        shop.stripe.authenticate(&intent, true).expect("it waits");
        shop.subscribe_until_done(&customer, "pro").await;
        shop.pro_once(&customer).await;
        shop.close().await;
    }

    async fn an_end_that_stripe_refuses_is_an_end_if_there_is_one_and_else_the_reason_is_told(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.pro().await;
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&shop.subscription()));
        between.next(1, "POST", &path, busy());
        between.next(1, "POST", &path, refused());
        let kept = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "with-the-period", None).await;
        kept.expect_problem(422, "refused_by_stripe");
        assert_eq!(shop.standing(&customer).await, ("active".to_owned(), "pro".to_owned()));
        let gone = error("invalid_request_error", "resource_missing");
        between.next(1, "DELETE", &path, Instead::AfterAll(404, gone));
        let end = format!("{SUBSCRIPTION}?at_once=true");
        let ended = shop.app.call(&customer, "DELETE", &end, "now", None).await.expect(200);
        assert_eq!((&ended["status"], &ended["plan"]), (&json!("canceled"), &json!("pay_as_you_go")));
        shop.close().await;
    }

    async fn whatever_changes_a_subscription_or_a_payment_method_may_be_declined_and_then_nothing_changes(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.pro().await;
        let method = format!("{METHODS}/{}", shop.default_method(&customer).await);
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&shop.subscription()));
        let other = json!({ "payment_method": "pm_card_mastercard", "consent": true, "make_default": false });
        shop.app.call(&customer, "POST", METHODS, "other", Some(&other)).await.expect(201);
        let stripe_customer = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        let resume = format!("{SUBSCRIPTION}/resume");
        for (method, target, asked) in
            [("DELETE", SUBSCRIPTION, &path), ("POST", &resume, &path), ("DELETE", &method, &stripe_customer)]
        {
            if target == resume {
                shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
            }
            between.next(1, "POST", asked, Instead::Unheard(402, error("card_error", "card_declined")));
            let answer = shop.app.call(&customer, method, target, &format!("{method}-{target}").replace('/', "-"), None).await;
            answer.expect_problem(402, "payment_declined");
            between.used().await;
        }
        assert_eq!(shop.standing(&customer).await, ("active".to_owned(), "pro".to_owned()));
        shop.close().await;
    }

    async fn one_that_has_no_period_yet_ends_at_once_instead_of_with_it(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.pro().await;
        let id = stripe::id(&shop.subscription()).to_owned();
        let path = format!("{SUBSCRIPTIONS}/{id}");
        let incomplete = subscription_of(&shop.stripe_customer(&customer).await, &id, "incomplete");
        between.next(1, "POST", &path, refused());
        between.next(1, "GET", &path, Instead::Unheard(200, incomplete));
        let ended = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!(ended["status"], "canceled");
        assert_eq!(shop.subscription()["status"], "canceled");
        shop.close().await;
    }

    async fn a_subscription_that_ended_at_stripe_cannot_be_resumed_and_that_is_learned(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        let path = format!("{SUBSCRIPTIONS}/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("DELETE", &path, &[]).await;
        let resume = format!("{SUBSCRIPTION}/resume");
        let answer = shop.app.call(&customer, "POST", &resume, "resume", None).await;
        answer.expect_problem(409, "subscription_ended");
        assert_eq!(shop.standing(&customer).await, ("canceled".to_owned(), "pay_as_you_go".to_owned()));
        shop.close().await;
    }
}

// The Stripe customer.

on_both! {
    async fn a_stripe_customer_whose_making_nobody_heard_of_is_found_by_the_next_attempt(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        between.next(1, "POST", "/v1/customers", Instead::Silence);
        let customer = shop.app.onboard().await;
        let linked = shop.stripe_customer(&customer).await;
        let made: Vec<Value> = shop.stripe.list("customer").into_iter().map(|row| row["id"].clone()).collect();
        assert_eq!(made, [json!(linked)]);
        shop.close().await;
    }

    async fn a_stripe_customer_is_made_after_whatever_stripe_said_at_first(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        between.next(1, "POST", "/v1/customers", Instead::Stored(500, error("api_error", "api_error")));
        between.next(1, "POST", "/v1/customers", Instead::Unheard(401, error("invalid_request_error", "invalid_api_key")));
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        between.used().await;
        // What no attempt would mend waits until the customer needs one.
        for (answer, dead) in [(refused(), 1), (Instead::AfterAll(200, json!({ "object": "customer" })), 2)] {
            between.next(1, "POST", "/v1/customers", answer);
            let customer = shop.app.onboard().await;
            wait::until("the job is dead", || async {
                let sql = "SELECT id FROM jobs WHERE kind = 'stripe.customer' AND state = 'dead'";
                (texts(&shop.app, sql).await.len() == dead).then_some(())
            })
            .await;
            shop.attach_until_done(&customer, "pm_card_visa").await;
        }
        shop.close().await;
    }

    async fn a_job_for_a_stripe_customer_of_nobody_ends_with_that_reason(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        between.next(usize::MAX, "POST", "/v1/customers", busy());
        let customer = shop.app.onboard().await;
        between.used_at_all().await;
        let args = r#"{"customer":"cst_gone"}"#;
        sql(&shop.app, &format!("UPDATE jobs SET args = '{args}' WHERE kind = 'stripe.customer'")).await;
        let reason = wait::until("the job is dead", || async {
            let sql = "SELECT last_error FROM jobs WHERE kind = 'stripe.customer' AND state = 'dead'";
            texts(&shop.app, sql).await.pop()
        })
        .await;
        assert!(reason.contains("there is no customer cst_gone"), "{reason}");
        between.clear();
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.close().await;
    }
}
