//! Money: payment methods, usage without credits, refunds, disputes, Pro. Against the sandbox, which has Stripe's
//! idempotency keys, delivers events and fails on demand.

mod buying;
mod charge;
mod credit_note;
mod deleted;
mod email;
mod failures;
mod interceptor;
mod lifecycle;
mod limit;
mod lost_webhook;
mod mail;
mod payment;
mod permission;
mod pro;
mod refund;
mod report;
mod shutdown;
mod sold;
mod terms;
mod unusual_answer;
mod unusual_event;
mod version;

use crate::scene::sql;
use bursar_engine::config::Config;
use bursar_sandbox::{Fault, FaultRule, NewEndpoint, Options, Policy, Sandbox};
use bursar_tests::answer::Answer;
use bursar_tests::app::WEBHOOK_SECRETS;
use bursar_tests::{Backend, TestApp, TestCustomer, catalogue_with, stripe, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// The price of a unit without Pro, in minor units.
const UNIT: i64 = 2_900;
/// The price of a month of Pro, in minor units.
const MONTH: i64 = 59_900;
const SUBSCRIPTION: &str = "/api/v1/subscription";

/// Timeout of each attempt of a call to Stripe, after which a lost answer is noticed.
const STRIPE_TIMEOUT_MS: u64 = 1_000;

/// How long the outcome of a stored failure is in doubt in these tests.
const STRIPE_DOUBT_MS: i64 = 500;

/// An application with its own sandbox.
pub(crate) struct Shop {
    pub(crate) app: TestApp,
    stripe: Sandbox,
}

impl Shop {
    /// A shop whose sandbox delivers no events: tests deliver them, in any order.
    pub(crate) async fn open(backend: Backend) -> Self {
        Self::open_with(backend, |_| {}).await
    }

    /// Like [`Shop::open`], with changed settings.
    pub(crate) async fn open_with(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let shop = Self::start(backend, change).await;
        shop.stripe.set_policy(Policy { is_paused: true, ..Policy::default() });
        shop
    }

    /// A shop whose sandbox delivers its events.
    async fn open_with_events(backend: Backend) -> Self {
        Self::start(backend, |_| {}).await
    }

    async fn start(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(backend, Options::default(), change).await
    }

    /// Like [`Shop::start`], with a sandbox of these options.
    async fn start_with(backend: Backend, options: Options, change: impl FnOnce(&mut Config)) -> Self {
        // Refused events are delivered again after a moment instead of hours.
        let options = Options { seed: Some(1), retry_scale: 0.0, ..options };
        let stripe = Sandbox::start(options).await.expect("the sandbox starts");
        let url = stripe.url().to_owned();
        let app = Self::app(backend, url, change).await;
        let endpoint = NewEndpoint::new(format!("{}/webhooks/stripe", app.base), WEBHOOK_SECRETS[0]);
        stripe.add_endpoint(&endpoint).expect("an endpoint");
        Self { app, stripe }
    }

    /// An application that uses the Stripe at this URL.
    async fn app(backend: Backend, url: String, change: impl FnOnce(&mut Config)) -> TestApp {
        TestApp::start_with(backend, |config| {
            config.stripe.secret_key = "sk_test_sandbox".to_owned();
            config.stripe.api_base = url;
            config.stripe.timeout_ms = STRIPE_TIMEOUT_MS;
            config.stripe.total_timeout_ms = STRIPE_TIMEOUT_MS;
            config.stripe.tries_max = 1;
            config.stripe.doubt_ms = STRIPE_DOUBT_MS;
            change(config);
        })
        .await
    }

    /// Makes the next call of this method to a path with this prefix fail.
    fn fail_next(&self, method: &str, path: &str, fault: Fault) {
        self.stripe.fault(FaultRule::once(method, path, fault)).expect("there is room for a fault");
    }

    /// A customer with this payment method and no credits.
    async fn without_credits(&self, payment_method: &str) -> TestCustomer {
        let customer = self.app.onboard().await;
        self.attach_until_done(&customer, payment_method).await;
        let balance = self.app.balance(&customer).await;
        self.app.spend(&customer, balance, "all").await.expect(200);
        customer
    }

    pub(crate) async fn attach(&self, customer: &TestCustomer, payment_method: &str, key: &str) -> Answer {
        let body = json!({ "payment_method": payment_method, "consent": true });
        self.app.call(customer, "POST", "/api/v1/payment-methods", key, Some(&body)).await
    }

    /// Adds a payment method and waits until it is there.
    async fn attach_until_done(&self, customer: &TestCustomer, payment_method: &str) {
        wait::until("the payment method is there", || async {
            (self.attach(customer, payment_method, "card").await.status == 201).then_some(())
        })
        .await;
    }

    async fn subscribe(&self, customer: &TestCustomer, key: &str) -> Answer {
        self.app.call(customer, "POST", SUBSCRIPTION, key, Some(&json!({}))).await
    }

    /// A customer on Pro with only the credits of its first month.
    async fn pro(&self) -> TestCustomer {
        let customer = self.without_credits("pm_card_visa").await;
        self.subscribe(&customer, "pro").await.expect(201);
        customer
    }

    /// The customer as the API shows it to itself.
    async fn customer(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "GET", "/api/v1/customer", "", None).await.expect(200)
    }

    async fn plan(&self, customer: &TestCustomer) -> String {
        self.customer(customer).await["plan"].as_str().expect("a plan").to_owned()
    }

    async fn status_and_plan(&self, customer: &TestCustomer) -> (String, String) {
        (self.status(customer).await, self.plan(customer).await)
    }

    async fn status(&self, customer: &TestCustomer) -> String {
        let found = self.app.call(customer, "GET", SUBSCRIPTION, "", None).await.expect(200);
        found["status"].as_str().expect("a status").to_owned()
    }

    /// Waits for the customer's Stripe customer and returns its id.
    async fn stripe_customer(&self, customer: &TestCustomer) -> String {
        wait::until("there is a Stripe customer", || async {
            self.customer(customer).await["stripe_customer_id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Calls the sandbox as Stripe's dashboard would; returns the answer.
    async fn ask_stripe(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.stripe.url());
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.app.client.request(method.parse().expect("a method"), url).body(body);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.bearer_auth("sk_test_dashboard").send().await.expect("the sandbox answers");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{body}");
        body
    }

    /// The sandbox's only subscription.
    fn subscription(&self) -> Value {
        self.stripe.list("subscription").pop().expect("a subscription")
    }

    /// Advances the sandbox by a month, and by the hour in which the invoice is a draft. Returns the invoice of the
    /// last renewal.
    fn next_month(&self) -> Value {
        const DAY_S: u64 = 24 * 60 * 60;
        self.stripe.advance(Duration::from_secs(31 * DAY_S + 2 * 60 * 60)).expect("time passes");
        let latest = self.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        self.stripe.object(&latest)
    }

    /// Makes the idempotency keys of all operations a day older, so that Stripe has deleted them.
    async fn a_day_passes(&self) {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        sql(&self.app, &format!("UPDATE operations SET round_at_ms = round_at_ms - {DAY_MS}")).await;
        self.stripe.advance(Duration::from_secs(25 * 60 * 60)).expect("time passes");
    }

    /// Subscribes until the answer is 201.
    async fn subscribe_until_done(&self, customer: &TestCustomer, key: &str) {
        wait::until("the customer is on Pro", || async {
            (self.subscribe(customer, key).await.status == 201).then_some(())
        })
        .await;
    }

    /// Requests units until the answer is 200; returns it.
    async fn spend_until_done(&self, customer: &TestCustomer, units: i64, key: &str) -> Value {
        wait::until("the units are settled", || async {
            let answer = self.app.spend(customer, units, key).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await
    }

    async fn net_paid(&self, customer: &TestCustomer) -> i64 {
        self.stripe.money(&self.stripe_customer(customer).await).net()
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

    pub(crate) async fn close(self) {
        self.app.verify().await;
        self.app.stop().await;
    }
}

/// The PaymentIntent that an answer asks the customer to authenticate.
fn payment_to_authenticate(answer: &Answer) -> String {
    answer.expect_problem(402, "authentication_required");
    assert!(answer.body["client_secret"].is_string(), "{}", answer.body);
    answer.body["payment_intent"].as_str().expect("the PaymentIntent").to_owned()
}

/// Declares tests that run on both pairs of backends, each with a `Shop` of its own.
macro_rules! with_shop {
    ($($(#[$attribute:meta])* async fn $name:ident($shop:ident: &Shop) $body:block)*) => {
        $(
            $(#[$attribute])*
            mod $name {
                use super::*;

                async fn check($shop: &Shop) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn embedded() {
                    let shop = Shop::open(Backend::Embedded).await;
                    check(&shop).await;
                    shop.close().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn production() {
                    let shop = Shop::open(Backend::Production).await;
                    check(&shop).await;
                    shop.close().await;
                }
            }
        )*
    };
}
pub(crate) use with_shop;
