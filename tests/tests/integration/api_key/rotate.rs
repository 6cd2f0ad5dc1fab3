//! Rotation of a key, at once or with a grace period.

use super::{KEYS, active, list, made, make, revoke, works};
use crate::scene::{customer_id, now_ms};
use bursar_engine::domain::api_key::secret_hash;
use bursar_engine::infra::store::api_key::api_key_owner_many;
use bursar_engine::infra::store::audit::audit_page;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, with_app};
use futures_util::future::join;
use serde_json::{Value, json};

const HOUR_MS: i64 = 60 * 60 * 1_000;

async fn rotate(app: &TestApp, customer: &TestCustomer, id: &str, key: &str, body: &Value) -> Answer {
    app.call(customer, "POST", &format!("{KEYS}/{id}/rotate"), key, Some(body)).await
}

async fn first_key(app: &TestApp, customer: &TestCustomer) -> String {
    list(app, customer).await[0]["id"].as_str().unwrap().to_owned()
}

/// The customer with the new key of an answer.
fn with(customer: &TestCustomer, body: &Value) -> TestCustomer {
    TestCustomer { id: customer.id.clone(), api_key: body["key"].as_str().unwrap().to_owned() }
}

/// Whether a key will work at this time, according to the database.
async fn works_at(app: &TestApp, customer: &TestCustomer, at_ms: i64) -> bool {
    let hashes = [secret_hash(&customer.api_key)];
    let owners = api_key_owner_many(app.app.db.read(), &hashes, at_ms).await.unwrap();
    owners.iter().any(|found| found.owner.customer_id == customer_id(customer))
}

with_app! {
    async fn without_grace_the_old_key_ends_at_once_and_the_new_one_has_its_name(app: &TestApp) {
        let customer = app.onboard().await;
        let (id, second) = made(app, &customer).await;
        assert!(works(app, &second).await, "so that it is cached");
        let body = rotate(app, &customer, &id, "rotate", &json!({})).await.expect(201);
        assert_eq!(body["api_key"]["name"], "ci");
        assert_ne!(body["api_key"]["id"], id.as_str());
        assert!(works(app, &with(&customer, &body)).await);
        assert!(!works(app, &second).await);
        assert!(works(app, &customer).await);
        assert_eq!(active(app, &customer).await, 2);
        rotate(app, &customer, &id, "again", &json!({})).await.expect_problem(404, "not_found");
    }

    async fn the_only_key_can_rotate_itself(app: &TestApp) {
        let customer = app.onboard().await;
        let id = first_key(app, &customer).await;
        let body = rotate(app, &customer, &id, "rotate", &json!({ "grace_seconds": 0 })).await.expect(201);
        assert!(!works(app, &customer).await);
        assert!(works(app, &with(&customer, &body)).await);
    }

    async fn both_keys_work_during_the_grace_period_and_then_only_the_new_one(app: &TestApp) {
        let customer = app.onboard().await;
        assert!(works(app, &customer).await, "so that it is cached");
        let id = first_key(app, &customer).await;
        let before_ms = now_ms();
        let body = rotate(app, &customer, &id, "rotate", &json!({ "grace_seconds": 3_600 })).await.expect(201);
        let successor = with(&customer, &body);
        assert!(works(app, &customer).await && works(app, &successor).await);
        assert!(works_at(app, &customer, before_ms + HOUR_MS - 1).await);
        assert!(!works_at(app, &customer, now_ms() + HOUR_MS).await);
        assert!(works_at(app, &successor, now_ms() + HOUR_MS).await);
        let keys = list(app, &successor).await;
        assert!(keys[0]["revoked_at"].is_string() && keys[1]["revoked_at"].is_null(), "{keys:?}");
        rotate(app, &customer, &id, "again", &json!({})).await.expect_problem(409, "api_key_rotated");
        // An expiring key does not count as the last one, and may be revoked earlier.
        let new_id = body["api_key"]["id"].as_str().unwrap();
        revoke(app, &customer, new_id).await.expect_problem(409, "last_api_key");
        revoke(app, &successor, &id).await.expect(204);
        assert!(!works(app, &customer).await);
        assert!(works(app, &successor).await);
    }

    async fn a_cached_key_ends_with_its_grace_period(app: &TestApp) {
        let customer = app.onboard().await;
        let id = first_key(app, &customer).await;
        let body = rotate(app, &customer, &id, "rotate", &json!({ "grace_seconds": 1 })).await.expect(201);
        bursar_tests::wait::until("the old key has ended", || async {
            (!works(app, &customer).await).then_some(())
        })
        .await;
        assert!(works(app, &with(&customer, &body)).await);
    }

    async fn a_repeated_rotation_makes_no_second_key(app: &TestApp) {
        let customer = app.onboard().await;
        let id = first_key(app, &customer).await;
        let grace = json!({ "grace_seconds": 60 });
        let first = rotate(app, &customer, &id, "rotate", &grace).await.expect(201);
        let again = rotate(app, &customer, &id, "rotate", &grace).await.expect(201);
        assert_eq!(again, json!({ "api_key": first["api_key"], "key": null }));
        rotate(app, &customer, &id, "rotate", &json!({})).await.expect_problem(422, "idempotency_key_reused");
        let (other, _) = made(app, &customer).await;
        rotate(app, &customer, &other, "rotate", &grace).await.expect_problem(422, "idempotency_key_reused");
        make(app, &customer, "rotate", "default").await.expect_problem(422, "idempotency_key_reused");
        assert_eq!(list(app, &customer).await.len(), 3);
        // A caller that lost the answer rotates the successor, whose key nobody has.
        let lost = again["api_key"]["id"].as_str().unwrap();
        assert!(rotate(app, &customer, lost, "lost", &json!({})).await.expect(201)["key"].is_string());
    }

    async fn an_impossible_rotation_is_refused_and_changes_nothing(app: &TestApp) {
        let (customer, stranger) = (app.onboard().await, app.onboard().await);
        let id = first_key(app, &customer).await;
        for grace in [-1, 86_401, i64::MAX] {
            let body = json!({ "grace_seconds": grace });
            rotate(app, &customer, &id, "rotate", &body).await.expect_problem(400, "invalid_grace");
        }
        for body in [json!({ "grace_seconds": "1" }), json!({ "grace": 1 }), json!([])] {
            rotate(app, &customer, &id, "rotate", &body).await.expect_problem(400, "invalid_body");
        }
        rotate(app, &customer, &id, "", &json!({})).await.expect_problem(400, "missing_idempotency_key");
        rotate(app, &stranger, &id, "rotate", &json!({})).await.expect_problem(404, "not_found");
        rotate(app, &customer, "nonsense", "rotate", &json!({})).await.expect_problem(404, "not_found");
        assert_eq!(list(app, &customer).await.len(), 1);
        assert!(works(app, &customer).await);
    }

    async fn one_key_rotated_twice_concurrently_has_one_successor(app: &TestApp) {
        for round in 0..5 {
            let customer = app.onboard().await;
            let (id, _) = made(app, &customer).await;
            let none = json!({});
            let turns = (rotate(app, &customer, &id, "one", &none), rotate(app, &customer, &id, "two", &none));
            let (one, two) = join(turns.0, turns.1).await;
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            // The loser's key is revoked or, if its request came a moment earlier, about to be.
            assert!(matches!(statuses, [201, 404 | 409]), "in round {round}: {} {}", one.body, two.body);
            assert_eq!(active(app, &customer).await, 2, "in round {round}");
        }
    }

    async fn a_concurrent_rotation_and_revocation_leave_a_working_key(app: &TestApp) {
        for round in 0..5 {
            let customer = app.onboard().await;
            let first = first_key(app, &customer).await;
            let (id, second) = made(app, &customer).await;
            let body = json!({});
            let (rotated, revoked) = join(rotate(app, &customer, &id, "r", &body), revoke(app, &second, &first)).await;
            assert!(active(app, &customer).await >= 1, "in round {round}: {} {}", rotated.body, revoked.body);
        }
    }

    async fn with_twenty_keys_only_a_rotation_without_grace_has_room(app: &TestApp) {
        let customer = app.onboard().await;
        for n in 0..19 {
            make(app, &customer, &format!("key-{n}"), "ci").await.expect(201);
        }
        let id = first_key(app, &customer).await;
        let grace = json!({ "grace_seconds": 60 });
        rotate(app, &customer, &id, "grace", &grace).await.expect_problem(409, "too_many_api_keys");
        let second = list(app, &customer).await[1]["id"].as_str().unwrap().to_owned();
        rotate(app, &customer, &second, "at-once", &json!({})).await.expect(201);
        assert_eq!(active(app, &customer).await, 20);
    }

    async fn every_change_of_a_key_is_audited(app: &TestApp) {
        let customer = app.onboard().await;
        let (id, _) = made(app, &customer).await;
        let body = rotate(app, &customer, &id, &unique(), &json!({ "grace_seconds": 9 })).await.expect(201);
        revoke(app, &customer, body["api_key"]["id"].as_str().unwrap()).await.expect(204);
        let mut lines = audit_page(app.app.db.read(), Some(&customer.id), None, 10).await.unwrap();
        lines.sort_by(|one, two| one.id.cmp(&two.id));
        let seen: Vec<&str> = lines.iter().map(|line| line.action.as_str()).collect();
        assert_eq!(seen, [
            "customer.onboard", "api_key.create", "api_key.create", "api_key.rotate", "api_key.revoke",
        ]);
        let details: Value = serde_json::from_str(&lines[3].details).unwrap();
        let expected = json!({
            "api_key": body["api_key"]["id"], "name": "ci", "rotated": id, "grace_seconds": 9,
        });
        assert_eq!(details, expected);
    }
}
