//! Servers that stop or are killed during a charge.

use super::interceptor::Interception;
use super::*;
use crate::node::{NodeProcess, open_transaction};
use crate::scene::{PERIOD, with_backend};

const PAY: &str = "/v1/payment_intents";

/// A short lease, so that the jobs of a killed process are soon claimed again.
pub(super) fn short_lease(config: &mut Config) {
    config.jobs.lease_ms = 1_500;
    config.jobs.sweep_grace_ms = 100;
}

/// Requests a unit from a process, without waiting for the answer, which will not come.
fn ask(client: &reqwest::Client, served: &NodeProcess, customer: &TestCustomer) -> tokio::task::JoinHandle<()> {
    let request = client.post(format!("{}/api/v1/usage", served.base())).json(&json!({ "units": 1 }));
    let request = request.header("x-api-key", &customer.api_key).header("Idempotency-Key", "key");
    tokio::spawn(async move { drop(request.send().await) })
}

/// Kills a process while Stripe does not answer a charge, whether it got it or not; the next process settles it.
async fn killed_while_stripe_is(backend: Backend, silent: Interception, has_charged: bool) {
    let (shop, interceptor) = Shop::intercepted_with(backend, short_lease).await;
    let customer = shop.without_credits("pm_card_visa").await;
    let stripe_customer = shop.stripe_customer(&customer).await;
    let Shop { app, stripe } = shop;
    let client = app.client.clone();
    let (config, folder) = app.halt().await;
    let served = NodeProcess::start(&config).await;
    interceptor.intercept(1, "POST", PAY, silent);
    let asked = ask(&client, &served, &customer);
    interceptor.until_all_intercepted().await;
    if has_charged {
        wait::until("Stripe has charged", || async { (stripe.money(&stripe_customer).net() == UNIT).then_some(()) })
            .await;
    }
    served.kill().await;
    asked.await.expect("it was cut off");
    interceptor.clear();
    assert_eq!(stripe.money(&stripe_customer).net(), if has_charged { UNIT } else { 0 });
    drop(served);
    let shop = Shop { app: TestApp::start_on(config, folder).await, stripe };
    shop.settles(&customer).await;
    assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, 0));
    assert_eq!(shop.stripe.list("payment_intent").len(), 1);
    let again = shop.app.spend(&customer, 1, "key").await.expect(200);
    assert_eq!(again["replayed"], true);
    shop.close().await;
}

impl Shop {
    /// Sends a request in the background; returns the status of its answer, if it gets one.
    fn send(&self, customer: &TestCustomer, path: &str, body: &Value) -> tokio::task::JoinHandle<Option<u16>> {
        let request = self.app.client.post(format!("{}{path}", self.app.base)).json(body);
        let request = request.header("x-api-key", &customer.api_key).header("Idempotency-Key", "key");
        tokio::spawn(async move { request.send().await.ok().map(|answer| answer.status().as_u16()) })
    }

    /// Restarts the server.
    async fn restart(self) -> Self {
        let Self { app, stripe } = self;
        let (config, folder) = app.halt().await;
        Self { app: TestApp::start_on(config, folder).await, stripe }
    }

    /// Waits until the customer's last operation has succeeded, without repeating the request.
    async fn settles(&self, customer: &TestCustomer) {
        wait::until("the operation has succeeded", || async {
            let page = self.app.call(customer, "GET", "/api/v1/operations", "", None).await.expect(200);
            (page["data"][0]["state"] == "succeeded").then_some(())
        })
        .await;
    }
}

with_backend! {
    async fn a_charge_whose_process_is_killed_before_the_call_is_made_once(backend: Backend) {
        killed_while_stripe_is(backend, Interception::RequestLost, false).await;
    }

    async fn a_charge_whose_process_is_killed_after_the_call_is_settled_once(backend: Backend) {
        killed_while_stripe_is(backend, Interception::AnswerLost, true).await;
    }

    async fn a_charge_without_an_answer_at_shutdown_is_settled_once_after_restart(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::AnswerLost);
        let asked = shop.send(&customer, "/api/v1/usage", &json!({ "units": 1 }));
        wait::until("Stripe has charged", || async { (shop.net_paid(&customer).await == UNIT).then_some(()) }).await;
        let shop = shop.restart().await;
        asked.await.expect("it was cut off or answered");
        shop.settles(&customer).await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        assert_eq!(shop.app.balance(&customer).await, 0);
        let again = shop.app.spend(&customer, 1, "key").await.expect(200);
        assert_eq!(again["replayed"], true);
        assert_eq!(shop.stripe.list("payment_intent").len(), 1);
        shop.close().await;
    }

    async fn a_request_waiting_for_stripe_at_shutdown_gets_an_answer(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        // Longer than the time that requests get at a shutdown.
        interceptor.intercept(usize::MAX, "POST", PAY, Interception::AnswerLost);
        let asked = shop.send(&customer, "/api/v1/usage", &json!({ "units": 1 }));
        wait::until("Stripe has charged", || async { (shop.net_paid(&customer).await == UNIT).then_some(()) }).await;
        let shop = shop.restart().await;
        assert_eq!(asked.await.expect("it ended"), Some(202));
        interceptor.clear();
        shop.settles(&customer).await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        shop.close().await;
    }

    async fn credits_bought_for_a_request_paid_meanwhile_stay_with_the_customer(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", PAY, Interception::AnswerLost);
        let asked = shop.send(&customer, "/api/v1/usage", &json!({ "units": 1 }));
        wait::until("Stripe has charged", || async { (shop.net_paid(&customer).await == UNIT).then_some(()) }).await;
        shop.app.adjust(&customer, 1).await.expect(200);
        let spent = shop.app.spend(&customer, 1, "key").await.expect(200);
        assert_eq!(spent["credit_balance"], 0);
        interceptor.clear();
        asked.await.expect("it was answered");
        shop.settles(&customer).await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, 1));
        shop.close().await;
    }

    async fn a_month_of_pro_without_an_answer_at_shutdown_is_settled_once(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        interceptor.intercept(1, "POST", "/v1/subscriptions", Interception::AnswerLost);
        let asked = shop.send(&customer, SUBSCRIPTION, &json!({}));
        wait::until("Stripe has charged", || async { (shop.net_paid(&customer).await == MONTH).then_some(()) }).await;
        let shop = shop.restart().await;
        asked.await.expect("it was cut off or answered");
        shop.settles(&customer).await;
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_whose_process_is_killed_before_storing_it_is_settled_once() {
    let (shop, _between) = Shop::intercepted_with(Backend::Production, short_lease).await;
    let customer = shop.without_credits("pm_card_visa").await;
    let stripe_customer = shop.stripe_customer(&customer).await;
    let Shop { app, stripe } = shop;
    let client = app.client.clone();
    let (config, folder) = app.halt().await;
    let psql = sea_orm::Database::connect(&config.database_url).await.expect("a connection");
    let locked = open_transaction(&psql, std::slice::from_ref(&customer)).await;
    let served = NodeProcess::start(&config).await;
    let asked = ask(&client, &served, &customer);
    wait::until("Stripe has charged", || async { (stripe.money(&stripe_customer).net() == UNIT).then_some(()) }).await;
    served.kill().await;
    asked.await.expect("it was cut off");
    locked.rollback().await.expect("a rollback");
    drop(served);
    let shop = Shop { app: TestApp::start_on(config, folder).await, stripe };
    shop.settles(&customer).await;
    assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (UNIT, 0));
    assert_eq!(shop.stripe.list("payment_intent").len(), 1);
    shop.close().await;
}
