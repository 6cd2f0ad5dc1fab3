//! The schema itself: applied migrations, tables and columns, and the nodes at work. Only here do the two databases
//! need different SQL, because each describes itself in its own way.

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

/// Unexpired leases of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLeases {
    /// The node.
    pub node: String,
    /// Number of leases.
    pub leases: i64,
    /// Milliseconds until the last of them ends.
    pub end_in_ms: i64,
}

fn is_postgres(db: &impl ConnectionTrait) -> bool {
    db.get_database_backend() == DbBackend::Postgres
}

/// The names of the applied migrations, in order; `None` if none ever was.
pub async fn schema_versions(db: &impl ConnectionTrait) -> Result<Option<Vec<String>>> {
    match query_all(db, "SELECT version FROM seaql_migrations ORDER BY version", []).await {
        Ok(rows) => rows.iter().map(|row| get(row, "version")).collect::<Result<_>>().map(Some),
        Err(error) if error.is_missing_table() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All columns of all tables except the migrations' own.
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

/// The number of a table's rows, or of rows in which a column is not null. The names come from [`schema_columns`].
pub async fn schema_count(db: &impl ConnectionTrait, table: &str, column: Option<&str>) -> Result<i64> {
    let what = column.map_or_else(|| "*".to_owned(), |column| format!("\"{column}\""));
    let row = query_one(db, &format!("SELECT COUNT({what}) AS n FROM \"{table}\""), []).await?;
    row.map_or(Ok(0), |row| get(&row, "n"))
}

/// The name of the database in Postgres.
pub async fn schema_database(db: &impl ConnectionTrait) -> Result<String> {
    let row = query_one(db, "SELECT current_database()::text AS name", []).await?;
    row.map_or(Ok(String::new()), |row| get(&row, "name"))
}

/// Unexpired leases on streams by the database's clock, node by node. Only for Postgres.
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
        // Before the migration that creates the table there are no leases.
        Err(error) if error.is_missing_table() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The places from which programs of this name are connected, one for each connection. Only for Postgres.
pub async fn schema_sessions(db: &impl ConnectionTrait, application: &str) -> Result<Vec<String>> {
    let sql = "SELECT COALESCE(host(client_addr), 'this machine') AS place FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = $1 ORDER BY 1";
    query_all(db, sql, [application.into()]).await?.iter().map(|row| get(row, "place")).collect()
}
