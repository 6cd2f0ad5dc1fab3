//! The terms that each invoice was decided on, so that a later catalogue never decides it anew, not even if it brought
//! nothing. Invoices from before are decided on the terms of the catalogue that was in force when they were made.
//!
//! And how much of the money that is gone of an invoice left its credits: only without that no later parts come.

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

const UP: &[&str] =
    &["ALTER TABLE invoices ADD COLUMN terms TEXT", "ALTER TABLE invoices ADD COLUMN kept BIGINT NOT NULL DEFAULT 0"];

const DOWN: &[&str] = &["ALTER TABLE invoices DROP COLUMN kept", "ALTER TABLE invoices DROP COLUMN terms"];
