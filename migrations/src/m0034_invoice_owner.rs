//! Postgres no longer looks up the customer of each invoice that is stored: every paid invoice stores one, and the look
//! is a third of what that costs. As with ledger entries, `bursar verify` finds an invoice without its customer.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        on_postgres(manager, "ALTER TABLE invoices DROP CONSTRAINT invoices_customer_id_fkey").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        on_postgres(
            manager,
            "ALTER TABLE invoices ADD CONSTRAINT invoices_customer_id_fkey \
             FOREIGN KEY (customer_id) REFERENCES customers (id)",
        )
        .await
    }
}

/// SQLite cannot drop a constraint, and its look costs little.
async fn on_postgres(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    match manager.get_database_backend() {
        DatabaseBackend::Postgres => crate::run(manager, &[sql]).await,
        _ => Ok(()),
    }
}
