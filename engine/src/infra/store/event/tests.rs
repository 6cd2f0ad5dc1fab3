//! The indexes that support's searches use. SQLite plans without statistics; Postgres has the same indexes.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::domain::job::{JobFilter, JobOwner};
use crate::ids::CustomerId;
use crate::migrations::{Migrator, MigratorTrait};
use sea_orm::{Database, DatabaseConnection, DbBackend, Statement};

async fn database() -> DatabaseConnection {
    let db = Database::connect("sqlite::memory:").await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    db
}

async fn plan(db: &DatabaseConnection, sql: &str, values: Vec<Value>) -> String {
    let explain = Statement::from_sql_and_values(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"), values);
    let rows = db.query_all_raw(explain).await.unwrap();
    rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap() + "\n").collect()
}

/// Asserts that a plan begins with this index and scans no table.
fn assert_uses(plan: &str, index: &str) {
    assert!(plan.contains(index), "{index} is not used:\n{plan}");
    assert!(!plan.lines().any(|line| line.starts_with("SCAN") && !line.contains(index)), "{plan}");
}

#[tokio::test]
async fn an_event_is_found_by_its_id_at_the_sender_without_reading_all() {
    let db = database().await;
    assert_uses(&plan(&db, FIND, vec!["evt_1".into()]).await, "events_external");
}

#[tokio::test]
async fn events_and_jobs_that_need_a_person_are_found_without_reading_those_that_are_done() {
    let db = database().await;
    for (state, index) in [("dead", "jobs_dead_event"), ("waiting", "jobs_due")] {
        for before in ["", "evt_9"] {
            let filter = EventFilter { state: Some(state.to_owned()), ..EventFilter::default() };
            let (sql, values) = list_statement(&filter, before, 51);
            assert_uses(&plan(&db, &sql, values).await, index);
        }
    }
    let since = EventFilter { received_from_ms: Some(1), ..EventFilter::default() };
    let (sql, values) = list_statement(&since, "evt_9", 51);
    let found = plan(&db, &sql, values).await;
    assert!(found.contains("SEARCH e") && found.contains("id>?"), "a page ends where its time begins:\n{found}");
    let filter = JobFilter { kind: Some("stripe.event".to_owned()), created_from_ms: Some(1), ..JobFilter::default() };
    let (sql, values) = crate::infra::store::failure_group::statement(&filter, 10_001);
    let found = plan(&db, &sql, values).await;
    assert!(found.contains("SEARCH j USING INDEX jobs_dead (id>?)"), "dead jobs alone are read:\n{found}");
    for (state, index) in [("dead", "jobs_dead"), ("running", "jobs_due"), ("available", "jobs_due")] {
        let filter = JobFilter { state: Some(state.to_owned()), ..JobFilter::default() };
        let (sql, values) = filter.statement("job_9", 51, 1);
        assert_uses(&plan(&db, &sql, values).await, index);
    }
}

#[tokio::test]
async fn what_a_customer_has_is_found_by_the_customer_and_its_streams() {
    let db = database().await;
    let owner = JobOwner {
        customer: CustomerId::trusted("cst_1".to_owned()),
        streams: vec!["stripe:cus_1".to_owned(), "github:1".to_owned()],
    };
    let jobs = JobFilter { owner: Some(owner.clone()), ..JobFilter::default() }.statement("", 51, 1);
    let events = list_statement(&EventFilter { owner: Some(owner), ..EventFilter::default() }, "", 51);
    for (sql, values) in [jobs, events] {
        let found = plan(&db, &sql, values).await;
        for index in ["jobs_customer", "jobs_stream"] {
            assert!(found.contains(index), "{index} is not used:\n{found}");
        }
    }
}
