//! Forced revocation of the last key, and a new key created by support.

use super::{KEYS, active, list, made, revoke, works};
use crate::database::number;
use crate::snapshot::assert_body;
use bursar_engine::infra::store::audit::audit_page;
use bursar_tests::answer::Answer;
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::{TestApp, TestCustomer, with_app};
use serde_json::{Value, json};

async fn recover(app: &TestApp, customer: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
    app.request("POST", &format!("/admin/v1/customers/{customer}/api-keys"), &headers, Some(body)).await
}

async fn force(app: &TestApp, customer: &TestCustomer, id: &str, how: &str) -> Answer {
    app.call(customer, "DELETE", &format!("/api/v1/api-keys/{id}?force={how}"), "", None).await
}

with_app! {
    async fn the_last_key_is_revoked_only_when_forced_and_support_creates_a_new_one(app: &TestApp) {
        let customer = app.onboard().await;
        let id = list(app, &customer).await[0]["id"].as_str().unwrap().to_owned();
        force(app, &customer, &id, "false").await.expect_problem(409, "last_api_key");
        force(app, &customer, &id, "perhaps").await.expect_problem(400, "invalid_parameter");
        assert!(works(app, &customer).await);
        force(app, &customer, &id, "true").await.expect(204);
        assert!(!works(app, &customer).await);
        assert_eq!(active(app, &customer).await, 0);

        let body = json!({ "name": "recovered", "reason": "all keys lost, ticket 4711" });
        let made = recover(app, &customer.id, "ticket-4711", &body).await.expect(201);
        assert_body!(made, @r#"
        {
          "api_key": {
            "created_at": "[time]",
            "hint": "[hint]",
            "id": "key_…",
            "name": "recovered",
            "revoked_at": null
          },
          "key": "bsk_…"
        }
        "#);
        let api_key = made["key"].as_str().unwrap().to_owned();
        assert!(works(app, &TestCustomer { id: customer.id.clone(), api_key }).await);
        let again = recover(app, &customer.id, "ticket-4711", &body).await.expect(201);
        assert_eq!(again, json!({ "api_key": made["api_key"], "key": null }));

        let mut lines = audit_page(app.app.db.read(), Some(&customer.id), None, 10).await.unwrap();
        lines.sort_by(|one, two| one.id.cmp(&two.id));
        let last = &lines[lines.len() - 1];
        assert_eq!((last.actor.as_str(), last.action.as_str()), ("admin:bootstrap", "api_key.create"));
        let details: Value = serde_json::from_str(&last.details).unwrap();
        assert_eq!(details["reason"], "all keys lost, ticket 4711");
        let revoked: Value = serde_json::from_str(&lines[lines.len() - 2].details).unwrap();
        assert_eq!(revoked["was_last"], true);
    }

    async fn a_key_created_by_support_needs_a_reason_a_name_and_a_customer(app: &TestApp) {
        let customer = app.onboard().await;
        let good = json!({ "name": "n", "reason": "r" });
        recover(app, "cst_00000000000000000000000000", "k", &good).await.expect_problem(404, "not_found");
        recover(app, "nonsense", "k", &good).await.expect_problem(404, "not_found");
        let no_reason = json!({ "name": "n", "reason": " " });
        recover(app, &customer.id, "k", &no_reason).await.expect_problem(400, "invalid_reason");
        let no_name = json!({ "name": "", "reason": "r" });
        recover(app, &customer.id, "k", &no_name).await.expect_problem(400, "invalid_name");
        recover(app, &customer.id, "k", &json!({ "name": "n" })).await.expect_problem(400, "invalid_body");
        let path = format!("/admin/v1/customers/{}/api-keys", customer.id);
        app.call(&customer, "POST", &path, "k", Some(&good)).await.expect_problem(401, "missing_credentials");
        assert_eq!(number(app, "SELECT COUNT(*) FROM api_keys", []).await, 1);
    }

    async fn idempotency_keys_of_support_and_of_the_customer_are_separate(app: &TestApp) {
        let customer = app.onboard().await;
        let own = json!({ "name": "ci" });
        app.call(&customer, "POST", KEYS, "key", Some(&own)).await.expect(201);
        let body = json!({ "name": "ci", "reason": "r" });
        assert!(recover(app, &customer.id, "key", &body).await.expect(201)["key"].is_string());
        let other = json!({ "name": "ci", "reason": "another" });
        recover(app, &customer.id, "key", &other).await.expect_problem(422, "idempotency_key_reused");
    }

    async fn support_sees_the_keys_that_the_customer_sees(app: &TestApp) {
        let customer = app.onboard().await;
        let (id, _) = made(app, &customer).await;
        revoke(app, &customer, &id).await.expect(204);
        let path = format!("/admin/v1/customers/{}/api-keys", customer.id);
        let seen = app.admin("GET", &path, None).await.expect(200);
        assert_eq!(seen["data"].as_array().unwrap(), &list(app, &customer).await);
    }
}
