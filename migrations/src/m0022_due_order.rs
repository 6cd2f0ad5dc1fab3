//! Orders the index of due jobs by time and identifier, so that a sweep can go on in the middle of many jobs of one
//! time.

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

const UP: &[&str] = &[
    "DROP INDEX jobs_due",
    "CREATE INDEX jobs_due ON jobs (run_at_ms, id) WHERE state IN ('available', 'running') AND run_at_ms IS NOT NULL",
];

const DOWN: &[&str] = &[
    "DROP INDEX jobs_due",
    "CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state IN ('available', 'running') AND run_at_ms IS NOT NULL",
];
