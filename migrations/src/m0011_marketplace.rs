//! Purchases on GitHub Marketplace, one row per GitHub account.

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

// `covered_until_ms` is `granted_until_ms` in the engine.
const UP: &[&str] = &["CREATE TABLE marketplace_accounts (
        github_account_id BIGINT PRIMARY KEY,
        login TEXT NOT NULL,
        account_type TEXT NOT NULL,
        email TEXT,
        state TEXT NOT NULL,
        plan_id BIGINT NOT NULL,
        plan_name TEXT NOT NULL,
        plan TEXT,
        billing_cycle TEXT,
        unit_count BIGINT NOT NULL,
        on_free_trial BOOLEAN NOT NULL,
        free_trial_ends_ms BIGINT,
        next_billing_ms BIGINT,
        effective_ms BIGINT NOT NULL,
        last_action TEXT NOT NULL,
        pending TEXT,
        period_from_ms BIGINT,
        covered_until_ms BIGINT,
        customer_id TEXT UNIQUE REFERENCES customers (id),
        linked_at_ms BIGINT,
        link_token_hash TEXT UNIQUE,
        link_token_expires_ms BIGINT,
        created_at_ms BIGINT NOT NULL,
        updated_at_ms BIGINT NOT NULL
    )"];

const DOWN: &[&str] = &["DROP TABLE marketplace_accounts"];
