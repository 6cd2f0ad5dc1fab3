//! Credentials are checked before a body is read.

use super::webhook::head;
use super::{answered, is_problem, sent};
use crate::scene::SIGNUP;
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, with_app};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

with_app! {
    async fn a_request_without_valid_credentials_is_refused_before_its_body_arrives(app: &TestApp) {
        let json = "Content-Type: application/json\r\n";
        for (path, header, code) in [
            ("/api/v1/usage", String::new(), "missing_credentials"),
            ("/api/v1/usage", "x-api-key: bsk_unknown\r\n".to_owned(), "invalid_api_key"),
            ("/api/v1/holds/hld_1/capture", "x-api-key: bsk_unknown\r\n".to_owned(), "invalid_api_key"),
            ("/api/v1/usage", format!("Authorization: Bearer {ADMIN_TOKEN}\r\n"), "missing_credentials"),
            ("/admin/v1/catalogue/apply", String::new(), "missing_credentials"),
            ("/admin/v1/catalogue/apply", "Authorization: Bearer bat_wrong\r\n".to_owned(), "invalid_token"),
        ] {
            // None of the body is sent.
            let text = head(path, &format!("{json}{header}Idempotency-Key: {}\r\n", unique()), 60_000);
            is_problem(&answered(sent(app, &text).await).await, 401, code);
        }
    }

    async fn a_body_for_no_route_is_not_read(app: &TestApp) {
        is_problem(&answered(sent(app, &head("/nowhere", "", 60_000)).await).await, 404, "not_found");
        is_problem(&answered(sent(app, &head("/api/v1/customer", "", 60_000)).await).await, 405, "method_not_allowed");
        let chunked = "POST /nowhere HTTP/1.1\r\nHost: bursar\r\nTransfer-Encoding: chunked\r\n\r\n";
        is_problem(&answered(sent(app, chunked).await).await, 404, "not_found");
    }

    async fn a_client_that_asks_first_is_told_to_go_on_only_with_valid_credentials(app: &TestApp) {
        let customer = app.onboard().await;
        is_problem(&answered(sent(app, &asking("bsk_unknown")).await).await, 401, "invalid_api_key");
        let mut stream = told_to_go_on(app, &customer.api_key).await;
        stream.write_all(BODY).await.unwrap();
        let answer = answered(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    async fn a_key_that_is_revoked_before_the_body_arrives_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        let name = serde_json::json!({ "name": "ci" });
        let made = app.call(&customer, "POST", "/api/v1/api-keys", &unique(), Some(&name)).await.expect(201);
        let mut stream = told_to_go_on(app, made["key"].as_str().unwrap()).await;
        let path = format!("/api/v1/api-keys/{}", made["api_key"]["id"].as_str().unwrap());
        app.call(&customer, "DELETE", &path, "", None).await.expect(204);
        stream.write_all(BODY).await.unwrap();
        is_problem(&answered(stream).await, 401, "invalid_api_key");
        assert_eq!(app.balance(&customer).await, SIGNUP);
    }
}

const BODY: &[u8] = b"{\"units\":1}";

/// The head of a request that waits with its body until it is told to go on.
fn asking(key: &str) -> String {
    let header = format!(
        "Content-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\nx-api-key: {key}\r\n\
         Idempotency-Key: {}\r\n",
        unique()
    );
    head("/api/v1/usage", &header, BODY.len())
}

/// Sends such a head, whose key has been found to be valid.
async fn told_to_go_on(app: &TestApp, key: &str) -> TcpStream {
    let mut stream = sent(app, &asking(key)).await;
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}
