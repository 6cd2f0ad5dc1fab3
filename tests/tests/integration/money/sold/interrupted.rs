//! Changes of a subscription that are interrupted between two calls to Stripe.

use super::*;
use crate::money::interceptor::{Interception, Interceptor, error};
use crate::scene::{customer_id, delay_job, resume_job, run_retention};
use bursar_engine::domain::operation::{Operation, State};
use bursar_engine::ids::{JobId, OperationId};
use bursar_engine::infra::store::job::{job_find, job_find_by_key};
use bursar_engine::infra::store::operation::{operation_find, operation_list_changing, operation_list_refunding};

const CHANGE: &str = "/api/v1/subscription/change";

impl Shop {
    /// Sells Plus, which is dearer than Pro.
    pub(super) async fn sell_plus(&self) {
        let plus = priced("plus_monthly", |price| price.amount = MoneyMinor(MONTH + 100));
        self.change_catalogue(|catalogue| catalogue.prices.push(plus));
        let amount = (MONTH + 100).to_string();
        let form = [
            ("unit_amount", amount.as_str()),
            ("currency", "usd"),
            ("recurring[interval]", "month"),
            ("product_data[name]", "Plus"),
            ("lookup_key", "plus_monthly"),
        ];
        self.ask_stripe("POST", "/v1/prices", &form).await;
    }

    /// Gives the subscription a payment method of its own at Stripe, which the customer has not added here.
    async fn set_other_payer(&self, customer: &TestCustomer) -> String {
        let stripe_customer = self.stripe_customer(customer).await;
        let attach = [("customer", stripe_customer.as_str())];
        let card = self.ask_stripe("POST", "/v1/payment_methods/pm_card_mastercard/attach", &attach).await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&self.subscription()));
        self.ask_stripe("POST", &path, &[("default_payment_method", stripe::id(&card))]).await;
        stripe::id(&card).to_owned()
    }

    /// A subscriber to Pro whose change to Plus has looked at everything, and waits because Stripe takes no change. With
    /// the change's job.
    async fn with_change_under_way(backend: Backend) -> (Self, Interceptor, TestCustomer, String) {
        let (shop, interceptor) = Self::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/subscriptions/*", busy);
        shop.change_to_plus(&customer).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        (shop, interceptor, customer, job)
    }

    async fn change_to_plus(&self, customer: &TestCustomer) -> Answer {
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        self.app.call(customer, "POST", &format!("{SUBSCRIPTION}/change"), "plus", Some(&wanted)).await
    }

    /// The answer to the change once it has ended.
    async fn changed_to_plus(&self, customer: &TestCustomer) -> Answer {
        wait::until("the change has ended", || async {
            let answer = self.change_to_plus(customer).await;
            (answer.status != 202).then_some(answer)
        })
        .await
    }

    /// Asks for a refund of the only month while a change is under way, and waits until its job has looked several
    /// times. Returns its operation.
    async fn refund_that_waits(&self) -> OperationId {
        let invoice = stripe::id(&self.stripe.list("invoice").remove(0)).to_owned();
        let path = format!("/admin/v1/payments/{invoice}/refund");
        let asked = self.app.admin("POST", &path, Some(&json!({ "reason": "ticket 1" }))).await.expect(200);
        assert_eq!(asked["state"], json!("processing"), "{asked}");
        let id = OperationId::parse(asked["operation_id"].as_str().expect("an id")).expect("an operation's id");
        let calls = || self.stripe.calls(&format!("GET /v1/invoices/{invoice}"));
        self.looks_again(&id).await;
        let before = calls();
        self.looks_again(&id).await;
        assert_eq!(calls(), before, "Stripe need not be asked as long as it waits");
        assert_eq!(self.stripe.calls("POST /v1/refunds"), 0, "the change may credit the money");
        id
    }

    /// Waits until the job of an operation that cannot begin has looked again.
    async fn looks_again(&self, id: &OperationId) {
        let key = format!("operation:{id}:1");
        let due_ms = async || {
            let job = job_find_by_key(self.app.app.db.read(), &key).await.expect("a query");
            job.expect("a job").run_at_ms
        };
        let before = due_ms().await;
        wait::until("the job has looked", || async { (due_ms().await > before).then_some(()) }).await;
    }

    async fn ended(&self, id: &OperationId) -> Operation {
        wait::until("the operation has ended", || async {
            let found = operation_find(self.app.app.db.read(), id).await.expect("a query").expect("an operation");
            (found.state != State::Processing).then_some(found)
        })
        .await
    }
}

fn busy() -> Interception {
    Interception::Blocked(429, error("invalid_request_error", "rate_limit"))
}

impl Shop {
    /// Repeats a change to Plus until it is made; returns the subscription.
    async fn until_on_plus(&self, customer: &TestCustomer, when: &str) -> Value {
        let wanted = json!({ "price": "plus_monthly", "when": when });
        wait::until("the change is made", || async {
            let answer = self.app.call(customer, "POST", CHANGE, "plus", Some(&wanted)).await;
            (answer.status != 202).then(|| answer.expect(200))
        })
        .await
    }
}

with_backend! {
    async fn a_change_never_made_gets_a_new_key_once_its_own_is_old(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        interceptor.intercept(usize::MAX, "POST", &path, busy());
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "plus", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        shop.a_day_passes().await;
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        assert_eq!(shop.until_on_plus(&customer, "now").await["price"], json!("plus_monthly"));
        assert_eq!(shop.stripe.list("invoice").len(), 2, "it is billed once");
        shop.close().await;
    }

    async fn a_change_whose_key_stripe_knows_for_another_request_is_found_if_it_was_made(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        let reused = Interception::Replaced(400, error("idempotency_error", "idempotency_key_in_use"));
        interceptor.intercept(1, "POST", &path, reused);
        assert_eq!(shop.until_on_plus(&customer, "now").await["price"], json!("plus_monthly"));
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("invoice").len(), 2, "it is billed once");
        shop.close().await;
    }

    async fn a_change_that_a_stored_failure_prevented_is_made_under_a_new_key(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        interceptor.intercept(1, "POST", &path, Interception::BlockedAsReplayed(500, error("api_error", "api_error")));
        assert_eq!(shop.until_on_plus(&customer, "now").await["price"], json!("plus_monthly"));
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("invoice").len(), 2, "it is billed once");
        shop.close().await;
    }

    async fn a_change_at_the_end_goes_on_with_the_schedule_that_it_has_made(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        interceptor.intercept(1, "POST", "/v1/subscription_schedules/*", busy());
        let changed = shop.until_on_plus(&customer, "period_end").await;
        assert_eq!(changed["pending_change"]["price"], json!("plus_monthly"));
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.stripe.list("subscription_schedule").len(), 1);
        shop.close().await;
    }

    async fn a_change_at_the_end_that_stripe_refuses_leaves_no_schedule(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let refused = Interception::Blocked(400, error("invalid_request_error", "parameter_invalid"));
        interceptor.intercept(1, "POST", "/v1/subscription_schedules/*", refused);
        let wanted = json!({ "price": "plus_monthly", "when": "period_end" });
        let answer = shop.app.call(&customer, "POST", CHANGE, "plus", Some(&wanted)).await;
        assert!(answer.status >= 400, "{}", answer.body);
        assert!(shop.subscription()["schedule"].is_null(), "{}", shop.subscription());
        let changed = shop.until_on_plus(&customer, "period_end").await;
        assert_eq!(changed["pending_change"]["price"], json!("plus_monthly"), "the same request begins anew");
        shop.close().await;
    }

    async fn a_change_to_a_price_that_stripe_does_not_list_is_refused_and_changes_nothing(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let before = shop.subscription();
        let none = json!({ "object": "list", "has_more": false, "data": [] });
        interceptor.intercept(usize::MAX, "GET", "/v1/prices", Interception::Blocked(200, none));
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        let answer = shop.app.call(&customer, "POST", CHANGE, "plus", Some(&wanted)).await;
        answer.expect_problem(503, "payment_unavailable");
        interceptor.clear();
        assert_eq!(shop.subscription()["items"], before["items"]);
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        shop.close().await;
    }

    async fn a_change_that_was_interrupted_before_its_card_was_set_is_finished_with_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let other = shop.set_other_payer(&customer).await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/customers/*", busy);
        let wanted = json!({ "price": "plus_monthly", "when": "period_end" });
        let path = format!("{SUBSCRIPTION}/change");
        shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        assert!(!shop.subscription()["schedule"].is_null(), "the change is made");
        assert_eq!(shop.subscription()["default_payment_method"], json!(other));

        interceptor.clear();
        resume_job(&shop.app, &job).await;
        let changed = wait::until("the change is done", || async {
            let answer = shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await;
            (answer.status != 202).then(|| answer.expect(200))
        })
        .await;
        assert_eq!(changed["pending_change"]["price"], json!("plus_monthly"));
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        assert_eq!(shop.subscription()["default_payment_method"], methods["data"][0]["id"], "the card of the moment");
        shop.close().await;
    }

    async fn a_change_that_waited_while_its_period_was_refunded_is_refused(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let before = shop.subscription();
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/invoices/create_preview", busy);
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        let path = format!("{SUBSCRIPTION}/change");
        shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;

        interceptor.clear();
        resume_job(&shop.app, &job).await;
        let refused = wait::until("the change is refused", || async {
            let answer = shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await;
            (answer.status != 202).then_some(answer)
        })
        .await;
        refused.expect_problem(409, "period_refunded");
        assert_eq!(shop.subscription()["items"], before["items"]);
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.close().await;
    }

    async fn a_change_is_refused_while_a_refund_of_its_period_is_under_way(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| config.stripe.wait_ms = 200).await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", "/v1/refunds", busy);
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(&shop.stripe.list("invoice").remove(0)));
        let asked = shop.app.admin("POST", &path, Some(&json!({ "reason": "ticket 1" }))).await;
        assert_eq!(asked.body["state"], json!("processing"), "{}", asked.body);
        // As if it had been asked for before support linked the Stripe customer anew.
        let former = shop.app.onboard().await;
        let of_former = format!("UPDATE operations SET customer_id = '{}' WHERE kind = 'payment_refund'", former.id);
        sql(&shop.app, &of_former).await;
        let another = shop.app.admin("POST", &path, Some(&json!({ "reason": "ticket 2" }))).await;
        another.expect_problem(409, "refund_under_way");
        let wanted = json!({ "price": "plus_monthly", "when": "now" });
        for path in ["preview", "change"] {
            let path = format!("{SUBSCRIPTION}/{path}");
            let refused = shop.app.call(&customer, "POST", &path, "plus", Some(&wanted)).await;
            refused.expect_problem(409, "period_refunded");
        }
        interceptor.clear();
        wait::until("the refund is made", || async { (shop.net_paid(&customer).await == 0).then_some(()) }).await;
        shop.announce_refund(stripe::id(&shop.stripe.list("charge").remove(0))).await;
        shop.close().await;
    }

    async fn a_change_whose_card_is_decided_finds_a_refund_that_no_event_told(backend: Backend) {
        let (shop, interceptor, customer, job) = Shop::with_change_under_way(backend).await;
        let before = shop.subscription();
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        shop.changed_to_plus(&customer).await.expect_problem(409, "period_refunded");
        assert_eq!(shop.subscription()["items"], before["items"]);
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.announce_refund(&charge).await;
        shop.close().await;
    }

    async fn a_refund_waits_for_a_change_that_is_under_way_and_the_change_gives_way(backend: Backend) {
        let (shop, interceptor, customer, job) = Shop::with_change_under_way(backend).await;
        let refund = shop.refund_that_waits().await;
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        shop.changed_to_plus(&customer).await.expect_problem(409, "period_refunded");
        assert_eq!(shop.ended(&refund).await.state, State::Succeeded);
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.announce_refund(stripe::id(&shop.stripe.list("charge").remove(0))).await;
        shop.close().await;
    }

    async fn a_refund_that_waited_gives_back_nothing_that_the_change_has_credited(backend: Backend) {
        let (shop, interceptor, customer, job) = Shop::with_change_under_way(backend).await;
        let subscription = shop.subscription();
        let db = shop.app.app.db.read();
        let change = operation_list_changing(db, stripe::id(&subscription)).await.expect("a query").remove(0);
        assert_eq!(change.customer_id, customer_id(&customer));
        let refund = shop.refund_that_waits().await;
        let payment = stripe::id(&shop.stripe.list("invoice").remove(0)).to_owned();
        let both = ["in_other".to_owned(), payment];
        let under_way = operation_list_refunding(db, &both).await.expect("a query");
        assert_eq!(under_way.iter().map(|refund| &refund.id).collect::<Vec<_>>(), [&refund]);
        assert!(operation_list_refunding(db, &both[..1]).await.expect("a query").is_empty());

        // Stripe has carried the change out, and its answer was lost.
        let found = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=plus_monthly", &[]).await;
        let mark = format!("{}:{}", change.id, change.round);
        let made = [
            ("items[0][price]", stripe::id(&found["data"][0])),
            ("proration_behavior", "always_invoice"),
            ("billing_cycle_anchor", "now"),
            ("metadata[bursar_change]", mark.as_str()),
        ];
        shop.change_item(&subscription, &made).await;
        let paid = shop.net_paid(&customer).await;
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        shop.changed_to_plus(&customer).await.expect(200);
        let refund = shop.ended(&refund).await;
        assert_eq!(refund.state, State::Failed);
        assert_eq!(refund.problem.expect("a problem").code, "refund_credited");
        assert_eq!((shop.net_paid(&customer).await, shop.stripe.calls("POST /v1/refunds")), (paid, 0));
        shop.close().await;
    }

    async fn a_refund_that_waited_in_vain_has_called_nothing_and_says_what_to_do(backend: Backend) {
        let (shop, interceptor, customer, job) = Shop::with_change_under_way(backend).await;
        let refund = shop.refund_that_waits().await;
        sql(&shop.app, &format!("UPDATE operations SET round_at_ms = round_at_ms - 60000 WHERE id = '{refund}'")).await;
        let problem = shop.ended(&refund).await.problem.expect("a problem");
        assert_eq!(problem.code, "refund_waited");
        assert!(problem.message.contains("Ask again under another key"), "{}", problem.message);
        assert_eq!(shop.stripe.calls("POST /v1/refunds"), 0);
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        shop.changed_to_plus(&customer).await.expect(200);
        shop.close().await;
    }

    async fn a_refund_waits_for_no_change_whose_job_support_has_cancelled(backend: Backend) {
        let (shop, interceptor, customer, job) = Shop::with_change_under_way(backend).await;
        let body = json!({ "reason": "not wanted" });
        shop.app.admin("POST", &format!("/admin/v1/jobs/{job}/cancel"), Some(&body)).await.expect(200);
        interceptor.clear();
        let invoice = stripe::id(&shop.stripe.list("invoice").remove(0)).to_owned();
        let path = format!("/admin/v1/payments/{invoice}/refund");
        let asked = shop.app.admin("POST", &path, Some(&json!({ "reason": "ticket 1" }))).await.expect(200);
        let id = OperationId::parse(asked["operation_id"].as_str().expect("an id")).expect("an operation's id");
        assert_eq!(shop.ended(&id).await.state, State::Succeeded);
        // If the customer repeats the change, it finds the refund.
        shop.changed_to_plus(&customer).await.expect_problem(409, "period_refunded");
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.announce_refund(stripe::id(&shop.stripe.list("charge").remove(0))).await;
        shop.close().await;
    }

    async fn a_change_whose_job_support_has_cancelled_is_no_fault_however_long_it_waits(backend: Backend) {
        let (shop, interceptor, customer, job) = Shop::with_change_under_way(backend).await;
        let body = json!({ "reason": "not wanted" });
        shop.app.admin("POST", &format!("/admin/v1/jobs/{job}/cancel"), Some(&body)).await.expect(200);
        interceptor.clear();
        shop.app.verify().await;
        let end_long_ago = format!("UPDATE jobs SET finished_at_ms = 1 WHERE id = '{job}'");
        let id = JobId::parse(&job).expect("an id");
        let is_kept = async || {
            sql(&shop.app, &end_long_ago).await;
            run_retention(&shop.app).await;
            job_find(shop.app.app.db.read(), &id).await.expect("a query").is_some()
        };
        assert!(is_kept().await, "nothing else says why the change is not made");
        shop.app.verify().await;
        shop.changed_to_plus(&customer).await.expect(200);
        assert!(!is_kept().await, "the change is made");
        shop.app.verify().await;
        shop.close().await;
    }

    async fn a_change_in_doubt_is_not_refused_by_any_rule_before_it_is_certain(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, |config| {
            (config.stripe.wait_ms, config.stripe.doubt_ms) = (200, 60_000);
        })
        .await;
        let customer = shop.pro().await;
        shop.sell_plus().await;
        interceptor.intercept(usize::MAX, "POST", "/v1/subscriptions/*", busy());
        shop.change_to_plus(&customer).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        let id = JobId::parse(&job).expect("an id");
        let found = async || job_find(shop.app.app.db.read(), &id).await.expect("a query").expect("a job");
        let before = found().await.attempt;
        // The price is taken away while nobody knows whether Stripe has carried out the change.
        shop.change_catalogue(|catalogue| catalogue.prices.retain(|price| price.lookup_key != "plus_monthly"));
        resume_job(&shop.app, &job).await;
        let why = wait::until("the next attempt has ended", || async {
            let found = found().await;
            (found.attempt > before).then_some(found.last_error.unwrap_or_default())
        })
        .await;
        assert!(why.contains("in doubt"), "{why}");
        shop.change_catalogue(|catalogue| {
            catalogue.prices.push(priced("plus_monthly", |price| price.amount = MoneyMinor(MONTH + 100)));
        });
        interceptor.clear();
        resume_job(&shop.app, &job).await;
        shop.changed_to_plus(&customer).await.expect(200);
        shop.close().await;
    }
}
