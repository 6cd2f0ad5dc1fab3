//! Admin tokens, and the seals of the audit log: a chain of hashes that shows whether a row was changed or removed.
//!
//! A trigger notes each new row of `audit_log` in `audit_unsealed`, whoever writes it, nodes of the previous release
//! included. A sealer takes the rows from there. Rows from before this migration are noted here, so that the first run
//! of the sealer seals them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        crate::run(manager, UP).await?;
        crate::append_only(manager, "audit_seals").await?;
        let triggers = if is_postgres(manager) { NOTE_ON_POSTGRES } else { NOTE_ON_SQLITE };
        crate::run(manager, triggers).await?;
        crate::run(manager, &["INSERT INTO audit_unsealed (audit_id) SELECT id FROM audit_log"]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if is_postgres(manager) {
            crate::run(manager, &["DROP TRIGGER audit_log_noted ON audit_log", "DROP FUNCTION note_unsealed"]).await?;
        } else {
            crate::run(manager, &["DROP TRIGGER audit_log_noted"]).await?;
        }
        crate::run(manager, DOWN).await
    }
}

fn is_postgres(manager: &SchemaManager<'_>) -> bool {
    manager.get_connection().get_database_backend() == DatabaseBackend::Postgres
}

const UP: &[&str] = &[
    "CREATE TABLE admin_tokens (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        hint TEXT NOT NULL,
        scopes TEXT NOT NULL,
        idempotency_key TEXT NOT NULL UNIQUE,
        request_hash TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        expires_at_ms BIGINT,
        last_used_at_ms BIGINT,
        revoked_at_ms BIGINT,
        revoked_by TEXT
    )",
    "CREATE TABLE audit_seals (
        seal BIGINT PRIMARY KEY,
        audit_id TEXT NOT NULL UNIQUE,
        hash TEXT NOT NULL,
        sealed_at_ms BIGINT NOT NULL
    )",
    "CREATE TABLE audit_unsealed (audit_id TEXT PRIMARY KEY)",
];

/// Once for each statement, so that many rows cost one more insert.
const NOTE_ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION note_unsealed() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN INSERT INTO audit_unsealed (audit_id) SELECT id FROM added; RETURN NULL; END $$",
    "CREATE TRIGGER audit_log_noted AFTER INSERT ON audit_log REFERENCING NEW TABLE AS added \
     FOR EACH STATEMENT EXECUTE FUNCTION note_unsealed()",
];

const NOTE_ON_SQLITE: &[&str] = &["CREATE TRIGGER audit_log_noted AFTER INSERT ON audit_log \
     BEGIN INSERT INTO audit_unsealed (audit_id) VALUES (NEW.id); END"];

const DOWN: &[&str] = &["DROP TABLE audit_unsealed", "DROP TABLE audit_seals", "DROP TABLE admin_tokens"];
