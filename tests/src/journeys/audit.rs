//! The comparison at the end of a day: the customers' answers, the ledger and Stripe's objects, to the cent and the
//! credit.
//!
//! The expected state is derived from Stripe's objects alone, by rules that are independent of the engine's.

mod answers;
mod cap;
mod money;
mod operation;
mod period;
mod stripe_objects;
mod subscription;
mod top_up;

pub use stripe_objects::StripeObjects;
pub use top_up::overdue_top_ups;

use super::customer::{Customer, Identity};
use crate::chaos::caller::Caller;
use anyhow::Result;
use bursar_sandbox::Sandbox;
use operation::is_purchase;
use serde_json::Value;
use stripe_objects::operation_of;

/// One customer's state in Bursar.
pub struct Subject {
    /// Its id and key.
    pub me: Identity,
    /// Its ledger, oldest first.
    pub entries: Vec<Value>,
    /// Its operations.
    pub operations: Vec<Value>,
    /// The customer.
    pub customer: Value,
    /// Its credits.
    pub credits: Value,
    /// Its subscription; null if it never had one.
    pub subscription: Value,
    /// Its payment methods.
    pub methods: Vec<Value>,
    /// The summary of its usage and charges.
    pub summary: Value,
    /// Its spend caps.
    pub caps: Value,
    /// Its automatic top-up.
    pub top_up: Value,
}

impl Subject {
    async fn read(caller: &Caller, customer: &Customer, me: Identity) -> Result<Self> {
        let mut entries = caller.list_as_staff(&format!("/admin/v1/customers/{}/transactions", me.id), &[]).await?;
        entries.reverse();
        Ok(Self {
            entries,
            operations: customer.list_all(&me, "/api/v1/operations").await?,
            customer: customer.get(&me, "/api/v1/customer").await,
            credits: customer.get(&me, "/api/v1/credits").await,
            subscription: customer.get(&me, "/api/v1/subscription").await,
            methods: customer.list_whole(&me, "/api/v1/payment-methods").await?,
            summary: customer.get(&me, "/api/v1/usage/summary").await,
            caps: customer.get(&me, "/api/v1/spend-caps").await,
            top_up: customer.get(&me, "/api/v1/credits/auto-top-up").await,
            me,
        })
    }

    /// Entries of this source.
    fn entries_of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Value> {
        self.entries.iter().filter(move |entry| entry["source"] == source)
    }

    /// The purchase that made a payment.
    fn purchase_of(&self, intent: &Value) -> Option<&Value> {
        let is_it = |row: &&Value| text(row, "id") == operation_of(intent) && is_purchase(row);
        self.operations.iter().find(is_it)
    }

    /// Operations of this kind in this state.
    fn operations_of<'a>(&'a self, kind: &'a str, state: &'a str) -> impl Iterator<Item = &'a Value> {
        self.operations.iter().filter(move |operation| operation["kind"] == kind && operation["state"] == state)
    }
}

/// Compares all customers; returns everything that does not agree.
///
/// # Errors
/// If the application does not answer.
pub async fn audit(caller: &Caller, stripe: &Sandbox, customers: &[Customer], now_ms: i64) -> Result<Vec<String>> {
    let objects = StripeObjects::read(stripe);
    let mut problems = objects.unexplained_charges();
    problems.extend(overdue_top_ups(caller, customers, now_ms).await?);
    for customer in customers {
        let Some(me) = customer.identity() else { continue };
        let subject = Subject::read(caller, customer, me).await?;
        let mut found = answers::differences(&subject, &customer.answers());
        found.extend(operation::differences(&subject, &objects));
        found.extend(money::differences(&subject, &objects));
        found.extend(period::differences(&subject, &objects));
        found.extend(cap::differences(&subject, &objects, &customer.limits()));
        found.extend(top_up::differences(&subject, &customer.limits().top_ups_between(now_ms, now_ms)));
        found.extend(subscription::differences(&subject, &objects));
        problems.extend(found.into_iter().map(|problem| format!("{} ({}): {problem}", customer.name, subject.me.id)));
    }
    Ok(problems)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn number(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or(0)
}
