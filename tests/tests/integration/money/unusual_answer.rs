//! Rare answers of Stripe to operations: without fields that every answer has, refused without a reason, or outdated.

mod amount;
mod customer;
mod payment_method;
mod pro;
mod usage;

use super::interceptor::{Interception, Interceptor, error};
use super::*;
use crate::database::texts;
use crate::scene::{PERIOD, SIGNUP, delay_job, now_ms, resume_job, resume_job_without, with_backend};

const PAY: &str = "/v1/payment_intents";
const METHODS: &str = "/api/v1/payment-methods";
const SUBSCRIPTIONS: &str = "/v1/subscriptions";

/// A rate limit: nothing was done.
fn answers_429() -> Interception {
    Interception::Blocked(429, error("invalid_request_error", "rate_limit"))
}

fn answers_400() -> Interception {
    Interception::Blocked(400, error("invalid_request_error", "parameter_invalid"))
}

pub(super) fn answers_404() -> Interception {
    Interception::Blocked(404, error("invalid_request_error", "resource_missing"))
}

/// A list that never ends, with one foreign object on each page.
fn endless(object: &str) -> Interception {
    let row = json!({ "id": format!("{object}_other"), "object": object });
    Interception::Blocked(200, json!({ "object": "list", "has_more": true, "data": [row] }))
}

fn list(rows: &[Value]) -> Value {
    json!({ "object": "list", "has_more": false, "data": rows })
}

/// Lets requests that take long be answered 202 after a short wait.
fn answers_202_soon(config: &mut Config) {
    config.stripe.wait_ms = 200;
    config.stripe.rate_per_s = 2_000;
}

impl Shop {
    /// Requests a unit until the answer has this code.
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

    /// Expects a 202, waits for a failed attempt of the operation's job, and delays the job; returns its id.
    async fn expect_202_and_delay_job(&self, answer: Answer) -> String {
        assert_eq!(answer.status, 202, "{}", answer.body);
        delay_job(&self.app, "operation.run").await
    }

    /// The customer's latest operation.
    async fn last_operation(&self, customer: &TestCustomer) -> String {
        let page = self.app.call(customer, "GET", "/api/v1/operations", "", None).await.expect(200);
        page["data"][0]["id"].as_str().expect("an operation").to_owned()
    }

    /// Waits until a job of any operation is in this state.
    async fn wait_for_operation_job(&self, state: &str) {
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

    /// Asserts that one month was paid, and that one subscription exists.
    async fn pro_once(&self, customer: &TestCustomer) {
        assert_eq!(self.stripe.list("subscription").len(), 1);
        assert_eq!((self.net_paid(customer).await, self.app.balance(customer).await), (MONTH, PERIOD));
        assert_eq!(self.plan(customer).await, "pro");
    }
}
