//! For which times Pro was paid and its credits are still to be granted: each with its end, so that a
//! purchase that ended before it was linked is owed what was paid, and no more.

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

// What began before lasts while Pro does. Of what is over only the begin was kept: it is taken to have
// lasted until the news that is in force. `period_from_ms` stays for nodes of the release before.
const UP: &[&str] = &[
    "ALTER TABLE marketplace_accounts ADD COLUMN owed TEXT NOT NULL DEFAULT '[]'",
    "UPDATE marketplace_accounts SET owed = '[{\"from_ms\":' || CAST(period_from_ms AS TEXT) || ',\"until_ms\":' \
     || CASE WHEN state = 'purchased' AND plan = 'pro' THEN 'null' ELSE CAST(effective_ms AS TEXT) END \
     || ',\"billing_ms\":' || COALESCE(CAST(next_billing_ms AS TEXT), 'null') || '}]' \
     WHERE period_from_ms IS NOT NULL",
];

const DOWN: &[&str] = &["ALTER TABLE marketplace_accounts DROP COLUMN owed"];
