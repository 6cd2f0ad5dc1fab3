//! What a subscription gives comes from the catalogue: `subscriptions` names the plan, the price and the number of
//! seats in place of `is_pro`. `prices` records which price of the catalogue each price at Stripe sells, and why, so
//! that the answer stays the same when the catalogue changes. `catalogue_versions` keeps every catalogue that was ever
//! in force.
//!
//! This is no rolling upgrade: nodes of the previous release read `is_pro` and fail without it. Stop them first.

use crate::m0005_subscriptions;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On `SQLite` too: an interruption must leave no copy of a table behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        crate::append_only(manager, "catalogue_versions").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, COPY).await?;
        crate::run(manager, m0005_subscriptions::UP).await?;
        crate::run(manager, RESTORE).await
    }
}

// Until now there was one paid plan, whose key is `pro`.
const UP: &[&str] = &[
    "ALTER TABLE subscriptions ADD COLUMN plan TEXT",
    "ALTER TABLE subscriptions ADD COLUMN price TEXT",
    "ALTER TABLE subscriptions ADD COLUMN quantity BIGINT NOT NULL DEFAULT 1",
    "UPDATE subscriptions SET plan = 'pro' WHERE is_pro",
    "ALTER TABLE subscriptions DROP COLUMN is_pro",
    "CREATE TABLE prices (
        id TEXT PRIMARY KEY,
        product_id TEXT,
        lookup_key TEXT,
        metadata TEXT NOT NULL,
        amount BIGINT,
        currency TEXT,
        every TEXT,
        catalogue_price TEXT,
        decision TEXT NOT NULL,
        decided_by TEXT NOT NULL,
        reason TEXT,
        terms TEXT,
        first_seen_ms BIGINT NOT NULL,
        decided_at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX prices_catalogue_price ON prices (catalogue_price)",
    "CREATE INDEX prices_product ON prices (product_id)",
    "CREATE TABLE catalogue_versions (
        version BIGINT PRIMARY KEY,
        catalogue TEXT NOT NULL,
        applied_by TEXT NOT NULL,
        reason TEXT NOT NULL,
        applied_at_ms BIGINT NOT NULL
    )",
];

// The table is made anew: an added column would stand last and, being NOT NULL, would need a default that it did not
// have before.
const COPY: &[&str] = &[
    "DROP TABLE catalogue_versions",
    "DROP TABLE prices",
    "CREATE TABLE subscriptions_copy AS SELECT * FROM subscriptions",
    "DROP TABLE subscriptions",
];

const RESTORE: &[&str] = &[
    "INSERT INTO subscriptions (id, customer_id, status, is_pro, cancel_at_period_end, current_period_end_ms, \
     past_due_since_ms, past_due_reason, ended_at_ms, updated_at_ms) \
     SELECT id, customer_id, status, plan IS NOT NULL, cancel_at_period_end, current_period_end_ms, \
     past_due_since_ms, past_due_reason, ended_at_ms, updated_at_ms FROM subscriptions_copy",
    "DROP TABLE subscriptions_copy",
];
