//! Indexes for support (events by the sender's id, dead events, a customer's jobs) and idempotency keys for replays.

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
    "CREATE INDEX events_external ON events (external_id)",
    "CREATE INDEX jobs_dead_event ON jobs (event_id) WHERE state = 'dead'",
    "CREATE INDEX jobs_customer ON jobs (customer_id, created_at_ms) WHERE customer_id IS NOT NULL",
    "ALTER TABLE replays ADD COLUMN idempotency_key TEXT",
    "ALTER TABLE replays ADD COLUMN request_hash TEXT",
    "CREATE UNIQUE INDEX replays_key ON replays (idempotency_key)",
];

// SQLite does not drop a column that still has an index.
const DOWN: &[&str] = &[
    "DROP INDEX replays_key",
    "ALTER TABLE replays DROP COLUMN request_hash",
    "ALTER TABLE replays DROP COLUMN idempotency_key",
    "DROP INDEX jobs_customer",
    "DROP INDEX jobs_dead_event",
    "DROP INDEX events_external",
];
