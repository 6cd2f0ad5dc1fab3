//! API keys: created, shown once, listed without the secret, revoked; the last one is protected.

mod recover;
mod rotate;

use crate::database::number;
use crate::snapshot::assert_body;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, with_app};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

const KEYS: &str = "/api/v1/api-keys";

async fn make(app: &TestApp, customer: &TestCustomer, idempotency_key: &str, name: &str) -> Answer {
    app.call(customer, "POST", KEYS, idempotency_key, Some(&json!({ "name": name }))).await
}

/// Creates a key; returns its id, and the customer with the new key.
async fn made(app: &TestApp, customer: &TestCustomer) -> (String, TestCustomer) {
    let body = make(app, customer, &unique(), "ci").await.expect(201);
    let api_key = body["key"].as_str().unwrap().to_owned();
    (body["api_key"]["id"].as_str().unwrap().to_owned(), TestCustomer { id: customer.id.clone(), api_key })
}

async fn revoke(app: &TestApp, customer: &TestCustomer, id: &str) -> Answer {
    app.call(customer, "DELETE", &format!("{KEYS}/{id}"), "", None).await
}

async fn list(app: &TestApp, customer: &TestCustomer) -> Vec<Value> {
    app.call(customer, "GET", KEYS, "", None).await.expect(200)["data"].as_array().unwrap().clone()
}

async fn works(app: &TestApp, customer: &TestCustomer) -> bool {
    let answer = app.call(customer, "GET", "/api/v1/customer", "", None).await;
    if answer.status != 200 {
        answer.expect_problem(401, "invalid_api_key");
    }
    answer.status == 200
}

/// The number of a customer's keys that are not revoked.
async fn active(app: &TestApp, customer: &TestCustomer) -> i64 {
    let sql = "SELECT COUNT(*) FROM api_keys WHERE customer_id = $1 AND revoked_at_ms IS NULL";
    number(app, sql, [customer.id.as_str().into()]).await
}

with_app! {
    async fn a_new_key_works_and_the_list_never_shows_it(app: &TestApp) {
        let customer = app.onboard().await;
        let body = make(app, &customer, "first", "ci").await.expect(201);
        assert_body!(body, @r#"
        {
          "api_key": {
            "created_at": "[time]",
            "hint": "[hint]",
            "id": "key_…",
            "name": "ci",
            "revoked_at": null
          },
          "key": "bsk_…"
        }
        "#);
        let key = body["key"].as_str().unwrap();
        assert!(works(app, &TestCustomer { id: customer.id.clone(), api_key: key.to_owned() }).await);
        let keys = list(app, &customer).await;
        assert_eq!(keys.iter().map(|key| key["name"].as_str().unwrap()).collect::<Vec<_>>(), ["default", "ci"]);
        assert_eq!(keys[1], body["api_key"]);
        assert_eq!(keys[1]["hint"], key[..12]);
        let shown = json!(keys).to_string();
        assert!(!shown.contains(key) && !shown.contains(&customer.api_key));
    }

    async fn a_repeated_request_makes_no_second_key_and_does_not_show_the_first_again(app: &TestApp) {
        let customer = app.onboard().await;
        let first = make(app, &customer, "key", "ci").await.expect(201);
        let again = make(app, &customer, "key", "ci").await.expect(201);
        assert_eq!(again, json!({ "api_key": first["api_key"], "key": null }));
        make(app, &customer, "key", "other").await.expect_problem(422, "idempotency_key_reused");
        assert_eq!(list(app, &customer).await.len(), 2);
    }

    async fn one_request_sent_ten_times_concurrently_makes_one_key(app: &TestApp) {
        let customer = app.onboard().await;
        let answers = join_all((0..10).map(|_| make(app, &customer, "key", "ci"))).await;
        assert_eq!(answers.iter().filter(|answer| answer.body["key"].is_string()).count(), 1);
        assert!(answers.iter().all(|answer| answer.status == 201), "the others get the same key");
        assert_eq!(list(app, &customer).await.len(), 2);
    }

    async fn the_same_idempotency_key_of_two_customers_makes_two_keys(app: &TestApp) {
        let (one, two) = (app.onboard().await, app.onboard().await);
        assert!(make(app, &one, "key", "ci").await.expect(201)["key"].is_string());
        assert!(make(app, &two, "key", "ci").await.expect(201)["key"].is_string());
    }

    async fn a_request_without_a_name_or_an_idempotency_key_makes_no_key(app: &TestApp) {
        let customer = app.onboard().await;
        make(app, &customer, "", "ci").await.expect_problem(400, "missing_idempotency_key");
        for name in ["", " ", "a\nb", &"x".repeat(201)] {
            make(app, &customer, "key", name).await.expect_problem(400, "invalid_name");
        }
        for body in [json!({}), json!({ "name": 7 }), json!({ "name": "\u{0}" }), json!({ "name": "ci", "id": "x" })] {
            app.call(&customer, "POST", KEYS, "key", Some(&body)).await.expect_problem(400, "invalid_body");
        }
        assert_eq!(list(app, &customer).await.len(), 1);
    }

    async fn a_revoked_key_is_refused_at_once_and_stays_in_the_list(app: &TestApp) {
        let customer = app.onboard().await;
        let (id, second) = made(app, &customer).await;
        assert!(works(app, &second).await, "so that it is cached");
        revoke(app, &customer, &id).await.expect(204);
        assert!(!works(app, &second).await);
        assert!(works(app, &customer).await);
        let keys = list(app, &customer).await;
        assert_eq!(keys[0]["revoked_at"], Value::Null);
        assert!(keys[1]["revoked_at"].is_string());
        revoke(app, &customer, &id).await.expect_problem(404, "not_found");
    }

    async fn a_key_revoked_while_it_is_first_used_is_refused_afterwards(app: &TestApp) {
        let customer = app.onboard().await;
        for round in 0..30 {
            let (id, second) = made(app, &customer).await;
            let uses = join_all((0..4).map(|_| works(app, &second)));
            let (revoked, _) = join(revoke(app, &customer, &id), uses).await;
            revoked.expect(204);
            assert!(!works(app, &second).await, "in round {round}");
        }
    }

    async fn a_key_may_revoke_itself_while_another_stays(app: &TestApp) {
        let customer = app.onboard().await;
        let (id, second) = made(app, &customer).await;
        revoke(app, &second, &id).await.expect(204);
        assert!(!works(app, &second).await);
        assert!(works(app, &customer).await);
    }

    async fn the_last_key_that_works_cannot_be_revoked(app: &TestApp) {
        let customer = app.onboard().await;
        let first = list(app, &customer).await[0]["id"].as_str().unwrap().to_owned();
        revoke(app, &customer, &first).await.expect_problem(409, "last_api_key");
        let (id, _) = made(app, &customer).await;
        revoke(app, &customer, &id).await.expect(204);
        revoke(app, &customer, &first).await.expect_problem(409, "last_api_key");
        assert!(works(app, &customer).await);
        assert_eq!(list(app, &customer).await[0]["revoked_at"], Value::Null);
    }

    async fn two_last_keys_revoked_concurrently_leave_one(app: &TestApp) {
        for round in 0..5 {
            let customer = app.onboard().await;
            let first = list(app, &customer).await[0]["id"].as_str().unwrap().to_owned();
            let (id, second) = made(app, &customer).await;
            let (one, two) = join(revoke(app, &customer, &id), revoke(app, &second, &first)).await;
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            // The loser's key is the last one or, if its request came later, revoked already.
            assert!(matches!(statuses, [204, 401 | 409]), "in round {round}: {} {}", one.body, two.body);
            assert_eq!(active(app, &customer).await, 1, "in round {round}");
        }
    }

    async fn two_keys_revoking_themselves_concurrently_leave_one(app: &TestApp) {
        for round in 0..5 {
            let customer = app.onboard().await;
            let first = list(app, &customer).await[0]["id"].as_str().unwrap().to_owned();
            let (id, second) = made(app, &customer).await;
            let (one, two) = join(revoke(app, &customer, &first), revoke(app, &second, &id)).await;
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [204, 409], "in round {round}: {} {}", one.body, two.body);
            assert_eq!(active(app, &customer).await, 1, "in round {round}");
        }
    }

    async fn another_customers_key_is_not_found_and_keeps_working(app: &TestApp) {
        let (owner, stranger) = (app.onboard().await, app.onboard().await);
        let (id, second) = made(app, &owner).await;
        made(app, &stranger).await;
        revoke(app, &stranger, &id).await.expect_problem(404, "not_found");
        for unknown in ["key_00000000000000000000000000", "nonsense", &owner.id] {
            revoke(app, &owner, unknown).await.expect_problem(404, "not_found");
        }
        assert!(works(app, &second).await);
        let names = list(app, &stranger).await;
        assert!(names.iter().all(|key| key["id"] != id.as_str()));
    }

    async fn a_customer_has_at_most_twenty_keys_that_work(app: &TestApp) {
        let customer = app.onboard().await;
        let keys: Vec<String> = (0..25).map(|n| format!("key-{n}")).collect();
        let answers = join_all(keys.iter().map(|key| make(app, &customer, key, "ci"))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 19);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.expect_problem(409, "too_many_api_keys");
        }
        let keys = list(app, &customer).await;
        assert_eq!(keys.len(), 20);
        revoke(app, &customer, keys[19]["id"].as_str().unwrap()).await.expect(204);
        make(app, &customer, "one-more", "ci").await.expect(201);
        make(app, &customer, "too-many", "ci").await.expect_problem(409, "too_many_api_keys");
    }

    async fn paging_through_keys_gives_each_once_oldest_first(app: &TestApp) {
        let customer = app.onboard().await;
        for _ in 0..4 {
            made(app, &customer).await;
        }
        let all = list(app, &customer).await;
        let (mut paged, mut path) = (Vec::new(), format!("{KEYS}?limit=2"));
        loop {
            let page = app.call(&customer, "GET", &path, "", None).await.expect(200);
            paged.extend(page["data"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{KEYS}?limit=2&cursor={cursor}");
        }
        assert_eq!(paged, all);
        app.call(&customer, "GET", &format!("{KEYS}?cursor=!"), "", None).await.expect_problem(400, "invalid_cursor");
    }
}
