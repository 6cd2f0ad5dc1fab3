//! Spending credits: exactly once for each key, never below zero, on any node.

mod refused;
mod shared;

use crate::database::number;
use crate::snapshot::assert_body;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, catalogue_with, with_app};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::HashSet;

async fn transactions(app: &TestApp, customer: &TestCustomer, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut path = format!("/api/v1/credits/transactions?limit={limit}");
    loop {
        let page = app.call(customer, "GET", &path, "", None).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= limit);
        all.extend(rows.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/credits/transactions?limit={limit}&cursor={cursor}"),
            None => return all,
        }
        assert_eq!(rows.len(), limit, "only the last page is short");
    }
}

async fn spend_body(app: &TestApp, customer: &TestCustomer, key: &str, body: &Value) -> Answer {
    app.call(customer, "POST", "/api/v1/usage", key, Some(body)).await
}

/// A repeated answer equals the first one but for `replayed`.
fn assert_replay_of(first: &Value, again: &Value) {
    let mut expected = first.clone();
    expected["replayed"] = json!(true);
    assert_eq!(*again, expected);
}

with_app! {
    async fn a_debit_takes_one_credit_a_unit_and_shows_what_is_left(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "units": 2, "reference": "deploy-4711", "metadata": { "repository": "engine" } });
        let answer = spend_body(app, &customer, "first", &body).await.expect(200);
        assert_body!(answer, @r#"
        {
          "available": 3,
          "credit_balance": 3,
          "held": 0,
          "replayed": false,
          "transaction": {
            "amount": -2,
            "balance_after": 3,
            "burned": [
              {
                "credits": 2,
                "transaction_id": "txn_…_1"
              }
            ],
            "created_at": "[time]",
            "held_after": 0,
            "held_change": 0,
            "id": "txn_…_2",
            "kind": "debit",
            "metadata": {
              "repository": "engine"
            },
            "reference": "deploy-4711",
            "source": "usage"
          }
        }
        "#);
        let credits = app.call(&customer, "GET", "/api/v1/credits", "", None).await.expect(200);
        assert_body!(credits, @r#"
        {
          "available": 3,
          "balance": 3,
          "currency": "usd",
          "grants": [
            {
              "expires_at": null,
              "kind": "promotional",
              "remaining": 3,
              "transaction_id": "txn_…_1"
            }
          ],
          "held": 0,
          "holds": [],
          "next_price_minor": null
        }
        "#);
        app.verify().await;
    }

    async fn with_one_credit_or_fewer_left_the_answer_warns(app: &TestApp) {
        let customer = app.onboard().await;
        let warning = async |units: i64| {
            let answer = app.spend(&customer, units, &unique()).await.expect(200);
            answer["warning"].as_str().map(str::to_owned)
        };
        assert_eq!(warning(3).await, None);
        assert_eq!(warning(1).await.as_deref(), Some("You have 1 fix credit left. Add billing to continue."));
        assert_eq!(warning(1).await.as_deref(), Some("You have no fix credits left. Add billing to continue."));
    }

    async fn without_credits_a_debit_is_refused_with_what_to_do_and_its_key_stays_free(app: &TestApp) {
        let customer = app.onboard().await;
        let refused = app.spend(&customer, 6, "big").await;
        refused.expect_problem(402, "insufficient_credits");
        assert_body!(refused.body, @r#"
        {
          "available": 5,
          "code": "insufficient_credits",
          "detail": "Credits needed: 6, available: 5. Add billing to continue.",
          "status": 402,
          "title": "Payment Required",
          "type": "about:blank"
        }
        "#);
        app.adjust(&customer, 1).await.expect(200);
        let taken = app.spend(&customer, 6, "big").await.expect(200);
        assert_eq!((&taken["credit_balance"], &taken["replayed"]), (&json!(0), &json!(false)));
    }

    async fn a_repeated_request_gets_the_first_answer_and_changes_nothing_even_at_zero(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "units": 1, "reference": "a", "metadata": { "n": 1 } });
        let first = spend_body(app, &customer, "first", &body).await.expect(200);
        assert_replay_of(&first, &spend_body(app, &customer, "first", &body).await.expect(200));
        app.spend(&customer, 2, "second").await.expect(200);
        assert_replay_of(&first, &spend_body(app, &customer, "first", &body).await.expect(200));
        let last = app.spend(&customer, 2, "third").await.expect(200);
        assert_replay_of(&first, &spend_body(app, &customer, "first", &body).await.expect(200));
        assert_replay_of(&last, &app.spend(&customer, 2, "third").await.expect(200));
        assert_eq!(app.balance(&customer).await, 0);
        assert_eq!(transactions(app, &customer, 100).await.len(), 4);
        app.verify().await;
    }

    async fn a_reused_key_with_another_body_is_refused_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "units": 1, "reference": "a", "metadata": { "n": 1 } });
        spend_body(app, &customer, "key", &body).await.expect(200);
        let before = transactions(app, &customer, 100).await;
        for other in [
            json!({ "units": 2, "reference": "a", "metadata": { "n": 1 } }),
            json!({ "units": 1, "reference": "b", "metadata": { "n": 1 } }),
            json!({ "units": 1, "reference": "a", "metadata": { "n": 2 } }),
            json!({ "units": 1, "reference": "a" }),
            json!({ "units": 1 }),
            // More than the balance: the reused key takes precedence over the missing credits.
            json!({ "units": 100 }),
        ] {
            spend_body(app, &customer, "key", &other).await.expect_problem(422, "idempotency_key_reused");
        }
        let hold = app.call(&customer, "POST", "/api/v1/holds", "key", Some(&json!({ "units": 1 }))).await;
        hold.expect_problem(422, "idempotency_key_reused");
        assert_eq!(transactions(app, &customer, 100).await, before);
        assert_eq!(app.balance(&customer).await, 4);
    }

    async fn the_order_of_fields_does_not_make_another_request(app: &TestApp) {
        let customer = app.onboard().await;
        let post = async |body: &'static str| {
            let request = app.client.post(format!("{}/api/v1/usage", app.base)).body(body);
            let request = request.header("x-api-key", &customer.api_key).header("Idempotency-Key", "key");
            let response = request.header("Content-Type", "application/json").send().await.unwrap();
            assert_eq!(response.status().as_u16(), 200);
            serde_json::from_slice::<Value>(&response.bytes().await.unwrap()).unwrap()
        };
        let first = post(r#"{"units":1,"reference":"a","metadata":{"x":1,"y":2}}"#).await;
        let again = post(r#"{ "metadata": {"y": 2, "x": 1}, "reference": "a", "units": 1 }"#).await;
        assert_replay_of(&first, &again);
    }

    async fn the_same_key_of_two_customers_is_two_keys(app: &TestApp) {
        let (one, two) = (app.onboard().await, app.onboard().await);
        let first = app.spend(&one, 1, "key").await.expect(200);
        let second = app.spend(&two, 1, "key").await.expect(200);
        assert_eq!((&first["replayed"], &second["replayed"]), (&json!(false), &json!(false)));
        assert_eq!((app.balance(&one).await, app.balance(&two).await), (4, 4));
    }

    async fn fifty_credits_allow_exactly_fifty_of_a_hundred_concurrent_debits(app: &TestApp) {
        let customer = app.onboard_with(45).await;
        let keys: Vec<String> = (0..100).map(|n| format!("key-{n}")).collect();
        let answers = join_all(keys.iter().map(|key| app.spend(&customer, 1, key))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 50);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.expect_problem(402, "insufficient_credits");
        }
        let left: HashSet<i64> = answers.iter().filter_map(|answer| answer.body["credit_balance"].as_i64()).collect();
        assert_eq!(left, (0..50).collect(), "each debit left another balance");
        assert_eq!(app.balance(&customer).await, 0);
        app.verify().await;
    }

    async fn one_key_sent_twenty_times_at_once_debits_once(app: &TestApp) {
        let customer = app.onboard().await;
        let answers = join_all((0..20).map(|_| app.spend(&customer, 1, "key"))).await;
        let bodies: Vec<Value> = answers.into_iter().map(|answer| answer.expect(200)).collect();
        let ids: HashSet<&str> = bodies.iter().map(|body| body["transaction"]["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(bodies.iter().filter(|body| body["replayed"] == false).count(), 1);
        assert_eq!(app.balance(&customer).await, 4);
        assert_eq!(number(app, "SELECT COUNT(*) FROM ledger_entries WHERE kind = 'debit'", []).await, 1);
        app.verify().await;
    }

    async fn paging_through_transactions_gives_each_once_latest_first(app: &TestApp) {
        let customer = app.onboard_with(20).await;
        for n in 0..11 {
            app.spend(&customer, 1, &format!("key-{n}")).await.expect(200);
        }
        let all = transactions(app, &customer, 100).await;
        assert_eq!(all.len(), 13);
        for limit in [1, 5, 12, 13, 14] {
            assert_eq!(transactions(app, &customer, limit).await, all, "pages of {limit}");
        }
        let balances: Vec<i64> = all.iter().map(|row| row["balance_after"].as_i64().unwrap()).collect();
        assert_eq!(balances, [14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 5]);
    }

    async fn a_transaction_between_two_pages_shifts_no_row(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 1, "one").await.expect(200);
        app.spend(&customer, 1, "two").await.expect(200);
        let all = transactions(app, &customer, 100).await;
        let page = app.call(&customer, "GET", "/api/v1/credits/transactions?limit=1", "", None).await.expect(200);
        app.spend(&customer, 1, "three").await.expect(200);
        let path = format!("/api/v1/credits/transactions?cursor={}", page["next_cursor"].as_str().unwrap());
        let rest = app.call(&customer, "GET", &path, "", None).await.expect(200);
        assert_eq!(rest["data"].as_array().unwrap()[..], all[1..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_unit_can_be_bought_nobody_is_sent_to_billing() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        config.catalogue = catalogue_with(|catalogue| catalogue.plans[0].unit_prices.clear());
    })
    .await;
    let customer = app.onboard().await;
    let advice = "The plan Trial has no price for single fixes: choose another plan.";
    let refused = app.spend(&customer, 6, "big").await;
    refused.expect_problem(402, "insufficient_credits");
    assert_eq!(refused.body["detail"], format!("Credits needed: 6, available: 5. {advice}"));
    let hold = json!({ "units": 6 });
    let refused = app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&hold)).await;
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.ends_with(advice)), "{refused:?}");
    let last = app.spend(&customer, 5, "all").await.expect(200);
    assert_eq!(last["warning"], format!("You have no fix credits left. {advice}"));
    app.stop().await;
}
