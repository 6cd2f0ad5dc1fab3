//! The logs of rate limits that are too large for `rate_limits`, where each time is text.
//!
//! `down` forgets them: the release before counts by process.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        // A row is rewritten in place, again and again.
        crate::set_fill_factor(manager, "rate_logs", 50).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await
    }
}

const UP: &[&str] = &[
    // `version` guards a row that two nodes write at once. `until_ms`: when the row may be deleted. It has no index, so
    // that a row is rewritten without touching one.
    "CREATE TABLE rate_logs (
        key TEXT PRIMARY KEY,
        log BYTEA NOT NULL,
        version BIGINT NOT NULL,
        until_ms BIGINT NOT NULL
    )",
];

const DOWN: &[&str] = &["DROP TABLE rate_logs"];
