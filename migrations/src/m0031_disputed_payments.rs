//! How much of each payment disputes hold or have taken, so that support sees it. Payments from before show it with the
//! next event about them.

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
    "ALTER TABLE invoices ADD COLUMN disputed BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE operations ADD COLUMN disputed BIGINT NOT NULL DEFAULT 0",
];

const DOWN: &[&str] = &["ALTER TABLE operations DROP COLUMN disputed", "ALTER TABLE invoices DROP COLUMN disputed"];
