//! What customers have set about automatic top-ups, and who got the credits for a first payment method.
//!
//! Of bonuses that were given before, the mailboxes are known from the free credits, and the cards are not.

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
    // `given_for`: `mailbox:` with a mailbox, or `card:` with the fingerprint of a card.
    "CREATE TABLE bonuses (
        given_for TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        given_at_ms BIGINT NOT NULL
    )",
    "INSERT INTO bonuses (given_for, customer_id, given_at_ms)
        SELECT 'mailbox:' || f.mailbox, f.customer_id, e.created_at_ms FROM free_credits f
        JOIN ledger_entries e ON e.customer_id = f.customer_id AND e.idempotency_key = 'bonus:payment_method'",
];

const DOWN: &[&str] = &["DROP TABLE bonuses", "DROP TABLE auto_top_ups"];
