//! Row locks inside the process: each debit is a transaction of its own that locks the account's row.

use super::plan::Scenario;
use super::report::Measurement;
use super::{Attempt, memory_mib, run_callers, seed, spread};
use anyhow::{Context, Result};
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

/// Measures debits that lock the account's row, on Bursar's tables with its unique key and durability.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    let connections = u32::try_from(scenario.callers)?;
    let db = seed::open(scenario, connections, 0).await?;
    let customers = scenario.customers;
    let operation = {
        let db = db.clone();
        move |caller: usize, n: u64| {
            let db = db.clone();
            async move {
                let customer = seed::customer_id(spread(caller, n, customers));
                debit(&db, customer.as_str(), &format!("api:{caller}-{n}")).await?;
                Ok(Attempt::Done)
            }
        }
    };
    let (latencies, seconds) = run_callers(scenario.callers, scenario.seconds, operation).await?;
    Ok(Measurement::new(scenario, &latencies, seconds, memory_mib(None)?))
}

async fn debit(db: &bursar_engine::infra::store::Db, customer: &str, key: &str) -> Result<()> {
    let statement = |sql: &str, values: Vec<Value>| Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let tx = db.begin().await?;
    let row = tx
        .query_one_raw(statement(
            "SELECT balance, version FROM accounts WHERE customer_id = $1 FOR UPDATE",
            vec![customer.into()],
        ))
        .await?
        .context("the account is there")?;
    let (balance, version): (i64, i64) = (row.try_get("", "balance")?, row.try_get("", "version")?);
    tx.execute_raw(statement(
        "INSERT INTO ledger_entries (customer_id, seq, kind, amount, held_delta, balance_after, held_after, source, \
         idempotency_key, request_hash, detail, created_at_ms) \
         VALUES ($1, $2, 'debit', -1, 0, $3, 0, 'usage', $4, '', '{\"burned\":[{\"grant\":1,\"credits\":1}]}', 0)",
        vec![customer.into(), (version + 1).into(), (balance - 1).into(), key.into()],
    ))
    .await?;
    tx.execute_raw(statement(
        "UPDATE accounts SET balance = $2, version = $3 WHERE customer_id = $1",
        vec![customer.into(), (balance - 1).into(), (version + 1).into()],
    ))
    .await?;
    tx.commit().await?;
    Ok(())
}
