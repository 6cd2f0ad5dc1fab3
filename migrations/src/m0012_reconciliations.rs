//! Runs of the reconciliation with Stripe, and their findings.

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

// The partial index allows one running run at a time. The objects that a run has seen at Stripe are stored until it
// ends, to find local ones that Stripe does not have. That table has no foreign keys.
const UP: &[&str] = &[
    "CREATE TABLE reconciliations (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        repair BOOLEAN NOT NULL,
        since_ms BIGINT NOT NULL,
        until_ms BIGINT NOT NULL,
        whole BOOLEAN NOT NULL,
        phase TEXT NOT NULL,
        cursor TEXT,
        counts TEXT NOT NULL,
        reason TEXT,
        job_id TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        request_key TEXT NOT NULL UNIQUE,
        request_hash TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        finished_at_ms BIGINT
    )",
    "CREATE UNIQUE INDEX reconciliations_running ON reconciliations (state) WHERE state = 'running'",
    "CREATE TABLE reconciliation_findings (
        reconciliation_id TEXT NOT NULL REFERENCES reconciliations (id) ON DELETE CASCADE,
        n BIGINT NOT NULL,
        class TEXT NOT NULL,
        object_id TEXT NOT NULL,
        customer_id TEXT,
        ours TEXT NOT NULL,
        theirs TEXT NOT NULL,
        repaired BOOLEAN NOT NULL,
        PRIMARY KEY (reconciliation_id, n)
    )",
    "CREATE TABLE reconciliation_seen (
        reconciliation_id TEXT NOT NULL,
        object_id TEXT NOT NULL,
        PRIMARY KEY (reconciliation_id, object_id)
    )",
];

const DOWN: &[&str] =
    &["DROP TABLE reconciliation_seen", "DROP TABLE reconciliation_findings", "DROP TABLE reconciliations"];
