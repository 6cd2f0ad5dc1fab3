//! Streams, jobs and their attempts.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        crate::set_fill_factor(manager, "streams", 50).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, DOWN).await
    }
}

const UP: &[&str] = &[
    "CREATE TABLE streams (
        key TEXT PRIMARY KEY,
        last_seq BIGINT NOT NULL,
        owner TEXT,
        epoch BIGINT NOT NULL DEFAULT 0,
        lease_until_ms BIGINT NOT NULL DEFAULT 0,
        paused_at_ms BIGINT,
        paused_reason TEXT
    )",
    "CREATE INDEX streams_owner ON streams (owner) WHERE owner IS NOT NULL",
    "CREATE INDEX streams_paused ON streams (paused_at_ms) WHERE paused_at_ms IS NOT NULL",
    // `rescues`: how often a node died while it ran the job.
    "CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        args TEXT NOT NULL,
        stream_key TEXT NOT NULL REFERENCES streams (key),
        seq BIGINT NOT NULL,
        state TEXT NOT NULL,
        attempt BIGINT NOT NULL DEFAULT 0,
        attempts_max BIGINT NOT NULL,
        rescues BIGINT NOT NULL DEFAULT 0,
        run_at_ms BIGINT NOT NULL,
        unique_key TEXT UNIQUE,
        event_id TEXT UNIQUE,
        customer_id TEXT,
        last_error TEXT,
        created_at_ms BIGINT NOT NULL,
        finished_at_ms BIGINT
    )",
    "CREATE UNIQUE INDEX jobs_stream ON jobs (stream_key, seq)",
    "CREATE INDEX jobs_unfinished ON jobs (stream_key, seq) WHERE state IN ('available', 'running')",
    "CREATE INDEX jobs_due ON jobs (run_at_ms) WHERE state IN ('available', 'running')",
    "CREATE INDEX jobs_dead ON jobs (id) WHERE state = 'dead'",
    "CREATE TABLE attempts (
        stream_key TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        job_id TEXT NOT NULL,
        attempt BIGINT NOT NULL,
        node TEXT NOT NULL,
        started_at_ms BIGINT NOT NULL,
        finished_at_ms BIGINT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT,
        PRIMARY KEY (stream_key, epoch)
    )",
    "CREATE INDEX attempts_job ON attempts (job_id)",
];

const DOWN: &[&str] = &["DROP TABLE attempts", "DROP TABLE jobs", "DROP TABLE streams"];
