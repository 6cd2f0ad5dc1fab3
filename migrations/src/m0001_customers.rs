//! Customers, their API keys, and the audit log of privileged actions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        crate::append_only(manager, "audit_log").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await?;
        crate::drop_append_only(manager).await
    }
}

const UP: &[&str] = &[
    "CREATE TABLE customers (
        id TEXT PRIMARY KEY,
        email TEXT NOT NULL,
        email_normalized TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        plan TEXT NOT NULL,
        stripe_customer_id TEXT UNIQUE,
        has_payment_method BOOLEAN NOT NULL DEFAULT FALSE,
        created_at_ms BIGINT NOT NULL,
        updated_at_ms BIGINT NOT NULL
    )",
    "CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        hint TEXT NOT NULL,
        idempotency_key TEXT,
        created_at_ms BIGINT NOT NULL,
        revoked_at_ms BIGINT,
        UNIQUE (customer_id, idempotency_key)
    )",
    "CREATE TABLE audit_log (
        id TEXT PRIMARY KEY,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        details TEXT NOT NULL,
        at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX audit_log_target ON audit_log (target, at_ms)",
];

const DOWN: &[&str] = &["DROP TABLE audit_log", "DROP TABLE api_keys", "DROP TABLE customers"];
