//! Indexes for the check at start that the catalogue has every plan that customers have, and every price at which open
//! subscriptions were bought. It reads one entry for each plan and price, however many customers there are.

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
    "CREATE INDEX customers_plan ON customers (plan)",
    "CREATE INDEX subscriptions_open_price ON subscriptions (price) WHERE ended_at_ms IS NULL AND price IS NOT NULL",
];

const DOWN: &[&str] = &["DROP INDEX subscriptions_open_price", "DROP INDEX customers_plan"];
