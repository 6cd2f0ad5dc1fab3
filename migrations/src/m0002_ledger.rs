//! Accounts and the append-only ledger.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        // Half of each page stays free, so that updates can stay on the row's page without touching any index
        // (PostgreSQL manual, "Heap-Only Tuples").
        crate::set_fill_factor(manager, "accounts", 50).await?;
        crate::append_only(manager, "ledger_entries").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await
    }
}

const UP: &[&str] = &[
    "CREATE TABLE accounts (
        customer_id TEXT PRIMARY KEY REFERENCES customers (id),
        balance BIGINT NOT NULL,
        held BIGINT NOT NULL,
        version BIGINT NOT NULL,
        floor BIGINT NOT NULL DEFAULT 0,
        open TEXT NOT NULL,
        updated_at_ms BIGINT NOT NULL
    )",
    "CREATE TABLE ledger_entries (
        customer_id TEXT NOT NULL,
        seq BIGINT NOT NULL,
        kind TEXT NOT NULL,
        amount BIGINT NOT NULL,
        held_delta BIGINT NOT NULL,
        balance_after BIGINT NOT NULL,
        held_after BIGINT NOT NULL,
        source TEXT NOT NULL,
        reference TEXT,
        idempotency_key TEXT,
        request_hash TEXT,
        metadata TEXT,
        detail TEXT NOT NULL,
        hold_id TEXT,
        created_at_ms BIGINT NOT NULL,
        PRIMARY KEY (customer_id, seq),
        UNIQUE (customer_id, idempotency_key)
    )",
    "CREATE INDEX ledger_entries_hold ON ledger_entries (customer_id, hold_id) WHERE hold_id IS NOT NULL",
];

const DOWN: &[&str] = &["DROP TABLE ledger_entries", "DROP TABLE accounts"];
