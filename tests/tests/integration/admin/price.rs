//! Prices at Stripe: what is shown of them, and decisions of staff.

use super::list::paged;
use super::*;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::sale::{DecidedBy, Decision, KnownPrice};
use bursar_engine::infra::store::price::price_put_many;
use std::collections::BTreeMap;

/// Stores a price that waits for a person.
async fn undecided(app: &TestApp, id: &str) {
    let price = KnownPrice {
        id: id.to_owned(),
        product_id: Some("prod_1".to_owned()),
        lookup_key: None,
        metadata: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
        amount: Some(MoneyMinor(49_900)),
        currency: Some("usd".to_owned()),
        every: Some("month".to_owned()),
        decision: Decision::Undecided,
        decided_by: DecidedBy::Product,
        reason: Some("its product is one that we sell".to_owned()),
        terms: None,
        first_seen_ms: 1_767_225_600_000,
        decided_at_ms: 1_767_225_600_000,
    };
    price_put_many(app.app.db.write(), &[price]).await.unwrap();
}

async fn decide(app: &TestApp, id: &str, body: &Value) -> Answer {
    app.admin("POST", &format!("/admin/v1/prices/{id}/decision"), Some(body)).await
}

with_app! {
    async fn a_price_that_waits_is_found_and_decided_on_once_with_a_line_in_the_audit_log(app: &TestApp) {
        undecided(app, "price_1").await;
        let shown = app.admin("GET", "/admin/v1/prices/price_1", None).await.expect(200);
        assert_body!(shown, @r#"
        {
          "price": {
            "amount_minor": 49900,
            "currency": "usd",
            "decided_at": "[time]",
            "decided_by": "product",
            "decision": "undecided",
            "every": "month",
            "first_seen_at": "[time]",
            "id": "price_1",
            "lookup_key": null,
            "metadata": {
              "team": "blue"
            },
            "price": null,
            "product_id": "prod_1",
            "reason": "its product is one that we sell"
          }
        }
        "#);
        assert_eq!(data(app, "/admin/v1/prices?decision=undecided").await, [shown["price"].clone()]);

        let ours = json!({ "decision": "ours", "price": "pro_monthly", "reason": "the price of 2024" });
        let decided = decide(app, "price_1", &ours).await.expect(200);
        let decided = &decided["price"];
        assert_eq!([&decided["decision"], &decided["price"]], ["ours", "pro_monthly"]);
        assert_eq!([&decided["decided_by"], &decided["reason"]], ["operator", "the price of 2024"]);
        assert_eq!((&decided["amount_minor"], &decided["product_id"]), (&json!(49_900), &json!("prod_1")));
        assert_eq!(data(app, "/admin/v1/prices?decision=undecided").await, Vec::<Value>::new());
        let lines = data(app, "/admin/v1/audit?target=price_1").await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert_eq!([&lines[0]["action"], &lines[0]["actor"]], ["price.decide", "admin:bootstrap"]);
        assert_eq!(
            lines[0]["details"],
            json!({
                "from": { "decision": "undecided", "price": null },
                "to": { "decision": "ours", "price": "pro_monthly" },
                "reason": "the price of 2024",
            })
        );
    }

    async fn a_price_that_was_never_seen_is_decided_on_and_the_decision_is_taken_back(app: &TestApp) {
        let decision = |name: &str| json!({ "decision": name, "reason": "ticket 4711" });
        decide(app, "price_new", &decision("undecided")).await.expect_problem(404, "not_found");
        let made = decide(app, "price_new", &decision("not_ours")).await.expect(200);
        assert_eq!([&made["price"]["decision"], &made["price"]["decided_by"]], ["not_ours", "operator"]);
        let found = app.admin("GET", "/admin/v1/prices/price_new", None).await.expect(200);
        assert_eq!(found, made);
        let back = decide(app, "price_new", &decision("undecided")).await.expect(200);
        assert_eq!([&back["price"]["decision"], &back["price"]["decided_by"]], ["undecided", "nothing"]);
        assert_eq!(audit_lines(app, "price.decide").await, 2);
    }

    async fn a_decision_that_makes_no_sense_is_refused_and_changes_nothing(app: &TestApp) {
        undecided(app, "price_1").await;
        let before = app.admin("GET", "/admin/v1/prices/price_1", None).await.expect(200);
        let refused: [(Value, u16, &str); 7] = [
            (json!({ "decision": "ours", "reason": "x" }), 400, "invalid_decision"),
            (json!({ "decision": "ours", "price": "Pro!", "reason": "x" }), 400, "invalid_decision"),
            (json!({ "decision": "not_ours", "price": "pro_monthly", "reason": "x" }), 400, "invalid_decision"),
            (json!({ "decision": "undecided", "price": "pro_monthly", "reason": "x" }), 400, "invalid_decision"),
            (json!({ "decision": "ours", "price": "gone", "reason": "x" }), 422, "catalogue_price_unknown"),
            (json!({ "decision": "not_ours", "reason": " " }), 400, "invalid_reason"),
            (json!({ "decision": "maybe", "reason": "x" }), 400, "invalid_body"),
        ];
        for (body, status, code) in refused {
            decide(app, "price_1", &body).await.expect_problem(status, code);
        }
        for id in ["price_2", "%01"] {
            app.admin("GET", &format!("/admin/v1/prices/{id}"), None).await.expect_problem(404, "not_found");
        }
        app.admin("GET", "/admin/v1/prices?decision=maybe", None).await.expect_problem(400, "invalid_parameter");
        assert_eq!(app.admin("GET", "/admin/v1/prices/price_1", None).await.expect(200), before);
        assert_eq!(audit_lines(app, "price.decide").await, 0);
    }

    async fn prices_are_listed_by_id_in_pages_and_by_decision(app: &TestApp) {
        for id in ["price_3", "price_1", "price_2"] {
            undecided(app, id).await;
        }
        decide(app, "price_2", &json!({ "decision": "not_ours", "reason": "x" })).await.expect(200);
        let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let all = data(app, "/admin/v1/prices").await;
        assert_eq!(ids(&all), ["price_1", "price_2", "price_3"]);
        assert_eq!(paged(app, "/admin/v1/prices", 2).await, all);
        assert_eq!(ids(&data(app, "/admin/v1/prices?decision=undecided").await), ["price_1", "price_3"]);
        assert_eq!(ids(&data(app, "/admin/v1/prices?decision=not_ours").await), ["price_2"]);
        assert_eq!(data(app, "/admin/v1/prices?decision=ours").await, Vec::<Value>::new());
        let wrong = app.admin("GET", "/admin/v1/prices?limit=0", None).await;
        wrong.expect_problem(400, "invalid_limit");
    }
}
