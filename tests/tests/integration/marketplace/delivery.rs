//! GitHub's webhook: which deliveries are accepted, and that accepted ones are stored.

use super::*;
use crate::database::number;
use crate::scene::{metric, with_backend};
use bursar_tests::Backend;
use bursar_tests::app::GITHUB_SECRETS;
use bursar_tests::github::{headers, signature};

with_app! {
    async fn an_unsigned_github_delivery_is_refused_and_not_stored(app: &TestApp) {
        let body = purchase("purchased", account(), "Pro", &in_days(0)).to_string();
        let bytes = body.as_bytes();
        let good = signature(bytes, GITHUB_SECRETS[0]);
        let cases = [
            (None, "signature_missing"),
            (Some(String::new()), "signature_missing"),
            (Some("nonsense".to_owned()), "signature_malformed"),
            (Some(good.replace("sha256=", "sha1=")), "signature_malformed"),
            (Some(good[..60].to_owned()), "signature_malformed"),
            (Some(signature(bytes, "another secret")), "signature_mismatch"),
            (Some(signature(bytes, "")), "signature_mismatch"),
            (Some(signature(bytes, &GITHUB_SECRETS.join(","))), "signature_mismatch"),
            (Some(signature(format!("{body} ").as_bytes(), GITHUB_SECRETS[0])), "signature_mismatch"),
        ];
        for (signature, code) in cases {
            let delivery = delivery();
            let headers = headers("marketplace_purchase", &delivery, signature.as_deref());
            let answer = app.deliver_github_bytes(bytes, &headers).await;
            answer.expect_problem(400, code);
        }
        assert_eq!(number(app, "SELECT COUNT(*) FROM events", []).await, 0);
    }

    async fn both_secrets_are_accepted_during_a_rotation(app: &TestApp) {
        let body = purchase("purchased", account(), "Pro", &in_days(0)).to_string();
        for secret in GITHUB_SECRETS {
            let (delivery, signature) = (delivery(), signature(body.as_bytes(), secret));
            let headers = headers("marketplace_purchase", &delivery, Some(&signature));
            app.deliver_github_bytes(body.as_bytes(), &headers).await.expect(200);
        }
    }

    async fn a_signed_delivery_is_never_refused(app: &TestApp) {
        let cases: [(&str, &[u8], &str); 6] = [
            ("ping", br#"{"zen":"Keep it logically awesome.","hook_id":1}"#, "processed"),
            ("installation", br#"{"action":"created"}"#, "processed"),
            ("marketplace_purchase", br#"{"action":"renamed","marketplace_purchase":{"account":{"id":4}}}"#, "processed"),
            ("marketplace_purchase", b"{", "dead"),
            ("marketplace_purchase", br#"{"action":"purchased"}"#, "dead"),
            ("marketplace_purchase", br#"{"action":"purchased","marketplace_purchase":{"account":{"id":4}}}"#, "dead"),
        ];
        for (event, body, state) in cases {
            let (delivery, signature) = (delivery(), signature(body, GITHUB_SECRETS[0]));
            app.deliver_github_bytes(body, &headers(event, &delivery, Some(&signature))).await.expect(200);
            app.event_in_state(&delivery, state).await;
        }
        app.verify().await;
    }

    async fn a_form_body_is_read_like_json(app: &TestApp) {
        let account = account();
        let event = purchase("purchased", account, "Pro", &in_days(0)).to_string();
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &event).finish();
        let (delivery, signature) = (delivery(), signature(body.as_bytes(), GITHUB_SECRETS[0]));
        let headers = headers("marketplace_purchase", &delivery, Some(&signature));
        app.deliver_github_bytes(body.as_bytes(), &headers).await.expect(200);
        app.event_in_state(&delivery, "processed").await;
        assert_eq!(purchase_of(app, account).await["state"], "purchased");
    }

    async fn events_are_filtered_by_sender(app: &TestApp) {
        let delivery = deliver(app, &purchase("purchased", account(), "Pro", &in_days(0))).await;
        let list = async |source: &str| {
            let page = app.admin("GET", &format!("/admin/v1/events?source={source}"), None).await.expect(200);
            page["data"].as_array().unwrap().clone()
        };
        let github = list("github").await;
        assert_eq!((github.len(), &github[0]["external_id"]), (1, &json!(delivery)));
        assert_eq!(github[0]["type"], "marketplace_purchase.purchased");
        assert!(list("stripe").await.is_empty());
        assert!(metric(app, "bursar_webhooks_received_total", "source=\"github\",type=\"marketplace_purchase.purchased\"") >= 1.0);
    }
}

with_backend! {
    async fn without_a_secret_production_refuses_github_events(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.marketplace.webhook_secrets.clear()).await;
        let body = b"{}";
        let signature = signature(body, "");
        let delivery = delivery();
        let answer = app.deliver_github_bytes(body, &headers("ping", &delivery, Some(&signature))).await;
        match backend {
            Backend::Production => answer.expect_problem(404, "github_not_configured"),
            // The embedded backend has generated a secret.
            Backend::Embedded => answer.expect_problem(400, "signature_mismatch"),
        }
        app.stop().await;
    }
}
