//! Direct access to the database of an application.

use bursar_tests::{TestApp, wait};
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};

pub async fn rows(app: &TestApp, sql: &str, values: impl IntoIterator<Item = Value>) -> Vec<QueryResult> {
    let db = app.app.db.read();
    db.query_all_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, values)).await.unwrap()
}

/// The number that a query returns.
pub async fn number(app: &TestApp, sql: &str, values: impl IntoIterator<Item = Value>) -> i64 {
    rows(app, sql, values).await[0].try_get_by_index(0).unwrap()
}

pub async fn texts(app: &TestApp, sql: &str) -> Vec<String> {
    rows(app, sql, []).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// Waits until this many statements wait for locks. Postgres only.
pub async fn until_waiting(app: &TestApp, statements: i64) {
    let waiting =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    wait::until("statements wait for locks", || async { (number(app, waiting, []).await == statements).then_some(()) })
        .await;
}

/// The tables with a row that contains this text of ASCII letters, digits and underscores.
pub async fn tables_with(app: &TestApp, text: &str) -> Vec<String> {
    let is_postgres = app.app.db.is_postgres();
    let tables = if is_postgres {
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
    };
    let mut found = Vec::new();
    for table in texts(app, tables).await {
        let condition = if is_postgres {
            "position($1 in t::text) > 0".to_owned()
        } else {
            let columns = texts(app, &format!("SELECT name FROM pragma_table_info('{table}')")).await;
            let conditions = columns.iter().map(|column| format!("instr(CAST(\"{column}\" AS TEXT), $1) > 0"));
            conditions.collect::<Vec<_>>().join(" OR ")
        };
        let sql = format!("SELECT COUNT(*) FROM \"{table}\" t WHERE {condition}");
        if number(app, &sql, [text.into()]).await > 0 {
            found.push(table);
        }
    }
    found
}

/// Runs a statement that the database must refuse; returns the error.
pub async fn refusal(app: &TestApp, sql: &str) -> String {
    match app.app.db.write().execute_unprepared(sql).await {
        Ok(_) => panic!("the database accepted {sql}"),
        Err(error) => error.to_string(),
    }
}
