//! Operations that Stripe carries out, and customers' payment methods.

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
    // `round`: counts the idempotency keys at Stripe that the operation has used.
    "CREATE TABLE operations (
        id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        kind TEXT NOT NULL,
        request TEXT NOT NULL,
        idempotency_key TEXT NOT NULL,
        request_hash TEXT NOT NULL,
        state TEXT NOT NULL,
        round BIGINT NOT NULL,
        stripe_id TEXT,
        problem TEXT,
        created_at_ms BIGINT NOT NULL,
        round_at_ms BIGINT NOT NULL,
        updated_at_ms BIGINT NOT NULL,
        UNIQUE (customer_id, idempotency_key)
    )",
    "CREATE TABLE payment_methods (
        id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        kind TEXT NOT NULL,
        brand TEXT,
        last4 TEXT,
        exp_month BIGINT,
        exp_year BIGINT,
        is_default BOOLEAN NOT NULL,
        consent_at_ms BIGINT,
        attached_at_ms BIGINT NOT NULL,
        detached_at_ms BIGINT
    )",
    "CREATE INDEX payment_methods_customer ON payment_methods (customer_id) WHERE detached_at_ms IS NULL",
];

const DOWN: &[&str] = &["DROP TABLE payment_methods", "DROP TABLE operations"];
