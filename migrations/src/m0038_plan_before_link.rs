//! The plan that a customer had when support linked its Stripe customer: what a wrong link brought goes with it.
//!
//! Links from before have none, and `down` forgets it: the plan then follows the one that goes, as in the release
//! before.

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

const UP: &[&str] = &["ALTER TABLE customers ADD COLUMN plan_before_link TEXT"];

const DOWN: &[&str] = &["ALTER TABLE customers DROP COLUMN plan_before_link"];
