//! An index by which the refund of an earlier request is found, whoever its payment belonged to then.

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
    &["CREATE INDEX operations_refund_key ON operations (idempotency_key) WHERE kind = 'payment_refund'"];

const DOWN: &[&str] = &["DROP INDEX operations_refund_key"];
