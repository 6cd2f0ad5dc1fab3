//! The database's clock. Only that of Postgres is read: SQLite uses the machine's.

use super::{Db, get, query_one};
use crate::clock::{Reading, process_us};
use crate::error::{Error, Result};
use sea_orm::TransactionTrait;

/// Readings at one time: the shortest is the most exact, and any one may be delayed.
const READINGS: usize = 5;

/// Reads the clock of Postgres a few times.
pub async fn clock_read(db: &Db) -> Result<Vec<Reading>> {
    // Use one connection, so that no reading includes waiting for one.
    let tx = db.read().begin().await?;
    let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS at_us";
    let mut readings = Vec::with_capacity(READINGS);
    for _ in 0..READINGS {
        let asked_us = process_us();
        let row = query_one(&tx, sql, []).await?;
        let answered_us = process_us();
        let row = row.ok_or_else(|| Error::Corrupt("the database returned no time".to_owned()))?;
        readings.push(Reading { asked_us, database_us: get(&row, "at_us")?, answered_us });
    }
    tx.rollback().await?;
    Ok(readings)
}
