//! Reconciliation: differences without a webhook are found, and repaired where that is safe. Against a fake Stripe
//! that sends no events and has only the objects of the test.

mod credit_notes;
mod lines;
mod report;
mod run;
mod terms;

use crate::money::with_shop;
use crate::scene::with_backend;
use bursar_engine::config::Config;
use bursar_tests::answer::Answer;
use bursar_tests::fake_stripe::FakeStripe;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, wait};
use serde_json::{Value, json};

const RUNS: &str = "/admin/v1/stripe/reconciliations";

/// Timeout of each attempt of a call to Stripe, after which a lost answer is noticed.
const STRIPE_TIMEOUT_MS: u64 = 1_000;

struct Shop {
    app: TestApp,
    stripe: FakeStripe,
}

impl Shop {
    async fn open(backend: Backend) -> Self {
        Self::open_with(backend, |_| {}).await
    }

    /// Like [`Shop::open`], with changed settings.
    async fn open_with(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let stripe = FakeStripe::start().await;
        let url = stripe.url.clone();
        let app = TestApp::start_with(backend, |config| {
            config.stripe.secret_key = "sk_test_fake".to_owned();
            config.stripe.api_base = url;
            config.stripe.timeout_ms = STRIPE_TIMEOUT_MS;
            config.stripe.total_timeout_ms = STRIPE_TIMEOUT_MS;
            config.stripe.tries_max = 1;
            change(config);
        })
        .await;
        Self { app, stripe }
    }

    /// A customer with this payment method and no credits.
    async fn without_credits(&self, payment_method: &str) -> TestCustomer {
        let customer = self.app.onboard().await;
        self.attach(&customer, payment_method, "card").await.expect(201);
        let balance = self.app.balance(&customer).await;
        self.app.spend(&customer, balance, "all").await.expect(200);
        customer
    }

    async fn attach(&self, customer: &TestCustomer, payment_method: &str, key: &str) -> Answer {
        let body = json!({ "payment_method": payment_method, "consent": true });
        self.app.call(customer, "POST", "/api/v1/payment-methods", key, Some(&body)).await
    }

    async fn stripe_customer(&self, customer: &TestCustomer) -> String {
        let found = self.app.call(customer, "GET", "/api/v1/customer", "", None).await.expect(200);
        found["stripe_customer_id"].as_str().expect("there is one by now").to_owned()
    }

    async fn net_paid(&self, customer: &TestCustomer) -> i64 {
        self.stripe.net_paid(&self.stripe_customer(customer).await)
    }

    /// Delivers an event with an object's current state, and waits until it is processed.
    async fn deliver_event(&self, event_type: &str, object: &Value) {
        let event = stripe::event(event_type, object);
        self.app.deliver(&event).await.expect(200);
        self.app.event_in_state(stripe::id(&event), "processed").await;
    }

    /// Waits until an operation is in this state; returns it.
    async fn operation(&self, customer: &TestCustomer, id: &str, state: &str) -> Value {
        wait::until(&format!("operation {id} is {state}"), || async {
            let path = format!("/api/v1/operations/{id}");
            let found = self.app.call(customer, "GET", &path, "", None).await.expect(200);
            (found["state"] == state).then_some(found)
        })
        .await
    }

    async fn close(self) {
        self.app.verify().await;
        self.app.stop().await;
    }
}

impl Shop {
    /// Runs a reconciliation and asserts the classes with differences: class, found, repaired.
    async fn reconcile_finds(&self, expected: &[(&str, i64, i64)]) -> Value {
        let run = reconcile(&self.app, true).await;
        assert_eq!(found(&run), expected, "{run:#}");
        run
    }

    /// Runs the reconciliation that this body asks for.
    async fn reconcile_as(&self, body: &Value) -> Value {
        reconcile_as(&self.app, body).await
    }

    async fn balance_becomes(&self, customer: &TestCustomer, balance: i64) {
        wait::until(&format!("the balance is {balance}"), || async {
            (self.app.balance(customer).await == balance).then_some(())
        })
        .await;
    }

    async fn plan_becomes(&self, customer: &TestCustomer, plan: &str) {
        wait::until(&format!("the plan is {plan}"), || async {
            let found = self.app.call(customer, "GET", "/api/v1/customer", "", None).await.expect(200);
            (found["plan"] == plan).then_some(())
        })
        .await;
    }

    /// A customer on Pro with a renewal at Stripe that no event announced; returns its invoice.
    async fn renewed(&self) -> (TestCustomer, Value) {
        let customer = self.without_credits("pm_card_visa").await;
        self.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let mut renewal = self.stripe.all("invoice").pop().expect("the first invoice");
        renewal["id"] = format!("in_{}", unique()).into();
        renewal["billing_reason"] = "subscription_cycle".into();
        self.stripe.put(&renewal);
        (customer, renewal)
    }

    /// A customer that bought a unit, has 3 credits and got a refund that no event announced.
    async fn refunded(&self) -> TestCustomer {
        let customer = self.without_credits("pm_card_visa").await;
        self.app.spend(&customer, 1, "unit").await.expect(200);
        self.app.adjust(&customer, 3).await.expect(200);
        let charge = self.stripe.all("charge").remove(0);
        self.stripe.refund(charge["id"].as_str().expect("an id"), 2_900);
        customer
    }
}

/// Starts a run and waits until it has ended.
pub(crate) async fn reconcile(app: &TestApp, repair: bool) -> Value {
    reconcile_as(app, &json!({ "repair": repair })).await
}

/// Runs the reconciliation that this body asks for.
pub(crate) async fn reconcile_as(app: &TestApp, body: &Value) -> Value {
    let begun = app.admin("POST", RUNS, Some(body)).await.expect(202);
    ended(app, begun["reconciliation"]["id"].as_str().expect("an id")).await
}

/// Waits until a run has ended; returns it.
async fn ended(app: &TestApp, id: &str) -> Value {
    wait::until(&format!("reconciliation {id} has ended"), || async {
        let found = app.admin("GET", &format!("{RUNS}/{id}"), None).await.expect(200);
        let run = found["reconciliation"].clone();
        (run["state"] != "running").then_some(run)
    })
    .await
}

/// The classes in which a run found differences: class, found, repaired.
pub(crate) fn found(run: &Value) -> Vec<(&str, i64, i64)> {
    assert_eq!(run["state"], "done", "{run:#}");
    let classes = run["classes"].as_array().expect("classes").iter();
    let number = |class: &Value, key: &str| class[key].as_i64().expect("a number");
    classes
        .filter(|class| class["drift"] != 0)
        .map(|class| (class["class"].as_str().expect("a name"), number(class, "drift"), number(class, "repaired")))
        .collect()
}

with_shop! {
    async fn a_paid_period_without_a_webhook_is_granted_once(shop: &Shop) {
        let (customer, _) = shop.renewed().await;
        shop.reconcile_finds(&[("invoice_not_granted", 1, 1)]).await;
        shop.balance_becomes(&customer, 120).await;
        shop.reconcile_finds(&[]).await;
        assert_eq!(shop.app.balance(&customer).await, 120);
    }

    async fn a_lost_event_is_processed_and_its_effects_are_not_found_again(shop: &Shop) {
        let (customer, renewal) = shop.renewed().await;
        let (lost, older) = (stripe::event("invoice.paid", &renewal), stripe::event("product.created", &json!({})));
        shop.stripe.add_listed_event(&lost, true);
        shop.stripe.add_listed_event(&older, true);
        shop.reconcile_finds(&[("event_missing", 1, 1)]).await;
        shop.app.event_in_state(stripe::id(&lost), "processed").await;
        assert_eq!(shop.app.balance(&customer).await, 120);
        // Stripe delivers it later.
        let late = shop.app.deliver(&lost).await.expect(200);
        assert_eq!(late["duplicate"], true);
        shop.reconcile_finds(&[]).await;
    }

    async fn a_missing_event_that_stripe_calls_delivered_is_recovered(shop: &Shop) {
        let (customer, renewal) = shop.renewed().await;
        shop.stripe.add_listed_event(&stripe::event("invoice.paid", &renewal), false);
        shop.reconcile_finds(&[("event_missing", 1, 1)]).await;
        shop.balance_becomes(&customer, 120).await;
    }

    async fn a_refund_without_a_webhook_claws_its_credit_back(shop: &Shop) {
        let customer = shop.refunded().await;
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 2).await;
        shop.reconcile_finds(&[]).await;
    }

    async fn a_refund_of_money_that_bought_no_credits_is_no_difference(shop: &Shop) {
        let customer = shop.refunded().await;
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 2).await;
        // Other business with the same customer, and with somebody who is not ours.
        let mut other = shop.stripe.all("charge").remove(0);
        for (payer, payment) in [(other["customer"].clone(), "pi_other"), (json!("cus_else"), "pi_else")] {
            let id = format!("ch_{}", unique());
            (other["id"], other["customer"]) = (json!(id), payer);
            (other["payment_intent"], other["metadata"], other["amount_refunded"]) = (json!(payment), json!({}), json!(0));
            shop.stripe.put(&other);
            shop.stripe.refund(&id, 2_900);
        }
        shop.reconcile_finds(&[]).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn a_dispute_without_a_webhook_claws_its_credit_back(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let charge = shop.stripe.all("charge").remove(0);
        shop.stripe.dispute(charge["id"].as_str().expect("an id"), "lost");
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, -1).await;
    }

    async fn a_subscription_with_a_lost_end_event_ends(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let id = shop.stripe.all("subscription").remove(0)["id"].as_str().expect("an id").to_owned();
        shop.stripe.set(&id, &json!({ "status": "canceled", "ended_at": 1_900_000_000 }));
        shop.reconcile_finds(&[("subscription_differs", 1, 1)]).await;
        shop.plan_becomes(&customer, "pay_as_you_go").await;
        shop.reconcile_finds(&[]).await;
    }

    async fn a_payment_unknown_to_its_operation_is_settled_once(shop: &Shop) {
        let customer = shop.without_credits("pm_auth").await;
        let refused = shop.app.spend(&customer, 1, "unit").await;
        refused.expect_problem(402, "authentication_required");
        let operation = refused.body["operation_id"].as_str().expect("an operation").to_owned();
        // The customer authenticates, and the webhook about it is lost.
        shop.stripe.authenticate(refused.body["payment_intent"].as_str().expect("a payment"));
        shop.reconcile_finds(&[("payment_unsettled", 1, 1)]).await;
        shop.operation(&customer, &operation, "succeeded").await;
        shop.reconcile_finds(&[]).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        assert_eq!(shop.net_paid(&customer).await, 2_900);
    }

    async fn a_deleted_stripe_customer_is_replaced(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let before = shop.stripe_customer(&customer).await;
        shop.stripe.set(&before, &json!({ "deleted": true }));
        shop.reconcile_finds(&[("customer_deleted", 1, 1)]).await;
        wait::until("there is a new Stripe customer", || async {
            let found = shop.app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200);
            let id = found["stripe_customer_id"].as_str().map(str::to_owned);
            id.filter(|id| *id != before)
        })
        .await;
    }

    async fn without_lost_webhooks_nothing_differs(shop: &Shop) {
        let customer = shop.refunded().await;
        let charge = shop.stripe.all("charge").remove(0);
        shop.deliver_event("charge.refunded", &charge).await;
        shop.attach(&customer, "pm_card_mastercard", "other").await.expect(201);
        shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let event = stripe::event("customer.subscription.updated", &shop.stripe.all("subscription").remove(0));
        shop.app.deliver(&event).await.expect(200);
        shop.app.event_in_state(stripe::id(&event), "processed").await;
        shop.stripe.add_listed_event(&event, false);
        let run = shop.reconcile_finds(&[]).await;
        let checked = |name: &str| {
            let classes = run["classes"].as_array().expect("classes");
            classes.iter().find(|class| class["class"] == name).map(|class| class["checked"].as_i64())
        };
        for name in ["event_missing", "customer_unlinked", "subscription_differs", "invoice_not_granted",
                     "payment_unsettled", "refund_not_applied"] {
            assert!(checked(name).flatten().is_some_and(|checked| checked > 0), "{name}: {run:#}");
        }
        wait::until("the drift is among the metrics", || async {
            shop.app.app.render_metrics().contains("bursar_stripe_drift{class=\"event_missing\"}").then_some(())
        })
        .await;
    }
}
