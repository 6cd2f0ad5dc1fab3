//! Webhooks from delivery to processed: paid invoices, each of which grants credits.

use super::plan::Scenario;
use super::report::Measurement;
use super::server::Server;
use super::{micros, new_histogram, seed};
use crate::app::WEBHOOK_SECRETS;
use crate::stripe;
use anyhow::{Context, Result};
use sea_orm::{ConnectionTrait, Statement};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Measures how many webhooks a second are accepted and processed.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    seed::open(scenario, 4, 0).await?.close().await;
    let server = Server::start(scenario).await?;
    // Bodies and signatures are made in advance, because Stripe makes them in production.
    let deliveries: Vec<(Vec<u8>, String)> = (0..scenario.webhooks)
        .map(|n| {
            let invoice = stripe::pro_invoice(&seed::stripe_customer_id(n % scenario.customers), None);
            let body = stripe::event("invoice.paid", &invoice).to_string().into_bytes();
            let signature = stripe::signature(&body, WEBHOOK_SECRETS[0]);
            (body, signature)
        })
        .collect();
    let (deliveries, next) = (Arc::new(deliveries), Arc::new(AtomicU64::new(0)));
    let (client, url) = (reqwest::Client::new(), format!("{}/webhooks/stripe", server.base));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..scenario.callers {
        let (client, url, deliveries, next) = (client.clone(), url.clone(), deliveries.clone(), next.clone());
        tasks.spawn(async move {
            let mut latencies = new_histogram()?;
            loop {
                let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed))?;
                let Some((body, signature)) = deliveries.get(at) else { return anyhow::Ok(latencies) };
                let begun = Instant::now();
                let request = client.post(&url).header("Stripe-Signature", signature).body(body.clone());
                let response = request.send().await?;
                anyhow::ensure!(response.status().is_success(), "{}", response.text().await?);
                response.bytes().await?;
                latencies.saturating_record(micros(begun));
            }
        });
    }
    let mut all = new_histogram()?;
    while let Some(latencies) = tasks.join_next().await {
        all.add(latencies??)?;
    }
    let db = seed::open(&Scenario { is_seeded: true, ..scenario.clone() }, 2, 0).await?;
    wait_until_done(&db).await?;
    let seconds = started.elapsed().as_secs_f64();
    check_results(&db, scenario.webhooks).await?;
    let mut measured = Measurement::new(scenario, &all, seconds, server.memory_mib()?);
    measured.processed_ms = Some(processed_ms(&db).await?);
    Ok(measured)
}

async fn number(db: &bursar_engine::infra::store::Db, sql: &str) -> Result<i64> {
    let row = db.read().query_one_raw(Statement::from_string(db.backend(), sql)).await?.context("a row")?;
    Ok(row.try_get_by_index(0)?)
}

/// Looks for the latest unprocessed event; an index finds it however many other jobs there are.
pub(super) async fn wait_until_done(db: &bursar_engine::infra::store::Db) -> Result<()> {
    let sql = "SELECT e.id FROM events e JOIN jobs j ON j.event_id = e.id WHERE j.state IN ('available', 'running') \
               ORDER BY e.id DESC LIMIT 1";
    while db.read().query_one_raw(Statement::from_string(db.backend(), sql)).await?.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Checks that every webhook was processed, once.
pub(super) async fn check_results(db: &bursar_engine::infra::store::Db, webhooks: u64) -> Result<()> {
    let done = "SELECT COUNT(*) FROM jobs WHERE state = 'succeeded' AND event_id IS NOT NULL";
    anyhow::ensure!(number(db, done).await? == i64::try_from(webhooks)?, "not every webhook succeeded");
    let granted = "SELECT COUNT(*) FROM ledger_entries WHERE source = 'stripe'";
    anyhow::ensure!(number(db, granted).await? == i64::try_from(webhooks)?, "not every webhook granted credits once");
    Ok(())
}

/// Median, 95th and 99th percentile from received to processed, by the server's clock.
async fn processed_ms(db: &bursar_engine::infra::store::Db) -> Result<[f64; 3]> {
    let sql = "SELECT j.finished_at_ms - e.received_at_ms FROM events e JOIN jobs j ON j.event_id = e.id ORDER BY 1";
    let rows = db.read().query_all_raw(Statement::from_string(db.backend(), sql)).await?;
    #[allow(clippy::cast_precision_loss)]
    let all: Vec<f64> =
        rows.iter().map(|row| row.try_get_by_index::<i64>(0).map(|ms| ms as f64)).collect::<Result<_, _>>()?;
    let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied();
    Ok([at(50).unwrap_or_default(), at(95).unwrap_or_default(), at(99).unwrap_or_default()])
}
