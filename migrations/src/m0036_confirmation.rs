//! Whether a customer's address is confirmed, and the links by which it is.
//!
//! Customers from before count as confirmed without having been asked (`assumed`): some of them have a card and a
//! subscription, and a renewal must not fail because of this release. So do customers whom a node of the release before
//! signs up while nodes of both run. `down` forgets who is still to confirm its address: the release before asks
//! nobody.

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
    "ALTER TABLE customers ADD COLUMN address_state TEXT NOT NULL DEFAULT 'assumed'",
    "ALTER TABLE customers ADD COLUMN address_confirmed_at_ms BIGINT",
    "CREATE TABLE confirmation_links (
        token_hash TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        email_normalized TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        expires_at_ms BIGINT NOT NULL,
        used_at_ms BIGINT
    )",
    "CREATE INDEX confirmation_links_customer ON confirmation_links (customer_id)",
    "CREATE INDEX confirmation_links_time ON confirmation_links (expires_at_ms)",
];

const DOWN: &[&str] = &[
    "DROP TABLE confirmation_links",
    "ALTER TABLE customers DROP COLUMN address_confirmed_at_ms",
    "ALTER TABLE customers DROP COLUMN address_state",
];
