//! Deletes the jobs that waited for holds and grants to expire. The sweep of `m0018_next_settle` has replaced them. On
//! a database that an earlier version of that migration migrated, those jobs are gone already; only jobs that nodes of
//! the previous release created afterwards are found.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

/// Jobs per transaction.
const JOBS_BATCH: usize = 500;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Each batch is its own transaction, so that locks are short. After an interruption the migration starts again.
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

    /// Nothing to undo: `down` of `m0018_next_settle` creates the jobs again.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// The first column of a query.
async fn column(db: &impl ConnectionTrait, sql: &str) -> Result<Vec<String>, DbErr> {
    let found = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    found.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Formats identifiers or stream keys as an SQL list. They contain only letters, digits, `_` and `:`.
fn sql_list(texts: &[String]) -> String {
    texts.iter().map(|text| format!("'{}'", text.replace('\'', "''"))).collect::<Vec<_>>().join(",")
}

/// Deletes a batch of jobs with ids above `after`, and their attempts and streams. Returns the last id of the batch,
/// `None` at the end. Skips running jobs, dead jobs and jobs of locked streams. A job that is left runs without
/// effect.
async fn delete_batch(manager: &SchemaManager<'_>, after: &str) -> Result<Option<String>, DbErr> {
    let batch = manager.begin().await?;
    let db = batch.get_connection();
    let waiting = "kind = 'account.settle' AND state = 'available'";
    let ids = format!("SELECT id FROM jobs WHERE {waiting} AND id > '{after}' ORDER BY id LIMIT {JOBS_BATCH}");
    let ids = column(db, &ids).await?;
    let Some(last) = ids.last().cloned() else { return Ok(None) };
    let ids = sql_list(&ids);
    // Every transaction locks streams before jobs, which prevents deadlocks.
    let lock = if db.get_database_backend() == DatabaseBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
    let streams =
        format!("SELECT key FROM streams WHERE key IN (SELECT stream_key FROM jobs WHERE id IN ({ids})) {lock}");
    let streams = column(db, &streams).await?;
    if !streams.is_empty() {
        let keys = sql_list(&streams);
        let gone =
            format!("DELETE FROM jobs WHERE id IN ({ids}) AND stream_key IN ({keys}) AND {waiting} RETURNING id");
        let gone = column(db, &gone).await?;
        let statements = [
            (!gone.is_empty()).then(|| format!("DELETE FROM attempts WHERE job_id IN ({})", sql_list(&gone))),
            // Each of these jobs had a stream of its own.
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
