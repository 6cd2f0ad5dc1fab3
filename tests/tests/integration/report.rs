//! Reports: the usage summary, the balance at a past time, the ledger as a file, and support's view of them.

use crate::scene::customer_id;
use crate::snapshot::assert_body;
use bursar_engine::amount::Credits;
use bursar_engine::domain::ledger::{Command, GrantKind, Op};
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, wait, with_app};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SUMMARY: &str = "/api/v1/usage/summary";
const CSV: &str = "/api/v1/credits/transactions.csv";

async fn get(app: &TestApp, customer: &TestCustomer, path: &str) -> Value {
    app.call(customer, "GET", path, "", None).await.expect(200)
}

async fn transactions(app: &TestApp, customer: &TestCustomer) -> Vec<Value> {
    let page = get(app, customer, "/api/v1/credits/transactions?limit=100").await;
    page["data"].as_array().unwrap().clone()
}

async fn file(app: &TestApp, path: &str, header: (&str, &str)) -> (String, String, String) {
    let request = app.client.get(format!("{}{path}", app.base)).header(header.0, header.1);
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200, "{path}");
    let field = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (content_type, disposition) = (field("content-type"), field("content-disposition"));
    (content_type, disposition, response.text().await.unwrap())
}

async fn lines(app: &TestApp, customer: &TestCustomer, path: &str) -> Vec<String> {
    let (_, _, text) = file(app, path, ("x-api-key", &customer.api_key)).await;
    text.split_terminator("\r\n").map(str::to_owned).collect()
}

with_app! {
    async fn the_summary_shows_grants_usage_and_what_comes_next(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 2, "one").await.expect(200);
        app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&json!({ "units": 2 }))).await.expect(201);
        let mut summary = get(app, &customer, SUMMARY).await;
        let days = summary["days"].take();
        let days = days.as_array().unwrap();
        let last = &days[days.len() - 1];
        assert_eq!((days.len(), &last["credits"]), (30, &json!(2)));
        assert!(days[..29].iter().all(|day| day["credits"] == 0));
        assert_body!(summary, @r#"
        {
          "available": 1,
          "balance": 3,
          "charged": [],
          "currency": "usd",
          "customer_id": "cst_…",
          "days": null,
          "flows": [
            {
              "credits": 5,
              "credits_in_period": 5,
              "grant_kind": "promotional",
              "kind": "grant",
              "source": "signup"
            }
          ],
          "has_payment_method": false,
          "held": 2,
          "next_price": null,
          "next_price_minor": null,
          "period": {
            "end": "[time]",
            "kind": "calendar_month",
            "start": "[time]",
            "totals": {
              "clawed_back": 0,
              "expired": 0,
              "granted": 5,
              "removed": 0,
              "spent": 2
            }
          },
          "plan": "trial",
          "subscription": null,
          "totals": {
            "clawed_back": 0,
            "expired": 0,
            "granted": 5,
            "removed": 0,
            "spent": 2
          },
          "warnings": [
            {
              "code": "low_credits",
              "message": "You have 1 fix credit left. Add billing to continue."
            }
          ]
        }
        "#);
    }

    async fn the_summarys_warning_is_that_of_other_answers(app: &TestApp) {
        let customer = app.onboard().await;
        assert_eq!(get(app, &customer, SUMMARY).await["warnings"], json!([]));
        for (units, code) in [(4, "low_credits"), (1, "no_credits")] {
            let spent = app.spend(&customer, units, &unique()).await.expect(200);
            let told = get(app, &customer, SUMMARY).await["warnings"].clone();
            assert_eq!(told, json!([{ "code": code, "message": spent["warning"] }]));
            assert_eq!(get(app, &customer, "/api/v1/credits").await["warning"], spent["warning"]);
        }
    }

    async fn the_balance_as_of_a_transaction_is_its_balance_after(app: &TestApp) {
        let customer = app.onboard().await;
        let at = async |time: &str| get(app, &customer, &format!("/api/v1/credits/balance?at={time}")).await;
        for n in 0..3 {
            app.spend(&customer, 1, &format!("key-{n}")).await.expect(200);
        }
        app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&json!({ "units": 1 }))).await.expect(201);
        let all = transactions(app, &customer).await;
        for row in &all {
            let time = row["created_at"].as_str().unwrap();
            let found = at(time).await;
            // Several may have the same millisecond: the last one counts.
            let last = all.iter().find(|other| other["created_at"] == row["created_at"]).unwrap();
            assert_eq!(found["transaction_id"], last["id"]);
            assert_eq!((&found["balance"], &found["held"]), (&last["balance_after"], &last["held_after"]));
        }
        assert_eq!(at("2020-01-01T00:00:00Z").await["balance"], 0);
        let now = get(app, &customer, "/api/v1/credits/balance").await;
        assert_body!(now, @r#"
        {
          "at": "[time]",
          "available": 1,
          "balance": 2,
          "held": 1,
          "transaction_id": "txn_…_5"
        }
        "#);
        for wrong in ["2999-01-01T00:00:00Z", "yesterday", "2026-12-01T00:00:00+01:00", ""] {
            let path = format!("/api/v1/credits/balance?at={wrong}");
            app.call(&customer, "GET", &path, "", None).await.expect_problem(400, "invalid_time");
        }
    }

    async fn the_ledger_as_a_file_has_every_transaction_once_oldest_first(app: &TestApp) {
        let customer = app.onboard_with(1_200).await;
        let keys: Vec<String> = (0..1_150).map(|n| format!("key-{n}")).collect();
        for some in keys.chunks(100) {
            for answer in join_all(some.iter().map(|key| app.spend(&customer, 1, key))).await {
                answer.expect(200);
            }
        }
        let rows = lines(app, &customer, CSV).await;
        assert_eq!(rows.len(), 1 + 2 + keys.len());
        for (n, row) in rows.iter().enumerate().skip(1) {
            assert!(row.split(',').next().unwrap().ends_with(&format!("_{n}")), "{n}: {row}");
        }
        assert!(rows[0].starts_with("id,created_at,kind,amount,"), "{}", rows[0]);
    }

    async fn a_range_of_the_ledger_includes_its_start_and_excludes_its_end(app: &TestApp) {
        let customer = app.onboard().await;
        for n in 0..4 {
            app.spend(&customer, 1, &format!("key-{n}")).await.expect(200);
        }
        let mut times: Vec<String> = Vec::new();
        for row in transactions(app, &customer).await.iter().rev() {
            times.push(row["created_at"].as_str().unwrap().to_owned());
        }
        let (from, to) = (&times[1], &times[4]);
        let expected = times.iter().filter(|time| *time >= from && *time < to).count();
        assert_eq!(lines(app, &customer, &format!("{CSV}?from={from}&to={to}")).await.len(), 1 + expected);
        assert_eq!(lines(app, &customer, &format!("{CSV}?from=2999-01-01T00:00:00Z")).await.len(), 1);
        assert_eq!(lines(app, &customer, &format!("{CSV}?to=2020-01-01T00:00:00Z")).await.len(), 1);
        for wrong in ["from=x", "to=2026-13-01T00:00:00Z", "from=2027-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"] {
            let refused = app.call(&customer, "GET", &format!("{CSV}?{wrong}"), "", None).await;
            refused.expect_problem(400, "invalid_time");
        }
    }

    async fn a_formula_in_a_reference_is_escaped_in_the_file(app: &TestApp) {
        let customer = app.onboard().await;
        let body = json!({ "units": 1, "reference": "=cmd(\"x\"),1", "metadata": { "a": "b,c" } });
        app.call(&customer, "POST", "/api/v1/usage", "key", Some(&body)).await.expect(200);
        let rows = lines(app, &customer, CSV).await;
        assert!(rows[2].contains(r#",usage,"'=cmd(""x""),1",,"#), "{}", rows[2]);
        assert!(rows[2].contains(r#","{""a"":""b,c""}","#), "{}", rows[2]);
        assert!(rows[2].contains(",debit,-1,0,4,0,"), "{}", rows[2]);
    }

    async fn support_sees_what_the_customer_sees_and_nobody_sees_another_customers(app: &TestApp) {
        let (customer, other) = (app.onboard().await, app.onboard().await);
        app.spend(&customer, 3, "key").await.expect(200);
        let base = format!("/admin/v1/customers/{}", customer.id);
        let summary = app.admin("GET", &format!("{base}/usage-summary"), None).await.expect(200);
        assert_eq!(summary, get(app, &customer, SUMMARY).await);
        let balance = app.admin("GET", &format!("{base}/balance"), None).await.expect(200);
        assert_eq!(balance["balance"], 2);
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let of_support = file(app, &format!("{base}/transactions.csv"), ("Authorization", &bearer)).await;
        assert_eq!(of_support, file(app, CSV, ("x-api-key", &customer.api_key)).await);
        assert_eq!(of_support.0, "text/csv; charset=utf-8");
        assert_eq!(of_support.1, format!("attachment; filename=\"transactions_{}.csv\"", customer.id));
        assert_eq!(get(app, &other, SUMMARY).await["totals"]["spent"], 0);
        assert_eq!(lines(app, &other, CSV).await.len(), 2);
        for path in ["usage-summary", "balance", "transactions.csv"] {
            let unknown = format!("/admin/v1/customers/cst_00000000000000000000000000/{path}");
            app.admin("GET", &unknown, None).await.expect_problem(404, "not_found");
        }
    }

    async fn expiring_credits_are_announced_and_expire_by_themselves(app: &TestApp) {
        let customer = app.onboard().await;
        let ends_ms = app.app.clock.now_ms() + 1_000;
        let grant = Op::Grant { kind: GrantKind::Promotional, amount: Credits(7), expires_at_ms: Some(ends_ms) };
        let command = Command::internal(grant, "support", unique());
        app.app.runtime.customers.apply(&customer_id(&customer), command).await.unwrap();
        let told = get(app, &customer, SUMMARY).await["warnings"].clone();
        assert_eq!(told[0]["code"], "credits_expiring");
        let ended = wait::until("the credits have ended", || async {
            let latest = transactions(app, &customer).await.remove(0);
            (latest["kind"] == "expire").then_some(latest)
        })
        .await;
        assert_eq!((&ended["amount"], &ended["balance_after"]), (&json!(-7), &json!(5)));
        let totals = get(app, &customer, SUMMARY).await["totals"].clone();
        assert_eq!((&totals["granted"], &totals["expired"]), (&json!(12), &json!(7)));
        app.verify().await;
    }
}
