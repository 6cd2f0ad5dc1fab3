//! The schema itself: which migrations were applied, which tables and columns there are, and who works on
//! the database. Only here do the two databases need different texts, for each describes itself in its own way.

use super::{get, query_all, query_one};
use crate::error::Result;
use sea_orm::{ConnectionTrait, DbBackend};

/// A table's column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// The table.
    pub table: String,
    /// Its column.
    pub column: String,
}

/// Leases of a node that have not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLeases {
    /// The node.
    pub node: String,
    /// How many it holds.
    pub leases: i64,
    /// In how many milliseconds the last of them ends.
    pub end_in_ms: i64,
}

fn is_postgres(db: &impl ConnectionTrait) -> bool {
    db.get_database_backend() == DbBackend::Postgres
}

/// The names of the migrations that were applied, in order; `None` if none ever was.
pub async fn schema_versions(db: &impl ConnectionTrait) -> Result<Option<Vec<String>>> {
    match query_all(db, "SELECT version FROM seaql_migrations ORDER BY version", []).await {
        Ok(rows) => rows.iter().map(|row| get(row, "version")).collect::<Result<_>>().map(Some),
        Err(error) if error.is_missing_table() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every column of every table but the migrations' own.
pub async fn schema_columns(db: &impl ConnectionTrait) -> Result<Vec<Column>> {
    let sql = if is_postgres(db) {
        "SELECT table_name::text AS tab, column_name::text AS col FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name <> 'seaql_migrations' ORDER BY 1, 2"
    } else {
        "SELECT m.name AS tab, c.name AS col FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name <> 'seaql_migrations' ORDER BY 1, 2"
    };
    let rows = query_all(db, sql, []).await?;
    rows.iter().map(|row| Ok(Column { table: get(row, "tab")?, column: get(row, "col")? })).collect()
}

/// How many rows a table has; of a column, how many rows have something there. The names come from
/// [`schema_columns`].
pub async fn schema_count(db: &impl ConnectionTrait, table: &str, column: Option<&str>) -> Result<i64> {
    let what = column.map_or_else(|| "*".to_owned(), |column| format!("\"{column}\""));
    let row = query_one(db, &format!("SELECT COUNT({what}) AS n FROM \"{table}\""), []).await?;
    row.map_or(Ok(0), |row| get(&row, "n"))
}

/// What Postgres calls the database.
pub async fn schema_database(db: &impl ConnectionTrait) -> Result<String> {
    let row = query_one(db, "SELECT current_database()::text AS name", []).await?;
    row.map_or(Ok(String::new()), |row| get(&row, "name"))
}

/// Leases on streams that have not ended by the clock of the database, which must be Postgres, node by node.
pub async fn schema_leases(db: &impl ConnectionTrait) -> Result<Vec<NodeLeases>> {
    let sql = "SELECT owner, COUNT(*) AS leases, \
               CAST(MAX(lease_until_ms) - EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS end_in_ms \
               FROM streams WHERE owner IS NOT NULL \
               AND lease_until_ms > EXTRACT(EPOCH FROM clock_timestamp()) * 1000 GROUP BY owner ORDER BY owner";
    match query_all(db, sql, []).await {
        Ok(rows) => rows
            .iter()
            .map(|row| {
                Ok(NodeLeases {
                    node: get(row, "owner")?,
                    leases: get(row, "leases")?,
                    end_in_ms: get(row, "end_in_ms")?,
                })
            })
            .collect(),
        // Before the migration that makes it there are no leases either.
        Err(error) if error.is_missing_table() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// From where programs of this name are connected to the database, which must be Postgres; one text for each
/// connection.
pub async fn schema_sessions(db: &impl ConnectionTrait, application: &str) -> Result<Vec<String>> {
    let sql = "SELECT COALESCE(host(client_addr), 'this machine') AS place FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = $1 ORDER BY 1";
    query_all(db, sql, [application.into()]).await?.iter().map(|row| get(row, "place")).collect()
}
