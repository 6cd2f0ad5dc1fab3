//! Money: payment methods, usage without credits, refunds, disputes, Pro. Against a fake of Stripe that
//! keeps idempotency keys as Stripe does and fails on demand.

mod back;
mod charge;
mod pro;
mod reconcile;

use bursar_engine::config::Config;
use bursar_tests::app::Answer;
use bursar_tests::fake_stripe::FakeStripe;
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, wait};
use serde_json::{Value, json};

/// How long a try of a call may take here: a lost answer is noticed after this.
const STRIPE_TIMEOUT_MS: u64 = 1_000;

/// How long the outcome of a stored failure is in doubt here.
const STRIPE_DOUBT_MS: i64 = 500;

/// An application with a Stripe of its own.
struct Shop {
    app: TestApp,
    stripe: FakeStripe,
}

impl Shop {
    async fn open(backend: Backend) -> Self {
        Self::open_with(backend, |_| {}).await
    }

    /// The same with changed settings.
    async fn open_with(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let stripe = FakeStripe::start().await;
        let url = stripe.url.clone();
        let app = TestApp::start_with(backend, |config| {
            config.stripe.secret_key = "sk_test_fake".to_owned();
            config.stripe.api_base = url;
            config.stripe.timeout_ms = STRIPE_TIMEOUT_MS;
            config.stripe.total_timeout_ms = STRIPE_TIMEOUT_MS;
            config.stripe.tries_max = 1;
            config.stripe.doubt_ms = STRIPE_DOUBT_MS;
            change(config);
        })
        .await;
        Self { app, stripe }
    }

    /// A customer with a payment method of this fate and no credits.
    async fn broke(&self, payment_method: &str) -> TestCustomer {
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

    async fn money(&self, customer: &TestCustomer) -> i64 {
        self.stripe.money(&self.stripe_customer(customer).await)
    }

    /// Announces an object as it is now, and waits until that is processed.
    async fn announce(&self, event_type: &str, object: &Value) {
        let event = stripe::event(event_type, object);
        self.app.deliver(&event).await.expect(200);
        self.app.event_in_state(stripe::id(&event), "processed").await;
    }

    /// Waits until an operation is in a state; gives it.
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

/// Declares tests that run on both pairs of backends, each with a Stripe of its own.
macro_rules! shops {
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
use shops;
