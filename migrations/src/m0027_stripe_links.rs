//! Support links Stripe customers: from when on their payments bring credits, and which requests made customers.

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
    "ALTER TABLE customers ADD COLUMN credits_from_ms BIGINT",
    "CREATE TABLE customer_requests (
        idempotency_key TEXT PRIMARY KEY,
        request_hash TEXT NOT NULL,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        created_at_ms BIGINT NOT NULL
    )",
];

const DOWN: &[&str] = &["DROP TABLE customer_requests", "ALTER TABLE customers DROP COLUMN credits_from_ms"];
