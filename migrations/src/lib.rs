//! Database migrations, one file each. Every migration is reversible.
//!
//! The same DDL serves Postgres and SQLite, and both store the same values: times as `BIGINT` milliseconds since the
//! Unix epoch, JSON as `TEXT`, identifiers as prefixed `TEXT`. Only triggers differ.
//!
//! There is no m0014: m0013 and m0015 were written side by side, and the number between them was never used.

pub use sea_orm_migration::{MigratorTrait, sea_orm};

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend};

mod m0001_customers;
mod m0002_ledger;
mod m0003_jobs;
mod m0004_events;
mod m0005_subscriptions;
mod m0006_replays;
mod m0007_operations;
mod m0008_onboard;
mod m0009_billing;
mod m0010_mail;
mod m0011_marketplace;
mod m0012_reconciliations;
mod m0013_summary;
mod m0015_support;
mod m0016_marketplace_owed;
mod m0017_queue;
mod m0018_next_settle;
mod m0019_marketplace_news;
mod m0020_settle_jobs;
mod m0021_due_index;
mod m0022_due_order;
mod m0023_catalogue;
mod m0024_catalogue_check;
mod m0025_charges;
mod m0026_top_ups_and_bonuses;
mod m0027_stripe_links;
mod m0028_reconciliation_scope;
mod m0029_subscription_change;
mod m0030_payments;
mod m0031_disputed_payments;
mod m0032_subscription_stripe_price;
mod m0033_invoice_terms;
mod m0034_invoice_owner;
mod m0035_identities;
mod m0036_confirmation;
mod m0037_rate_logs;
mod m0038_plan_before_link;
mod m0039_canary;
mod m0040_refund_keys;
mod m0041_invoice_failure_codes;

/// All migrations in the order in which they are applied.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_customers::Migration),
            Box::new(m0002_ledger::Migration),
            Box::new(m0003_jobs::Migration),
            Box::new(m0004_events::Migration),
            Box::new(m0005_subscriptions::Migration),
            Box::new(m0006_replays::Migration),
            Box::new(m0007_operations::Migration),
            Box::new(m0008_onboard::Migration),
            Box::new(m0009_billing::Migration),
            Box::new(m0010_mail::Migration),
            Box::new(m0011_marketplace::Migration),
            Box::new(m0012_reconciliations::Migration),
            Box::new(m0013_summary::Migration),
            Box::new(m0015_support::Migration),
            Box::new(m0016_marketplace_owed::Migration),
            Box::new(m0017_queue::Migration),
            Box::new(m0018_next_settle::Migration),
            Box::new(m0019_marketplace_news::Migration),
            Box::new(m0020_settle_jobs::Migration),
            Box::new(m0021_due_index::Migration),
            Box::new(m0022_due_order::Migration),
            Box::new(m0023_catalogue::Migration),
            Box::new(m0024_catalogue_check::Migration),
            Box::new(m0025_charges::Migration),
            Box::new(m0026_top_ups_and_bonuses::Migration),
            Box::new(m0027_stripe_links::Migration),
            Box::new(m0028_reconciliation_scope::Migration),
            Box::new(m0029_subscription_change::Migration),
            Box::new(m0030_payments::Migration),
            Box::new(m0031_disputed_payments::Migration),
            Box::new(m0032_subscription_stripe_price::Migration),
            Box::new(m0033_invoice_terms::Migration),
            Box::new(m0034_invoice_owner::Migration),
            Box::new(m0035_identities::Migration),
            Box::new(m0036_confirmation::Migration),
            Box::new(m0037_rate_logs::Migration),
            Box::new(m0038_plan_before_link::Migration),
            Box::new(m0039_canary::Migration),
            Box::new(m0040_refund_keys::Migration),
            Box::new(m0041_invoice_failure_codes::Migration),
        ]
    }
}

async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}

/// Sets the table's fill factor on Postgres, so that pages keep room for updates of their rows.
async fn set_fill_factor(manager: &SchemaManager<'_>, table: &str, fill_percent: u8) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        run(manager, &[&format!("ALTER TABLE {table} SET (fillfactor = {fill_percent})")]).await?;
    }
    Ok(())
}

/// Drops what [`append_only`] created besides triggers, once all its tables are dropped.
async fn drop_append_only(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    if manager.get_database_backend() == DatabaseBackend::Postgres {
        run(manager, &["DROP FUNCTION refuse_change"]).await?;
    }
    Ok(())
}

/// Makes the database refuse UPDATE and DELETE on a table.
async fn append_only(manager: &SchemaManager<'_>, table: &str) -> Result<(), DbErr> {
    let statements = match manager.get_database_backend() {
        DatabaseBackend::Postgres => vec![
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
                .to_owned(),
            format!(
                "CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} \
                 FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            ),
        ],
        _ => ["UPDATE", "DELETE"]
            .iter()
            .map(|verb| {
                format!(
                    "CREATE TRIGGER {table}_no_{} BEFORE {verb} ON {table} \
                     BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
                    verb.to_lowercase()
                )
            })
            .collect(),
    };
    for statement in &statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
