//! Requests that change credits.

use super::Load;
use crate::chaos::caller::Definite;
use crate::chaos::check::ledger::SIGNUP;
use crate::chaos::record::{Act, Customer, Discrepancy, Fate};
use crate::unique::unique;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Probability that an answered request is repeated later.
const ECHO: f64 = 0.1;
/// The wait before it is repeated.
const ECHO_AFTER_MS: RangeInclusive<u64> = 0..=3_000;
/// Time between a hold and its end.
const WORK_MS: RangeInclusive<u64> = 0..=2_000;
/// Lifetimes of a hold that is to expire, and of one that is not.
pub(in crate::chaos) const HOLD_S: (i64, i64) = (3, 3_600);

/// A request that changes credits.
struct Errand<'a> {
    customer: &'a Customer,
    act: Act,
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
        let mut errand = debit(customer, units, &["insufficient_credits"]);
        if let Some(body) = errand.body.as_mut().filter(|_| rng.random_bool(0.3)) {
            body["metadata"] = json!({ "note": "naïve ✓", "n": units });
        }
        self.run_and_echo(&errand, &mut rng).await;
    }

    /// A customer without other requests spends all its credits and gets more, several times, each request on any
    /// node: acknowledged credits can be spent at once on every node.
    pub(super) async fn spend_to_the_last(&self, customer: &Customer, rng: &mut StdRng) {
        let mut left = SIGNUP;
        for _ in 0..rng.random_range(1..=4) {
            let spent = self.run_errand(&debit(customer, left, &[])).await.filter(Definite::is_success);
            left = rng.random_range(1..=20);
            let given = self.run_errand(&adjust(customer, left, &[])).await.filter(Definite::is_success);
            // Without an answer the balance is unknown.
            if spent.is_none() || given.is_none() {
                return;
            }
        }
    }

    /// Adjusts the balance as support.
    pub(super) async fn adjust(&self, customer: &Customer, amount: i64) {
        self.run_errand(&adjust(customer, amount, &["insufficient_credits", "too_many_open"])).await;
    }

    /// Opens a hold, waits, then captures it, releases it, does both concurrently, or leaves it to expire.
    pub(super) async fn hold(&self, customer: &Customer, mut rng: StdRng) {
        let units = rng.random_range(1..=4);
        let end = rng.random_range(0..100);
        let lasts_s = if (75..92).contains(&end) { HOLD_S.0 } else { HOLD_S.1 };
        let key = unique();
        let errand = Errand {
            customer,
            act: Act::Hold { units },
            path: "/api/v1/holds".to_owned(),
            body: Some(json!({ "units": units, "expires_in_s": lasts_s, "reference": key })),
            by_staff: false,
            // A hold that expires while the server waits for its database is refused as expired.
            refusals: &["insufficient_credits", "too_many_open", "invalid_hold_time"],
            key,
        };
        let answer = self.run_and_echo(&errand, &mut rng).await;
        let Some(answer) = answer.filter(Definite::is_success) else { return };
        let Some(hold) = answer.body["hold"]["id"].as_str() else {
            self.record.discrepancy(Discrepancy::wrong(format!("a hold has no id: {}", answer.body)));
            return;
        };
        tokio::time::sleep(Duration::from_millis(rng.random_range(WORK_MS))).await;
        let part = rng.random_range(1..=units);
        let errand = match end {
            0..30 => capture(customer, hold, units, None, &[]),
            30..45 => capture(customer, hold, part, Some(part), &[]),
            45..65 => release(customer, hold, &[]),
            65..75 => {
                // Either of them may be refused.
                let capture = capture(customer, hold, part, Some(part), &["hold_closed"]);
                let release = release(customer, hold, &["hold_closed"]);
                tokio::join!(self.run_errand(&capture), self.run_errand(&release));
                return;
            }
            _ => return,
        };
        self.run_and_echo(&errand, &mut rng).await;
    }

    /// Makes a request and sometimes repeats it after its answer.
    async fn run_and_echo(&self, errand: &Errand<'_>, rng: &mut StdRng) -> Option<Definite> {
        let answer = self.run_errand(errand).await?;
        if answer.is_success() && rng.random_bool(ECHO) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(ECHO_AFTER_MS))).await;
            self.echo(errand, transaction(&answer)).await;
        }
        Some(answer)
    }

    /// Makes a request and records its outcome.
    async fn run_errand(&self, errand: &Errand<'_>) -> Option<Definite> {
        let operation = self.record.begin(errand.customer.n, &errand.key, errand.act.clone());
        let Some(answer) = self.ask(errand).await else {
            self.unanswered(&errand.describe());
            return None;
        };
        if answer.is_success() {
            self.tally.acknowledged.up();
            let transaction = transaction(&answer).to_owned();
            let amount = answer.body["transaction"]["amount"].as_i64();
            if transaction.is_empty() || amount != Some(errand.act.amount()) {
                let text = format!("{} was answered with {}", errand.describe(), answer.body);
                self.record.discrepancy(Discrepancy::wrong(text));
            }
            self.record.end(operation, Fate::Acknowledged { transaction });
        } else {
            self.tally.refused.up();
            if !errand.refusals.contains(&answer.code().as_str()) {
                let text = format!("{} was refused with {} {}", errand.describe(), answer.status, answer.body);
                self.record.discrepancy(Discrepancy::wrong(text));
            }
            self.record.end(operation, Fate::Refused { doubt: answer.doubt });
        }
        Some(answer)
    }

    async fn ask(&self, errand: &Errand<'_>) -> Option<Definite> {
        if errand.by_staff {
            let body = errand.body.as_ref().unwrap_or(&Value::Null);
            self.caller.staff(&errand.path, &errand.key, body).await
        } else {
            self.caller.customer(&errand.customer.api_key, &errand.path, &errand.key, errand.body.as_ref()).await
        }
    }

    /// Repeats an answered request, which must get the same answer.
    async fn echo(&self, errand: &Errand<'_>, first: &str) {
        let Some(again) = self.ask(errand).await else { return };
        self.tally.echoes.up();
        if !again.is_success() {
            let text = format!("{} was done as {first}, then refused: {}", errand.describe(), again.body);
            self.record.discrepancy(Discrepancy::lost(text));
        } else if transaction(&again) != first {
            let text = format!("{} was done as {first}, then again: {}", errand.describe(), again.body);
            self.record.discrepancy(Discrepancy::doubled(text));
        } else if again.body["replayed"] != json!(true) {
            let text = format!("{} was done, then answered as if it were new: {}", errand.describe(), again.body);
            self.record.discrepancy(Discrepancy::wrong(text));
        }
    }
}

/// The id of the transaction; empty if the answer has none.
fn transaction(answer: &Definite) -> &str {
    answer.body["transaction"]["id"].as_str().unwrap_or_default()
}

impl Errand<'_> {
    fn describe(&self) -> String {
        format!("{:?} of customer {} under key {}", self.act, self.customer.id, self.key)
    }
}

fn debit<'a>(customer: &'a Customer, units: i64, refusals: &'static [&'static str]) -> Errand<'a> {
    let key = unique();
    Errand {
        customer,
        act: Act::Debit { units },
        path: "/api/v1/usage".to_owned(),
        body: Some(json!({ "units": units, "reference": key })),
        by_staff: false,
        refusals,
        key,
    }
}

fn adjust<'a>(customer: &'a Customer, amount: i64, refusals: &'static [&'static str]) -> Errand<'a> {
    let key = unique();
    Errand {
        customer,
        act: Act::Adjust { amount },
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
    said: Option<i64>,
    refusals: &'static [&'static str],
) -> Errand<'a> {
    Errand {
        customer,
        act: Act::Capture { hold: hold.to_owned(), units },
        path: format!("/api/v1/holds/{hold}/capture"),
        body: Some(said.map_or_else(|| json!({}), |units| json!({ "units": units }))),
        by_staff: false,
        refusals,
        key: unique(),
    }
}

fn release<'a>(customer: &'a Customer, hold: &str, refusals: &'static [&'static str]) -> Errand<'a> {
    Errand {
        customer,
        act: Act::Release { hold: hold.to_owned() },
        path: format!("/api/v1/holds/{hold}/release"),
        body: None,
        by_staff: false,
        refusals,
        key: unique(),
    }
}
