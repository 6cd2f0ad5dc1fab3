//! An index that allows each customer one subscription request in progress, and the former Stripe ids of customers.

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
    "CREATE UNIQUE INDEX operations_subscribing ON operations (customer_id)
        WHERE kind = 'subscription_create' AND state = 'processing'",
    "CREATE TABLE stripe_customers_former (
        stripe_customer_id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        gone_at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX stripe_customers_former_customer ON stripe_customers_former (customer_id)",
];

const DOWN: &[&str] = &["DROP TABLE stripe_customers_former", "DROP INDEX operations_subscribing"];
