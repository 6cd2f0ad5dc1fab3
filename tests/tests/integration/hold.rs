//! Holds: credits are reserved, then captured, released or expired; each hold ends once.

use crate::snapshot::assert_body;
use bursar_engine::clock::rfc3339;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, wait, with_app};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

async fn reserve(app: &TestApp, customer: &TestCustomer, key: &str, body: &Value) -> Answer {
    app.call(customer, "POST", "/api/v1/holds", key, Some(body)).await
}

/// Creates a hold of this many credits; returns its id.
async fn hold(app: &TestApp, customer: &TestCustomer, units: i64) -> String {
    let made = reserve(app, customer, &unique(), &json!({ "units": units })).await.expect(201);
    made["hold"]["id"].as_str().unwrap().to_owned()
}

async fn capture(app: &TestApp, customer: &TestCustomer, id: &str, key: &str, body: &Value) -> Answer {
    app.call(customer, "POST", &format!("/api/v1/holds/{id}/capture"), key, Some(body)).await
}

async fn release(app: &TestApp, customer: &TestCustomer, id: &str, key: &str) -> Answer {
    app.call(customer, "POST", &format!("/api/v1/holds/{id}/release"), key, None).await
}

/// Balance, held and available credits.
async fn credits(app: &TestApp, customer: &TestCustomer) -> [i64; 3] {
    let body = app.call(customer, "GET", "/api/v1/credits", "", None).await.expect(200);
    ["balance", "held", "available"].map(|field| body[field].as_i64().unwrap())
}

async fn transactions(app: &TestApp, customer: &TestCustomer) -> Vec<Value> {
    let page = app.call(customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

fn assert_replay_of(first: &Value, again: &Value) {
    let mut expected = first.clone();
    expected["replayed"] = json!(true);
    assert_eq!(*again, expected);
}

with_app! {
    async fn a_hold_is_paid_with_the_credits_that_it_reserved_although_they_end_meanwhile(app: &TestApp) {
        let customer = app.onboard().await;
        let [own, ..] = credits(app, &customer).await;
        let ends = rfc3339(app.app.clock.now_ms() + 4_000);
        let body = json!({ "amount": 45, "reason": "a period", "expires_at": ends });
        app.admin("POST", &format!("/admin/v1/customers/{}/adjustments", customer.id), Some(&body)).await.expect(200);
        let id = hold(app, &customer, 40).await;
        app.adjust(&customer, 60).await.expect(200);
        let ended = wait::until("the others have ended", || async {
            transactions(app, &customer).await.into_iter().find(|line| line["kind"] == "expire")
        })
        .await;
        assert_eq!(ended["amount"], -5);
        assert_eq!(credits(app, &customer).await, [own + 100, 40, own + 60]);
        capture(app, &customer, &id, "capture", &json!({})).await.expect(200);
        assert_eq!(credits(app, &customer).await, [own + 60, 0, own + 60]);
        app.verify().await;
    }

    async fn a_hold_reserves_credits_and_a_capture_of_it_spends_them(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "units": 3, "expires_in_s": 600, "reference": "job-17", "metadata": { "n": 1 } });
        let made = reserve(app, &customer, "hold", &body).await.expect(201);
        assert_body!(made, @r#"
        {
          "available": 2,
          "credit_balance": 5,
          "held": 3,
          "hold": {
            "captured": 0,
            "expires_at": "[time]",
            "id": "hld_…",
            "state": "open",
            "units": 3
          },
          "replayed": false,
          "transaction": {
            "amount": 0,
            "balance_after": 5,
            "burned": [],
            "created_at": "[time]",
            "expires_at": "[time]",
            "held_after": 3,
            "held_change": 3,
            "hold_id": "hld_…",
            "id": "txn_…_2",
            "kind": "hold",
            "metadata": {
              "n": 1
            },
            "reference": "job-17",
            "source": "hold"
          }
        }
        "#);
        assert_eq!(credits(app, &customer).await, [5, 3, 2]);
        let id = made["hold"]["id"].as_str().unwrap();
        let spent = capture(app, &customer, id, "capture", &json!({})).await.expect(200);
        assert_eq!(spent["hold"], json!({ "id": id, "state": "captured", "units": 3, "captured": 3 }));
        assert_eq!((&spent["credit_balance"], &spent["held"], &spent["available"]), (&json!(2), &json!(0), &json!(2)));
        assert_eq!(credits(app, &customer).await, [2, 0, 2]);
        app.verify().await;
    }

    async fn a_capture_of_a_part_spends_it_and_releases_the_rest(app: &TestApp) {
        let customer = app.onboard().await;
        let id = hold(app, &customer, 4).await;
        let spent = capture(app, &customer, &id, "capture", &json!({ "units": 1 })).await.expect(200);
        assert_eq!(spent["hold"], json!({ "id": id, "state": "captured", "units": 4, "captured": 1 }));
        assert_eq!(credits(app, &customer).await, [4, 0, 4]);
        capture(app, &customer, &id, "again", &json!({ "units": 1 })).await.expect_problem(409, "hold_closed");
        app.verify().await;
    }

    async fn a_release_gives_everything_back(app: &TestApp) {
        let customer = app.onboard().await;
        let id = hold(app, &customer, 5).await;
        assert_eq!(credits(app, &customer).await, [5, 5, 0]);
        let released = release(app, &customer, &id, "release").await.expect(200);
        assert_eq!(released["hold"], json!({ "id": id, "state": "released", "units": 5, "captured": 0 }));
        assert_eq!(credits(app, &customer).await, [5, 0, 5]);
        app.verify().await;
    }

    async fn a_repeated_request_gets_the_first_answer_and_changes_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "units": 2, "expires_in_s": 600 });
        let first = reserve(app, &customer, "hold", &body).await.expect(201);
        assert_replay_of(&first, &reserve(app, &customer, "hold", &body).await.expect(201));
        let id = first["hold"]["id"].as_str().unwrap();
        let spent = capture(app, &customer, id, "capture", &json!({ "units": 1 })).await.expect(200);
        assert_replay_of(&spent, &capture(app, &customer, id, "capture", &json!({ "units": 1 })).await.expect(200));
        // The same once the hold is closed and no credits are left.
        app.spend(&customer, 4, "rest").await.expect(200);
        assert_replay_of(&first, &reserve(app, &customer, "hold", &body).await.expect(201));
        assert_replay_of(&spent, &capture(app, &customer, id, "capture", &json!({ "units": 1 })).await.expect(200));

        app.adjust(&customer, 2).await.expect(200);
        let other = hold(app, &customer, 2).await;
        let released = release(app, &customer, &other, "release").await.expect(200);
        assert_replay_of(&released, &release(app, &customer, &other, "release").await.expect(200));
        assert_eq!(credits(app, &customer).await, [2, 0, 2]);
        assert_eq!(transactions(app, &customer).await.len(), 7);
        app.verify().await;
    }

    async fn a_reused_key_for_another_request_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        let (one, two) = (hold(app, &customer, 2).await, hold(app, &customer, 2).await);
        capture(app, &customer, &one, "key", &json!({ "units": 1 })).await.expect(200);
        let before = transactions(app, &customer).await;
        for answer in [
            capture(app, &customer, &one, "key", &json!({ "units": 2 })).await,
            capture(app, &customer, &one, "key", &json!({})).await,
            capture(app, &customer, &two, "key", &json!({ "units": 1 })).await,
            release(app, &customer, &one, "key").await,
            release(app, &customer, &two, "key").await,
            app.spend(&customer, 1, "key").await,
            reserve(app, &customer, "key", &json!({ "units": 1 })).await,
        ] {
            answer.expect_problem(422, "idempotency_key_reused");
        }
        assert_eq!(transactions(app, &customer).await, before);
        assert_eq!(credits(app, &customer).await, [4, 2, 2]);
    }

    async fn another_customers_hold_is_not_found_and_stays_open(app: &TestApp) {
        let (owner, stranger) = (app.onboard().await, app.onboard().await);
        let id = hold(app, &owner, 2).await;
        capture(app, &stranger, &id, "a", &json!({})).await.expect_problem(404, "hold_not_found");
        release(app, &stranger, &id, "b").await.expect_problem(404, "hold_not_found");
        for unknown in ["hld_00000000000000000000000000", "nonsense", &owner.id] {
            capture(app, &owner, unknown, "c", &json!({})).await.expect_problem(404, "hold_not_found");
            release(app, &owner, unknown, "d").await.expect_problem(404, "hold_not_found");
        }
        assert_eq!(credits(app, &owner).await, [5, 2, 3]);
        capture(app, &owner, &id, "e", &json!({})).await.expect(200);
        // The same for a closed hold, whose owner gets another answer.
        release(app, &stranger, &id, "f").await.expect_problem(404, "hold_not_found");
        assert_eq!(credits(app, &stranger).await, [5, 0, 5]);
    }

    async fn a_closed_hold_cannot_be_closed_again_and_the_answer_says_how_it_ended(app: &TestApp) {
        let customer = app.onboard().await;
        let (spent, given_back) = (hold(app, &customer, 1).await, hold(app, &customer, 1).await);
        capture(app, &customer, &spent, "a", &json!({})).await.expect(200);
        release(app, &customer, &given_back, "b").await.expect(200);
        for (id, how) in [(&spent, "captured"), (&given_back, "released")] {
            for answer in [
                capture(app, &customer, id, &unique(), &json!({})).await,
                release(app, &customer, id, &unique()).await,
            ] {
                answer.expect_problem(409, "hold_closed");
                assert_eq!(answer.body["detail"], format!("The hold was {how} already."));
            }
        }
        assert_eq!(credits(app, &customer).await, [4, 0, 4]);
    }

    async fn an_invalid_capture_is_refused_and_the_hold_stays_open(app: &TestApp) {
        let customer = app.onboard().await;
        let id = hold(app, &customer, 2).await;
        let answer = capture(app, &customer, &id, "a", &json!({ "units": 3 })).await;
        answer.expect_problem(422, "capture_exceeds_hold");
        for units in [0, -1, i64::MIN] {
            let answer = capture(app, &customer, &id, "b", &json!({ "units": units })).await;
            answer.expect_problem(400, "invalid_units");
        }
        for body in [json!({ "units": 1.5 }), json!({ "amount": 1 }), json!([])] {
            capture(app, &customer, &id, "c", &body).await.expect_problem(400, "invalid_body");
        }
        capture(app, &customer, &id, "", &json!({})).await.expect_problem(400, "missing_idempotency_key");
        release(app, &customer, &id, "").await.expect_problem(400, "missing_idempotency_key");
        assert_eq!(credits(app, &customer).await, [5, 2, 3]);
        capture(app, &customer, &id, "a", &json!({ "units": 2 })).await.expect(200);
    }

    async fn held_credits_can_be_neither_spent_nor_held_nor_taken(app: &TestApp) {
        let customer = app.onboard().await;
        let id = hold(app, &customer, 4).await;
        let spend = app.spend(&customer, 2, "a").await;
        spend.expect_problem(402, "insufficient_credits");
        assert_eq!(spend.body["available"], 1);
        let second = reserve(app, &customer, "b", &json!({ "units": 2 })).await;
        second.expect_problem(402, "insufficient_credits");
        assert_eq!(second.body["detail"], "Credits needed: 2, available: 1. Add billing to continue.");
        app.adjust(&customer, -2).await.expect_problem(402, "insufficient_credits");
        app.spend(&customer, 1, "c").await.expect(200);
        assert_eq!(credits(app, &customer).await, [4, 4, 0]);
        capture(app, &customer, &id, "d", &json!({})).await.expect(200);
        assert_eq!(credits(app, &customer).await, [0, 0, 0]);
        app.verify().await;
    }

    async fn a_hold_with_invalid_units_or_expiry_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        let cases = [
            (json!({ "units": 0 }), "invalid_units"),
            (json!({ "units": -1 }), "invalid_units"),
            (json!({ "units": i64::MAX }), "invalid_units"),
            (json!({ "units": 1, "expires_in_s": 0 }), "invalid_hold_time"),
            (json!({ "units": 1, "expires_in_s": -1 }), "invalid_hold_time"),
            (json!({ "units": 1, "expires_in_s": 7 * 24 * 3_600 + 1 }), "invalid_hold_time"),
            (json!({ "units": 1, "expires_in_s": i64::MAX }), "invalid_hold_time"),
            (json!({ "units": 1, "expires_in_s": 1.5 }), "invalid_body"),
            (json!({ "units": 1, "hold_id": "x" }), "invalid_body"),
            (json!({}), "invalid_body"),
            (json!({ "units": 1, "metadata": [] }), "invalid_metadata"),
            (json!({ "units": 1, "reference": "x".repeat(201) }), "invalid_reference"),
        ];
        for (body, code) in cases {
            let answer = reserve(app, &customer, &unique(), &body).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{body} was answered {}", answer.body);
        }
        assert_eq!(credits(app, &customer).await, [5, 0, 5]);
    }

    async fn an_expired_hold_is_released_automatically(app: &TestApp) {
        let customer = app.onboard().await;
        let made = reserve(app, &customer, "hold", &json!({ "units": 3, "expires_in_s": 1 })).await.expect(201);
        let id = made["hold"]["id"].as_str().unwrap();
        // Reads settle at once; the ledger entry is the sweep's.
        let last = wait::until("the hold is released", || async {
            let last = transactions(app, &customer).await.swap_remove(0);
            (last["kind"] != "hold").then_some(last)
        })
        .await;
        assert_eq!(credits(app, &customer).await, [5, 0, 5]);
        assert_eq!([&last["kind"], &last["reason"], &last["source"]], ["release", "expired", "system"]);
        let answer = capture(app, &customer, id, "late", &json!({})).await;
        answer.expect_problem(409, "hold_closed");
        assert_eq!(answer.body["detail"], "The hold was released because its time ran out already.");
        assert_eq!(credits(app, &customer).await, [5, 0, 5]);
        app.verify().await;
    }

    async fn a_concurrent_capture_and_release_have_exactly_one_winner(app: &TestApp) {
        let customer = app.onboard_with(15).await;
        for round in 0..10 {
            let id = hold(app, &customer, 2).await;
            let [before, _, _] = credits(app, &customer).await;
            let (whole, keys) = (json!({}), [unique(), unique()]);
            let (spent, given_back) =
                join(capture(app, &customer, &id, &keys[0], &whole), release(app, &customer, &id, &keys[1])).await;
            let (winner, loser) = if spent.status == 200 { (&spent, &given_back) } else { (&given_back, &spent) };
            assert_eq!(winner.status, 200, "in round {round}: {}", winner.body);
            loser.expect_problem(409, "hold_closed");
            let left = if spent.status == 200 { before - 2 } else { before };
            assert_eq!(credits(app, &customer).await, [left, 0, left]);
        }
        app.verify().await;
    }

    async fn concurrent_holds_never_exceed_the_balance(app: &TestApp) {
        let customer = app.onboard_with(15).await;
        let keys: Vec<String> = (0..30).map(|n| format!("key-{n}")).collect();
        let body = json!({ "units": 2 });
        let answers = join_all(keys.iter().map(|key| reserve(app, &customer, key, &body))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 10);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.expect_problem(402, "insufficient_credits");
        }
        assert_eq!(credits(app, &customer).await, [20, 20, 0]);
        app.verify().await;
    }
}
