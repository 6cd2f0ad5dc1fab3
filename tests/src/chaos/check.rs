//! Compares the acknowledged requests with the stored state.

pub mod events;
pub mod ledger;

use super::caller::Caller;
use super::record::{Customer, Discrepancy, Known};
use anyhow::{Context, Result};
use bursar_engine::clock::TimeMs;
use futures_util::{StreamExt, TryStreamExt, stream};
use ledger::{Books, Line, Span};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Customers and events read concurrently.
const LOOKS_MAX: usize = 8;

/// Compares everything done since `began_ms`, over HTTP. Returns the discrepancies, and the outcome of the events.
pub async fn everything(caller: &Caller, known: &Known, began_ms: TimeMs) -> Result<(Vec<Discrepancy>, events::Ends)> {
    let mut discrepancies = customers(caller, known).await?;
    let ledgers = stream::iter(known.customers.iter().map(|customer| books(caller, customer)));
    let books: Vec<Books> = ledgers.buffered(LOOKS_MAX).try_collect().await?;
    let (asked, span) = (ledger::by_customer(known), Span::until_now(began_ms));
    for ((customer, asked), books) in known.customers.iter().zip(&asked).zip(&books) {
        discrepancies.extend(ledger::compare(customer, asked, books, &span));
    }
    let (found, ends) = events::compare_all(caller, known).await?;
    discrepancies.extend(found);
    Ok((discrepancies, ends))
}

/// Checks that exactly the acknowledged customers exist, each once.
async fn customers(caller: &Caller, known: &Known) -> Result<Vec<Discrepancy>> {
    let mut by_email: HashMap<String, Vec<Value>> = HashMap::new();
    for customer in caller.look_at_all("/admin/v1/customers", &[]).await? {
        by_email.entry(customer["email"].as_str().unwrap_or_default().to_owned()).or_default().push(customer);
    }
    let mut discrepancies = Vec::new();
    for customer in &known.customers {
        match by_email.remove(&customer.email).as_deref() {
            Some([found]) if found["id"] == customer.id.as_str() => {}
            Some([found]) => {
                let text = format!("customer {} was acknowledged, but {found} is there", customer.id);
                discrepancies.push(Discrepancy::lost(text));
            }
            None | Some([]) => {
                discrepancies.push(Discrepancy::lost(format!("customer {} is not there", customer.id)));
            }
            Some(all) => discrepancies.push(Discrepancy::doubled(format!("one address, many customers: {all:?}"))),
        }
    }
    for stray in &known.strays {
        match by_email.remove(&stray.email).unwrap_or_default().as_slice() {
            [] if !stray.exists => {}
            [found] => discrepancies.extend(stray_books(caller, found).await?),
            found => {
                let text = format!("{} was said to exist, but there are these: {found:?}", stray.email);
                discrepancies.push(Discrepancy::wrong(text));
            }
        }
    }
    let nobodys: HashSet<_> = by_email.into_keys().collect();
    discrepancies
        .extend(nobodys.iter().map(|email| Discrepancy::doubled(format!("nobody asked for customer {email}"))));
    Ok(discrepancies)
}

/// A customer whose signup was not answered has its signup credits and nothing else.
async fn stray_books(caller: &Caller, found: &Value) -> Result<Option<Discrepancy>> {
    let id = found["id"].as_str().context("a customer has an id")?;
    let lines = caller.look_at_all(&format!("/admin/v1/customers/{id}/transactions"), &[]).await?;
    let is_whole = lines.len() == 1 && lines[0]["source"] == "signup" && lines[0]["balance_after"] == ledger::SIGNUP;
    let text = || format!("customer {id} was onboarded in part: {lines:?}");
    Ok((!is_whole).then(|| Discrepancy::wrong(text())))
}

async fn books(caller: &Caller, customer: &Customer) -> Result<Books> {
    let path = format!("/admin/v1/customers/{}", customer.id);
    let detail = caller.look(&path, &[]).await?;
    let lines = caller.look_at_all(&format!("{path}/transactions"), &[]).await?;
    let lines: Result<Vec<Line>, _> = lines.into_iter().map(serde_json::from_value).collect();
    Ok(Books {
        plan: detail["customer"]["plan"].as_str().unwrap_or_default().to_owned(),
        balance: detail["credits"]["balance"].as_i64().unwrap_or(i64::MIN),
        held: detail["credits"]["held"].as_i64().unwrap_or(i64::MIN),
        lines: lines.context("a transaction cannot be read")?,
    })
}
