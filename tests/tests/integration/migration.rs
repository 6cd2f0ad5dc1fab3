//! Migrations: every step of the schema can be taken and taken back.

use crate::scene::{PERIOD, SIGNUP, deliver_until, invoice_paid, on_both, stripe_customer};
use bursar::app::connect;
use bursar_engine::migrations::{Migrator, MigratorTrait};
use bursar_engine::store::Db;
use bursar_tests::TestApp;
use bursar_tests::app::config;
use sea_orm::{ConnectionTrait, Statement};

/// Everything that a schema is made of: tables, columns, indexes, constraints, triggers, functions;
/// without the migrations' own table.
async fn schema(db: &Db) -> Vec<String> {
    let sql = if db.is_postgres() {
        "SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' \
         || COALESCE(column_default, '') AS line FROM information_schema.columns WHERE table_schema = 'public' \
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
         UNION ALL SELECT 'constraint ' || conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) \
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace \
         UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal \
         UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
    } else {
        "SELECT type || ' ' || name || ' ' || COALESCE(sql, '') AS line FROM sqlite_master ORDER BY 1"
    };
    let rows = db.write().query_all_raw(Statement::from_string(db.backend(), sql)).await.unwrap();
    let lines = rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap());
    lines.filter(|line| !line.contains("seaql_migrations")).collect()
}

/// Asserts that an application works.
async fn works(app: &TestApp) {
    let customer = app.onboard().await;
    app.spend(&customer, 1, "one").await.expect(200);
    deliver_until(app, &invoice_paid(&stripe_customer(), Some(&customer)), "processed").await;
    assert_eq!(app.balance(&customer).await, SIGNUP - 1 + PERIOD);
    app.verify().await;
}

on_both! {
    async fn every_step_up_can_be_taken_back_and_taken_again(backend: Backend) {
        let folder = tempfile::tempdir().unwrap();
        let db = connect(&config(backend, &folder).await).await.unwrap();
        let steps = Migrator::migrations().len();
        let mut schemas = vec![schema(&db).await];
        assert!(schemas[0].is_empty(), "{schemas:#?}");
        for step in 1..=steps {
            Migrator::up(db.write(), Some(1)).await.unwrap();
            let up = schema(&db).await;
            assert_ne!(&up, schemas.last().unwrap(), "step {step} does nothing");
            Migrator::down(db.write(), Some(1)).await.unwrap();
            assert_eq!(&schema(&db).await, schemas.last().unwrap(), "step {step} down leaves something behind");
            Migrator::up(db.write(), Some(1)).await.unwrap();
            assert_eq!(schema(&db).await, up, "step {step} up again is not the same");
            schemas.push(up);
        }
        assert!(Migrator::get_pending_migrations(db.write()).await.unwrap().is_empty());
        // Up when there is nothing to do does nothing.
        Migrator::up(db.write(), None).await.unwrap();
        assert_eq!(Some(&schema(&db).await), schemas.last());
        db.close().await;
    }

    async fn a_database_with_data_goes_down_to_nothing_and_up_to_a_working_application(backend: Backend) {
        let app = TestApp::start(backend).await;
        works(&app).await;
        let (config, folder) = app.halt().await;

        let db = connect(&config).await.unwrap();
        let before = schema(&db).await;
        Migrator::down(db.write(), None).await.unwrap();
        let left = schema(&db).await;
        Migrator::up(db.write(), None).await.unwrap();
        assert_eq!(schema(&db).await, before);
        db.close().await;

        let app = TestApp::start_on(config, folder).await;
        works(&app).await;
        app.stop().await;
        assert!(left.is_empty(), "{left:#?}");
    }

    async fn starting_again_migrates_nothing_and_keeps_the_data(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = app.onboard().await;
        let before = schema(&app.app.db).await;
        let (config, folder) = app.halt().await;
        let app = TestApp::start_on(config, folder).await;
        assert_eq!(schema(&app.app.db).await, before);
        assert_eq!(app.balance(&customer).await, SIGNUP);
        works(&app).await;
        app.stop().await;
    }
}
