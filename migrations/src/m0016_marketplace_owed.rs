//! The paid periods of Pro whose credits are still to be granted. Each has its end, so that a purchase that ended
//! before it was linked to a customer gets credits for the paid time only.

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

// The current period of an active Pro plan has no end yet. Of an ended plan only the start was stored: its period is
// taken to end with the change that is in force. Nodes of the previous release still use `period_from_ms`.
const UP: &[&str] = &[
    "ALTER TABLE marketplace_accounts ADD COLUMN owed TEXT NOT NULL DEFAULT '[]'",
    "UPDATE marketplace_accounts SET owed = '[{\"from_ms\":' || CAST(period_from_ms AS TEXT) || ',\"until_ms\":' \
     || CASE WHEN state = 'purchased' AND plan = 'pro' THEN 'null' ELSE CAST(effective_ms AS TEXT) END \
     || ',\"billing_ms\":' || COALESCE(CAST(next_billing_ms AS TEXT), 'null') || '}]' \
     WHERE period_from_ms IS NOT NULL",
];

const DOWN: &[&str] = &["ALTER TABLE marketplace_accounts DROP COLUMN owed"];
