//! A company's backend that vouches for its users, and the proof of a source.

use super::*;
use bursar_tests::app::ADMIN_TOKEN;

async fn onboard(app: &TestApp, token: Option<&str>, body: &Value) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    app.request("POST", "/api/v1/customers/onboard", &headers, Some(body)).await
}

fn person(more: &Value) -> Value {
    let mut person = json!({ "email": format!("{}@example.com", unique()), "name": "Ada" });
    person.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    person
}

with_backend! {
    async fn whoever_has_a_token_may_say_that_an_address_is_confirmed(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let verified = person(&json!({ "email_verified": true }));
        onboard(&app, None, &verified).await.expect_problem(401, "missing_credentials");
        onboard(&app, Some("wrong"), &verified).await.expect_problem(401, "invalid_token");
        assert_eq!(number(&app, "SELECT COUNT(*) FROM customers", []).await, 0);
        let made = onboard(&app, Some(ADMIN_TOKEN), &verified).await.expect(201);
        assert_eq!(made["customer"]["email_confirmed"], true);
        let id = text(&made["customer"]["id"]);
        let shown = app.admin("GET", &format!("/admin/v1/customers/{id}"), None).await.expect(200);
        assert_eq!(shown["email_confirmation"], "vouched");
        let customer = TestCustomer { id: id.to_owned(), api_key: text(&made["api_key"]).to_owned() };
        let welcome = mail_in_state(&app, &customer, "welcome", "stored").await;
        assert!(!text(&welcome["text"]).contains("/confirm"), "{welcome}");
        // A token alone vouches for nothing.
        for unsaid in [json!({}), json!({ "email_verified": false }), json!({ "email_verified": null })] {
            let made = onboard(&app, Some(ADMIN_TOKEN), &person(&unsaid)).await.expect(201);
            assert_eq!(made["customer"]["email_confirmed"], false, "{unsaid}");
        }
        app.stop().await;
    }

    async fn a_source_other_than_direct_needs_proof(backend: Backend) {
        let app = TestApp::start(backend).await;
        for source in ["marketplace", "early_access"] {
            let body = person(&json!({ "source": source }));
            onboard(&app, None, &body).await.expect_problem(403, "source_unproven");
            let made = onboard(&app, Some(ADMIN_TOKEN), &body).await.expect(201);
            assert_eq!(made["customer"]["source"], source);
        }
        for body in [person(&json!({ "source": "direct" })), person(&json!({})), person(&json!({ "source": null }))] {
            assert_eq!(onboard(&app, None, &body).await.expect(201)["customer"]["source"], "direct");
        }
        app.stop().await;
    }

    async fn names_that_would_be_links_or_show_nothing_are_refused(backend: Backend) {
        let app = TestApp::start(backend).await;
        for name in ["Win at https://evil.example", "evil.com", "Ada\u{202E}", "\u{200B}Ada", "ada@evil.example"] {
            onboard(&app, None, &person(&json!({ "name": name }))).await.expect_problem(400, "invalid_name");
        }
        for name in ["J.R.R. Tolkien", "علی\u{200C}رضا", "Acme S.p.A."] {
            assert_eq!(onboard(&app, None, &person(&json!({ "name": name }))).await.expect(201)["customer"]["name"], name);
        }
        app.stop().await;
    }
}
