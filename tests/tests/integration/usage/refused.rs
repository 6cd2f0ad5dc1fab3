//! Refused requests, which change nothing.

use super::*;

async fn state(app: &TestApp, customer: &TestCustomer) -> (Value, Vec<Value>) {
    let credits = app.call(customer, "GET", "/api/v1/credits", "", None).await.expect(200);
    (credits, transactions(app, customer, 100).await)
}

async fn post(app: &TestApp, headers: &[(&str, &[u8])], body: impl Into<reqwest::Body>) -> Answer {
    let mut request = app.client.post(format!("{}/api/v1/usage", app.base)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    Answer { status, body, content_type, retry_after: None }
}

async fn post_json(app: &TestApp, customer: &TestCustomer, body: impl Into<reqwest::Body>) -> Answer {
    let key = unique();
    let headers = [
        ("x-api-key", customer.api_key.as_bytes()),
        ("Idempotency-Key", key.as_bytes()),
        ("Content-Type", b"application/json"),
    ];
    post(app, &headers, body).await
}

with_app! {
    async fn an_invalid_body_is_refused_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let before = state(app, &customer).await;
        let with = |field: &str, value: Value| {
            let mut body = json!({ "units": 1 });
            body[field] = value;
            body.to_string()
        };
        let deep = format!(r#"{{"units":1,"metadata":{{"a":{}1{}}}}}"#, "[".repeat(500), "]".repeat(500));
        let cases: Vec<(String, &str)> = vec![
            (with("units", json!(0)), "invalid_units"),
            (with("units", json!(-1)), "invalid_units"),
            (with("units", json!(1_000_001)), "invalid_units"),
            (with("units", json!(i64::MAX)), "invalid_units"),
            (with("units", json!(i64::MIN)), "invalid_units"),
            (with("units", json!(u64::MAX)), "invalid_body"),
            (r#"{"units":1e400}"#.to_owned(), "invalid_body"),
            (r#"{"units":99999999999999999999999999}"#.to_owned(), "invalid_body"),
            (with("units", json!(1.5)), "invalid_body"),
            (with("units", json!(1.0)), "invalid_body"),
            (r#"{"units":1e0}"#.to_owned(), "invalid_body"),
            (with("units", json!("1")), "invalid_body"),
            (with("units", json!(true)), "invalid_body"),
            (with("units", json!([1])), "invalid_body"),
            (with("units", json!(null)), "invalid_body"),
            (with("unit", json!(1)), "invalid_body"),
            (with("source", json!("support")), "invalid_body"),
            (with("idempotency_key", json!("x")), "invalid_body"),
            (with("reference", json!(["a"])), "invalid_body"),
            (with("reference", json!("x".repeat(201))), "invalid_reference"),
            (with("reference", json!("a\u{0}b")), "invalid_body"),
            (with("metadata", json!([])), "invalid_metadata"),
            (with("metadata", json!("text")), "invalid_metadata"),
            (with("metadata", json!(7)), "invalid_metadata"),
            (with("metadata", json!({ "text": "x".repeat(4_096) })), "invalid_metadata"),
            (with("metadata", json!({ "text": "\u{0}" })), "invalid_metadata"),
            (deep, "invalid_body"),
            (String::new(), "invalid_body"),
            ("units=1".to_owned(), "invalid_body"),
            ("{".to_owned(), "invalid_body"),
            (r#"{"units":1} {"units":1}"#.to_owned(), "invalid_body"),
            ("null".to_owned(), "invalid_body"),
            ("[]".to_owned(), "invalid_body"),
            ("1".to_owned(), "invalid_body"),
            ("{}".to_owned(), "invalid_body"),
        ];
        for (body, code) in cases {
            let answer = post_json(app, &customer, body.clone()).await;
            let shown: String = body.chars().take(80).collect();
            assert_eq!((answer.status, answer.code()), (400, code), "{shown} was answered {}", answer.body);
            assert_eq!(answer.content_type, "application/problem+json", "{shown}");
        }
        let not_unicode = post_json(app, &customer, b"{\"units\":1,\"reference\":\"\xff\"}".to_vec()).await;
        not_unicode.expect_problem(400, "invalid_body");
        assert_eq!(state(app, &customer).await, before);
    }

    async fn a_query_parameter_that_a_route_does_not_have_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        for (method, path, word) in [
            ("DELETE", "/api/v1/subscription?at_period_end=false", "at_once"),
            ("GET", "/api/v1/credits?limit=1", "no query parameters"),
            ("GET", "/api/v1/credits/transactions?limits=1", "cursor, limit"),
        ] {
            let refused = app.call(&customer, method, path, "key", None).await;
            refused.expect_problem(400, "invalid_parameter");
            assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{refused:?}");
        }
        // A route that needs no credential refuses it without one; a route that needs one asks for that first.
        let signup = json!({ "email": "ada@example.com", "name": "Ada" });
        for (method, path, body) in [
            ("GET", "/api/v1/plans?currency=usd", None),
            ("GET", "/api/v1/packs?limit=1", None),
            ("POST", "/api/v1/customers/onboard?source=marketplace", Some(&signup)),
        ] {
            let refused = app.request(method, path, &[], body).await;
            refused.expect_problem(400, "invalid_parameter");
        }
        let refused = app.request("GET", "/api/v1/credits?limit=1", &[], None).await;
        refused.expect_problem(401, "missing_credentials");
        app.request("POST", "/api/v1/customers/onboard", &[], Some(&signup)).await.expect(201);
        // A load balancer's own parameters make no server look dead.
        app.request("GET", "/health/live?from=balancer", &[], None).await.expect(200);
    }

    async fn the_sample_of_the_documents_is_what_the_server_answers(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 4, "most").await.expect(200);
        let refused = app.spend(&customer, 3, "more").await;
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
        let sample = text.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).unwrap();
        assert_eq!(refused.body, serde_json::from_str::<Value>(sample).unwrap());
    }

    async fn a_missing_field_is_named(app: &TestApp) {
        let customer = app.onboard().await;
        for body in ["{}", r#"{"units":null}"#, r#"{"reference":"a"}"#] {
            let answer = post_json(app, &customer, body).await;
            let detail = answer.body["detail"].as_str().unwrap();
            assert_eq!(detail, "The body cannot be used: units is missing or null. Required fields: units.");
        }
    }

    async fn a_number_or_boolean_instead_of_text_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        for reference in [json!(7), json!(true), json!(1.50)] {
            let answer = post_json(app, &customer, json!({ "units": 1, "reference": reference }).to_string()).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_body"), "{reference}: {}", answer.body);
            let detail = format!("The body cannot be used: reference must be a text, not {reference}.");
            assert_eq!(answer.body["detail"], detail);
        }
    }

    async fn a_body_larger_than_allowed_is_refused_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let before = state(app, &customer).await;
        for len in [64 * 1_024, 1_024 * 1_024] {
            let body = format!(r#"{{"units":1,"reference":"{}"}}"#, "x".repeat(len));
            post_json(app, &customer, body).await.expect_problem(413, "body_too_large");
        }
        assert_eq!(state(app, &customer).await, before);
        app.spend(&customer, 1, "next").await.expect(200);
    }

    async fn a_body_of_another_type_is_refused_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let before = state(app, &customer).await;
        for content_type in [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("nonsense"), None] {
            let mut headers = vec![("x-api-key", customer.api_key.as_bytes()), ("Idempotency-Key", b"key" as &[u8])];
            headers.extend(content_type.map(|text| ("Content-Type", text.as_bytes())));
            let answer = post(app, &headers, r#"{"units":1}"#).await;
            answer.expect_problem(415, "unsupported_media_type");
        }
        assert_eq!(state(app, &customer).await, before);
        let headers = [
            ("x-api-key", customer.api_key.as_bytes()),
            ("Idempotency-Key", b"key"),
            ("Content-Type", b"application/json; charset=utf-8"),
        ];
        post(app, &headers, r#"{"units":1}"#).await.expect(200);
    }

    async fn a_missing_or_malformed_idempotency_key_is_refused_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let before = state(app, &customer).await;
        let body = json!({ "units": 1 });
        let answer = spend_body(app, &customer, "", &body).await;
        answer.expect_problem(400, "missing_idempotency_key");
        assert_body!(answer.body, @r#"
        {
          "code": "missing_idempotency_key",
          "detail": "This request needs the header Idempotency-Key, so that repeating it does nothing twice.",
          "status": 400,
          "title": "Bad Request",
          "type": "about:blank"
        }
        "#);
        for key in ["two words", "tab\there", &"x".repeat(256)] {
            spend_body(app, &customer, key, &body).await.expect_problem(400, "invalid_idempotency_key");
        }
        let key = customer.api_key.as_bytes();
        let empty = [("x-api-key", key), ("Idempotency-Key", b""), ("Content-Type", b"application/json")];
        post(app, &empty, body.to_string()).await.expect_problem(400, "invalid_idempotency_key");
        let foreign =
            [("x-api-key", key), ("Idempotency-Key", b"schl\xc3\xbcssel"), ("Content-Type", b"application/json")];
        post(app, &foreign, body.to_string()).await.expect_problem(400, "invalid_idempotency_key");
        let twice = [
            ("x-api-key", key),
            ("Idempotency-Key", b"first"),
            ("Idempotency-Key", b"second"),
            ("Content-Type", b"application/json"),
        ];
        post(app, &twice, body.to_string()).await.expect_problem(400, "invalid_idempotency_key");
        assert_eq!(state(app, &customer).await, before);
        spend_body(app, &customer, &"x".repeat(255), &body).await.expect(200);
    }

    async fn a_missing_unknown_or_revoked_api_key_is_refused_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let made = app.call(&customer, "POST", "/api/v1/api-keys", "k", Some(&json!({ "name": "ci" }))).await;
        let made = made.expect(201);
        let revoked = made["key"].as_str().unwrap();
        let path = format!("/api/v1/api-keys/{}", made["api_key"]["id"].as_str().unwrap());
        app.call(&customer, "DELETE", &path, "", None).await.expect(204);
        let before = state(app, &customer).await;

        let body = json!({ "units": 1 });
        let answer = app.request("POST", "/api/v1/usage", &[("Idempotency-Key", "key")], Some(&body)).await;
        answer.expect_problem(401, "missing_credentials");
        assert_eq!(answer.body["detail"], "This route needs an API key in the header x-api-key.");
        let upper = customer.api_key.to_uppercase();
        let cut = &customer.api_key[..customer.api_key.len() - 1];
        let long = "x".repeat(1_000);
        for key in ["", "bsk_", "nonsense", revoked, &upper, cut, &long, &customer.id, bursar_tests::app::ADMIN_TOKEN] {
            let headers = [("x-api-key", key), ("Idempotency-Key", "key")];
            let answer = app.request("POST", "/api/v1/usage", &headers, Some(&body)).await;
            answer.expect_problem(401, "invalid_api_key");
        }
        // A key is accepted only in its header.
        let bearer = format!("Bearer {}", customer.api_key);
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", "key")];
        let answer = app.request("POST", "/api/v1/usage", &headers, Some(&body)).await;
        answer.expect_problem(401, "missing_credentials");
        let path = format!("/api/v1/usage?x-api-key={}", customer.api_key);
        let answer = app.request("POST", &path, &[("Idempotency-Key", "key")], Some(&body)).await;
        answer.expect_problem(401, "missing_credentials");
        assert_eq!(state(app, &customer).await, before);
    }

    async fn an_invalid_cursor_or_limit_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        // "v1:" alone, "v2:1", "v1:abc", "v1:" with a NUL, and invalid base64.
        for cursor in ["djE6", "djI6MQ", "djE6YWJj", "djE6AA", "!", "zzz", "djE6MQ%3D%3D", "", "1"] {
            let path = format!("/api/v1/credits/transactions?cursor={cursor}");
            let answer = app.call(&customer, "GET", &path, "", None).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_cursor"), "{cursor}: {}", answer.body);
        }
        let long = format!("/api/v1/credits/transactions?cursor={}", "A".repeat(2_000));
        app.call(&customer, "GET", &long, "", None).await.expect_problem(400, "invalid_cursor");
        for (limit, code) in [
            ("0", "invalid_limit"),
            ("101", "invalid_limit"),
            ("18446744073709551615", "invalid_limit"),
            ("18446744073709551616", "invalid_parameter"),
            ("-1", "invalid_parameter"),
            ("1.5", "invalid_parameter"),
            ("ten", "invalid_parameter"),
            ("", "invalid_parameter"),
        ] {
            let path = format!("/api/v1/credits/transactions?limit={limit}");
            let answer = app.call(&customer, "GET", &path, "", None).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{limit}: {}", answer.body);
        }
    }

    async fn a_route_or_method_that_does_not_exist_is_answered_with_a_problem(app: &TestApp) {
        let customer = app.onboard().await;
        app.call(&customer, "GET", "/api/v1/nothing", "", None).await.expect_problem(404, "not_found");
        app.call(&customer, "GET", "/api/v1/usage", "", None).await.expect_problem(405, "method_not_allowed");
        app.call(&customer, "PUT", "/api/v1/credits", "", None).await.expect_problem(405, "method_not_allowed");
    }
}
