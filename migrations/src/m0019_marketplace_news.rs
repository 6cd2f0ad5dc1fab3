//! Every change of a purchase on GitHub Marketplace. The purchase's state and paid periods are derived from them.
//! Nodes of the previous release still use `owed` and `period_from_ms`.

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

// An older row's changes are derived from its other columns when it is read.
const UP: &[&str] = &["ALTER TABLE marketplace_accounts ADD COLUMN news TEXT NOT NULL DEFAULT '[]'"];

const DOWN: &[&str] = &["ALTER TABLE marketplace_accounts DROP COLUMN news"];
