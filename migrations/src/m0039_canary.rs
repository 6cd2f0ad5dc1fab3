//! The job of a paused stream that may run once although the stream is paused, and how often it had been tried when
//! support said so.

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
    &["ALTER TABLE streams ADD COLUMN canary_job_id TEXT", "ALTER TABLE streams ADD COLUMN canary_attempt BIGINT"];

const DOWN: &[&str] =
    &["ALTER TABLE streams DROP COLUMN canary_attempt", "ALTER TABLE streams DROP COLUMN canary_job_id"];
