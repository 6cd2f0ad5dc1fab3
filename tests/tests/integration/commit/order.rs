//! The order in which transactions lock rows. With the same order, one waits for the other; with different orders
//! both wait, until Postgres ends one of them.

use super::effects::{commit, invoice};
use crate::database::until_waiting;
use crate::scene::{customer_id, now_ms, sql};
use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::job::{Backoff, JobKind, JobState, NewJob, Outcome, PAUSED_BY_DEAD_JOB, finish};
use bursar_engine::domain::operation::{Operation, Request, State};
use bursar_engine::domain::replay::Action;
use bursar_engine::ids::ReplayId;
use bursar_engine::infra::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::infra::store::customer::customer_find;
use bursar_engine::infra::store::job::job_insert_many;
use bursar_engine::infra::store::operation::operation_insert;
use bursar_engine::usecase::operation::request::ask;
use bursar_engine::usecase::replay::act;
use bursar_engine::usecase::work;
use bursar_tests::{Backend, TestApp};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::json;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A job that is due in a day.
fn tomorrow(stream: &str) -> NewJob {
    NewJob {
        stream_key: Some(stream.to_owned()),
        ..NewJob::new(JobKind::AccountSettle, "{}".to_owned(), now_ms() + DAY_MS)
    }
}

async fn insert(app: &TestApp, jobs: &[NewJob]) -> DatabaseTransaction {
    let tx = app.app.db.begin().await.unwrap();
    job_insert_many(&tx, jobs, now_ms()).await.unwrap();
    tx
}

/// The end of an attempt of a stream's job, on a node whose time is tomorrow.
async fn ended(app: &TestApp, stream: &str) -> Unit {
    let claimed =
        work::claim(&app.app.db, &[stream.to_owned()], "a-node", now_ms() + 2 * DAY_MS, DAY_MS).await.unwrap();
    let end = finish(&claimed[0].attempt(), Outcome::Done, Backoff::default(), now_ms(), 0.0);
    Unit { finishes: vec![end], ..Unit::default() }
}

/// Commits a unit while another transaction adds a job to one stream and then, once the unit waits for it, to the
/// stream whose job has ended.
async fn commit_beside_intake(stream: &str, effect: impl AsyncFn(&TestApp) -> Effect) {
    let app = TestApp::start(Backend::Production).await;
    insert(&app, &[tomorrow("z")]).await.commit().await.unwrap();
    let effect = effect(&app).await;
    let unit = Unit { effects: vec![effect], ..ended(&app, "z").await };
    let other = insert(&app, &[tomorrow(stream)]).await;
    let (db, now_ms) = (app.app.db.clone(), now_ms());
    let commit = tokio::spawn(async move { commit_units(&db, &[unit], "a-node", now_ms).await });
    until_waiting(&app, 1).await;
    job_insert_many(&other, &[tomorrow("z")], now_ms).await.unwrap();
    other.commit().await.unwrap();
    let results = commit.await.unwrap().unwrap();
    assert!(matches!(results[..], [UnitResult::Committed(_)]), "{results:?}");
    app.stop().await;
}

// Production only, like all tests here: SQLite has no row locks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_end_and_a_new_job_elsewhere_lock_streams_in_intakes_order() {
    commit_beside_intake("a", async |app| {
        insert(app, &[tomorrow("a")]).await.commit().await.unwrap();
        Effect::JobInsert(tomorrow("a"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_end_and_the_first_job_of_a_stream_lock_in_intakes_order() {
    commit_beside_intake("a", async |_| Effect::JobInsert(tomorrow("a"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_end_and_a_replayed_dead_job_lock_streams_in_intakes_order() {
    commit_beside_intake("a", async |app| {
        let dead = NewJob { state: JobState::Dead, ..tomorrow("a") };
        insert(app, std::slice::from_ref(&dead)).await.commit().await.unwrap();
        // Only a paused stream is written by the replay.
        sql(
            app,
            &format!("UPDATE streams SET paused_at_ms = 1, paused_reason = '{PAUSED_BY_DEAD_JOB}' WHERE key = 'a'"),
        )
        .await;
        Effect::JobRequeue { job_id: dead.id }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_end_that_waits_for_an_invoice_keeps_no_stream_from_intake() {
    let app = TestApp::start(Backend::Production).await;
    let customer = customer_id(&app.onboard().await);
    insert(&app, &[tomorrow("z")]).await.commit().await.unwrap();
    commit(&app, vec![vec![invoice(&customer, "in_1", false)]]).await;
    let refunded = Effect::PaymentRefunded {
        payment: "in_1".to_owned(),
        operation: None,
        refunded: MoneyMinor(100),
        disputed: MoneyMinor::ZERO,
        kept: MoneyMinor::ZERO,
    };
    for effect in [invoice(&customer, "in_1", true), refunded] {
        let unit = Unit { effects: vec![effect], ..ended(&app, "z").await };
        let other = app.app.db.begin().await.unwrap();
        other.execute_unprepared("UPDATE invoices SET kept = kept WHERE id = 'in_1'").await.unwrap();
        let (db, now_ms) = (app.app.db.clone(), now_ms());
        let end = tokio::spawn(async move { commit_units(&db, &[unit], "a-node", now_ms).await });
        until_waiting(&app, 1).await;
        insert(&app, &[tomorrow("z")]).await.commit().await.expect("the stream is free");
        other.rollback().await.unwrap();
        let results = end.await.unwrap().unwrap();
        assert!(matches!(results[..], [UnitResult::Committed(_)]), "{results:?}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_a_replay_locks_its_stream_before_its_row() {
    let app = TestApp::start(Backend::Production).await;
    let request = json!({ "filter": {}, "rate_per_second": 1, "dry_run": false, "reason": "none" });
    let made = app.admin("POST", "/admin/v1/replays", Some(&request)).await.expect(201);
    let id = ReplayId::parse(made["replay"]["id"].as_str().unwrap()).unwrap();
    // Locks like the end of an attempt: the stream, then the replay.
    let other = insert(&app, &[tomorrow(&format!("replay:{id}"))]).await;
    let (db, replay) = (app.app.db.clone(), id.clone());
    let start = tokio::spawn(async move { act(&db, &replay, Action::Start, "admin:test", now_ms()).await });
    until_waiting(&app, 1).await;
    let lock = format!("UPDATE replays SET state = state WHERE id = '{id}'");
    other.execute_unprepared(&lock).await.unwrap();
    other.commit().await.unwrap();
    start.await.unwrap().unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_round_of_an_operation_locks_its_stream_before_its_row() {
    let app = TestApp::start(Backend::Production).await;
    let id = customer_id(&app.onboard().await);
    let customer = customer_find(app.app.db.read(), &id).await.unwrap().unwrap();
    let request = Request::PaymentMethodDetach { payment_method_id: "pm_1".to_owned() };
    let mut operation = Operation::new(&id, request.clone(), "key".to_owned(), "hash".to_owned(), now_ms());
    operation.state = State::Failed;
    assert!(operation_insert(app.app.db.write(), &operation).await.unwrap());
    let other = insert(&app, &[tomorrow(&format!("operations:{id}"))]).await;
    let db = app.app.db.clone();
    let again = tokio::spawn(async move { ask(&db, &customer, request, "key", "hash", now_ms()).await });
    until_waiting(&app, 1).await;
    let lock = format!("UPDATE operations SET state = state WHERE id = '{}'", operation.id);
    other.execute_unprepared(&lock).await.unwrap();
    other.commit().await.unwrap();
    assert_eq!(again.await.unwrap().unwrap().operation.round, 2);
    app.stop().await;
}
