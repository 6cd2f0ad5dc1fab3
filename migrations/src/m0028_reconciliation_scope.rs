//! What a reconciliation compares: what changed, everything, or one customer; and the indexes by which it finds what
//! changed.

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

// One run of all customers at a time, and beside it one of each customer.
const UP: &[&str] = &[
    "ALTER TABLE reconciliations ADD COLUMN full_pass BOOLEAN NOT NULL DEFAULT FALSE",
    "ALTER TABLE reconciliations ADD COLUMN customer_id TEXT",
    "DROP INDEX reconciliations_running",
    "CREATE UNIQUE INDEX reconciliations_running ON reconciliations (COALESCE(customer_id, '')) \
     WHERE state = 'running'",
    "CREATE INDEX subscriptions_changed ON subscriptions (updated_at_ms) WHERE ended_at_ms IS NULL",
    "CREATE INDEX subscriptions_period ON subscriptions (current_period_end_ms) WHERE ended_at_ms IS NULL",
    "CREATE INDEX ledger_entries_sold ON ledger_entries (created_at_ms) WHERE kind = 'grant' AND source = 'stripe'",
    "CREATE INDEX jobs_grants ON jobs (run_at_ms) WHERE kind = 'credits.grant' AND state IN ('available', 'running')",
];

// Runs that are under way would break the old index.
const DOWN: &[&str] = &[
    "DROP INDEX jobs_grants",
    "DROP INDEX ledger_entries_sold",
    "DROP INDEX subscriptions_period",
    "DROP INDEX subscriptions_changed",
    "UPDATE reconciliations SET state = 'failed', reason = 'the database was migrated down' \
     WHERE state = 'running' AND customer_id IS NOT NULL",
    "DROP INDEX reconciliations_running",
    "CREATE UNIQUE INDEX reconciliations_running ON reconciliations (state) WHERE state = 'running'",
    "ALTER TABLE reconciliations DROP COLUMN customer_id",
    "ALTER TABLE reconciliations DROP COLUMN full_pass",
];
