//! Compares the acknowledged requests with the stored state.

pub mod events;
pub mod ledger;

use super::caller::Caller;
use super::record::{Customer, Discrepancy, Known};
use anyhow::{Context, Result};
use bursar_engine::clock::TimeMs;
use futures_util::{StreamExt, TryStreamExt, stream};
use ledger::{Entry, Span, StoredAccount};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Customers and events read concurrently.
const READS_MAX: usize = 8;

/// Compares everything done since `began_ms`, over HTTP. Returns the discrepancies, and the outcome of the events.
pub async fn everything(
    caller: &Caller,
    known: &Known,
    began_ms: TimeMs,
) -> Result<(Vec<Discrepancy>, events::EventOutcomes)> {
    let mut discrepancies = customers(caller, known).await?;
    let reads = stream::iter(known.customers.iter().map(|customer| read_account(caller, customer)));
    let accounts: Vec<StoredAccount> = reads.buffered(READS_MAX).try_collect().await?;
    let (requests, span) = (ledger::by_customer(known), Span::until_now(began_ms));
    for ((customer, requests), account) in known.customers.iter().zip(&requests).zip(&accounts) {
        discrepancies.extend(ledger::compare(customer, requests, account, &span));
    }
    let (found, outcomes) = events::compare_all(caller, known).await?;
    discrepancies.extend(found);
    Ok((discrepancies, outcomes))
}

/// Checks that exactly the acknowledged customers exist, each once.
async fn customers(caller: &Caller, known: &Known) -> Result<Vec<Discrepancy>> {
    let mut by_email: HashMap<String, Vec<Value>> = HashMap::new();
    for customer in caller.list_as_staff("/admin/v1/customers", &[]).await? {
        by_email.entry(customer["email"].as_str().unwrap_or_default().to_owned()).or_default().push(customer);
    }
    let mut discrepancies = Vec::new();
    for customer in &known.customers {
        match by_email.remove(&customer.email).as_deref() {
            Some([found]) if found["id"] == customer.id.as_str() => {}
            Some([found]) => {
                let text = format!("customer {} was acknowledged, but {found} exists", customer.id);
                discrepancies.push(Discrepancy::lost(text));
            }
            None | Some([]) => {
                discrepancies.push(Discrepancy::lost(format!("customer {} does not exist", customer.id)));
            }
            Some(all) => discrepancies.push(Discrepancy::doubled(format!("one address, many customers: {all:?}"))),
        }
    }
    for signup in &known.unconfirmed_signups {
        match by_email.remove(&signup.email).unwrap_or_default().as_slice() {
            [] if !signup.exists => {}
            [found] => discrepancies.extend(check_unconfirmed_signup(caller, found).await?),
            found => {
                let text = format!("{} was said to exist, but the customers are {found:?}", signup.email);
                discrepancies.push(Discrepancy::wrong(text));
            }
        }
    }
    let unknown: HashSet<_> = by_email.into_keys().collect();
    discrepancies
        .extend(unknown.iter().map(|email| Discrepancy::doubled(format!("no request created customer {email}"))));
    Ok(discrepancies)
}

/// A customer whose signup was not answered has its signup credits and nothing else.
async fn check_unconfirmed_signup(caller: &Caller, found: &Value) -> Result<Option<Discrepancy>> {
    let id = found["id"].as_str().context("a customer has an id")?;
    let entries = caller.list_as_staff(&format!("/admin/v1/customers/{id}/transactions"), &[]).await?;
    let is_whole =
        entries.len() == 1 && entries[0]["source"] == "signup" && entries[0]["balance_after"] == ledger::SIGNUP;
    let text = || format!("customer {id} was onboarded in part: {entries:?}");
    Ok((!is_whole).then(|| Discrepancy::wrong(text())))
}

async fn read_account(caller: &Caller, customer: &Customer) -> Result<StoredAccount> {
    let path = format!("/admin/v1/customers/{}", customer.id);
    let detail = caller.get_as_staff(&path, &[]).await?;
    let entries = caller.list_as_staff(&format!("{path}/transactions"), &[]).await?;
    let entries: Result<Vec<Entry>, _> = entries.into_iter().map(serde_json::from_value).collect();
    Ok(StoredAccount {
        plan: detail["customer"]["plan"].as_str().unwrap_or_default().to_owned(),
        balance: detail["credits"]["balance"].as_i64().unwrap_or(i64::MIN),
        held: detail["credits"]["held"].as_i64().unwrap_or(i64::MIN),
        entries: entries.context("a transaction cannot be read")?,
    })
}
