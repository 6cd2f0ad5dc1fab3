//! Signup limits: recent signups, the mailboxes that received free credits, and the hash that recognizes a repeated
//! request for an API key.

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
    // `hits`: the times of the last allowed requests, 13 digits each, concatenated. `until_ms`: when the row may be
    // deleted.
    "CREATE TABLE rate_limits (
        key TEXT PRIMARY KEY,
        hits TEXT NOT NULL,
        until_ms BIGINT NOT NULL
    )",
    // The mailboxes that received signup credits.
    "CREATE TABLE free_credits (
        mailbox TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        given_at_ms BIGINT NOT NULL
    )",
    // Existing customers already received their free credits. Addresses that only the engine can normalize further are
    // copied as they are.
    "INSERT INTO free_credits (mailbox, customer_id, given_at_ms)
        SELECT email_normalized, id, created_at_ms FROM customers",
    "ALTER TABLE api_keys ADD COLUMN request_hash TEXT",
];

const DOWN: &[&str] =
    &["ALTER TABLE api_keys DROP COLUMN request_hash", "DROP TABLE free_credits", "DROP TABLE rate_limits"];
