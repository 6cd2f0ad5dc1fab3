//! Writes without charge are limited, and nothing else is.

use crate::database::number;
use crate::scene::with_backend;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer};
use serde_json::{Value, json};

/// More than any limit of these tests.
const TRIES_MAX: usize = 1_000;
const ENTRIES: &str = "SELECT COUNT(*) FROM ledger_entries WHERE customer_id = $1";
const KEYS: &str = "SELECT COUNT(*) FROM api_keys WHERE customer_id = $1";
const AUDITED: &str = "SELECT COUNT(*) FROM audit_log WHERE target = $1";

async fn start(backend: Backend) -> TestApp {
    TestApp::start_with(backend, |config| {
        (config.limits.writes_per_second, config.limits.writes_burst) = (1, 20);
        (config.limits.keys_per_minute, config.limits.keys_burst) = (1, 3);
    })
    .await
}

async fn hold(app: &TestApp, customer: &TestCustomer, key: &str, body: &Value) -> Answer {
    app.call(customer, "POST", "/api/v1/holds", key, Some(body)).await
}

/// Sends requests until one is over the limit; returns the earlier answers.
async fn until_limited(request: impl AsyncFn() -> Answer) -> Vec<Answer> {
    let mut answers = Vec::new();
    while answers.len() < TRIES_MAX {
        let answer = request().await;
        if answer.status == 429 {
            answer.expect_problem(429, "rate_limited");
            assert!(answer.retry_after.is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 1));
            return answers;
        }
        answers.push(answer);
    }
    panic!("nothing was limited");
}

async fn count(app: &TestApp, sql: &str, customer: &TestCustomer) -> i64 {
    number(app, sql, [customer.id.as_str().into()]).await
}

with_backend! {
    async fn purchases_that_are_refused_over_and_over_are_refused_without_asking(backend: Backend) {
        let app = TestApp::start_with(backend, |config| {
            (config.limits.refusals_per_second, config.limits.refusals_burst) = (1, 20);
        })
        .await;
        let customer = app.onboard_with(2).await;
        let refused = until_limited(async || app.spend(&customer, 1_000, &unique()).await).await;
        assert!(refused.len() >= 20, "{} were refused with their reason", refused.len());
        refused.iter().for_each(|answer| assert_eq!(answer.status, 402, "{:?}", answer.body));
        app.spend(&customer, 1, "covered").await.expect(200);
        let other = app.onboard_with(1).await;
        assert_eq!(app.spend(&other, 1_000, "other").await.status, 402);
        app.verify().await;
        app.stop().await;
    }

    async fn released_holds_are_limited_and_spending_is_not(backend: Backend) {
        let app = start(backend).await;
        let customer = app.onboard_with(100).await;
        let one = json!({ "units": 1 });
        let first = hold(&app, &customer, "first", &one).await.expect(201);
        let made = until_limited(async || {
            let made = hold(&app, &customer, &unique(), &one).await;
            if made.status == 201 {
                let id = made.body["hold"]["id"].as_str().unwrap();
                app.call(&customer, "POST", &format!("/api/v1/holds/{id}/release"), &unique(), None).await.expect(200);
            }
            made
        })
        .await;
        assert!(made.len() >= 9, "{} holds passed", made.len());
        // Two grants and the first hold, then pairs. Refused requests wrote nothing.
        assert_eq!(count(&app, ENTRIES, &customer).await, 3 + 2 * i64::try_from(made.len()).unwrap());

        let again = hold(&app, &customer, "first", &one).await.expect(201);
        assert_eq!((&again["hold"], &again["replayed"]), (&first["hold"], &json!(true)));
        app.spend(&customer, 1, "spent").await.expect(200);
        let other = app.onboard().await;
        hold(&app, &other, "other", &one).await.expect(201);

        // A capture spends credits, so its hold does not count.
        let id = first["hold"]["id"].as_str().unwrap();
        let path = format!("/api/v1/holds/{id}/capture");
        app.call(&customer, "POST", &path, "captured", Some(&json!({}))).await.expect(200);
        let next = hold(&app, &customer, "next", &one).await.expect(201);
        let path = format!("/api/v1/holds/{}/release", next["hold"]["id"].as_str().unwrap());
        app.call(&customer, "POST", &path, "released", None).await.expect(200);
        app.verify().await;
        app.stop().await;
    }

    async fn metadata_counts_by_its_size_and_requests_that_write_nothing_do_not(backend: Backend) {
        let app = start(backend).await;
        let large = json!({ "units": 1, "metadata": { "text": "x".repeat(4_000) } });
        let customer = app.onboard_with(100).await;
        let with_metadata = until_limited(async || hold(&app, &customer, &unique(), &large).await).await.len();
        let customer = app.onboard_with(100).await;
        let too_many = json!({ "units": 1_000 });
        for _ in 0..30 {
            hold(&app, &customer, &unique(), &too_many).await.expect_problem(402, "insufficient_credits");
        }
        let one = json!({ "units": 1 });
        for _ in 0..30 {
            hold(&app, &customer, "again", &one).await.expect(201);
        }
        let without = until_limited(async || hold(&app, &customer, &unique(), &one).await).await.len();
        assert!(without >= 9 && with_metadata < without, "{with_metadata} with metadata, {without} without");
        app.stop().await;
    }

    async fn new_keys_are_limited_and_a_repeated_request_shows_its_key_again(backend: Backend) {
        let app = start(backend).await;
        let customer = app.onboard().await;
        let make = async |key: &str| {
            app.call(&customer, "POST", "/api/v1/api-keys", key, Some(&json!({ "name": "ci" }))).await
        };
        let first = make("first").await.expect(201);
        let made = until_limited(async || make(&unique()).await).await;
        assert!(made.len() >= 2, "{} keys passed", made.len());
        let before = [count(&app, KEYS, &customer).await, count(&app, AUDITED, &customer).await];
        let id = first["api_key"]["id"].as_str().unwrap();
        let path = format!("/api/v1/api-keys/{id}/rotate");
        let rotated = app.call(&customer, "POST", &path, "rotated", Some(&json!({}))).await;
        rotated.expect_problem(429, "rate_limited");
        assert_eq!([count(&app, KEYS, &customer).await, count(&app, AUDITED, &customer).await], before);

        let again = make("first").await.expect(201);
        assert_eq!((&again["api_key"]["id"], &again["key"]), (&first["api_key"]["id"], &Value::Null));
        app.call(&customer, "DELETE", &format!("/api/v1/api-keys/{id}"), "", None).await;
        app.spend(&customer, 1, "spent").await.expect(200);
        app.stop().await;
    }

    async fn refused_key_requests_are_limited(backend: Backend) {
        let app = start(backend).await;
        let (revoking, rotating, other) = (app.onboard().await, app.onboard().await, app.onboard().await);
        let keys = app.call(&revoking, "GET", "/api/v1/api-keys", "", None).await.expect(200);
        let last = format!("/api/v1/api-keys/{}", keys["data"][0]["id"].as_str().unwrap());
        let revoke = async || app.call(&revoking, "DELETE", &last, "", None).await;
        for answer in until_limited(revoke).await {
            answer.expect_problem(409, "last_api_key");
        }
        let unknown = "/api/v1/api-keys/key_00000000000000000000000000/rotate";
        let rotate = async || app.call(&rotating, "POST", unknown, &unique(), Some(&json!({}))).await;
        for answer in until_limited(rotate).await {
            answer.expect_problem(404, "not_found");
        }
        app.spend(&revoking, 1, "key").await.expect(200);
        app.spend(&other, 1, "key").await.expect(200);
        app.stop().await;
    }
}
