//! The inbox: every signed event with the bytes that arrived.

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
    "CREATE TABLE events (
        id TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        external_id TEXT NOT NULL,
        type TEXT NOT NULL,
        payload BYTEA NOT NULL,
        stream_key TEXT NOT NULL,
        deliveries BIGINT NOT NULL,
        received_at_ms BIGINT NOT NULL,
        UNIQUE (source, external_id)
    )",
    "CREATE INDEX events_stream ON events (stream_key)",
];

const DOWN: &[&str] = &["DROP TABLE events"];
