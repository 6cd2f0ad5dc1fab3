//! The comparison at the end of a day: the customers' answers, the ledger and Stripe's objects, to the cent and the
//! credit.
//!
//! The expected state is derived from Stripe's objects alone, by rules that are independent of the engine's.

mod answers;
mod money;
mod stripe_objects;
mod subscription;

pub use stripe_objects::StripeObjects;

use super::customer::{Customer, Identity};
use crate::chaos::caller::Caller;
use anyhow::Result;
use bursar_sandbox::Sandbox;
use serde_json::Value;

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
            methods: customer.list_all(&me, "/api/v1/payment-methods").await?,
            summary: customer.get(&me, "/api/v1/usage/summary").await,
            me,
        })
    }

    /// Entries of this source.
    fn entries_of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Value> {
        self.entries.iter().filter(move |entry| entry["source"] == source)
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
pub async fn audit(caller: &Caller, stripe: &Sandbox, customers: &[Customer]) -> Result<Vec<String>> {
    let objects = StripeObjects::read(stripe);
    let mut problems = objects.unexplained_charges();
    for customer in customers {
        let Some(me) = customer.identity() else { continue };
        let subject = Subject::read(caller, customer, me).await?;
        let mut found = answers::differences(&subject, &customer.answers());
        found.extend(money::differences(&subject, &objects));
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
