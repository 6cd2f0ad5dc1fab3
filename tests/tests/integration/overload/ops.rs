//! The operators' listener: what is there, and that it answers whatever happens on the other one.

use super::{answered, sent_from};
use bursar_engine::infra::store::Lane;
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::{Backend, TestApp, wait, with_app};
use futures_util::future::join_all;
use reqwest::StatusCode;
use sea_orm::ConnectionTrait;

async fn with_ops(change: impl FnOnce(&mut bursar_engine::config::Config)) -> (TestApp, String) {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        "127.0.0.1:0".clone_into(&mut config.ops_listen);
        change(config);
    })
    .await;
    let ops = format!("http://{}", app.ops_address().unwrap());
    (app, ops)
}

async fn get(app: &TestApp, url: &str) -> (StatusCode, String) {
    let answer = app.client.get(url).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_have_metrics_and_the_staffs_document_to_themselves() {
    let (app, ops) = with_ops(|_| {}).await;
    let public = app.base.clone();
    for path in ["/health", "/health/live", "/health/ready"] {
        for base in [&public, &ops] {
            assert_eq!(get(&app, &format!("{base}{path}")).await.0, StatusCode::OK, "{base}{path}");
        }
    }
    assert_eq!(get(&app, &format!("{ops}/metrics")).await.0, StatusCode::OK);
    assert_eq!(get(&app, &format!("{public}/metrics")).await.0, StatusCode::NOT_FOUND);
    for path in ["/docs", "/openapi.json"] {
        let (status, text) = get(&app, &format!("{ops}{path}")).await;
        assert!(status == StatusCode::OK && text.contains("admin_list_events"), "{path}");
        let (status, text) = get(&app, &format!("{public}{path}")).await;
        assert!(status == StatusCode::OK && text.contains("create_usage"), "{path}");
        assert!(!text.contains("/admin/v1/") && !text.contains("AdminAuth"), "{path}");
    }
    // Staff can change the log filter there, and do nothing else.
    let asked = |base: &str, path: &str| app.client.get(format!("{base}{path}"));
    for base in [&public, &ops] {
        assert_eq!(get(&app, &format!("{base}/admin/v1/log-filter")).await.0, StatusCode::UNAUTHORIZED);
        let shown = asked(base, "/admin/v1/log-filter").bearer_auth(ADMIN_TOKEN).send().await.unwrap();
        assert_eq!(shown.status(), StatusCode::OK, "{base}");
    }
    let others = asked(&ops, "/admin/v1/customers").bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    assert_eq!(others.status(), StatusCode::NOT_FOUND);
    // The API itself is not there.
    assert_eq!(get(&app, &format!("{ops}/api/v1/plans")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&app, &format!("{public}/api/v1/plans")).await.0, StatusCode::OK);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_answered_while_strangers_hold_every_connection() {
    let (app, ops) = with_ops(|config| {
        config.http.connections_max = 4;
        config.http.ops_connections_max = 4;
    })
    .await;
    let ops_address = app.ops_address().unwrap();
    let mut held = Vec::new();
    for last in 2..12 {
        for address in [app.address(), ops_address] {
            held.push(sent_from([127, 0, 0, last], address, "GET /health HTTP/1.1\r\nHost: bur").await);
        }
        let live = "GET /health/live HTTP/1.1\r\nHost: bursar\r\nConnection: close\r\n\r\n";
        let answer = answered(sent_from([127, 0, 0, 1], ops_address, live).await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(get(&app, &format!("{ops}/health/ready")).await.0, StatusCode::OK);
    drop(held);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_reads_all_wait_is_ready() {
    let app = TestApp::start(Backend::Production).await;
    let usage = || app.app.db.pool_usage().into_iter().find(|usage| usage.lane == Lane::Read).unwrap();
    // All reads wait for a lock that this transaction has.
    let holder = app.app.db.begin().await.unwrap();
    holder.execute_unprepared("SELECT pg_advisory_xact_lock(1)").await.unwrap();
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..usage().max {
        let db = app.app.db.clone();
        reads.spawn(async move { db.read().execute_unprepared("SELECT pg_advisory_lock(1)").await.is_ok() });
    }
    wait::until("every connection for reads is in use", || async { (usage().in_use == usage().max).then_some(()) })
        .await;
    for path in ["/health", "/health/ready"] {
        app.request("GET", path, &[], None).await.expect(200);
    }
    assert!(reads.try_join_next().is_none(), "they still wait");
    reads.shutdown().await;
    holder.rollback().await.unwrap();
    app.stop().await;
}

with_app! {
    async fn a_flood_of_health_checks_is_answered(app: &TestApp) {
        app.request("GET", "/health/ready", &[], None).await.expect(200);
        for path in ["/health/ready", "/health"] {
            let url = format!("{}{path}", app.base);
            let flood = join_all((0..300).map(|_| get(app, &url))).await;
            assert!(flood.iter().all(|(status, _)| *status == StatusCode::OK), "{path}");
        }
    }

    async fn without_such_a_listener_everything_is_on_the_one(app: &TestApp) {
        assert!(app.ops_address().is_none());
        assert_eq!(get(app, &format!("{}/metrics", app.base)).await.0, StatusCode::OK);
        let (_, text) = get(app, &format!("{}/openapi.json", app.base)).await;
        assert!(text.contains("/admin/v1/"));
    }
}
