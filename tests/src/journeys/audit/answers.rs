//! Compares the answers to a customer with its ledger.

use super::{Subject, number, text};
use crate::journeys::customer::Answers;
use serde_json::Value;
use std::collections::HashMap;

/// Credits on signup.
const SIGNUP: i64 = 5;

/// Returns all answers that the ledger contradicts.
pub(super) fn differences(subject: &Subject, answers: &Answers) -> Vec<String> {
    let mut problems = answers.contradictions.clone();
    problems.extend(transactions(subject, answers));
    problems.extend(usage(subject, answers));
    problems.extend(balance(subject));
    for operation in subject.operations.iter().filter(|operation| operation["state"] == "processing") {
        problems.push(format!("an operation did not end: {operation}"));
    }
    problems
}

/// Every transaction in an answer is in the ledger, with the same amount.
fn transactions(subject: &Subject, answers: &Answers) -> Vec<String> {
    let by_id: HashMap<&str, i64> =
        subject.entries.iter().map(|entry| (text(entry, "id"), number(entry, "amount"))).collect();
    let wrong = answers.transactions.iter().filter(|(id, amount)| by_id.get(id.as_str()) != Some(*amount));
    wrong
        .map(|(id, amount)| format!("an answer had {id} with {amount}, the ledger has {:?}", by_id.get(id.as_str())))
        .collect()
}

/// Units are debited at most once for each key, and exactly once if the customer got an answer.
fn usage(subject: &Subject, answers: &Answers) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, asked) in &answers.usage {
        let is_it = |entry: &&Value| entry["kind"] == "debit" && text(entry, "reference") == key;
        let debits: Vec<&Value> = subject.entries.iter().filter(is_it).collect();
        if debits.len() > 1 {
            problems.push(format!("usage {key} was debited {} times", debits.len()));
        }
        if debits.iter().any(|entry| number(entry, "amount") != -asked.units) {
            problems.push(format!("usage {key} of {} was debited as {debits:?}", asked.units));
        }
        if asked.transaction.is_some() && debits.is_empty() {
            problems.push(format!("usage {key} was acknowledged as {:?} and is not there", asked.transaction));
        }
    }
    let is_known = |entry: &&Value| answers.usage.contains_key(text(entry, "reference"));
    let unknown = subject.entries_of("usage").filter(|entry| !is_known(entry));
    problems.extend(unknown.map(|entry| format!("no request explains this usage: {entry}")));
    problems
}

/// The balance is the sum of the entries, and signup granted its credits once.
fn balance(subject: &Subject) -> Vec<String> {
    let mut problems = Vec::new();
    let sum: i64 = subject.entries.iter().map(|entry| number(entry, "amount")).sum();
    let last = subject.entries.last().map_or(0, |entry| number(entry, "balance_after"));
    let balance = number(&subject.credits, "balance");
    if sum != balance || last != balance {
        problems.push(format!("the balance is {balance}, the entries sum up to {sum}, the last one says {last}"));
    }
    let signups: Vec<i64> = subject.entries_of("signup").map(|entry| number(entry, "amount")).collect();
    if signups != [SIGNUP] {
        problems.push(format!("signup granted {signups:?}"));
    }
    problems
}
