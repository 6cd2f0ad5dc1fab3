//! All SQL, by noun. Functions take a connection or a transaction; the use case owns the transaction. The same SQL
//! serves both databases: parameters are `$1`, lists of rows are passed with [`Rows`], times are milliseconds and
//! JSON is text.

pub mod account;
pub mod admin_token;
pub mod api_key;
pub mod attempt;
pub mod audit;
pub mod bonus;
pub mod catalogue;
pub mod charge;
pub mod check;
pub mod clock;
pub mod commit;
pub mod confirmation;
pub mod customer;
pub(crate) mod db;
pub mod event;
mod failure;
pub mod failure_group;
pub mod job;
pub mod mail;
pub mod marketplace;
pub mod operation;
pub mod payment;
pub mod payment_method;
pub mod preflight;
pub mod price;
pub mod rate_limit;
pub mod rate_log;
mod reach;
pub mod reconciliation;
pub mod replay;
mod rows;
pub mod schema;
pub mod stream;
pub mod stripe_link;
pub mod subscription;
pub mod summary;
pub mod timeline;
pub mod top_up;

pub use db::{Db, DbOptions, Lane, NODE, PoolUsage};
pub use reach::explain_unreachable;
pub use rows::{Cell, Columns, Kind, Rows, postgres_statement, postgres_text, seek};

use crate::error::{Error, Result};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, TryGetable, Value};

/// A statement with its values.
fn statement(db: &impl ConnectionTrait, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(db.get_database_backend(), sql, values)
}

/// Runs a statement; returns the number of affected rows.
async fn execute(db: &impl ConnectionTrait, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64> {
    Ok(db.execute_raw(statement(db, sql, values)).await?.rows_affected())
}

/// Runs a query for at most one row.
async fn query_one(
    db: &impl ConnectionTrait,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<QueryResult>> {
    Ok(db.query_one_raw(statement(db, sql, values)).await?)
}

/// Runs a query for all its rows; the query itself has the limit.
async fn query_all(
    db: &impl ConnectionTrait,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>> {
    Ok(db.query_all_raw(statement(db, sql, values)).await?)
}

/// Runs a query over `{rows}` with the one column `sought`.
async fn query_by(db: &impl ConnectionTrait, sql: &str, sought: &[String]) -> Result<Vec<QueryResult>> {
    if sought.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::new(&[("sought", Kind::Text)]);
    for text in sought {
        rows.push([text.as_str().into()]);
    }
    Ok(db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?)
}

/// The SQL of a text in a column of JSON, for which the databases have different syntax.
fn field(db: &impl ConnectionTrait, column: &str, name: &str) -> String {
    match db.get_database_backend() {
        DbBackend::Postgres => format!("CAST({column} AS jsonb) ->> '{name}'"),
        _ => format!("{column} ->> '{name}'"),
    }
}

/// How far the time of a row and that of its identifier may be apart: they are read from one clock, one after the
/// other. Where a list begins at a time, the identifiers from a little earlier on are looked at: the latest come first,
/// so that a page ends there instead of at the first row of all.
const ID_LAG_MAX_MS: crate::clock::TimeMs = 60 * 60 * 1_000;

/// The pattern of LIKE, with `\\` as its escape, for texts that contain this one.
fn containing(text: &str) -> String {
    format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}

/// The SQL of numbered parameters for a list, and their values after the present ones.
fn parameters<'a>(values: &mut Vec<Value>, texts: impl IntoIterator<Item = &'a str>) -> String {
    let add = |text: &str| {
        values.push(text.into());
        format!("${}", values.len())
    };
    texts.into_iter().map(add).collect::<Vec<_>>().join(", ")
}

/// Reads a column.
fn get<T: TryGetable>(row: &QueryResult, column: &str) -> Result<T> {
    row.try_get("", column).map_err(Error::from)
}

/// Writes a small value as JSON.
fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Corrupt(error.to_string()))
}

/// Reads JSON that this module wrote.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(error.to_string()))
}
