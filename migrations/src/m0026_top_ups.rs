//! What customers have set about automatic top-ups.

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
    // `version` grows with each change by the customer, `begun` with each top-up. `stopped` is the problem, as JSON,
    // that turned it off or makes it wait.
    "CREATE TABLE auto_top_ups (
        customer_id TEXT PRIMARY KEY REFERENCES customers (id),
        version BIGINT NOT NULL,
        is_on BOOLEAN NOT NULL,
        threshold BIGINT NOT NULL,
        target BIGINT NOT NULL,
        pack TEXT,
        cap_month BIGINT,
        begun BIGINT NOT NULL,
        stopped TEXT,
        waits_until_ms BIGINT,
        updated_at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX auto_top_ups_on ON auto_top_ups (customer_id) WHERE is_on",
];

const DOWN: &[&str] = &["DROP TABLE auto_top_ups"];
