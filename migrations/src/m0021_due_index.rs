//! Restricts the index of due jobs to statements that compare `run_at_ms`. If the index was empty when Postgres last
//! analyzed it, the planner assumed that reading it costs nothing, and also used it to find the head of a stream.

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

// `run_at_ms` is never null. The condition excludes the index for statements that do not compare the column.
const UP: &[&str] = &[
    "DROP INDEX jobs_due",
    "CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state IN ('available', 'running') AND run_at_ms IS NOT NULL",
];

const DOWN: &[&str] =
    &["DROP INDEX jobs_due", "CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state IN ('available', 'running')"];
