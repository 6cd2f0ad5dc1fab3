//! The answers to a customer, which its ledger must match.

use serde_json::Value;
use std::collections::BTreeMap;

/// A request for units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageRequest {
    /// The number of units.
    pub units: i64,
    /// The transaction in the answer, once there is one.
    pub transaction: Option<String>,
}

/// The answers to a customer.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Requests for units by their key, which is also their reference.
    pub usage: BTreeMap<String, UsageRequest>,
    /// The amounts of all transactions in answers, by id.
    pub transactions: BTreeMap<String, i64>,
    /// Answers that contradict each other.
    pub contradictions: Vec<String>,
    latest: Option<String>,
}

impl Answers {
    /// Records a request for units.
    pub fn add_usage(&mut self, key: &str, units: i64) {
        self.usage.entry(key.to_owned()).or_insert(UsageRequest { units, transaction: None });
        self.latest = Some(key.to_owned());
    }

    /// The key and the units of the latest request for units.
    pub fn latest_usage(&self) -> Option<(String, i64)> {
        let key = self.latest.clone()?;
        let units = self.usage.get(&key)?.units;
        Some((key, units))
    }

    /// Records the transaction of a request for units. A key must have the same transaction in every answer.
    pub fn add_spent(&mut self, key: &str, transaction: &Value) {
        let id = transaction["id"].as_str().unwrap_or_default().to_owned();
        let Some(request) = self.usage.get_mut(key) else { return };
        match &request.transaction {
            Some(before) if *before != id => {
                self.contradictions.push(format!("usage {key} was answered with {before}, then with {id}"));
            }
            _ => request.transaction = Some(id),
        }
    }

    /// Records the transaction of an answer.
    pub fn add_transaction(&mut self, transaction: &Value) {
        if let (Some(id), Some(amount)) = (transaction["id"].as_str(), transaction["amount"].as_i64()) {
            self.transactions.insert(id.to_owned(), amount);
        }
    }
}
