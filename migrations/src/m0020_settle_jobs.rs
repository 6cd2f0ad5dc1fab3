//! The jobs that waited for the end of a hold or grant go: the sweep over accounts does their work since
//! `m0018_next_settle`, which once deleted them itself. Where it did, what is found here are those that nodes of
//! the release before made since, and nothing is lost with them either.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

/// Jobs that are deleted at once.
const JOBS_BATCH: usize = 500;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Each batch is a transaction of its own, so that nobody waits long for what it locks. One that breaks off
    /// is begun anew.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut after = String::new();
        while let Some(last) = delete_batch(manager, &after).await? {
            after = last;
        }
        Ok(())
    }

    /// The migration that did away with the jobs makes them again.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// The first column of a query.
async fn texts(db: &impl ConnectionTrait, sql: &str) -> Result<Vec<String>, DbErr> {
    let found = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    found.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// A list of identifiers or streams of such jobs, which hold letters, digits, `_` and `:`.
fn list(texts: &[String]) -> String {
    texts.iter().map(|text| format!("'{}'", text.replace('\'', "''"))).collect::<Vec<_>>().join(",")
}

/// Deletes some jobs above `after` with all that belongs to them; gives the last that it looked at. One that runs
/// is left to its node, one that is dead to whoever looks into it, and one whose stream is locked just now to
/// whoever carries it out: it finds nothing to do.
async fn delete_batch(manager: &SchemaManager<'_>, after: &str) -> Result<Option<String>, DbErr> {
    let batch = manager.begin().await?;
    let db = batch.get_connection();
    let waiting = "kind = 'account.settle' AND state = 'available'";
    let ids = format!("SELECT id FROM jobs WHERE {waiting} AND id > '{after}' ORDER BY id LIMIT {JOBS_BATCH}");
    let ids = texts(db, &ids).await?;
    let Some(last) = ids.last().cloned() else { return Ok(None) };
    let ids = list(&ids);
    // Streams before jobs, as everybody locks them.
    let lock = if db.get_database_backend() == DatabaseBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    let streams =
        format!("SELECT key FROM streams WHERE key IN (SELECT stream_key FROM jobs WHERE id IN ({ids})) {lock}");
    let streams = texts(db, &streams).await?;
    if !streams.is_empty() {
        let keys = list(&streams);
        let gone =
            format!("DELETE FROM jobs WHERE id IN ({ids}) AND stream_key IN ({keys}) AND {waiting} RETURNING id");
        let gone = texts(db, &gone).await?;
        let statements = [
            (!gone.is_empty()).then(|| format!("DELETE FROM attempts WHERE job_id IN ({})", list(&gone))),
            // Each had a stream of its own.
            Some(format!(
                "DELETE FROM streams WHERE key IN ({keys}) AND owner IS NULL AND paused_at_ms IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.stream_key = streams.key) \
                 AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.stream_key = streams.key)"
            )),
        ];
        for statement in statements.iter().flatten() {
            db.execute_unprepared(statement).await?;
        }
    }
    batch.commit().await?;
    Ok(Some(last))
}
