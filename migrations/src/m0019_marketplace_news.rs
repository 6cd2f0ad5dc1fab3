//! Every change of a purchase on GitHub Marketplace, from which follows where it stands and what was paid.
//! `owed` and `period_from_ms` stay for nodes of the release before.

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

// A row of before gets its news when it is read: the columns that it has say enough.
const UP: &[&str] = &["ALTER TABLE marketplace_accounts ADD COLUMN news TEXT NOT NULL DEFAULT '[]'"];

const DOWN: &[&str] = &["ALTER TABLE marketplace_accounts DROP COLUMN news"];
