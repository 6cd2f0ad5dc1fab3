//! `bursar migrate down`, and servers on an incompatible schema.

use crate::cli::{Program, Ran, run};
use crate::scene::with_backend;
use bursar_engine::config::Config;
use bursar_engine::infra::store::schema::schema_sessions;
use bursar_engine::infra::store::{Db, DbOptions, NODE};
use bursar_engine::migrations::{Migrator, MigratorTrait};
use bursar_tests::{Backend, TestApp, wait, with_app};
use sea_orm::ConnectionTrait;
use std::net::TcpListener;

const NO_SERVER: &str = "http://127.0.0.1:1";

/// The last line of a command's output: the reason of its failure.
fn reason(ran: &Ran) -> &str {
    ran.err.trim_end().lines().last().unwrap_or_default()
}

/// A connection that does not look like a node's.
async fn aside(config: &Config) -> Db {
    let options = DbOptions { connections_max: 1, ..DbOptions::new(config.database_url()) };
    Db::connect_as(&options, "bursar test").await.unwrap()
}

/// Waits until Postgres has noticed that a node's connections are closed.
async fn until_alone(db: &Db) {
    if db.is_postgres() {
        wait::until("no node is connected", || async {
            schema_sessions(db.read(), NODE).await.unwrap().is_empty().then_some(())
        })
        .await;
    }
}

fn name(config: &Config) -> String {
    match config.sqlite_file() {
        Some(_) => "bursar.db".to_owned(),
        None => config.database_url.rsplit_once('/').unwrap().1.to_owned(),
    }
}

with_backend! {
    async fn migrating_down_lists_the_losses_and_asks_for_the_database_name(backend: Backend) {
        let app = TestApp::start(backend).await;
        app.onboard().await;
        app.onboard().await;
        let (config, _folder) = app.halt().await;
        let db = aside(&config).await;
        until_alone(&db).await;
        db.close().await;
        let program = Program::of(&config, NO_SERVER);
        let steps = Migrator::migrations().len().to_string();
        let down = ["migrate", "down", "--steps", &steps];
        let name = name(&config);

        let unnamed = run(&program.launch, &down).await;
        assert_eq!(unnamed.code, Some(2), "{unnamed:?}");
        assert!(unnamed.err.contains(&format!("--database {name}")), "{unnamed:?}");
        for lost in ["table customers with 2 rows", "table ledger_entries with 2 rows", "m0001_customers"] {
            assert!(unnamed.err.contains(lost), "{lost}: {unnamed:?}");
        }
        let other = run(&program.launch, &[&down[..], &["--database", "another"]].concat()).await;
        assert!(other.code == Some(2) && other.err.contains("nothing was changed"), "{other:?}");
        let status = program.json(&["migrate", "status"]).await;
        assert!(status.as_array().unwrap().iter().all(|row| row["state"] == "applied"), "{status}");

        let too_many = ["migrate", "down", "--steps", "200", "--database", &name];
        let too_many = run(&program.launch, &too_many).await;
        assert!(too_many.code == Some(2) && too_many.err.contains(&format!("{steps} migrations are applied")), "{too_many:?}");

        let done = run(&program.launch, &[&down[..], &["--database", &name, "--json"]].concat()).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let status: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        assert!(status.as_array().unwrap().iter().all(|row| row["state"] == "pending"), "{status}");

        let unproven = run(&program.launch, &["verify"]).await;
        assert_eq!(unproven.code, Some(1), "{unproven:?}");
        assert_eq!(unproven.err.trim_end(), "error: the database has no schema: run `bursar migrate up`");
        let again = run(&program.launch, &[&down[..], &["--database", &name]].concat()).await;
        assert!(again.code == Some(0) && again.err.contains("nothing to revert"), "{again:?}");
    }

    async fn migrating_down_names_the_dropped_columns(backend: Backend) {
        let app = TestApp::start(backend).await;
        let (config, _folder) = app.halt().await;
        let db = aside(&config).await;
        until_alone(&db).await;
        db.close().await;
        let program = Program::of(&config, NO_SERVER);
        let to_onboard = Migrator::migrations().iter().filter(|migration| migration.name() >= "m0008").count();
        let asked = run(&program.launch, &["migrate", "down", "--steps", &to_onboard.to_string()]).await;
        assert_eq!(asked.code, Some(2), "{asked:?}");
        for lost in ["column api_keys.request_hash, in use by 0 rows", "table marketplace_accounts with 0 rows"] {
            assert!(asked.err.contains(lost), "{lost}: {asked:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_down_is_refused_while_a_node_is_connected_or_holds_a_lease() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard().await;
    let (program, name) = (Program::of(&app.config, NO_SERVER), name(&app.config));
    let down = ["migrate", "down", "--database", &name];
    let refused = run(&program.launch, &down).await;
    assert!(refused.code == Some(1) && refused.err.contains("connections of nodes, from"), "{refused:?}");
    app.spend(&customer, 1, "goes-on").await.expect(200);

    let (config, _folder) = app.halt().await;
    let db = aside(&config).await;
    until_alone(&db).await;
    let lease = "UPDATE streams SET owner = 'dead-node', \
                 lease_until_ms = CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + 100000 \
                 WHERE key = (SELECT MIN(key) FROM streams)";
    db.write().execute_unprepared(lease).await.unwrap();
    let refused = run(&program.launch, &down).await;
    assert!(refused.code == Some(1) && refused.err.contains("dead-node holds 1 lease, which"), "{refused:?}");
    assert!(refused.err.contains("ends in") && refused.err.contains("--nodes-are-stopped"), "{refused:?}");
    // An operator who knows that it is dead need not wait.
    let done = run(&program.launch, &[&down[..], &["--nodes-are-stopped"]].concat()).await;
    assert!(done.code == Some(0) && done.out.contains("pending"), "{done:?}");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_down_is_refused_while_a_server_uses_the_data_folder() {
    let app = TestApp::start(Backend::Embedded).await;
    let program = Program::of(&app.config, NO_SERVER);
    let refused = run(&program.launch, &["migrate", "down", "--database", "bursar.db"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("another bursar process uses the folder"), "{refused:?}");
    app.stop().await;
}

with_app! {
    async fn a_server_is_not_ready_on_an_incompatible_schema(app: &TestApp) {
        let ready = async |status: u16| app.request("GET", "/health/ready", &[], None).await.expect(status);
        let run = async |sql: &str| app.app.db.write().execute_unprepared(sql).await.unwrap();
        assert_eq!(ready(200).await["dependencies"][0]["state"], "up");

        run("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_newer', 0)").await;
        let newer = ready(200).await;
        assert!(newer["warnings"].to_string().contains("newer than this release (m9999_newer)"), "{newer}");
        run("DELETE FROM seaql_migrations WHERE version = 'm9999_newer'").await;

        run("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m0000_other', 0)").await;
        let foreign = ready(503).await;
        let state = &foreign["dependencies"][0]["state"];
        assert_eq!((&foreign["status"], state), (&"down".into(), &"wrong schema".into()));
        run("DELETE FROM seaql_migrations WHERE version = 'm0000_other'").await;
        ready(200).await;

        run("DELETE FROM seaql_migrations WHERE version LIKE 'm0001%'").await;
        let behind = ready(503).await;
        assert!(behind["warnings"].to_string().contains("m0001_customers missing"), "{behind}");
        run("DROP TABLE seaql_migrations").await;
        let absent = ready(503).await;
        assert!(absent["warnings"].to_string().contains("has no schema"), "{absent}");
        app.request("GET", "/health/live", &[], None).await.expect(200);
    }
}

#[tokio::test]
async fn a_missing_database_is_reported_in_one_sentence_without_its_password() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let config = bursar_tests::app::config(Backend::Embedded, &folder).await;
    let program = Program::of(&config, NO_SERVER);
    let away = program.with(&[
        ("DATABASE_URL", &format!("postgres://bursar:pass-4711@127.0.0.1:{port}/bursar")),
        ("BURSAR_DATABASE__ACQUIRE_TIMEOUT_MS", "300"),
        ("BURSAR_LISTEN", "127.0.0.1:0"),
    ]);
    let sentence = format!(
        "error: the database at 127.0.0.1:{port} refuses connections: check that it is running, and DATABASE_URL"
    );
    // No command creates a missing database.
    let nowhere = config.data_dir.join("bursar.db");
    let sentence_of_none = format!(
        "error: there is no database {}: name the server's data folder with BURSAR_DATA_DIR or its file with --config, \
         or make a new and empty database with `bursar migrate up`",
        nowhere.display()
    );
    for words in [&["verify"][..], &["migrate", "status"]] {
        let ran = run(&program.launch, words).await;
        assert_eq!((ran.code, ran.err.trim_end()), (Some(1), sentence_of_none.as_str()), "{words:?}: {ran:?}");
    }
    assert!(!nowhere.exists());
    for words in [&["serve"][..], &["migrate", "up"], &["migrate", "status"], &["verify"]] {
        let ran = run(&away, words).await;
        assert_eq!((ran.code, reason(&ran)), (Some(1), sentence.as_str()), "{words:?}: {ran:?}");
        assert!(!ran.err.contains("pass-4711") && !ran.err.contains("Error"), "{words:?}: {ran:?}");
    }
}

with_backend! {
    async fn a_newer_schema_is_refused_at_start_in_one_sentence(backend: Backend) {
        let app = TestApp::start(backend).await;
        let (config, _folder) = app.halt().await;
        let db = aside(&config).await;
        let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_newer', 0)";
        db.write().execute_unprepared(newer).await.unwrap();
        db.close().await;
        let program = Program::of(&config, NO_SERVER);
        for words in [&["serve"][..], &["migrate", "up"]] {
            let ran = run(&program.with(&[("BURSAR_LISTEN", "127.0.0.1:0")]), words).await;
            let is_said = reason(&ran).starts_with("error: the database's schema is newer than this release (m9999");
            assert!(ran.code == Some(1) && is_said, "{words:?}: {ran:?}");
        }
    }
}
