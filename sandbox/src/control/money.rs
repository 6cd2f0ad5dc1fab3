//! Totals of captured, refunded and disputed money.

use crate::account::StripeAccount;
use crate::field::Fields;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kinds of objects whose number the state shows.
const COUNTED: [&str; 14] = [
    "customer",
    "payment_method",
    "payment_intent",
    "charge",
    "refund",
    "dispute",
    "subscription",
    "invoice",
    "invoice_payment",
    "event",
    "checkout.session",
    "setup_intent",
    "price",
    "webhook_endpoint",
];

/// A customer's totals in minor units, regardless of the currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Money {
    /// Captured by charges.
    pub captured: i64,
    /// Refunded.
    pub refunded: i64,
    /// Withdrawn by disputes and not reinstated.
    pub disputed: i64,
}

impl Money {
    /// Captured minus refunded and disputed.
    pub fn net(&self) -> i64 {
        self.captured - self.refunded - self.disputed
    }

    fn add(&mut self, row: &Value) {
        match row.text("object") {
            "charge" if row.is("paid") => self.captured += row.int("amount_captured"),
            "refund" if row.text("status") == "succeeded" => self.refunded += row.int("amount"),
            "dispute" => {
                let moved = row["balance_transactions"].as_array().into_iter().flatten();
                self.disputed -= moved.map(|row| row.int("amount")).sum::<i64>();
            }
            _ => {}
        }
    }
}

/// The totals of a customer.
pub(crate) fn of_customer(account: &StripeAccount, customer: &str) -> Money {
    let mut money = Money::default();
    for kind in ["charge", "refund", "dispute"] {
        account.store.of_customer(kind, customer).for_each(|row| money.add(row));
    }
    money
}

/// An overview of the state.
pub(crate) fn state(account: &StripeAccount) -> Value {
    let mut customers: BTreeMap<String, Money> = BTreeMap::new();
    let mut total = Money::default();
    for kind in ["charge", "refund", "dispute"] {
        for row in account.store.of_kind(kind) {
            total.add(row);
            let owner = row.opt("customer").or_else(|| row.opt("_customer")).unwrap_or("nobody");
            customers.entry(owner.to_owned()).or_default().add(row);
        }
    }
    let counts: BTreeMap<&str, usize> = COUNTED.iter().map(|kind| (*kind, account.store.count(kind))).collect();
    json!({
        "sandbox": "SANDBOX - no real money moves", "now": account.now_s, "money": customers, "total": total,
        "counts": counts, "deliveries_waiting": account.waiting(),
    })
}
