//! Stripe's codes of the failure of an invoice's payment, by which support finds it.

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
    &["ALTER TABLE invoices ADD COLUMN failure_code TEXT", "ALTER TABLE invoices ADD COLUMN decline_code TEXT"];

const DOWN: &[&str] =
    &["ALTER TABLE invoices DROP COLUMN decline_code", "ALTER TABLE invoices DROP COLUMN failure_code"];
