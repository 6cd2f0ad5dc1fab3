//! Support: authorization, what it sees of a customer, adjustments of credits, and the audit log.

mod audit_log;
mod customer_email;
mod failure;
mod list;
mod price;
mod support;
mod token;

use crate::database::{number, refusal};
use crate::snapshot::assert_body;
use bursar_tests::answer::Answer;
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, with_app};
use serde_json::{Value, json};

async fn data(app: &TestApp, path: &str) -> Vec<Value> {
    app.admin("GET", path, None).await.expect(200)["data"].as_array().unwrap().clone()
}

async fn adjust(app: &TestApp, customer: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {ADMIN_TOKEN}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    if !key.is_empty() {
        headers.push(("Idempotency-Key", key));
    }
    app.request("POST", &format!("/admin/v1/customers/{customer}/adjustments"), &headers, Some(body)).await
}

async fn audit_lines(app: &TestApp, action: &str) -> i64 {
    number(app, "SELECT COUNT(*) FROM audit_log WHERE action = $1", [action.into()]).await
}

with_app! {
    async fn no_admin_route_answers_without_the_right_token(app: &TestApp) {
        let customer = app.onboard().await;
        let document: Value = serde_json::from_str(&bursar::routes::openapi_document()).unwrap();
        let wrong = ["", "Bearer", "Bearer ", "Bearer x", &format!("Bearer {}", customer.api_key), ADMIN_TOKEN];
        let longer = format!("Bearer {ADMIN_TOKEN}0");
        let shorter = format!("Bearer {}", &ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1]);
        let mut operations = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            if !path.starts_with("/admin/") {
                continue;
            }
            let path = path.replace("{id}", &customer.id).replace("{key}", "job:x");
            for method in methods.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
                operations += 1;
                let body = (method != "GET").then(|| json!({ "reason": "x", "amount": 5 }));
                let none = app.request(&method, &path, &[("x-api-key", &customer.api_key)], body.as_ref()).await;
                assert_eq!((none.status, none.code()), (401, "missing_credentials"), "{method} {path}: {}", none.body);
                let detail = none.body["detail"].as_str().unwrap();
                assert!(detail.ends_with("in the header Authorization: Bearer."), "{method} {path}: {detail}");
                for header in wrong.iter().copied().chain([longer.as_str(), shorter.as_str()]) {
                    let headers = [("Authorization", header), ("Idempotency-Key", "key")];
                    let answer = app.request(&method, &path, &headers, body.as_ref()).await;
                    let is_refused = matches!(answer.code(), "missing_credentials" | "invalid_token");
                    assert!(answer.status == 401 && is_refused, "{method} {path} with {header}: {}", answer.body);
                }
            }
        }
        assert!(operations >= 20, "{operations}");
        assert_eq!(app.balance(&customer).await, 5);
    }

    async fn support_sees_everything_about_a_customer(app: &TestApp) {
        let customer = app.onboard().await;
        let hold = app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&json!({ "units": 2 }))).await;
        hold.expect(201);
        let stripe_customer = format!("cus_{}", unique());
        let object = stripe::pro_subscription(&stripe_customer, Some(&customer.id), "active");
        let event = stripe::event("customer.subscription.created", &object);
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "processed").await;
        let shown = app.admin("GET", &format!("/admin/v1/customers/{}", customer.id), None).await.expect(200);
        assert_body!(shown, @r#"
        {
          "credit_limit": 0,
          "credits": {
            "available": 3,
            "balance": 5,
            "currency": "usd",
            "grants": [
              {
                "expires_at": null,
                "kind": "promotional",
                "remaining": 5,
                "transaction_id": "txn_…_1"
              }
            ],
            "held": 2,
            "holds": [
              {
                "amount": 2,
                "expires_at": "[time]",
                "id": "hld_…"
              }
            ],
            "next_price_minor": null
          },
          "credits_from": null,
          "customer": {
            "created_at": "[time]",
            "credit_balance": 5,
            "email": "…@example.com",
            "email_confirmed": true,
            "has_payment_method": false,
            "id": "cst_…",
            "name": "Test",
            "plan": "pro",
            "source": "direct",
            "stripe_customer_id": "cus_…"
          },
          "email_confirmation": "assumed",
          "email_confirmed_at": null,
          "payments": [],
          "subscriptions": [
            {
              "cancel_at_period_end": false,
              "current_period_end": "[time]",
              "ended_at": null,
              "id": "sub_of_cus_…",
              "past_due_reason": null,
              "past_due_since": null,
              "paused_collection": null,
              "pending_change": null,
              "plan": "pro",
              "price": "pro_monthly",
              "quantity": 1,
              "status": "active",
              "unpaid_invoice": null
            }
          ],
          "suspended": false
        }
        "#);
        for path in ["cst_00000000000000000000000000", "nonsense"] {
            app.admin("GET", &format!("/admin/v1/customers/{path}"), None).await.expect_problem(404, "not_found");
        }
    }

    async fn a_timeline_lists_ledger_entries_events_and_staff_actions_latest_first(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 1, "key").await.expect(200);
        let stripe_customer = format!("cus_{}", unique());
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, Some(&customer.id)));
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "processed").await;
        app.adjust(&customer, 3).await.expect(200);
        let rows = data(app, &format!("/admin/v1/customers/{}/timeline", customer.id)).await;
        let mut what: Vec<&str> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
        what.retain(|what| !what.starts_with("mail.") && !what.starts_with("job."));
        what.sort_unstable();
        assert_eq!(what, [
            "audit.api_key.create", "audit.customer.adjust", "audit.customer.onboard", "event.invoice.paid",
            "invoice.paid", "ledger.debit", "ledger.grant", "ledger.grant", "ledger.grant",
        ]);
        let times: Vec<&str> = rows.iter().map(|row| row["at"].as_str().unwrap()).collect();
        assert!(times.is_sorted_by(|later, earlier| later >= earlier), "{times:?}");
        let adjusted = rows.iter().find(|row| row["what"] == "audit.customer.adjust").unwrap();
        let details = json!({ "amount": 3, "reason": "test" });
        assert_eq!(adjusted["details"], json!({ "actor": "admin:bootstrap", "details": details }));
        app.admin("GET", "/admin/v1/customers/nonsense/timeline", None).await.expect_problem(404, "not_found");
    }

    async fn support_sees_the_transactions_that_the_customer_sees(app: &TestApp) {
        let customer = app.onboard_with(3).await;
        app.spend(&customer, 2, "key").await.expect(200);
        let own = app.call(&customer, "GET", "/api/v1/credits/transactions?limit=2", "", None).await.expect(200);
        let path = format!("/admin/v1/customers/{}/transactions", customer.id);
        let seen = app.admin("GET", &format!("{path}?limit=2"), None).await.expect(200);
        assert_eq!(seen, own);
        let cursor = own["next_cursor"].as_str().unwrap();
        assert_eq!(data(app, &format!("{path}?cursor={cursor}")).await.len(), 1);
    }

    async fn credits_are_given_and_taken_with_a_reason(app: &TestApp) {
        let customer = app.onboard().await;
        let given = adjust(app, &customer.id, "a", &json!({ "amount": 3, "reason": " goodwill, ticket 4711 " })).await;
        assert_body!(given.expect(200), @r#"
        {
          "credit_balance": 8,
          "replayed": false,
          "transaction": {
            "amount": 3,
            "balance_after": 8,
            "burned": [],
            "created_at": "[time]",
            "grant_kind": "adjustment",
            "held_after": 0,
            "held_change": 0,
            "id": "txn_…_2",
            "kind": "grant",
            "reason": "goodwill, ticket 4711",
            "reference": null,
            "source": "support"
          }
        }
        "#);
        let taken = adjust(app, &customer.id, "b", &json!({ "amount": -8, "reason": "mistake" })).await.expect(200);
        assert_eq!((&taken["transaction"]["kind"], &taken["transaction"]["amount"]), (&json!("adjust"), &json!(-8)));
        assert_eq!(taken["credit_balance"], 0);
        let below = adjust(app, &customer.id, "c", &json!({ "amount": -1, "reason": "too much" })).await;
        below.expect_problem(402, "insufficient_credits");
        let detail = "Credits needed: 1, available: 0. An adjustment takes at most the available credits.";
        assert_eq!(below.body["detail"], detail);
        assert_eq!(app.balance(&customer).await, 0);
        assert_eq!(audit_lines(app, "customer.adjust").await, 2, "what was refused was not done");
        app.verify().await;
    }

    async fn a_repeated_adjustment_is_applied_once_and_a_reused_key_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "amount": 3, "reason": "goodwill" });
        let first = adjust(app, &customer.id, "key", &body).await.expect(200);
        let again = adjust(app, &customer.id, "key", &body).await.expect(200);
        assert_eq!((&again["transaction"], &again["replayed"]), (&first["transaction"], &json!(true)));
        for other in [json!({ "amount": 4, "reason": "goodwill" }), json!({ "amount": 3, "reason": "another" })] {
            adjust(app, &customer.id, "key", &other).await.expect_problem(422, "idempotency_key_reused");
        }
        // The customer's own idempotency keys are separate.
        app.spend(&customer, 1, "key").await.expect(200);
        app.spend(&customer, 1, "admin:key").await.expect(200);
        assert_eq!(app.balance(&customer).await, 6);
        assert_eq!(audit_lines(app, "customer.adjust").await, 1);
    }

    async fn an_adjustment_without_amount_reason_or_customer_is_refused(app: &TestApp) {
        let customer = app.onboard().await;
        let cases = [
            (json!({ "amount": 0, "reason": "x" }), "invalid_units"),
            (json!({ "amount": 1_000_001, "reason": "x" }), "invalid_units"),
            (json!({ "amount": -1_000_001, "reason": "x" }), "invalid_units"),
            (json!({ "amount": i64::MIN, "reason": "x" }), "invalid_units"),
            (json!({ "amount": 1.5, "reason": "x" }), "invalid_body"),
            (json!({ "amount": 1 }), "invalid_body"),
            (json!({ "amount": 1, "reason": "x", "kind": "purchased" }), "invalid_body"),
            (json!({ "amount": 1, "reason": " " }), "invalid_reason"),
            (json!({ "amount": 1, "reason": "a\u{0}" }), "invalid_body"),
            (json!({ "amount": 1, "reason": "é".repeat(501) }), "invalid_reason"),
        ];
        for (body, code) in cases {
            let answer = adjust(app, &customer.id, &unique(), &body).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{body} was answered {}", answer.body);
            if code == "invalid_units" {
                let detail = "amount must be a whole number from -1000000 to 1000000, and not 0.";
                assert_eq!(answer.body["detail"], detail, "{body}");
            }
        }
        let body = json!({ "amount": 1, "reason": "x" });
        adjust(app, &customer.id, "", &body).await.expect_problem(400, "missing_idempotency_key");
        for nobody in ["cst_00000000000000000000000000", "nonsense"] {
            adjust(app, nobody, "key", &body).await.expect_problem(404, "not_found");
        }
        assert_eq!(app.balance(&customer).await, 5);
        assert_eq!(audit_lines(app, "customer.adjust").await, 0);
        let longest = json!({ "amount": 1, "reason": "é".repeat(500) });
        adjust(app, &customer.id, "longest", &longest).await.expect(200);
    }

    async fn the_database_itself_refuses_to_change_the_ledger_or_the_audit_log(app: &TestApp) {
        let customer = app.onboard_with(1).await;
        for (table, column) in [("ledger_entries", "source"), ("audit_log", "actor")] {
            let mut statements = vec![
                format!("UPDATE {table} SET {column} = 'somebody else'"),
                format!("DELETE FROM {table}"),
                format!("DELETE FROM {table} WHERE {column} <> 'nobody'"),
            ];
            if app.app.db.is_postgres() {
                statements.push(format!("TRUNCATE {table}"));
            }
            for sql in statements {
                let why = refusal(app, &sql).await;
                assert!(why.contains("append-only"), "{sql}: {why}");
            }
            assert!(number(app, &format!("SELECT COUNT(*) FROM {table}"), []).await >= 2);
        }
        assert_eq!(app.balance(&customer).await, 6);
        app.verify().await;
    }
}

// SQLite only: Postgres has no REPLACE. SQLite deletes the replaced row without running a DELETE trigger, unless
// `recursive_triggers` is on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_refuses_to_replace_a_row_of_the_ledger_or_the_audit_log() {
    let app = TestApp::start(Backend::Embedded).await;
    let _: TestCustomer = app.onboard_with(1).await;
    for table in ["ledger_entries", "audit_log"] {
        let why = refusal(&app, &format!("REPLACE INTO {table} SELECT * FROM {table}")).await;
        assert!(why.contains("append-only"), "{why}");
    }
    app.stop().await;
}
