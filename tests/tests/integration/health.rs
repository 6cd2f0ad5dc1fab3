//! Health, metrics, and the OpenAPI document.

mod openapi;
mod schema;

use bursar_engine::metric::{self, METRICS};
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, stripe, wait, with_app};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

/// Metrics that appear only after failures, and that of evictions.
const RARE: [&str; 10] = [
    metric::ACCESS_LOG_LOST,
    metric::HTTP_CONNECTIONS_CLOSED,
    metric::RATE_LIMITED,
    metric::RATE_LIMIT_UNCHECKED,
    metric::JOB_FENCED,
    metric::ACTORS_RESTARTED,
    metric::ACTORS_PASSIVATED,
    metric::BROKER_RECONNECTS,
    metric::SWEEPER_WOKEN,
    metric::SETTLE_FAILED,
];
const OF_A_BROKER: [&str; 3] = [metric::BROKER_UP, metric::BROKER_BLOCKED, metric::BROKER_PUBLISHED];
/// Metrics that need a Stripe; the tests of money check them.
pub(crate) const OF_STRIPE: [&str; 6] = [
    metric::STRIPE_CALLS,
    metric::STRIPE_SECONDS,
    metric::STRIPE_WAIT_SECONDS,
    metric::STRIPE_BREAKER_OPEN,
    metric::OPERATIONS,
    metric::MONEY_CHARGED,
];

const OF_RECONCILIATION: [&str; 5] = [
    metric::STRIPE_DRIFT,
    metric::STRIPE_DRIFT_FOUND,
    metric::RECONCILIATIONS,
    metric::RECONCILIATION_SECONDS,
    metric::RECONCILIATION_AT_SECONDS,
];

pub(crate) async fn text(app: &TestApp, path: &str) -> (String, String) {
    let response = app.client.get(format!("{}{path}", app.base)).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "{path}");
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (content_type, response.text().await.unwrap())
}

with_app! {
    async fn health_names_every_dependency_and_needs_no_credentials(app: &TestApp) {
        let health = app.request("GET", "/health", &[], None).await.expect(200);
        let kinds = if app.app.db.is_postgres() { ["postgres", "rabbitmq"] } else { ["sqlite", "in-process"] };
        assert_eq!(health["status"], "ok");
        assert!(!health["version"].as_str().unwrap().is_empty());
        let dependencies = health["dependencies"].as_array().unwrap();
        let seen: Vec<_> = dependencies.iter().map(|d| [&d["name"], &d["kind"], &d["state"]]).collect();
        let mut expected = vec![
            ["database", kinds[0], "up"],
            ["broker", kinds[1], "up"],
            ["stripe", "not configured", "up"],
        ];
        // SQLite uses the machine's clock.
        expected.extend(app.app.db.is_postgres().then_some(["clock", "system", "up"]));
        assert_eq!(json!(seen), json!(expected));
        assert!(dependencies[0]["latency_ms"].is_number());
        // In production there are warnings that nobody is charged and no mail is sent, and nothing is down.
        for warning in ["no Stripe key", "no SMTP server"] {
            assert_eq!(health["warnings"].to_string().contains(warning), app.app.db.is_postgres(), "{health}");
        }
        assert_eq!(dependencies[1]["latency_ms"].is_number(), app.app.db.is_postgres(), "{health}");
    }

    async fn a_running_server_is_alive_and_ready(app: &TestApp) {
        let live = app.request("GET", "/health/live", &[], None).await.expect(200);
        assert_eq!((&live["status"], &live["dependencies"]), (&json!("ok"), &json!([])));
        assert_eq!(app.request("GET", "/health/ready", &[], None).await.expect(200)["status"], "ok");
        // While it stops it is not ready, but alive.
        app.app.set_stopping();
        assert_eq!(app.request("GET", "/health/ready", &[], None).await.expect(503)["status"], "down");
        app.request("GET", "/health/live", &[], None).await.expect(200);
    }

    async fn every_documented_metric_appears_after_traffic_and_none_names_a_customer(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 1, "key").await.expect(200);
        app.spend(&customer, 1, "key").await.expect(200);
        app.spend(&customer, 100, "other").await.expect_problem(402, "insufficient_credits");
        let hold = json!({ "units": 1, "expires_in_s": 1 });
        app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&hold)).await.expect(201);
        let nobody = json!({ "email": "nobody", "name": "Nobody" });
        let refused = app.request("POST", "/api/v1/customers/onboard", &[], Some(&nobody)).await;
        refused.expect_problem(400, "invalid_email");
        let stripe_customer = format!("cus_{}", unique());
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, Some(&customer.id)));
        app.deliver(&event).await.expect(200);
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "processed").await;
        app.deliver_signed(b"{}", None).await.expect_problem(400, "signature_missing");
        let invented = stripe::event(&format!("invented.{}", customer.id), &json!({ "id": customer.id }));
        app.deliver(&invented).await.expect(200);
        app.request("GET", &format!("/nowhere/{}", customer.id), &[], None).await.expect(404);
        app.request("BREW", &format!("/api/v1/holds/{}/capture", customer.id), &[], None).await;

        let expected: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        let is_postgres = app.app.db.is_postgres();
        let elsewhere = [&RARE[..], &OF_STRIPE, &OF_RECONCILIATION].concat();
        let is_due = |name: &&&str| !elsewhere.contains(name) && (is_postgres || !OF_A_BROKER.contains(name));
        let expected: Vec<_> = expected.iter().filter(is_due).collect();
        // Gauges are updated every few seconds.
        let metrics = wait::until("every metric is there", || async {
            let (content_type, metrics) = text(app, "/metrics").await;
            assert!(content_type.starts_with("text/plain"), "{content_type}");
            let is_there = |name: &&&str| metrics.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
            expected.iter().all(is_there).then_some(metrics)
        })
        .await;
        let account = customer.id.strip_prefix("cst_").unwrap();
        let stripe_body = stripe_customer.strip_prefix("cus_").unwrap();
        let event = stripe::id(&event);
        let callers = [account, stripe_body, event, &customer.api_key, "@example.com", "invented", "nowhere", "BREW"];
        for secret in callers {
            assert!(!metrics.contains(secret), "{secret} is in the metrics");
        }
        assert!(metrics.contains("process_resident_memory_bytes"));
        let kinds = kinds_with_help(&metrics);
        assert!(kinds.len() >= expected.len(), "{kinds:?}");
        for (name, kind) in kinds {
            let listed = metric::find(&format!("bursar_{name}")).unwrap_or_else(|| panic!("{name} is not listed"));
            assert_eq!(listed.kind.as_str(), kind, "{name}");
        }
        let build = format!("bursar_build_info{{version=\"{}\",revision=\"", env!("CARGO_PKG_VERSION"));
        assert!(metrics.lines().any(|line| line.starts_with(&build) && line.ends_with(" 1")), "{build}");
        assert_eq!(promtool(&metrics).unwrap_or_default(), "");
        for line in [
            r#"bursar_http_requests_total{route="create_usage",method="POST",status="402"} 1"#,
            r#"bursar_webhooks_duplicate_total{source="stripe",type="invoice.paid"} 1"#,
            r#"bursar_webhooks_refused_total{source="stripe",code="signature_missing"} 1"#,
            r#"bursar_webhooks_received_total{source="stripe",type="other"} 1"#,
            r#"bursar_event_attempts_total{type="other",outcome="ignored"} 1"#,
            r#"bursar_queue_jobs{kind="mail.send",state="available"} 0"#,
            r#"bursar_customers_onboarded_total{source="direct"} 1"#,
            r#"bursar_signups_refused_total{code="invalid_email"} 1"#,
            r#"bursar_credits_granted_total{source="signup"} 5"#,
            r#"bursar_credits_granted_total{source="stripe"} 60"#,
            r#"bursar_credits_spent_total{source="usage"} 1"#,
            r#"bursar_ledger_commands_refused_total{reason="insufficient_credits"} 1"#,
            "bursar_ledger_commands_replayed_total 1",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is not among\n{metrics}");
        }
    }
}

/// The metrics of this program in a page: name and kind, and for each a line of help right before.
fn kinds_with_help(page: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = page.lines().collect();
    let kinds = lines.iter().enumerate().filter_map(|(at, line)| {
        let (name, kind) = line.strip_prefix("# TYPE bursar_")?.split_once(' ')?;
        let help = at.checked_sub(1).map_or("", |before| lines[before]);
        assert!(help.starts_with(&format!("# HELP bursar_{name} ")), "{line} has no help: {help}");
        Some((name, kind))
    });
    kinds.collect()
}

/// What promtool says of a page of metrics; `None` if it is not installed.
fn promtool(page: &str) -> Option<String> {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match started {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        started => started.unwrap(),
    };
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let failed = if output.status.success() { String::new() } else { output.status.to_string() };
    Some(format!("{failed}{said}"))
}
