//! Debits through customer actors and group commit, called inside the process.

use super::plan::Scenario;
use super::report::Measurement;
use super::{Attempt, Latencies, memory_mib, run_callers, seed, spread};
use crate::app::SECRET_KEY;
use anyhow::Result;
use bursar_actors::{Role, Runtime, RuntimeOptions};
use bursar_engine::amount::Credits;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::ledger::{Command, Op};
use bursar_engine::infra::stripe::{Gateway, GatewayOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A debit of one credit as the HTTP interface makes it.
fn debit(key: String) -> Command {
    Command {
        op: Op::Debit { amount: Credits(1) },
        source: "usage".to_owned(),
        reference: None,
        request_hash: Some(key.clone()),
        idempotency_key: Some(key),
        metadata: None,
    }
}

async fn start(scenario: &Scenario) -> Result<Arc<Runtime>> {
    let mut config = Config::load(None)?;
    SECRET_KEY.clone_into(&mut config.secret_key);
    let db = seed::open(scenario, config.database.connections_max, 0).await?;
    let stripe = Gateway::new(GatewayOptions::from(&config))?;
    let node = "bench".to_owned();
    let options = RuntimeOptions { config, db, clock: Clock::System, node, role: Role::All, stripe };
    Ok(Arc::new(Runtime::start(options).await?))
}

/// Measures debits, one after another for each caller.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    let runtime = start(scenario).await?;
    let customers = scenario.customers;
    let operation = {
        let runtime = runtime.clone();
        move |caller: usize, n: u64| {
            let runtime = runtime.clone();
            async move {
                let customer = seed::customer_id(spread(caller, n, customers));
                runtime.customers.apply(&customer, debit(format!("api:{caller}-{n}"))).await?;
                Ok(Attempt::Done)
            }
        }
    };
    let (latencies, seconds) = run_callers(scenario.callers, scenario.seconds, operation).await?;
    Ok(Measurement::new(scenario, &latencies, seconds, memory_mib(None)?))
}

/// Makes one debit for each customer.
pub async fn touch(scenario: &Scenario) -> Result<Measurement> {
    let runtime = start(scenario).await?;
    let next = Arc::new(AtomicU64::new(0));
    let latencies = Latencies::new()?;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for caller in 0..scenario.callers {
        let (runtime, next, customers) = (runtime.clone(), next.clone(), scenario.customers);
        let latencies = latencies.clone();
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= customers {
                    return anyhow::Ok(());
                }
                let begun = Instant::now();
                runtime.customers.apply(&seed::customer_id(n), debit(format!("api:{n}"))).await?;
                latencies.record(caller, begun);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(Measurement::new(scenario, &latencies.all()?, started.elapsed().as_secs_f64(), memory_mib(None)?))
}
