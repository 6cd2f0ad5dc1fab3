//! Payments for support: invoices with their amounts, and how much of each payment was given back.
//!
//! Invoices that brought credits are taken from the ledger; their amounts come from the stored events that announced
//! them. An event that is no longer stored leaves the amount unknown.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, INVOICES).await?;
        let (object, text, readable) = match manager.get_database_backend() {
            DatabaseBackend::Postgres => POSTGRES,
            _ => SQLITE,
        };
        let sql = FILL.replace("{object}", object).replace("{text}", text).replace("{readable}", readable);
        manager.get_connection().execute_unprepared(&sql).await?;
        // Last, so that operations wait only for this.
        crate::run(manager, OPERATIONS).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await
    }
}

const INVOICES: &[&str] = &[
    "CREATE TABLE invoices (
        id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        subscription_id TEXT,
        is_paid BOOLEAN NOT NULL,
        amount BIGINT,
        currency TEXT,
        credits BIGINT NOT NULL,
        brings_now BOOLEAN NOT NULL,
        failure TEXT,
        refunded BIGINT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        updated_at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX invoices_customer ON invoices (customer_id, created_at_ms)",
    "CREATE INDEX invoices_time ON invoices (created_at_ms)",
];

const OPERATIONS: &[&str] = &[
    "ALTER TABLE operations ADD COLUMN refunded BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX operations_stripe ON operations (stripe_id) WHERE stripe_id IS NOT NULL",
    "CREATE INDEX operations_customer ON operations (customer_id, created_at_ms)",
    "CREATE INDEX operations_time ON operations (created_at_ms)",
];

/// The object of a stored event, a text inside it, and whether the database can read the event: Postgres has no texts
/// with the character 0.
const POSTGRES: (&str, &str, &str) = (
    "convert_from(payload, 'UTF8')::json #> '{data,object}'",
    "object ->> ",
    "position(convert_to('\\u0000', 'UTF8') in payload) = 0",
);
const SQLITE: (&str, &str, &str) = ("json_extract(CAST(payload AS TEXT), '$.data.object')", "object ->> ", "1 = 1");

const FILL: &str = "INSERT INTO invoices (id, customer_id, subscription_id, is_paid, amount, currency, credits, brings_now, \
     failure, refunded, created_at_ms, updated_at_ms) \
     SELECT l.reference, l.customer_id, NULL, TRUE, MAX(e.amount), MAX(e.currency), SUM(l.amount), \
     MAX(CASE WHEN l.idempotency_key = 'stripe:invoice:' || l.reference THEN 1 ELSE 0 END) = 1, NULL, 0, \
     MIN(l.created_at_ms), MIN(l.created_at_ms) FROM ledger_entries l LEFT JOIN \
     (SELECT id, MAX(amount) AS amount, MAX(currency) AS currency FROM \
     (SELECT {text}'id' AS id, CAST({text}'total' AS BIGINT) AS amount, {text}'currency' AS currency FROM \
     (SELECT {object} AS object FROM events WHERE source = 'stripe' \
     AND type IN ('invoice.paid', 'invoice.payment_succeeded') AND {readable}) o) i GROUP BY id) e ON e.id = l.reference \
     WHERE l.kind = 'grant' AND l.source = 'stripe' AND l.idempotency_key LIKE 'stripe:invoice:%' \
     AND l.reference IS NOT NULL GROUP BY l.reference, l.customer_id ON CONFLICT DO NOTHING";

const DOWN: &[&str] = &[
    "DROP INDEX operations_time",
    "DROP INDEX operations_customer",
    "DROP INDEX operations_stripe",
    "ALTER TABLE operations DROP COLUMN refunded",
    "DROP TABLE invoices",
];
