//! What a request leaves behind: its identifier in the answer, its line in the access log, its failure in both.

use crate::cli::{Program, run};
use crate::node::NodeProcess;
use crate::scene::{sql, with_backend};
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, log, wait, with_app};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015";

/// The line of the access log about a request.
async fn access_line(id: &str) -> Value {
    wait::until("the request is in the access log", || async {
        log::of_request(id).into_iter().find(|line| line["target"] == "bursar::access")
    })
    .await
}

/// Sends a request with an identifier; returns the one of the answer, and the length of its body.
async fn ask(app: &TestApp, method: &str, path: &str, headers: &[(&str, &str)], id: &str) -> (String, usize) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = app.client.request(method, format!("{}{path}", app.base)).header("X-Request-Id", id);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let given = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    (given, answer.bytes().await.unwrap().len())
}

async fn spend(app: &TestApp, customer: &TestCustomer, id: &str, key: &str) {
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [
        ("x-api-key", customer.api_key.as_str()),
        ("Idempotency-Key", key),
        ("X-Request-Id", id),
        ("traceparent", traceparent.as_str()),
    ];
    app.request("POST", "/api/v1/usage", &headers, Some(&json!({ "units": 1 }))).await.expect(200);
}

with_app! {
    async fn a_request_is_one_line_with_route_customer_and_trace(app: &TestApp) {
        let (customer, id) = (app.onboard().await, unique());
        spend(app, &customer, &id, &unique()).await;
        let line = access_line(&id).await;
        for (field, value) in [
            ("level", json!("INFO")),
            ("message", json!("request")),
            ("method", json!("POST")),
            ("route", json!("/api/v1/usage")),
            ("status", json!(200)),
            ("customer", json!(customer.id)),
            ("trace_id", json!(TRACE)),
            ("peer", json!("127.0.0.1")),
        ] {
            assert_eq!(line[field], value, "{field} of {line}");
        }
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["bytes"].as_u64().unwrap() > 0, "{line}");
        for absent in ["admin", "cut", "client"] {
            assert!(line[absent].is_null(), "{absent} of {line}");
        }
        assert_eq!(log::of_request(&id).len(), 1);
    }

    async fn a_line_counts_the_bytes_of_the_answer(app: &TestApp) {
        for path in ["/openapi.json", "/api/v1/plans", "/nowhere", "/admin/v1/audit"] {
            let id = unique();
            let (_, len) = ask(app, "GET", path, &[], &id).await;
            assert_eq!(access_line(&id).await["bytes"], json!(len), "{path}");
        }
        let id = unique();
        ask(app, "HEAD", "/openapi.json", &[], &id).await;
        let line = access_line(&id).await;
        assert_eq!([&line["method"], &line["bytes"], &line["cut"]], [&json!("HEAD"), &json!(0), &Value::Null], "{line}");
    }

    async fn the_clients_identifier_is_answered_and_a_bad_one_is_replaced(app: &TestApp) {
        let id = unique();
        for path in ["/health/live", "/nowhere", "/docs", "/api/v1/credits", "/metrics"] {
            assert_eq!(ask(app, "GET", path, &[], &id).await.0, id, "{path}");
        }
        for bad in ["a b", "\"", &"x".repeat(129)] {
            let (given, _) = ask(app, "GET", "/health/live", &[], bad).await;
            assert!(given.starts_with("req_") && given.len() == 30, "{bad}: {given}");
        }
    }

    async fn staff_are_named_and_neither_paths_nor_queries_nor_secrets_are_logged(app: &TestApp) {
        let customer = app.onboard().await;
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let staff = [("Authorization", bearer.as_str())];
        let key = [("x-api-key", customer.api_key.as_str())];
        let (staff, key, nobody) = (&staff[..], &key[..], &[][..]);
        let mut ids = Vec::new();
        for (method, path, headers, route) in [
            ("GET", format!("/admin/v1/customers?search={SECRET}@example.com"), staff, "/admin/v1/customers"),
            ("GET", format!("/admin/v1/customers/{}", customer.id), staff, "/admin/v1/customers/{id}"),
            ("GET", format!("/admin/v1/customers/{SECRET}"), nobody, "/admin/v1/customers/{id}"),
            ("GET", format!("/confirm?token={SECRET}"), nobody, "/confirm"),
            ("POST", format!("/confirm?token={SECRET}"), nobody, "/confirm"),
            ("GET", format!("/nowhere/{SECRET}?a={SECRET}"), key, "other"),
            ("GET", "/api/v1/credits".to_owned(), key, "/api/v1/credits"),
            ("BREW", format!("/{SECRET}"), nobody, "other"),
        ] {
            let id = unique();
            ask(app, method, &path, headers, &id).await;
            let line = access_line(&id).await;
            assert_eq!(line["route"], route, "{line}");
            let admin = if headers == staff { json!("admin:bootstrap") } else { Value::Null };
            assert_eq!(line["admin"], admin, "{line}");
            assert_eq!(line["method"], if method == "BREW" { "other" } else { method }, "{line}");
            ids.push(id);
        }
        let text = log::text();
        for id in ids {
            assert!(text.contains(&id));
        }
        for hidden in [SECRET, customer.api_key.as_str(), ADMIN_TOKEN] {
            assert!(!text.contains(hidden), "{hidden} is in the log");
        }
    }

    async fn health_and_metrics_leave_no_line_without_debug(app: &TestApp) {
        let quiet = unique();
        for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
            ask(app, "GET", path, &[], &quiet).await;
        }
        let id = unique();
        ask(app, "GET", "/docs", &[], &id).await;
        access_line(&id).await;
        assert!(log::of_request(&quiet).is_empty());
    }

    async fn a_failure_has_the_identifier_in_the_problem_and_in_its_line(app: &TestApp) {
        let (id, traceparent) = (unique(), format!("00-{TRACE}-00f067aa0ba902b7-01"));
        sql(app, "ALTER TABLE replays RENAME TO replays_away").await;
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("X-Request-Id", &id), ("traceparent", &traceparent)];
        let answer = app.request("GET", "/admin/v1/replays", &headers, None).await;
        sql(app, "ALTER TABLE replays_away RENAME TO replays").await;
        answer.expect_problem(500, "internal");
        assert_eq!(answer.body["request_id"], json!(id));
        assert_eq!(access_line(&id).await["status"], json!(500));
        let lines = log::of_request(&id);
        let failure = lines.iter().find(|line| line["message"] == "a request failed").expect("the failure is logged");
        assert_eq!([&failure["level"], &failure["trace_id"]], [&json!("ERROR"), &json!(TRACE)], "{failure}");
        assert!(failure["error"].as_str().unwrap().contains("replays"), "{failure}");
    }

    async fn a_client_that_leaves_before_its_answer_is_logged_as_cut(app: &TestApp) {
        use tokio::io::AsyncWriteExt;
        let id = unique();
        let customer = app.onboard().await;
        let mut stream = tokio::net::TcpStream::connect(app.address()).await.unwrap();
        let head = format!(
            "POST /api/v1/usage HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\nidempotency-key: k\r\ncontent-length: 100\r\n\
             content-type: application/json\r\nx-request-id: {id}\r\n\r\n{{\"un",
            app.address(),
            customer.api_key
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream);
        let line = access_line(&id).await;
        assert_eq!(line["route"], "/api/v1/usage", "{line}");
        assert!(line["cut"] == json!(true) || line["status"].as_u64().is_some_and(|status| status >= 400), "{line}");
    }
}

with_backend! {
    async fn the_log_filter_changes_while_the_process_runs_and_is_audited(backend: Backend) {
        let (config, _folder) = TestApp::start(backend).await.halt().await;
        let node = NodeProcess::start(&config).await;
        let program = Program::of(&config, node.base());
        let started = program.json(&["log-filter", "show"]).await;
        assert_eq!([&started["filter"], &started["at_start"]], [&json!("warn,bursar=info"); 2]);
        assert!(started["set_by"].is_null() && started["node"].is_string(), "{started}");

        let client = reqwest::Client::new();
        let ask = async |id: &str| {
            let request = client.get(format!("{}/health/live", node.base())).header("X-Request-Id", id);
            assert!(request.send().await.unwrap().status().is_success());
        };
        let lines = |id: &str| node.log().lines().filter(|line| line.contains(id)).map(str::to_owned).collect::<Vec<_>>();
        let [before, during, after] = [(); 3].map(|()| unique());
        ask(&before).await;
        let words = ["log-filter", "set", "warn,bursar=info,bursar::access=debug", "--reason", "ticket 4711"];
        let set = program.json(&words).await;
        assert_eq!(set["filter"], "warn,bursar=info,bursar::access=debug");
        assert_eq!(set["set_by"], "admin:bootstrap");
        ask(&during).await;
        let line = wait::until("health is in the access log", || async { lines(&during).pop() }).await;
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!([&line["route"], &line["level"]], [&json!("/health/live"), &json!("DEBUG")]);

        for wrong in ["bursar=loud", "inf", "bursar", " "] {
            let refused = run(&program.launch, &["log-filter", "set", wrong, "--reason", "r"]).await;
            assert!(refused.code == Some(1) && refused.err.contains("level"), "{wrong}: {refused:?}");
        }
        let shown = program.well(&["log-filter", "show"]).await;
        assert!(shown.contains("bursar::access=debug"), "a wrong filter changes nothing: {shown}");

        program.json(&["log-filter", "reset", "--reason", "done"]).await;
        ask(&after).await;
        let audited = program.json(&["audit", "list", "--target", "log-filter"]).await;
        let changes: Vec<_> = audited["data"].as_array().unwrap().iter().map(|line| &line["details"]["after"]).collect();
        assert_eq!(changes, ["warn,bursar=info", "warn,bursar=info,bursar::access=debug"]);
        assert_eq!(audited["data"][1]["details"]["reason"], "ticket 4711");
        node.terminate().await;
        assert_eq!([lines(&before).len(), lines(&during).len(), lines(&after).len()], [0, 1, 0]);
        assert_eq!(node.log().matches("the log filter is changed").count(), 2);
    }

    async fn the_lines_of_the_end_are_written_before_the_process_exits(backend: Backend) {
        let (config, _folder) = TestApp::start(backend).await.halt().await;
        let node = NodeProcess::start(&config).await;
        let client = reqwest::Client::new();
        let ids: Vec<String> = (0..20).map(|_| unique()).collect();
        for id in &ids {
            client.get(format!("{}/docs", node.base())).header("X-Request-Id", id).send().await.unwrap();
        }
        drop(client);
        node.terminate().await;
        let text = node.log();
        for line in text.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
        }
        for id in ids {
            assert_eq!(text.matches(&id).count(), 1, "{id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_for_people_if_it_is_asked_to_be() {
    let (config, _folder) = TestApp::start(Backend::Embedded).await.halt().await;
    let node = NodeProcess::start_with(&config, &[("BURSAR_LOG_FORMAT", "human")]).await;
    let id = unique();
    let request = reqwest::Client::new().get(format!("{}/docs", node.base())).header("X-Request-Id", &id);
    request.send().await.unwrap();
    node.terminate().await;
    let text = node.log();
    let line = text.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("INFO GET /docs 200 ") && line.contains(&format!(" request_id={id} peer=127.0.0.1")),
        "{line}"
    );
    assert!(text.contains(" INFO bursar::serve: bursar is listening"), "{text}");

    let program = Program::of(&config, node.base());
    let wrong = run(&program.with(&[("BURSAR_LOG_FORMAT", "xml")]), &["config", "check"]).await;
    assert!(wrong.code == Some(1) && wrong.err.contains("BURSAR_LOG_FORMAT must be human, json or auto"), "{wrong:?}");
}
