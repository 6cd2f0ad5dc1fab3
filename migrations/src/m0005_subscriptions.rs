//! The latest state of each subscription that Stripe reported.

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

// `down` of `m0023_catalogue` restores the table with these.
pub const UP: &[&str] = &[
    "CREATE TABLE subscriptions (
        id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        status TEXT NOT NULL,
        is_pro BOOLEAN NOT NULL,
        cancel_at_period_end BOOLEAN NOT NULL,
        current_period_end_ms BIGINT,
        past_due_since_ms BIGINT,
        past_due_reason TEXT,
        ended_at_ms BIGINT,
        updated_at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX subscriptions_customer ON subscriptions (customer_id)",
];

const DOWN: &[&str] = &["DROP TABLE subscriptions"];
