//! Compares the database's schema with this release's.

use crate::domain::schema::Schema;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::schema::schema_versions;
use crate::migrations::{Migrator, MigratorTrait};

/// The names of this release's migrations, in order.
pub fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

/// Compares the schemas. The look-up waits behind no list or report, so that health is answered while many of them run.
///
/// # Errors
/// Fails if the database cannot be read.
pub async fn schema(db: &Db) -> Result<Schema> {
    let applied = schema_versions(db.ledger()).await?;
    Ok(Schema::of(&known(), applied.as_deref()))
}
