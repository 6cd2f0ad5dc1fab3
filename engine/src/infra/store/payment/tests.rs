#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::migrations::{Migrator, MigratorTrait};
use sea_orm::{Database, DatabaseConnection, DbBackend, Statement};

async fn database() -> DatabaseConnection {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    db
}

#[tokio::test]
async fn what_expired_of_grants_is_read_at_once_and_without_usage() {
    let db = database().await;
    let sql = format!("EXPLAIN QUERY PLAN {}", expired_since());
    let explain = Statement::from_sql_and_values(DbBackend::Sqlite, sql, ["cst_1".into(), 3_i64.into()]);
    let plan: Vec<String> =
        db.query_all_raw(explain).await.unwrap().iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    assert_eq!(plan.len(), 1, "{plan:?}");
    assert!(plan[0].contains("ledger_entries_flows (customer_id=? AND seq>?)"), "{plan:?}");
}

#[tokio::test]
async fn what_expired_is_summed_for_each_grant_with_those_that_returned_its_credits() {
    let db = database().await;
    let rows = [
        ("cst_1", 5, "expire", -10, 3),
        ("cst_1", 6, "expire", -4, 33),
        ("cst_1", 7, "claw_back", -2, 3),
        ("cst_1", 8, "expire", -1, 3),
        ("cst_1", 9, "grant", 2, 3),
        ("cst_1", 10, "expire", -2, 9),
        ("cst_1", 11, "expire", -7, 4),
        ("cst_2", 5, "expire", -9, 3),
    ];
    for (customer, seq, kind, amount, grant) in rows {
        let sql = format!(
            "INSERT INTO ledger_entries (customer_id, seq, kind, amount, held_delta, balance_after, held_after, \
             source, detail, created_at_ms) \
             VALUES ('{customer}', {seq}, '{kind}', {amount}, 0, 0, 0, 'bursar', '{{\"grant\":{grant}}}', 1)"
        );
        db.execute_unprepared(&sql).await.unwrap();
    }
    let customer = CustomerId::trusted("cst_1".to_owned());
    let expired = entry_expired_of(&db, &customer, &[3, 4, 2]).await.unwrap();
    let of = |grants: &[i64], credits| Expired { grants: grants.to_vec(), credits: Credits(credits) };
    assert_eq!(expired, HashMap::from([(3, of(&[3, 9], 13)), (4, of(&[4], 7)), (2, of(&[2], 0))]));
    assert!(entry_expired_of(&db, &customer, &[]).await.unwrap().is_empty());
}
