//! Mails that were sent, or only stored because no mail server is configured.

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

// A mail that is not sent or stored yet exists only as its job. Deleting the job deletes its mail.
const UP: &[&str] = &[
    "CREATE TABLE mails (
        id TEXT PRIMARY KEY,
        job_id TEXT NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE,
        customer_id TEXT NOT NULL REFERENCES customers (id),
        template TEXT NOT NULL,
        recipient TEXT NOT NULL,
        subject TEXT NOT NULL,
        body_text TEXT NOT NULL,
        body_html TEXT NOT NULL,
        state TEXT NOT NULL,
        message_id TEXT NOT NULL,
        sent_at_ms BIGINT NOT NULL
    )",
    "CREATE INDEX jobs_mail ON jobs (id) WHERE kind = 'mail.send'",
    "CREATE INDEX jobs_mail_customer ON jobs (customer_id, id) WHERE kind = 'mail.send'",
];

const DOWN: &[&str] = &["DROP INDEX jobs_mail_customer", "DROP INDEX jobs_mail", "DROP TABLE mails"];
