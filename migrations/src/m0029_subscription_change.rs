//! What a subscription shows beside its status: that its collection is paused, a change that waits for its payment, and
//! a change that comes with the period's end. Each is JSON, and null for nearly all subscriptions.

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
    "ALTER TABLE subscriptions ADD COLUMN paused_collection TEXT",
    "ALTER TABLE subscriptions ADD COLUMN unpaid_change TEXT",
    "ALTER TABLE subscriptions ADD COLUMN pending_change TEXT",
];

const DOWN: &[&str] = &[
    "ALTER TABLE subscriptions DROP COLUMN pending_change",
    "ALTER TABLE subscriptions DROP COLUMN unpaid_change",
    "ALTER TABLE subscriptions DROP COLUMN paused_collection",
];
