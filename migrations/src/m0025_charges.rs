//! What is known of each charge, for spend caps and for cards that were declined, and the caps set for customers.
//!
//! Charges that succeeded before are taken from the operations, so that they count in their month.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        let field = |name: &str| match manager.get_database_backend() {
            DatabaseBackend::Postgres => format!("CAST(request AS jsonb) ->> '{name}'"),
            _ => format!("request ->> '{name}'"),
        };
        let sql = format!(
            "INSERT INTO charges (operation_id, round, customer_id, card, amount_minor, currency, state, decided_at_ms, \
             ended_at_ms) SELECT id, round, customer_id, {}, CAST({} AS BIGINT), {}, 'succeeded', round_at_ms, \
             updated_at_ms FROM operations \
             WHERE kind = 'usage_charge' AND state = 'succeeded' AND stripe_id IS NOT NULL",
            field("payment_method_id"),
            field("amount_minor"),
            field("currency"),
        );
        crate::run(manager, &[&sql]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await
    }
}

const UP: &[&str] = &[
    // What tells the number of a card from others.
    "ALTER TABLE payment_methods ADD COLUMN fingerprint TEXT",
    // `card`: what counts as the same card. `decided_at_ms` is the day and month in which the charge counts.
    "CREATE TABLE charges (
        operation_id TEXT NOT NULL,
        round BIGINT NOT NULL,
        customer_id TEXT NOT NULL,
        card TEXT NOT NULL,
        amount_minor BIGINT NOT NULL,
        currency TEXT NOT NULL,
        state TEXT NOT NULL,
        advice_code TEXT,
        decided_at_ms BIGINT NOT NULL,
        ended_at_ms BIGINT,
        PRIMARY KEY (operation_id, round)
    )",
    "CREATE INDEX charges_counted ON charges (customer_id, currency, decided_at_ms)
        WHERE state IN ('open', 'succeeded')",
    "CREATE INDEX charges_card ON charges (customer_id, card, ended_at_ms) WHERE state IN ('declined', 'succeeded')",
    "CREATE INDEX operations_processing ON operations (customer_id) WHERE state = 'processing'",
    "CREATE TABLE spend_caps (
        customer_id TEXT PRIMARY KEY REFERENCES customers (id),
        currency TEXT NOT NULL,
        own_day BIGINT,
        own_month BIGINT,
        staff_day BIGINT,
        staff_month BIGINT,
        updated_at_ms BIGINT NOT NULL
    )",
];

const DOWN: &[&str] = &[
    "ALTER TABLE payment_methods DROP COLUMN fingerprint",
    "DROP TABLE spend_caps",
    "DROP INDEX operations_processing",
    "DROP TABLE charges",
];
