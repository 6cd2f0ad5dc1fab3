//! The chain of hashes over the audit log: sealed by whichever worker comes first, proved by `verify` and by exports.

use super::*;
use crate::cli::{Program, run};
use crate::node::connect;
use crate::scene::{sql, with_backend};
use bursar_engine::domain::audit::Audit;
use bursar_engine::domain::audit::chain::Head;
use bursar_engine::infra::store::audit::{Unsealed, audit_append, audit_head, audit_unsealed_count};
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_engine::usecase::audit;
use bursar_engine::usecase::verify::verify_since;
use bursar_tests::wait;
use sea_orm::ConnectionTrait;

/// Waits until every row is sealed; returns the head.
async fn sealed(app: &TestApp) -> Head {
    wait::until("every row of the audit log is sealed", || async {
        let head = audit_head(app.app.db.read()).await.unwrap();
        let rows = number(app, "SELECT COUNT(*) FROM audit_log", []).await;
        (head.seal == rows && number(app, "SELECT COUNT(*) FROM audit_unsealed", []).await == 0).then_some(head)
    })
    .await
}

/// Runs statements that the triggers refuse, as somebody who can drop the triggers.
async fn tamper(db: &Db, table: &str, statement: &str) {
    let triggers = if db.is_postgres() {
        vec![format!("DROP TRIGGER {table}_append_only ON {table}")]
    } else {
        vec![format!("DROP TRIGGER {table}_no_update"), format!("DROP TRIGGER {table}_no_delete")]
    };
    for sql in triggers.iter().map(String::as_str).chain([statement]) {
        db.write().execute_unprepared(sql).await.unwrap();
    }
}

with_app! {
    async fn new_rows_are_sealed_and_the_chain_is_proved_from_an_earlier_head(app: &TestApp) {
        let customer = app.onboard_with(1).await;
        let first = sealed(app).await;
        assert!(first.seal >= 3, "the customer, its key, the credits: {first}");
        app.adjust(&customer, 1).await.expect(200);
        let second = sealed(app).await;
        assert_eq!(second.seal, first.seal + 1);
        for known in [&first, &second] {
            let report = verify_since(&app.app.db, Some(known), |_| {}).await.unwrap();
            assert!(report.holds(), "{report:#?}");
        }
        let other = Head { seal: first.seal, hash: second.hash.clone() };
        assert!(!verify_since(&app.app.db, Some(&other), |_| {}).await.unwrap().holds());
        let answer = app.admin("GET", "/admin/v1/audit/head", None).await.expect(200);
        let expected = json!({ "head": second.to_string(), "seal": second.seal, "hash": second.hash });
        assert_eq!(answer, expected);
    }

    async fn seals_cannot_be_changed_and_rows_of_older_nodes_are_sealed_as_well(app: &TestApp) {
        // A node of the previous release only inserts.
        let row = "INSERT INTO audit_log (id, actor, action, target, details, at_ms) \
                   VALUES ('aud_of_an_older_node', 'admin:bootstrap', 'stream.pause', 'x', '{}', 1)";
        sql(app, row).await;
        sealed(app).await;
        for statement in ["UPDATE audit_seals SET hash = '0'", "DELETE FROM audit_seals"] {
            let why = refusal(app, statement).await;
            assert!(why.contains("append-only"), "{statement}: {why}");
        }
        app.verify().await;
    }

    async fn an_export_is_checked_without_the_server_and_continues_from_its_head(app: &TestApp) {
        let customer = app.onboard_with(1).await;
        let first = sealed(app).await.to_string();
        let program = Program::of(&app.config, &app.base);
        let exported = run(&program.launch, &["audit", "export"]).await;
        assert!(exported.code == Some(0) && exported.err.contains(&format!("Head: {first}")), "{exported:?}");
        let lines: Vec<Value> = exported.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().any(|line| line["action"] == "customer.adjust" && line["target"] == customer.id.as_str()));
        assert_eq!(program.well(&["audit", "head"]).await.trim_end(), first);
        let file = program.launch.folder.join("audit.jsonl");
        std::fs::write(&file, &exported.out).unwrap();
        let check = ["audit", "check", file.to_str().unwrap()];
        assert_eq!(program.well(&check).await.trim_end(), first);

        app.adjust(&customer, 1).await.expect(200);
        let second = sealed(app).await.to_string();
        let later = run(&program.launch, &["audit", "export", "--after", &first]).await;
        assert_eq!((later.code, later.out.lines().count()), (Some(0), 1), "{later:?}");
        std::fs::write(&file, &later.out).unwrap();
        assert_eq!(program.well(&[&check[..], &["--after", &first]].concat()).await.trim_end(), second);
        assert_eq!(run(&program.launch, &check).await.code, Some(1), "it does not begin with the first row");
        std::fs::write(&file, later.out.replace("admin:", "admln:")).unwrap();
        let changed = run(&program.launch, &[&check[..], &["--after", &first]].concat()).await;
        assert!(changed.code == Some(1) && changed.err.contains("was changed"), "{changed:?}");

        let wrong = format!("1:{}", &second[second.len() - 64..]);
        let refused = run(&program.launch, &["audit", "export", "--after", &wrong]).await;
        assert!(refused.code == Some(1) && refused.err.contains("was changed"), "{refused:?}");
        let csv = program.well(&["audit", "export", "--csv"]).await;
        assert!(csv.starts_with("seal,at,actor,action,target,details,id,sealed_at,hash\r\n1,"), "{csv}");
        program.well(&["verify", "--audit-head", &first]).await;
        assert_eq!(run(&program.launch, &["verify", "--audit-head", &wrong]).await.code, Some(1));
        assert_eq!(run(&program.launch, &["verify", "--audit-head", "nonsense"]).await.code, Some(2));
    }
}

with_backend! {
    async fn verify_and_export_name_a_row_that_was_changed_or_removed(backend: Backend) {
        let app = TestApp::start(backend).await;
        app.onboard().await;
        sealed(&app).await;
        let (config, folder) = app.halt().await;
        let program = Program::of(&config, "http://127.0.0.1:1");
        program.well(&["verify"]).await;
        let db = Db::connect(&DbOptions { connections_max: 3, ..DbOptions::new(config.database_url()) }).await.unwrap();
        tamper(&db, "audit_log", "UPDATE audit_log SET actor = 'customer:cst_x' WHERE action = 'customer.onboard'").await;
        let found = run(&program.launch, &["verify"]).await;
        assert_eq!(found.code, Some(1), "{found:?}");
        assert!(found.out.contains("(customer.onboard) has another hash"), "{found:?}");

        db.write().execute_unprepared("DELETE FROM audit_log WHERE action = 'customer.onboard'").await.unwrap();
        db.close().await;
        let found = run(&program.launch, &["verify"]).await;
        assert!(found.code == Some(1) && found.out.contains("(removed) has another hash"), "{found:?}");

        let app = TestApp::start_on(config, folder).await;
        let program = Program::of(&app.config, &app.base);
        let exported = run(&program.launch, &["audit", "export"]).await;
        assert!(exported.code == Some(1) && exported.err.contains("(removed)"), "{exported:?}");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealer_that_waits_delays_nobody_and_seals_later() {
    let app = TestApp::start(Backend::Production).await;
    let other = Db::connect(&DbOptions::new(app.config.database_url())).await.unwrap();
    let locked = other.begin().await.unwrap();
    locked.execute_unprepared("LOCK TABLE audit_seals IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let customer = app.onboard_with(3).await;
    assert!(number(&app, "SELECT COUNT(*) FROM audit_unsealed", []).await >= 3);
    app.spend(&customer, 1, "key").await.expect(200);
    locked.rollback().await.unwrap();
    sealed(&app).await;
    app.verify().await;
    other.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_make_one_chain() {
    let one = TestApp::start(Backend::Production).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    for _ in 0..10 {
        tokio::join!(one.onboard(), two.onboard(), one.onboard(), two.onboard());
    }
    let head = sealed(&one).await;
    assert_eq!(head.seal, 80, "each customer and its key");
    one.verify().await;
    two.stop().await;
    one.stop().await;
}

with_backend! {
    async fn rows_that_wait_for_their_seal_are_counted(backend: Backend) {
        let (config, _folder) = TestApp::start(backend).await.halt().await;
        let db = connect(&config).await;
        while audit::seal(&db, 1).await.unwrap() {}
        let nothing = Unsealed { rows: 0, oldest_at_ms: None };
        assert_eq!(audit_unsealed_count(db.write()).await.unwrap(), nothing);
        for at_ms in [1_000, 2_000] {
            let line = Audit::new("system", "test.done", "test", &json!({}));
            audit_append(db.write(), &line, at_ms).await.unwrap();
        }
        let two = Unsealed { rows: 2, oldest_at_ms: Some(1_000) };
        assert_eq!(audit_unsealed_count(db.write()).await.unwrap(), two);
        audit::seal(&db, 3_000).await.unwrap();
        // Noted again, sealed rows do not wait.
        let again = "INSERT INTO audit_unsealed (audit_id) SELECT audit_id FROM audit_seals";
        db.write().execute_unprepared(again).await.unwrap();
        assert_eq!(audit_unsealed_count(db.write()).await.unwrap(), nothing);
        db.close().await;
    }
}
