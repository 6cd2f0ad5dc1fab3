//! Migrations: every one can be applied and reverted.

use crate::scene::{PERIOD, SIGNUP, deliver_until, invoice_paid, stripe_customer, with_backend};
use bursar::database::connect;
use bursar_engine::infra::store::Db;
use bursar_engine::migrations::{Migrator, MigratorTrait};
use bursar_tests::app::config;
use bursar_tests::{Backend, TestApp};
use sea_orm::{ConnectionTrait, Statement};

/// A schema: tables, columns, indexes, constraints, triggers and functions, without the table of migrations.
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

async fn lines(db: &Db, sql: &str) -> Vec<String> {
    let rows = db.write().query_all_raw(Statement::from_string(db.backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// Applies a migration while these tables are locked, if the database has such locks.
async fn step_up_without(db: &Db, tables: &str) {
    let mut locked = None;
    if db.is_postgres() {
        let other = db.begin().await.unwrap();
        other.execute_unprepared(&format!("LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")).await.unwrap();
        locked = Some(other);
    }
    Migrator::up(db.write(), Some(1)).await.unwrap();
    if let Some(other) = locked {
        other.rollback().await.unwrap();
    }
}

/// Migrations that change rows only.
const OF_ROWS_ONLY: [&str; 1] = ["m0020_settle_jobs"];
/// Migrations that change Postgres only.
const OF_POSTGRES_ONLY: [&str; 1] = ["m0034_invoice_owner"];

async fn works(app: &TestApp) {
    let customer = app.onboard().await;
    app.spend(&customer, 1, "one").await.expect(200);
    deliver_until(app, &invoice_paid(&stripe_customer(), Some(&customer)), "processed").await;
    assert_eq!(app.balance(&customer).await, SIGNUP - 1 + PERIOD);
    app.verify().await;
}

with_backend! {
    async fn every_migration_can_be_reverted_and_reapplied(backend: Backend) {
        let folder = tempfile::tempdir().unwrap();
        let db = connect(&config(backend, &folder).await).await.unwrap();
        let steps: Vec<String> = Migrator::migrations().iter().map(|one| one.name().to_owned()).collect();
        let mut schemas = vec![schema(&db).await];
        assert!(schemas[0].is_empty(), "{schemas:#?}");
        for step in &steps {
            Migrator::up(db.write(), Some(1)).await.unwrap();
            let up = schema(&db).await;
            let is_same = Some(&up) == schemas.last();
            let changes_nothing_here = OF_ROWS_ONLY.contains(&step.as_str())
                || backend == Backend::Embedded && OF_POSTGRES_ONLY.contains(&step.as_str());
            assert_eq!(is_same, changes_nothing_here, "what step {step} does to the schema");
            Migrator::down(db.write(), Some(1)).await.unwrap();
            assert_eq!(&schema(&db).await, schemas.last().unwrap(), "step {step} down leaves something behind");
            Migrator::up(db.write(), Some(1)).await.unwrap();
            assert_eq!(schema(&db).await, up, "step {step} up again is not the same");
            schemas.push(up);
        }
        assert!(Migrator::get_pending_migrations(db.write()).await.unwrap().is_empty());
        // Migrating up again does nothing.
        Migrator::up(db.write(), None).await.unwrap();
        assert_eq!(Some(&schema(&db).await), schemas.last());
        db.close().await;
    }

    async fn a_database_with_data_migrates_down_and_up_to_a_working_application(backend: Backend) {
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

    async fn subscriptions_keep_their_plan_up_and_down_and_up_again(backend: Backend) {
        let folder = tempfile::tempdir().unwrap();
        let db = connect(&config(backend, &folder).await).await.unwrap();
        let migrations = Migrator::migrations();
        let before = migrations.iter().position(|one| one.name() == "m0023_catalogue").unwrap();
        Migrator::up(db.write(), Some(u32::try_from(before).unwrap())).await.unwrap();
        for statement in OLD_SUBSCRIPTIONS {
            db.write().execute_unprepared(statement).await.unwrap();
        }
        let old = "SELECT id || ' ' || status || ' ' || CASE WHEN is_pro THEN 'pro' ELSE 'other' END || ' ' || \
                   CASE WHEN cancel_at_period_end THEN 'ends' ELSE 'renews' END || ' ' || \
                   COALESCE(CAST(ended_at_ms AS TEXT), 'never') || ' ' || updated_at_ms FROM subscriptions ORDER BY 1";
        let new = "SELECT id || ' ' || COALESCE(plan, 'none') || ' ' || COALESCE(price, 'none') || ' ' || quantity \
                   FROM subscriptions ORDER BY 1";
        let (was, old_schema) = (lines(&db, old).await, schema(&db).await);
        assert_eq!(was, ["sub_1 active pro renews never 9", "sub_2 canceled pro ends 7 9", "sub_3 active other ends never 9"]);
        let steps = Some(u32::try_from(migrations.len() - before).unwrap());
        for _ in 0..2 {
            Migrator::up(db.write(), None).await.unwrap();
            assert_eq!(lines(&db, new).await, ["sub_1 pro none 1", "sub_2 pro none 1", "sub_3 none none 1"]);
            Migrator::down(db.write(), steps).await.unwrap();
            assert_eq!(lines(&db, old).await, was);
            assert_eq!(schema(&db).await, old_schema);
        }
        db.close().await;
    }

    async fn invoices_that_brought_credits_get_their_amounts_from_the_events_that_are_stored(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = app.onboard().await;
        let known = invoice_paid(&stripe_customer(), Some(&customer));
        deliver_until(&app, &known, "processed").await;
        let (config, folder) = app.halt().await;
        let db = connect(&config).await.unwrap();
        let migrations = Migrator::migrations();
        let before = migrations.iter().position(|one| one.name() == "m0030_payments").unwrap();
        let steps = Some(u32::try_from(migrations.len() - before).unwrap());
        let sql = "SELECT id || ' ' || customer_id || ' ' || credits || ' ' || refunded || ' ' || \
                   COALESCE(amount || ' ' || currency, 'unknown') || CASE WHEN is_paid THEN ' paid' ELSE '' END \
                   FROM invoices ORDER BY 1";
        let (id, of) = (&known["data"]["object"]["id"].as_str().unwrap(), &customer.id);
        let stored = [format!("{id} {of} {PERIOD} 0 {} usd paid", known["data"]["object"]["total"])];
        assert_eq!(lines(&db, sql).await, stored);
        Migrator::down(db.write(), steps).await.unwrap();
        Migrator::up(db.write(), None).await.unwrap();
        assert_eq!(lines(&db, sql).await, stored);
        Migrator::down(db.write(), steps).await.unwrap();
        db.write().execute_unprepared("UPDATE events SET type = 'gone' WHERE type = 'invoice.paid'").await.unwrap();
        Migrator::up(db.write(), None).await.unwrap();
        assert_eq!(lines(&db, sql).await, [format!("{id} {of} {PERIOD} 0 unknown paid")]);
        db.close().await;
        let app = TestApp::start_on(config, folder).await;
        app.verify().await;
        app.stop().await;
    }

    async fn audit_rows_from_before_the_chain_are_sealed_after_the_migration(backend: Backend) {
        let app = TestApp::start(backend).await;
        app.onboard().await;
        let (config, folder) = app.halt().await;
        let db = connect(&config).await.unwrap();
        let migrations = Migrator::migrations();
        let before = migrations.iter().position(|one| one.name() == "m0035_identities").unwrap();
        Migrator::down(db.write(), Some(u32::try_from(migrations.len() - before).unwrap())).await.unwrap();
        let old = "INSERT INTO audit_log (id, actor, action, target, details, at_ms) \
                   VALUES ('aud_0', 'admin:bootstrap', 'stream.pause', 'x', '{}', 1)";
        db.write().execute_unprepared(old).await.unwrap();
        Migrator::up(db.write(), None).await.unwrap();
        let waiting = "SELECT audit_id FROM audit_unsealed ORDER BY 1";
        assert_eq!(lines(&db, waiting).await, lines(&db, "SELECT id FROM audit_log ORDER BY 1").await);
        db.close().await;

        let app = TestApp::start_on(config, folder).await;
        bursar_tests::wait::until("all are sealed", || async {
            lines(&app.app.db, waiting).await.is_empty().then_some(())
        })
        .await;
        let order = "SELECT audit_id FROM audit_seals ORDER BY seal";
        assert_eq!(lines(&app.app.db, order).await, lines(&app.app.db, "SELECT id FROM audit_log ORDER BY 1").await);
        app.verify().await;
        app.stop().await;
    }

    async fn settlement_jobs_migrate_to_the_sweep_and_back(backend: Backend) {
        let folder = tempfile::tempdir().unwrap();
        let db = connect(&config(backend, &folder).await).await.unwrap();
        let migrations = Migrator::migrations();
        let before = migrations.iter().position(|one| one.name() == "m0018_next_settle").unwrap();
        Migrator::up(db.write(), Some(u32::try_from(before).unwrap())).await.unwrap();
        for statement in OLD_SETTLEMENTS {
            db.write().execute_unprepared(statement).await.unwrap();
        }
        let old = schema(&db).await;

        step_up_without(&db, "jobs, streams, attempts").await;
        let times = "SELECT customer_id || ' ' || COALESCE(CAST(next_settle_at_ms AS TEXT), 'never') FROM accounts ORDER BY 1";
        let expected = [
            format!("cst_{} 50", "a".repeat(26)),
            format!("cst_{} 60", "b".repeat(26)),
            format!("cst_{} 70", "c".repeat(26)),
            format!("cst_{} never", "d".repeat(26)),
        ];
        assert_eq!(lines(&db, times).await, expected);
        Migrator::up(db.write(), Some(1)).await.unwrap();
        step_up_without(&db, "accounts").await;
        Migrator::up(db.write(), None).await.unwrap();
        // Waiting jobs are deleted; a running and a dead one stay with their streams.
        let jobs = "SELECT id || ' ' || state || ' ' || stream_key FROM jobs ORDER BY 1";
        let stay = ["job_dead dead job:job_dead", "job_mail available job:job_mail", "job_runs running job:job_runs"];
        assert_eq!(lines(&db, jobs).await, stay);
        assert_eq!(lines(&db, "SELECT key FROM streams ORDER BY 1").await, ["job:job_dead", "job:job_mail", "job:job_runs"]);
        assert!(lines(&db, "SELECT job_id FROM attempts").await.is_empty());

        let steps = Some(u32::try_from(migrations.len() - before).unwrap());
        Migrator::down(db.write(), steps).await.unwrap();
        assert_eq!(schema(&db).await, old);
        let jobs = "SELECT unique_key || ' ' || state || ' ' || run_at_ms || ' ' || args || ' ' || seq FROM jobs \
                    WHERE kind = 'account.settle' AND state = 'available' ORDER BY 1";
        let job = |key: &str, at: i64, of: &str| {
            format!("settle:{key} available {at} {{\"customer\":\"cst_{}\"}} 1", of.repeat(26))
        };
        let (of_b, of_c) = (format!("cst_{}:2", "b".repeat(26)), format!("cst_{}:1", "c".repeat(26)));
        let back = [job(&of_b, 60, "b"), job(&of_c, 40, "c"), job("hld_1", 50, "a"), job("hld_2", 80, "a"), job("hld_3", 70, "c")];
        assert_eq!(lines(&db, jobs).await, back);
        let orphans = "SELECT id FROM jobs j WHERE NOT EXISTS (SELECT 1 FROM streams s WHERE s.key = j.stream_key)";
        assert!(lines(&db, orphans).await.is_empty());

        Migrator::up(db.write(), None).await.unwrap();
        assert_eq!(lines(&db, times).await, expected);
        assert_eq!(lines(&db, "SELECT id FROM jobs ORDER BY 1").await, ["job_dead", "job_mail", "job_runs"]);
        db.close().await;
    }
}

/// Subscriptions to Pro, one of which has ended, and one to something else.
const OLD_SUBSCRIPTIONS: [&str; 2] = [
    "INSERT INTO customers (id, email, email_normalized, name, source, plan, created_at_ms, updated_at_ms) \
     SELECT 'cst_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'a', 'a', 'n', 'direct', 'pro', 1, 1",
    "INSERT INTO subscriptions (id, customer_id, status, is_pro, cancel_at_period_end, ended_at_ms, updated_at_ms) \
     VALUES ('sub_1', 'cst_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'active', TRUE, FALSE, NULL, 9), \
     ('sub_2', 'cst_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'canceled', TRUE, TRUE, 7, 9), \
     ('sub_3', 'cst_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'active', FALSE, TRUE, NULL, 9)",
];

/// Accounts with two holds, with an expiring grant, with an expired grant that a hold needs, with nothing that
/// expires; and the jobs that settle them.
const OLD_SETTLEMENTS: [&str; 6] = [
    "INSERT INTO customers (id, email, email_normalized, name, source, plan, created_at_ms, updated_at_ms) \
     SELECT 'cst_aaaaaaaaaaaaaaaaaaaaaaaaaa', 'a', 'a', 'n', 'direct', 'trial', 1, 1 \
     UNION ALL SELECT 'cst_bbbbbbbbbbbbbbbbbbbbbbbbbb', 'b', 'b', 'n', 'direct', 'trial', 1, 1 \
     UNION ALL SELECT 'cst_cccccccccccccccccccccccccc', 'c', 'c', 'n', 'direct', 'trial', 1, 1 \
     UNION ALL SELECT 'cst_dddddddddddddddddddddddddd', 'd', 'd', 'n', 'direct', 'trial', 1, 1",
    "INSERT INTO accounts (customer_id, balance, held, version, floor, open, updated_at_ms) \
     SELECT 'cst_aaaaaaaaaaaaaaaaaaaaaaaaaa', 5, 5, 3, 0, '{\"grants\":[{\"seq\":1,\"kind\":\"promotional\",\"remaining\":5}],\
     \"holds\":[{\"id\":\"hld_1\",\"amount\":2,\"expires_at_ms\":50},{\"id\":\"hld_2\",\"amount\":3,\"expires_at_ms\":80}]}', 30 \
     UNION ALL SELECT 'cst_bbbbbbbbbbbbbbbbbbbbbbbbbb', 9, 0, 2, 0, '{\"grants\":[{\"seq\":2,\"kind\":\"included\",\
     \"remaining\":4,\"expires_at_ms\":60},{\"seq\":1,\"kind\":\"promotional\",\"remaining\":5}]}', 30 \
     UNION ALL SELECT 'cst_cccccccccccccccccccccccccc', 4, 4, 2, 0, '{\"grants\":[{\"seq\":1,\"kind\":\"included\",\
     \"remaining\":4,\"expires_at_ms\":40}],\"holds\":[{\"id\":\"hld_3\",\"amount\":4,\"expires_at_ms\":70}]}', 30 \
     UNION ALL SELECT 'cst_dddddddddddddddddddddddddd', 5, 0, 1, 0, \
     '{\"grants\":[{\"seq\":1,\"kind\":\"promotional\",\"remaining\":5}]}', 30",
    "INSERT INTO streams (key, last_seq) SELECT 'job:job_1', 1 UNION ALL SELECT 'job:job_2', 1 \
     UNION ALL SELECT 'job:job_b', 1 UNION ALL SELECT 'job:job_runs', 1 UNION ALL SELECT 'job:job_dead', 1 \
     UNION ALL SELECT 'job:job_mail', 1",
    "INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempt, attempts_max, run_at_ms, unique_key, created_at_ms) \
     SELECT 'job_1', 'account.settle', '{}', 'job:job_1', 1, 'available', 0, 20, 50, 'settle:hld_1', 2 \
     UNION ALL SELECT 'job_2', 'account.settle', '{}', 'job:job_2', 1, 'available', 1, 20, 80, 'settle:hld_2', 2 \
     UNION ALL SELECT 'job_b', 'account.settle', '{}', 'job:job_b', 1, 'available', 0, 20, 60, \
     'settle:cst_bbbbbbbbbbbbbbbbbbbbbbbbbb:2', 2 \
     UNION ALL SELECT 'job_runs', 'account.settle', '{}', 'job:job_runs', 1, 'running', 0, 20, 60, 'settle:x', 2 \
     UNION ALL SELECT 'job_mail', 'mail.send', '{}', 'job:job_mail', 1, 'available', 0, 20, 60, 'mail:x', 2",
    "INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempt, attempts_max, run_at_ms, unique_key, last_error, \
     created_at_ms) SELECT 'job_dead', 'account.settle', '{}', 'job:job_dead', 1, 'dead', 0, 20, 60, 'settle:y', 'no', 2",
    "INSERT INTO attempts (stream_key, epoch, job_id, attempt, node, started_at_ms, finished_at_ms, outcome) \
     SELECT 'job:job_2', 1, 'job_2', 0, 'n', 3, 4, 'retry'",
];
