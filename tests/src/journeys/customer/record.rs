//! What a customer was told: the promises that the ledger has to keep.

use serde_json::Value;
use std::collections::BTreeMap;

/// A request for units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageAsked {
    /// How many.
    pub units: i64,
    /// The transaction that was answered, once one was.
    pub transaction: Option<String>,
}

/// What a customer was told.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Requests for units by their key, which is their reference too.
    pub usage: BTreeMap<String, UsageAsked>,
    /// Every transaction that was answered, and the change of the balance that it was said to be.
    pub transactions: BTreeMap<String, i64>,
    /// Answers that contradict each other.
    pub contradictions: Vec<String>,
    latest: Option<String>,
}

impl Record {
    /// Units are asked for.
    pub fn usage(&mut self, key: &str, units: i64) {
        self.usage.entry(key.to_owned()).or_insert(UsageAsked { units, transaction: None });
        self.latest = Some(key.to_owned());
    }

    /// The latest request for units: its key, and how many.
    pub fn latest_usage(&self) -> Option<(String, i64)> {
        let key = self.latest.clone()?;
        let units = self.usage.get(&key)?.units;
        Some((key, units))
    }

    /// Units were spent. One key has one transaction, however often it is asked for.
    pub fn spent(&mut self, key: &str, transaction: &Value) {
        let id = transaction["id"].as_str().unwrap_or_default().to_owned();
        let Some(asked) = self.usage.get_mut(key) else { return };
        match &asked.transaction {
            Some(before) if *before != id => {
                self.contradictions.push(format!("usage {key} was answered with {before}, then with {id}"));
            }
            _ => asked.transaction = Some(id),
        }
    }

    /// Credits moved, says an answer.
    pub fn moved(&mut self, transaction: &Value) {
        if let (Some(id), Some(amount)) = (transaction["id"].as_str(), transaction["amount"].as_i64()) {
            self.transactions.insert(id.to_owned(), amount);
        }
    }
}
