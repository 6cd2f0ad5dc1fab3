//! Keeps the index of due jobs for whoever asks what is due. An index that was empty when Postgres last looked at it
//! seems free to read, so the head of a stream was sought in it, job by job, instead of in the index of the stream.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await
    }
}

// The time is never null, and a statement that compares it says so: only such a statement may use the index.
const UP: &[&str] = &[
    "DROP INDEX jobs_due",
    "CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state IN ('available', 'running') AND run_at_ms IS NOT NULL",
];

const DOWN: &[&str] =
    &["DROP INDEX jobs_due", "CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state IN ('available', 'running')"];
