//! Replays, each with the fixed set of jobs that it replays.

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
    "CREATE TABLE replays (
        id TEXT PRIMARY KEY,
        filter TEXT NOT NULL,
        dry_run BOOLEAN NOT NULL,
        rate_per_second BIGINT NOT NULL,
        reason TEXT NOT NULL,
        state TEXT NOT NULL,
        total BIGINT NOT NULL,
        created_by TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        finished_at_ms BIGINT
    )",
    "CREATE TABLE replay_items (
        replay_id TEXT NOT NULL REFERENCES replays (id),
        n BIGINT NOT NULL,
        job_id TEXT NOT NULL,
        state TEXT NOT NULL,
        result TEXT,
        PRIMARY KEY (replay_id, n)
    )",
];

const DOWN: &[&str] = &["DROP TABLE replay_items", "DROP TABLE replays"];
