//! What every answer says in its headers, and the documents that are the same for everybody.

use bursar_tests::{Backend, TestApp, wait, with_app};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ORIGIN: &str = "https://app.example.com";

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request = client.request(method, format!("{}{path}", app.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn text(headers: &HeaderMap, name: impl Into<String>) -> String {
    let name: HeaderName = name.into().parse().unwrap();
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    values.join(", ")
}

/// Sends a request as it is and returns the status.
async fn raw_status(app: &TestApp, request: &str) -> String {
    let mut stream = TcpStream::connect(app.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(status == "200" || answer.contains("\"bad_request\""), "{answer}");
    status
}

with_app! {
    async fn every_answer_forbids_storing_sniffing_and_frames(app: &TestApp) {
        let customer = app.onboard().await;
        let key = [("x-api-key", customer.api_key.as_str())];
        for (method, path, status) in [
            (Method::GET, "/api/v1/credits", 200),
            (Method::GET, "/api/v1/credits/transactions", 200),
            (Method::GET, "/nowhere", 404),
            (Method::GET, "/health/live", 200),
            (Method::GET, "/metrics", 200),
            (Method::POST, "/webhooks/stripe", 400),
            (Method::GET, "/admin/v1/customers", 401),
        ] {
            let answer = ask(app, method, path, &key).await;
            let headers = answer.headers();
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert_eq!(text(headers, "cache-control"), "no-store", "{path}");
            assert_eq!(text(headers, "x-content-type-options"), "nosniff", "{path}");
            assert_eq!(text(headers, "x-frame-options"), "DENY", "{path}");
            assert!(text(headers, "content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        }
    }

    async fn a_refusal_says_which_methods_or_credentials_there_are(app: &TestApp) {
        for (method, path, allow) in [
            (Method::GET, "/api/v1/usage", "POST"),
            (Method::PUT, "/api/v1/holds/hld_1/capture", "POST"),
            (Method::POST, "/api/v1/plans", "GET, HEAD"),
            (Method::DELETE, "/api/v1/api-keys", "GET, HEAD, POST"),
            (Method::POST, "/docs", "GET, HEAD"),
            (Method::OPTIONS, "/api/v1/usage", "POST"),
        ] {
            let answer = ask(app, method, path, &[]).await;
            assert_eq!((answer.status().as_u16(), text(answer.headers(), "allow").as_str()), (405, allow), "{path}");
        }
        let customer = "ApiKey realm=\"bursar\", header=\"x-api-key\"";
        let (none, wrong) = (&[][..], &[("authorization", "Bearer bat_wrong")][..]);
        for (method, path, headers, way) in [
            (Method::GET, "/api/v1/credits", none, customer),
            (Method::POST, "/api/v1/usage", none, customer),
            (Method::GET, "/admin/v1/customers", none, "Bearer realm=\"bursar\""),
            (Method::GET, "/admin/v1/customers", wrong, "Bearer realm=\"bursar\", error=\"invalid_token\""),
        ] {
            let answer = ask(app, method, path, headers).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(text(answer.headers(), "www-authenticate"), way, "{path}");
        }
    }

    async fn a_request_names_one_host(app: &TestApp) {
        let request = |hosts: &str| format!("GET /health/live HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        assert_eq!(raw_status(app, &request("Host: bursar\r\n")).await, "200");
        for hosts in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: me@a\r\n", "Host:\r\n"] {
            assert_eq!(raw_status(app, &request(hosts)).await, "400", "{hosts:?}");
        }
        // HTTP/1.0 has none.
        assert_eq!(raw_status(app, "GET /health/live HTTP/1.0\r\n\r\n").await, "200");
    }

    async fn documents_are_compressed_and_known_by_their_tags(app: &TestApp) {
        for path in ["/docs", "/openapi.json"] {
            let coded = async |coding: &str| ask(app, Method::GET, path, &[("accept-encoding", coding)]).await;
            let plain = coded("identity").await;
            let plain_len = plain.content_length().unwrap();
            assert_eq!(text(plain.headers(), "content-encoding"), "");
            for coding in ["br", "gzip"] {
                // The server compresses a document when the first client asks.
                let answer = wait::until("the document is compressed", || async {
                    let answer = coded(coding).await;
                    (text(answer.headers(), "content-encoding") == coding).then_some(answer)
                })
                .await;
                assert!(answer.content_length().unwrap() < plain_len / 3, "{path} {coding}");
                assert_eq!(text(answer.headers(), "vary"), "accept-encoding");
                assert_eq!(text(answer.headers(), "cache-control"), "no-cache");
                let tag = text(answer.headers(), "etag");
                let known = [("accept-encoding", coding), ("if-none-match", &tag)];
                let again = ask(app, Method::GET, path, &known).await;
                assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path} {coding}");
                assert_eq!(text(again.headers(), "etag"), tag);
                assert!(again.bytes().await.unwrap().is_empty());
            }
        }
    }

    async fn the_root_leads_to_the_documentation(app: &TestApp) {
        let root = ask(app, Method::GET, "/", &[]).await;
        assert_eq!((root.status(), text(root.headers(), "location").as_str()), (StatusCode::FOUND, "docs"));
        let page = app.client.get(&app.base).send().await.unwrap();
        assert_eq!(page.url().path(), "/docs");
        let policy = text(page.headers(), "content-security-policy");
        assert!(policy.contains("script-src 'sha256-") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let page = page.text().await.unwrap();
        assert!(page.contains("<title>Bursar API</title>") && page.contains("rel=\"icon\""));
        for path in ["/favicon.svg", "/favicon.ico"] {
            let icon = ask(app, Method::GET, path, &[]).await;
            assert_eq!((icon.status(), text(icon.headers(), "content-type").as_str()), (StatusCode::OK, "image/svg+xml"));
        }
        let head = ask(app, Method::HEAD, "/docs", &[]).await;
        assert_eq!(head.status(), StatusCode::OK);
    }

    async fn without_configured_origins_no_page_may_call(app: &TestApp) {
        let answer = ask(app, Method::GET, "/api/v1/plans", &[("origin", ORIGIN)]).await;
        let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert!(!names.iter().any(|name| name.starts_with("access-control")), "{names:?}");
        let preflight = [("origin", ORIGIN), ("access-control-request-method", "GET")];
        let answer = ask(app, Method::OPTIONS, "/api/v1/plans", &preflight).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[test]
fn customers_routes_come_first_in_the_document_and_staffs_last() {
    let document = bursar::routes::openapi_document();
    let place = |path: &str| document.find(&format!("\n    \"{path}")).unwrap_or_else(|| panic!("{path}"));
    let places = ["/api/", "/webhooks/", "/health", "/admin/"].map(place);
    assert!(places.is_sorted(), "{places:?}");
    assert!(document.rfind("\n    \"/api/").unwrap() < places[1]);
    let document: Value = serde_json::from_str(&document).unwrap();
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!((tags.first(), tags.last()), (Some(&"Customers"), Some(&"Admin")), "{tags:?}");
}

#[test]
fn the_customers_document_has_every_schema_that_it_refers_to_and_no_route_of_staff() {
    let document = bursar::document::for_customers(&bursar::routes::openapi_document());
    let value: Value = serde_json::from_str(&document).unwrap();
    let schemas = value["components"]["schemas"].as_object().unwrap();
    for reference in document.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    let all: Value = serde_json::from_str(&bursar::routes::openapi_document()).unwrap();
    assert!(schemas.len() < all["components"]["schemas"].as_object().unwrap().len());
    assert!(!document.contains("/admin/v1/") && document.contains("create_usage"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_configured_origins_may_call_customers_routes() {
    let app = TestApp::start_with(Backend::Embedded, |config| config.http.cors_origins = vec![ORIGIN.to_owned()]).await;
    let customer = app.onboard().await;
    let key = ("x-api-key", customer.api_key.as_str());
    let allowed = ask(&app, Method::GET, "/api/v1/credits", &[("origin", ORIGIN), key]).await;
    assert_eq!(text(allowed.headers(), "access-control-allow-origin"), ORIGIN);
    assert_eq!(text(allowed.headers(), "vary"), "origin");
    // A page reads errors, too.
    let refused = ask(&app, Method::POST, "/api/v1/usage", &[("origin", ORIGIN)]).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(refused.headers(), "access-control-allow-origin"), ORIGIN);
    let preflight = [("origin", ORIGIN), ("access-control-request-method", "POST")];
    let answer = ask(&app, Method::OPTIONS, "/api/v1/holds", &preflight).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(text(answer.headers(), "access-control-allow-methods"), "POST");
    assert!(text(answer.headers(), "access-control-allow-headers").contains("idempotency-key"));
    for (path, origin) in
        [("/api/v1/plans", "https://evil.example"), ("/admin/v1/customers", ORIGIN), ("/health", ORIGIN)]
    {
        let answer = ask(&app, Method::GET, path, &[("origin", origin)]).await;
        assert_eq!(text(answer.headers(), "access-control-allow-origin"), "", "{path} {origin}");
    }
    app.stop().await;
}
