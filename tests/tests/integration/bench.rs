//! Tests of the benchmark: the baseline is equivalent to Bursar, and the growth run fills its database.

use bursar_tests::bench::baseline;
use bursar_tests::{Backend, TestApp, TestCustomer, wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;

async fn start_baseline(app: &TestApp) -> String {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (listen, database_url) = (address.to_string(), app.config.database_url.clone());
    tokio::spawn(async move { baseline::serve(&listen, &database_url).await.expect("the baseline serves") });
    let base = format!("http://{address}");
    let client = &app.client;
    wait::until("the baseline is ready", || async { client.get(format!("{base}/health")).send().await.ok() }).await;
    base
}

async fn spend(app: &TestApp, base: &str, customer: &TestCustomer, key: &str, body: &Value) -> (u16, Value) {
    let request = app
        .client
        .post(format!("{base}/api/v1/usage"))
        .header("x-api-key", &customer.api_key)
        .header("Idempotency-Key", key)
        .json(body);
    let response = request.send().await.expect("the server answers");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn keys(value: &Value) -> BTreeSet<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_baseline_answers_as_bursar_does() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard_with(10).await;
    let baseline = start_baseline(&app).await;
    let body = json!({ "units": 2, "reference": "deploy-1", "metadata": { "a": 1 } });

    let (status, ours) = spend(&app, &app.base, &customer, "ours", &body).await;
    let (baseline_status, theirs) = spend(&app, &baseline, &customer, "theirs", &body).await;
    assert_eq!((status, baseline_status), (200, 200), "{theirs}");
    assert_eq!(keys(&ours), keys(&theirs));
    assert_eq!(keys(&ours["transaction"]), keys(&theirs["transaction"]));
    for field in ["kind", "amount", "held_change", "held_after", "source", "reference", "metadata", "burned"] {
        assert_eq!(ours["transaction"][field], theirs["transaction"][field], "{field}");
    }
    let left = ours["credit_balance"].as_i64().expect("a number") - 2;
    assert_eq!(theirs["credit_balance"], left);

    let cases = [
        ("invalid units", "k1", json!({ "units": 0 }), 400, "invalid_units"),
        ("an unknown field", "k2", json!({ "units": 1, "unit": 1 }), 400, "invalid_body"),
        ("metadata that is not an object", "k3", json!({ "units": 1, "metadata": 1 }), 400, "invalid_metadata"),
        ("a long reference", "k4", json!({ "units": 1, "reference": "x".repeat(201) }), 400, "invalid_reference"),
        ("a key with another body", "theirs", json!({ "units": 3 }), 422, "idempotency_key_reused"),
        ("more than the balance", "k5", json!({ "units": 1_000 }), 402, "insufficient_credits"),
    ];
    for (what, key, body, status, code) in cases {
        for base in [&app.base, &baseline] {
            let (found, answer) = spend(&app, base, &customer, key, &body).await;
            assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{what} at {base}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_baseline_debits_once_for_each_key() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard_with(20).await;
    let baseline = start_baseline(&app).await;
    let before = app.balance(&customer).await;

    let body = json!({ "units": 1 });
    let twice = (0..20).map(|n| spend(&app, &baseline, &customer, ["a", "b", "c", "d"][n % 4], &body));
    let answers = futures_util::future::join_all(twice).await;

    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, answer)| answer["replayed"] == false).count(), 4);
    assert_eq!(app.balance(&customer).await, before - 4);
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_growth_run_measures_a_small_full_database_beside_an_empty_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("growth.json");
    let given = |variable: &str| std::env::var(variable).expect("./dev test starts the services");
    let mut command = Command::new(env!("CARGO_BIN_EXE_growth"));
    command
        .args(["--jobs", "2000", "--entries", "300", "--customers", "20", "--seconds", "1", "--webhooks", "50"])
        .args(["--database-url", &given("BURSAR_TEST_DATABASE_URL")])
        .args(["--amqp-url", &given("BURSAR_TEST_AMQP_URL")])
        .arg("--json")
        .arg(&json);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("the task ends");
    let output = output.expect("the growth run starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("figures are written")).expect("JSON");
    // Besides the debits, each customer has its initial grant.
    assert_eq!((&report["jobs"], &report["entries"]), (&json!(2_000), &json!(320)));
    let figures = report["figures"].as_array().expect("figures");
    let measured =
        |what: &str| figures.iter().any(|figure| figure["name"].as_str().is_some_and(|name| name.starts_with(what)));
    for what in ["gauges", "retention", "timeline", "debits", "webhooks", "signups"] {
        assert!(measured(what), "{what} in {figures:?}");
    }
    let is_positive = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
    assert!(figures.iter().all(|figure| is_positive(&figure["empty"]) && is_positive(&figure["full"])), "{figures:?}");
}
