//! What keeps the cost of the queue from growing with it: an index to count what waits and what is dead by its
//! kind, one to delete by when a job ended, and, for each lease, whether the one before it was given up.

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

// Neither index holds a job that runs, so a claim writes none of them. The first takes the place of `jobs_dead` for
// counting only: that one is for lists, newest first.
const UP: &[&str] = &[
    "ALTER TABLE streams ADD COLUMN previous_owner TEXT",
    "CREATE INDEX jobs_waiting ON jobs (kind, state, run_at_ms) WHERE state IN ('available', 'dead')",
    "CREATE INDEX jobs_ended ON jobs (finished_at_ms) WHERE state IN ('succeeded', 'cancelled')",
];

const DOWN: &[&str] =
    &["DROP INDEX jobs_ended", "DROP INDEX jobs_waiting", "ALTER TABLE streams DROP COLUMN previous_owner"];
