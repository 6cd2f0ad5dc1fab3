//! Which price at Stripe a subscription has, so that its customer sees the terms that it keeps. Subscriptions from
//! before show them after the next event about them.

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

const UP: &[&str] = &["ALTER TABLE subscriptions ADD COLUMN stripe_price TEXT"];

const DOWN: &[&str] = &["ALTER TABLE subscriptions DROP COLUMN stripe_price"];
