//! An index of all ledger entries but usage, so that summaries need not read the usage. Spending writes no further
//! index.

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

const UP: &[&str] = &["CREATE INDEX ledger_entries_flows ON ledger_entries (customer_id, seq) \
     WHERE kind IN ('grant', 'adjust', 'claw_back', 'expire')"];

const DOWN: &[&str] = &["DROP INDEX ledger_entries_flows"];
