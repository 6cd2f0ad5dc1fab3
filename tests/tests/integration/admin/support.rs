//! What support sees of a customer over time, expiring credits, and idempotent requests of support.

use super::list::paged;
use super::*;
use bursar_tests::wait;

/// An application whose jobs never run, so that only decisions and reads settle an account.
async fn without_jobs_on_time() -> TestApp {
    TestApp::start_with(Backend::Embedded, |config| config.jobs.sweep_interval_ms = 3_600_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shown_credits_exclude_expired_holds_before_they_are_released() {
    let app = without_jobs_on_time().await;
    let customer = app.onboard().await;
    let hold = json!({ "units": 2, "expires_in_s": 1 });
    let held = app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&hold)).await.expect(201);
    assert_eq!(held["available"], 3);
    let credits = wait::until("the hold is over", || async {
        let credits = app.call(&customer, "GET", "/api/v1/credits", "", None).await.expect(200);
        (credits["available"] == 5).then_some(credits)
    })
    .await;
    assert_eq!((&credits["held"], &credits["holds"]), (&json!(0), &json!([])));
    let lines = app.call(&customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
    assert_eq!(lines["data"][0]["kind"], "hold", "reading writes nothing");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credits_disappear_from_every_view() {
    let app = without_jobs_on_time().await;
    let customer = app.onboard().await;
    let end = bursar_engine::clock::rfc3339(app.app.clock.now_ms() + 1_000);
    let body = json!({ "amount": 3, "reason": "a trial of more", "expires_at": end });
    let given = adjust(&app, &customer.id, "while", &body).await.expect(200);
    assert_eq!(given["transaction"]["expires_at"], end.as_str());
    wait::until("the credits have expired", || async { (app.balance(&customer).await == 5).then_some(()) }).await;
    let me = app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200);
    let seen = app.admin("GET", &format!("/admin/v1/customers/{}", customer.id), None).await.expect(200);
    assert_eq!((&me["credit_balance"], &seen["credits"]["available"]), (&json!(5), &json!(5)));
    // The repeated request gets the first answer, although the expiry is in the past by now.
    let again = adjust(&app, &customer.id, "while", &body).await.expect(200);
    assert_eq!((&again["replayed"], &again["transaction"]), (&json!(true), &given["transaction"]));
    app.stop().await;
}

with_app! {
    async fn granted_credits_must_expire_in_the_future(app: &TestApp) {
        let customer = app.onboard().await;
        for (amount, expires_at) in [(1, "tomorrow"), (1, "2020-01-01T00:00:00Z"), (-1, "2099-01-01T00:00:00Z")] {
            let body = json!({ "amount": amount, "reason": "test", "expires_at": expires_at });
            adjust(app, &customer.id, &unique(), &body).await.expect_problem(400, "invalid_expiry");
        }
        assert_eq!(app.balance(&customer).await, 5);
    }

    async fn a_timeline_is_paged_and_includes_mails_and_jobs(app: &TestApp) {
        let customer = app.onboard().await;
        for number in 0..4 {
            app.spend(&customer, 1, &format!("key-{number}")).await.expect(200);
        }
        app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&json!({ "units": 1 }))).await.expect(201);
        let path = format!("/admin/v1/customers/{}/timeline", customer.id);
        let whole = wait::until("the low credit mail is made", || async {
            let rows = data(app, &path).await;
            rows.iter().any(|row| row["what"] == "mail.low_credit").then_some(rows)
        })
        .await;
        let seen = |what: &str| whole.iter().filter(|row| row["what"] == what).count();
        assert_eq!([seen("ledger.grant"), seen("ledger.debit"), seen("ledger.hold")], [1, 4, 1]);
        assert_eq!([seen("mail.welcome"), seen("mail.followup_day_3"), seen("job.account.settle")], [1, 1, 0]);
        let balances: Vec<_> = whole.iter().filter(|row| row["what"] == "ledger.debit").collect();
        let balances: Vec<_> = balances.iter().map(|row| row["details"]["balance_after"].as_i64().unwrap()).collect();
        assert_eq!(balances, [1, 2, 3, 4], "entries of the same time are in order");
        for limit in [1, 3] {
            let order = |rows: &[Value]| -> Vec<(Value, Value)> {
                rows.iter().map(|row| (row["at"].clone(), row["what"].clone())).collect()
            };
            assert_eq!(order(&paged(app, &path, limit).await), order(&whole));
        }
        for cursor in ["!", "djE6MQ"] {
            let answer = app.admin("GET", &format!("{path}?cursor={cursor}"), None).await;
            answer.expect_problem(400, "invalid_cursor");
        }
    }

    async fn a_replay_requested_twice_under_one_key_is_created_once(app: &TestApp) {
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let create = async |key: &str, body: &Value| {
            let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
            app.request("POST", "/admin/v1/replays", &headers, Some(body)).await
        };
        let body = json!({ "filter": { "kind": "stripe.event" }, "dry_run": true, "reason": "test" });
        let made = create("once", &body).await.expect(201);
        assert_eq!(create("once", &body).await.expect(201), made);
        let other = json!({ "filter": { "kind": "mail.send" }, "dry_run": true, "reason": "test" });
        create("once", &other).await.expect_problem(422, "idempotency_key_reused");
        create("other", &body).await.expect(201);
        assert_eq!(data(app, "/admin/v1/replays").await.len(), 2);
        assert_eq!(audit_lines(app, "replay.create").await, 2);
    }

    async fn the_reason_of_a_replay_has_up_to_500_characters(app: &TestApp) {
        let body = |length| json!({ "filter": {}, "dry_run": true, "reason": "é".repeat(length) });
        app.admin("POST", "/admin/v1/replays", Some(&body(500))).await.expect(201);
        app.admin("POST", "/admin/v1/replays", Some(&body(501))).await.expect_problem(400, "invalid_reason");
    }

    async fn the_audit_log_is_listed_latest_first_by_target_and_in_pages(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = format!("cus_{}", unique());
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, Some(&customer.id)));
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "processed").await;
        let stream = format!("stripe:{stripe_customer}");
        let path = format!("/admin/v1/streams/{stream}");
        app.admin("POST", &format!("{path}/pause"), Some(&json!({ "reason": "ticket 4711" }))).await.expect(200);
        app.admin("POST", &format!("{path}/resume"), None).await.expect(200);
        let filter = json!({ "filter": { "kind": "stripe.event" }, "dry_run": true, "reason": "test" });
        let replay = app.admin("POST", "/admin/v1/replays", Some(&filter)).await.expect(201);

        let lines = data(app, "/admin/v1/audit").await;
        let acts: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        assert_eq!(acts[..3], ["replay.create", "stream.resume", "stream.pause"], "{lines:#?}");
        assert!(acts[3..].contains(&"customer.onboard"), "{acts:?}");
        assert_eq!(paged(app, "/admin/v1/audit", 2).await, lines);
        let of_stream = data(app, &format!("/admin/v1/audit?target={stream}")).await;
        assert_eq!(of_stream, lines[1..3]);
        assert_eq!((&of_stream[1]["actor"], &of_stream[1]["target"]), (&json!("admin:bootstrap"), &json!(stream)));
        assert_eq!(of_stream[1]["details"], json!({ "reason": "ticket 4711" }));
        let id = replay["replay"]["id"].as_str().unwrap();
        assert_eq!(data(app, &format!("/admin/v1/audit?target={id}")).await, lines[..1]);
        assert_eq!(data(app, "/admin/v1/audit?target=nobody").await, Vec::<Value>::new());
        app.admin("GET", "/admin/v1/audit?cursor=!", None).await.expect_problem(400, "invalid_cursor");
    }

    async fn a_named_job_is_skipped_once(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = format!("cus_{}", unique());
        let payment = || stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, Some(&customer.id)));
        let first = payment();
        app.deliver(&first).await.expect(200);
        app.event_in_state(stripe::id(&first), "processed").await;
        let stream = format!("/admin/v1/streams/stripe:{stripe_customer}");
        app.admin("POST", &format!("{stream}/pause"), Some(&json!({ "reason": "test" }))).await.expect(200);
        for _ in 0..2 {
            app.deliver(&payment()).await.expect(200);
        }
        let head = app.admin("GET", &stream, None).await.expect(200)["head"]["id"].clone();
        let skip = async || {
            let body = json!({ "reason": "test", "job_id": head });
            app.admin("POST", &format!("{stream}/skip"), Some(&body)).await
        };
        let left = skip().await.expect(200);
        assert!(left["head"]["id"].is_string() && left["head"]["id"] != head, "{left}");
        skip().await.expect_problem(409, "stream_moved");
        assert_eq!(audit_lines(app, "stream.skip").await, 1);
    }
}
