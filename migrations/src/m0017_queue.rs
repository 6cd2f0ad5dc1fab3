//! Keeps the cost of the queue independent of its length: an index to count waiting and dead jobs by kind, an index to
//! delete ended jobs by age, and each stream's previous owner.

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

// Neither index contains running jobs, so a claim writes to neither. `jobs_waiting` replaces `jobs_dead` for counting
// only. Lists, newest first, still use `jobs_dead`.
const UP: &[&str] = &[
    "ALTER TABLE streams ADD COLUMN previous_owner TEXT",
    "CREATE INDEX jobs_waiting ON jobs (kind, state, run_at_ms) WHERE state IN ('available', 'dead')",
    "CREATE INDEX jobs_ended ON jobs (finished_at_ms) WHERE state IN ('succeeded', 'cancelled')",
];

const DOWN: &[&str] =
    &["DROP INDEX jobs_ended", "DROP INDEX jobs_waiting", "ALTER TABLE streams DROP COLUMN previous_owner"];
