//! Nodes with different clocks: no node ends another one's promise early, and dates come from the database.

use crate::node::{NodeProcess, connect, environment, insert_payment_events, program, stopped_with};
use crate::scene::now_ms;
use bursar::serve::CLOCK_SKEW_VARIABLE;
use bursar_engine::clock::parse_rfc3339;
use bursar_engine::config::Config;
use bursar_engine::domain::job::{Job, JobState};
use bursar_engine::infra::store::stream::stream_find;
use bursar_engine::usecase::work;
use bursar_tests::app::WEBHOOK_SECRETS;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, wait};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::ops::RangeInclusive;
use std::process::Command;

const MINUTE_MS: i64 = 60_000;
/// The skew of a node's clock in these tests.
const AHEAD_MS: i64 = 20 * MINUTE_MS;
/// Longer than any test, but over for a node that trusts its own skewed clock.
const PROMISED_MS: i64 = 10 * MINUTE_MS;
/// How far a node's clock may be off.
const TOLERANCE_MS: i64 = 1_000;

/// Sends a request to a node.
async fn ask(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn post(node: &NodeProcess, path: &str, customer: &TestCustomer, body: &Value) -> RequestBuilder {
    let request = reqwest::Client::new().post(format!("{}{path}", node.base())).json(body);
    request.header("x-api-key", &customer.api_key).header("Idempotency-Key", unique())
}

fn time_ms(text: &Value) -> i64 {
    parse_rfc3339(text.as_str().unwrap()).unwrap()
}

/// The times that a correct clock has shown since then.
fn since(began_ms: i64) -> RangeInclusive<i64> {
    began_ms - TOLERANCE_MS..=now_ms() + TOLERANCE_MS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_survives_a_node_with_a_wrong_clock() {
    let app = TestApp::start(Backend::Production).await;
    let customer = app.onboard_with(20).await;
    let wrong = NodeProcess::start_skewed(&app.config, AHEAD_MS).await;
    let body = json!({ "units": 3, "expires_in_s": PROMISED_MS / 1_000 });

    let held = app.call(&customer, "POST", "/api/v1/holds", &unique(), Some(&body)).await.expect(201);
    let began_ms = now_ms();
    let (status, spent) = ask(post(&wrong, "/api/v1/usage", &customer, &json!({ "units": 1 }))).await;
    assert_eq!(status, 200, "{spent}");
    assert!(since(began_ms).contains(&time_ms(&spent["transaction"]["created_at"])), "{spent}");
    let path = format!("/api/v1/holds/{}/capture", held["hold"]["id"].as_str().unwrap());
    app.call(&customer, "POST", &path, &unique(), Some(&json!({}))).await.expect(200);

    let (status, held) = ask(post(&wrong, "/api/v1/holds", &customer, &body)).await;
    assert_eq!(status, 201, "{held}");
    let ends_ms = time_ms(&held["hold"]["expires_at"]);
    assert!(since(began_ms).contains(&(ends_ms - PROMISED_MS)), "{held}");
    app.spend(&customer, 1, "last").await.expect(200);

    let page = app.call(&customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
    let lines = page["data"].as_array().unwrap();
    assert!(lines.is_sorted_by_key(|line| -time_ms(&line["created_at"])), "the dates go back: {lines:#?}");
    assert!(lines.iter().all(|line| line["source"] != "system"), "a hold expired: {lines:#?}");
    app.verify().await;
    wrong.terminate().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_signatures_and_identifiers_use_the_databases_clock() {
    let app = TestApp::start_with(Backend::Production, |config| config.onboarding.per_ip_per_minute = 2).await;
    let wrong = NodeProcess::start_skewed(&app.config, AHEAD_MS).await;
    // The maximum of signups in a minute.
    let customers = [app.onboard().await, app.onboard().await];
    let client = reqwest::Client::new();
    let body = json!({ "email": format!("{}@example.com", unique()), "name": "Test", "source": "direct" });
    let (status, refused) = ask(client.post(format!("{}/api/v1/customers/onboard", wrong.base())).json(&body)).await;
    assert_eq!((status, &refused["code"]), (429, &json!("rate_limited")), "{refused}");

    let body = stripe::event("invented.event", &json!({ "id": unique() })).to_string();
    let signature = stripe::signature(body.as_bytes(), WEBHOOK_SECRETS[0]);
    let delivery = client.post(format!("{}/webhooks/stripe", wrong.base())).header("Stripe-Signature", signature);
    let (status, taken) = ask(delivery.body(body)).await;
    assert_eq!(status, 200, "{taken}");

    // Lists are sorted by id.
    let body = json!({ "units": 1 });
    let (_, first) = ask(post(&wrong, "/api/v1/holds", &customers[0], &body)).await;
    let second = app.call(&customers[1], "POST", "/api/v1/holds", &unique(), Some(&body)).await.expect(201);
    let id = |made: &Value| made["hold"]["id"].as_str().unwrap().to_owned();
    assert!(id(&first) < id(&second), "{first} {second}");
    wrong.terminate().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wrong_clock_is_not_ready_and_says_why() {
    let app = TestApp::start(Backend::Production).await;
    let wrong = NodeProcess::start_skewed(&app.config, AHEAD_MS).await;
    let get = |path: &str| reqwest::Client::new().get(format!("{}{path}", wrong.base()));
    let clock_of = |health: &Value| {
        let dependencies = health["dependencies"].as_array().unwrap();
        dependencies.iter().find(|dependency| dependency["name"] == "clock").unwrap()["state"].clone()
    };
    let (status, ready) = ask(get("/health/ready")).await;
    assert_eq!((status, &ready["status"], clock_of(&ready)), (503, &json!("down"), json!("off")), "{ready}");
    let (status, health) = ask(get("/health")).await;
    assert_eq!((status, &health["status"], clock_of(&health)), (200, &json!("degraded"), json!("off")), "{health}");
    let right = app.request("GET", "/health/ready", &[], None).await.expect(200);
    assert_eq!((&right["status"], clock_of(&right)), (&json!("ok"), json!("up")));

    let offset_s = wait::until("the offset is measured", || async {
        let metrics = get("/metrics").send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("bursar_clock_offset_seconds "))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    })
    .await;
    assert!((offset_s * 1_000.0 - AHEAD_MS as f64).abs() < TOLERANCE_MS as f64, "{offset_s}");
    wrong.terminate().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_ahead_takes_over_no_lease() {
    let (config, _folder, customers) = stopped_with(4).await;
    let db = connect(&config).await;
    let leased = insert_payment_events(&db, &customers[..1]).await;
    let claimed = work::claim(&db, &leased, "another-node", now_ms(), PROMISED_MS).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let wrong = NodeProcess::start_skewed(&config, AHEAD_MS).await;
    // The sweeper starts with the job that is due longest, so it has passed the leased stream each time.
    for customer in &customers[1..] {
        let free = insert_payment_events(&db, std::slice::from_ref(customer)).await;
        let is_done = |job: &Job| free.contains(&job.stream_key) && job.state == JobState::Succeeded;
        wrong.events_until("the other is done", |jobs| jobs.iter().any(is_done)).await;
    }
    let stream = stream_find(db.read(), &leased[0]).await.unwrap().unwrap();
    assert_eq!((stream.owner.as_deref(), stream.epoch), (Some("another-node"), claimed[0].epoch));
    wrong.terminate().await;
}

#[test]
fn the_clock_cannot_be_skewed_in_live_mode() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { data_dir: folder.path().to_path_buf(), ..Config::default() };
    let output = Command::new(program())
        .arg("serve")
        .env_clear()
        .envs(environment(&config))
        .env("BURSAR_LISTEN", "127.0.0.1:0")
        .env("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRETS[0])
        .env("BURSAR_STRIPE__LIVEMODE", "true")
        .env(CLOCK_SKEW_VARIABLE, "1")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(CLOCK_SKEW_VARIABLE), "{said}");
}
