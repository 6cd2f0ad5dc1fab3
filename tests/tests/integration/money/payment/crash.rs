//! Processes that are killed at every step of a refund.

use super::super::interceptor::Interception;
use super::super::shutdown::short_lease;
use super::*;
use crate::node::NodeProcess;

/// Where a process is killed.
struct Step {
    /// What happens to the calls at Stripe, in their order; it is killed during the last one.
    calls: Vec<(&'static str, String, Interception)>,
    /// Whether Stripe has given the money back by then.
    is_refunded: bool,
}

/// The steps of a refund of a charge.
fn steps(charge: &str) -> [Step; 4] {
    let (read, refunds) = (format!("/v1/charges/{charge}"), "/v1/refunds".to_owned());
    let read_twice = vec![("GET", read.clone(), Interception::None), ("GET", read, Interception::RequestLost)];
    [
        Step { calls: vec![("POST", refunds.clone(), Interception::RequestLost)], is_refunded: false },
        Step { calls: vec![("POST", refunds.clone(), Interception::AnswerLost)], is_refunded: true },
        // The plan reads the charge, and the operation reads it before it is stored.
        Step { calls: read_twice, is_refunded: true },
        // The operation is stored, and its credits are reviewed.
        Step { calls: vec![("GET", refunds, Interception::RequestLost)], is_refunded: true },
    ]
}

fn refund_body() -> Value {
    json!({ "amount_minor": MONTH / 2, "reason": "half a month" })
}

/// Asks a process for a refund, without waiting for the answer.
fn ask(client: &reqwest::Client, served: &NodeProcess, payment: &str) -> tokio::task::JoinHandle<()> {
    let request = client.post(format!("{}/admin/v1/payments/{payment}/refund", served.base())).json(&refund_body());
    let request = request.bearer_auth(bursar_tests::app::ADMIN_TOKEN).header("Idempotency-Key", "once");
    tokio::spawn(async move { drop(request.send().await) })
}

async fn killed_at(backend: Backend, step: usize) {
    let (shop, interceptor) = Shop::intercepted_with(backend, short_lease).await;
    let customer = shop.pro().await;
    let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
    let charge = shop.charge();
    let Shop { app, stripe } = shop;
    let client = app.client.clone();
    let (config, folder) = app.halt().await;
    let served = NodeProcess::start(&config).await;
    let Step { calls, is_refunded } = steps(&charge).into_iter().nth(step).expect("a step");
    for (method, path, interception) in calls {
        interceptor.intercept(1, method, &path, interception);
    }
    let asked = ask(&client, &served, &payment);
    interceptor.until_all_intercepted().await;
    if is_refunded {
        wait::until("Stripe has refunded", || async { (stripe.list("refund").len() == 1).then_some(()) }).await;
    }
    served.kill().await;
    asked.await.expect("it was cut off");
    interceptor.clear();
    assert_eq!(stripe.list("refund").len(), usize::from(is_refunded), "step {step}");
    drop(served);

    let shop = Shop { app: TestApp::start_on(config, folder).await, stripe };
    wait::until("the refund is done", || async {
        let answer = shop.refund_under("once", &payment, &refund_body()).await.expect(200);
        (answer["state"] == "succeeded").then_some(())
    })
    .await;
    shop.balance_becomes(&customer, PERIOD / 2).await;
    shop.tell_of_refunds(&charge).await;
    assert_eq!(shop.stripe.list("refund").len(), 1, "step {step}");
    let left = (shop.net_paid(&customer).await, shop.app.balance(&customer).await);
    assert_eq!(left, (MONTH - MONTH / 2, PERIOD / 2), "step {step}");
    assert_eq!(shop.payment_of(&customer).await["refunded_minor"], MONTH / 2);
    shop.close().await;
}

with_backend! {
    async fn a_refund_whose_process_is_killed_before_the_call_is_made_once(backend: Backend) {
        killed_at(backend, 0).await;
    }

    async fn a_refund_whose_process_is_killed_after_the_call_is_settled_once(backend: Backend) {
        killed_at(backend, 1).await;
    }

    async fn a_refund_whose_process_is_killed_before_storing_it_is_settled_once(backend: Backend) {
        killed_at(backend, 2).await;
    }

    async fn a_refund_whose_process_is_killed_before_its_credits_go_takes_them_once(backend: Backend) {
        killed_at(backend, 3).await;
    }
}
