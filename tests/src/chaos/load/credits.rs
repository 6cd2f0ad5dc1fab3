//! Requests that change credits.

use super::Load;
use crate::chaos::caller::DefiniteAnswer;
use crate::chaos::check::ledger::SIGNUP;
use crate::chaos::record::{CreditChange, Customer, Discrepancy, Outcome};
use crate::unique::unique;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Probability that an answered request is repeated later.
const REPEAT_PROBABILITY: f64 = 0.1;
/// The wait before it is repeated.
const REPEAT_AFTER_MS: RangeInclusive<u64> = 0..=3_000;
/// Time between a hold and its end.
const WORK_MS: RangeInclusive<u64> = 0..=2_000;
/// Lifetime of a hold that is to expire.
pub(in crate::chaos) const HOLD_SHORT_S: i64 = 3;
/// Lifetime of a hold that is not to expire during the run.
const HOLD_LONG_S: i64 = 3_600;

/// A request that changes credits.
struct CreditRequest<'a> {
    customer: &'a Customer,
    change: CreditChange,
    path: String,
    body: Option<Value>,
    by_staff: bool,
    /// Codes of refusals that are not discrepancies.
    refusals: &'static [&'static str],
    key: String,
}

impl Load {
    /// Spends credits, which the customer may not have.
    pub(super) async fn debit(&self, customer: &Customer, mut rng: StdRng) {
        let units = rng.random_range(1..=3);
        let mut request = debit(customer, units, &["insufficient_credits"]);
        if let Some(body) = request.body.as_mut().filter(|_| rng.random_bool(0.3)) {
            body["metadata"] = json!({ "note": "naïve ✓", "n": units });
        }
        self.make_and_repeat(&request, &mut rng).await;
    }

    /// Checks that acknowledged credits can be spent at once on every node: a customer with no other requests spends
    /// its whole balance and gets new credits, several times, each request on a random node.
    pub(super) async fn spend_everything(&self, customer: &Customer, rng: &mut StdRng) {
        let mut balance = SIGNUP;
        for _ in 0..rng.random_range(1..=4) {
            let spent = self.make(&debit(customer, balance, &[])).await.filter(DefiniteAnswer::is_success);
            balance = rng.random_range(1..=20);
            let given = self.make(&adjust(customer, balance, &[])).await.filter(DefiniteAnswer::is_success);
            // Without an answer the balance is unknown.
            if spent.is_none() || given.is_none() {
                return;
            }
        }
    }

    /// Adjusts the balance as support.
    pub(super) async fn adjust(&self, customer: &Customer, amount: i64) {
        self.make(&adjust(customer, amount, &["insufficient_credits", "too_many_open"])).await;
    }

    /// Opens a hold, waits, then captures it, releases it, does both concurrently, or leaves it to expire.
    pub(super) async fn hold(&self, customer: &Customer, mut rng: StdRng) {
        let units = rng.random_range(1..=4);
        let end = rng.random_range(0..100);
        let lifetime_s = if (75..92).contains(&end) { HOLD_SHORT_S } else { HOLD_LONG_S };
        let key = unique();
        let request = CreditRequest {
            customer,
            change: CreditChange::Hold { units },
            path: "/api/v1/holds".to_owned(),
            body: Some(json!({ "units": units, "expires_in_s": lifetime_s, "reference": key })),
            by_staff: false,
            // A hold that expires while the server waits for its database is refused as expired.
            refusals: &["insufficient_credits", "too_many_open", "invalid_hold_time"],
            key,
        };
        let answer = self.make_and_repeat(&request, &mut rng).await;
        let Some(answer) = answer.filter(DefiniteAnswer::is_success) else { return };
        let Some(hold) = answer.body["hold"]["id"].as_str() else {
            self.record.discrepancy(Discrepancy::wrong(format!("a hold has no id: {}", answer.body)));
            return;
        };
        tokio::time::sleep(Duration::from_millis(rng.random_range(WORK_MS))).await;
        let part = rng.random_range(1..=units);
        let request = match end {
            0..30 => capture(customer, hold, units, None, &[]),
            30..45 => capture(customer, hold, part, Some(part), &[]),
            45..65 => release(customer, hold, &[]),
            65..75 => {
                // Either of them may be refused.
                let capture = capture(customer, hold, part, Some(part), &["hold_closed"]);
                let release = release(customer, hold, &["hold_closed"]);
                tokio::join!(self.make(&capture), self.make(&release));
                return;
            }
            _ => return,
        };
        self.make_and_repeat(&request, &mut rng).await;
    }

    /// Makes a request and sometimes repeats it after its answer.
    async fn make_and_repeat(&self, request: &CreditRequest<'_>, rng: &mut StdRng) -> Option<DefiniteAnswer> {
        let answer = self.make(request).await?;
        if answer.is_success() && rng.random_bool(REPEAT_PROBABILITY) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(REPEAT_AFTER_MS))).await;
            self.repeat(request, transaction(&answer)).await;
        }
        Some(answer)
    }

    /// Makes a request and records its outcome.
    async fn make(&self, request: &CreditRequest<'_>) -> Option<DefiniteAnswer> {
        let operation = self.record.begin(request.customer.n, &request.key, request.change.clone());
        let Some(answer) = self.send(request).await else {
            self.unanswered(&request.describe());
            return None;
        };
        if answer.is_success() {
            self.tally.acknowledged.up();
            let transaction = transaction(&answer).to_owned();
            let amount = answer.body["transaction"]["amount"].as_i64();
            if transaction.is_empty() || amount != Some(request.change.amount()) {
                let text = format!("{} was answered with {}", request.describe(), answer.body);
                self.record.discrepancy(Discrepancy::wrong(text));
            }
            self.record.end(operation, Outcome::Acknowledged { transaction });
        } else {
            self.tally.refused.up();
            if !request.refusals.contains(&answer.code().as_str()) {
                let text = format!("{} was refused with {} {}", request.describe(), answer.status, answer.body);
                self.record.discrepancy(Discrepancy::wrong(text));
            }
            self.record.end(operation, Outcome::Refused { in_doubt: answer.in_doubt });
        }
        Some(answer)
    }

    async fn send(&self, request: &CreditRequest<'_>) -> Option<DefiniteAnswer> {
        if request.by_staff {
            let body = request.body.as_ref().unwrap_or(&Value::Null);
            self.caller.staff(&request.path, &request.key, body).await
        } else {
            self.caller.customer(&request.customer.api_key, &request.path, &request.key, request.body.as_ref()).await
        }
    }

    /// Repeats an answered request, which must get the same answer.
    async fn repeat(&self, request: &CreditRequest<'_>, first: &str) {
        let Some(again) = self.send(request).await else { return };
        self.tally.repeats.up();
        if !again.is_success() {
            let text = format!("{} was executed as {first}, then refused: {}", request.describe(), again.body);
            self.record.discrepancy(Discrepancy::lost(text));
        } else if transaction(&again) != first {
            let text = format!("{} was executed as {first}, then again: {}", request.describe(), again.body);
            self.record.discrepancy(Discrepancy::doubled(text));
        } else if again.body["replayed"] != json!(true) {
            let text = format!("{} was executed, then answered as if it were new: {}", request.describe(), again.body);
            self.record.discrepancy(Discrepancy::wrong(text));
        }
    }
}

/// The id of the transaction; empty if the answer has none.
fn transaction(answer: &DefiniteAnswer) -> &str {
    answer.body["transaction"]["id"].as_str().unwrap_or_default()
}

impl CreditRequest<'_> {
    fn describe(&self) -> String {
        format!("{:?} of customer {} under key {}", self.change, self.customer.id, self.key)
    }
}

fn debit<'a>(customer: &'a Customer, units: i64, refusals: &'static [&'static str]) -> CreditRequest<'a> {
    let key = unique();
    CreditRequest {
        customer,
        change: CreditChange::Debit { units },
        path: "/api/v1/usage".to_owned(),
        body: Some(json!({ "units": units, "reference": key })),
        by_staff: false,
        refusals,
        key,
    }
}

fn adjust<'a>(customer: &'a Customer, amount: i64, refusals: &'static [&'static str]) -> CreditRequest<'a> {
    let key = unique();
    CreditRequest {
        customer,
        change: CreditChange::Adjust { amount },
        path: format!("/admin/v1/customers/{}/adjustments", customer.id),
        body: Some(json!({ "amount": amount, "reason": key })),
        by_staff: true,
        refusals,
        key,
    }
}

fn capture<'a>(
    customer: &'a Customer,
    hold: &str,
    units: i64,
    units_sent: Option<i64>,
    refusals: &'static [&'static str],
) -> CreditRequest<'a> {
    CreditRequest {
        customer,
        change: CreditChange::Capture { hold: hold.to_owned(), units },
        path: format!("/api/v1/holds/{hold}/capture"),
        body: Some(units_sent.map_or_else(|| json!({}), |units| json!({ "units": units }))),
        by_staff: false,
        refusals,
        key: unique(),
    }
}

fn release<'a>(customer: &'a Customer, hold: &str, refusals: &'static [&'static str]) -> CreditRequest<'a> {
    CreditRequest {
        customer,
        change: CreditChange::Release { hold: hold.to_owned() },
        path: format!("/api/v1/holds/{hold}/release"),
        body: None,
        by_staff: false,
        refusals,
        key: unique(),
    }
}
