//! Runs of reconciliations: idempotent, one at a time, resumed after a stop.

use super::*;
use crate::cli::Program;
use crate::database::texts;
use crate::scene::{delay_job, resume_job, resume_job_without, sql};
use bursar_engine::infra::store::audit::audit_page;
use bursar_tests::fake_stripe::Fault;
use futures_util::future::join_all;
use poem::http::Method;
use std::collections::BTreeSet;

/// Lost answers in a row: too few to open the circuit breaker, and each delays a run by the timeout of a try.
const LOST: usize = 4;

/// Stops runs at the charges until the fake is healed.
fn break_charges(stripe: &FakeStripe) {
    for _ in 0..LOST {
        stripe.fail_next(Method::GET, "/v1/charges", Fault::LoseAnswer);
    }
}

/// Rate limits calls to a path until the fake is healed.
fn keep_busy(stripe: &FakeStripe, path: &str) {
    for _ in 0..10_000 {
        stripe.fail_next(Method::GET, path, Fault::Refuse(429));
    }
}

async fn post(app: &TestApp, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
    app.request("POST", RUNS, &[("Authorization", &bearer), ("Idempotency-Key", key)], Some(body)).await
}

with_backend! {
    async fn an_interrupted_run_resumes_and_repairs_once(backend: Backend) {
        let shop = Shop::open(backend).await;
        let (customer, _) = shop.renewed().await;
        let Shop { app, stripe } = shop;
        break_charges(&stripe);
        let begun = post(&app, "run", &json!({})).await.expect(202);
        let id = begun["reconciliation"]["id"].as_str().expect("an id").to_owned();
        wait::until("the run is at the charges", || async {
            let run = app.admin("GET", &format!("{RUNS}/{id}"), None).await.expect(200)["reconciliation"].clone();
            (run["phase"] == "payments" && stripe.calls("GET /v1/charges") > 0).then_some(())
        })
        .await;
        let looked_at_events = stripe.calls("GET /v1/events");
        let (config, folder) = app.halt().await;
        stripe.heal();
        let app = TestApp::start_on(config, folder).await;
        let run = ended(&app, &id).await;
        assert_eq!(found(&run), [("invoice_not_granted", 1, 1)]);
        assert_eq!(stripe.calls("GET /v1/events"), looked_at_events);
        let shop = Shop { app, stripe };
        shop.balance_becomes(&customer, 120).await;
        shop.close().await;
    }
}

with_shop! {
    async fn concurrent_identical_requests_get_the_same_run(shop: &Shop) {
        let body = json!({});
        let answers = join_all((0..6).map(|_| post(&shop.app, "one", &body))).await;
        let ids: BTreeSet<String> =
            answers.into_iter().map(|answer| answer.expect(202)["reconciliation"]["id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ended(&shop.app, ids.first().expect("a run").trim_matches('"')).await;
    }

    async fn a_run_is_shown_as_text_without_json(shop: &Shop) {
        let program = Program::of(&shop.app.config, &shop.app.base);
        let run = program.json(&["stripe", "reconcile"]).await;
        let id = run["reconciliation"]["id"].as_str().expect("an id");
        let shown = program.well(&["stripe", "reconciliations", "show", id]).await;
        assert!(shown.contains("event_missing") && !shown.contains('{'), "{shown}");
    }

    async fn only_one_run_at_a_time_and_a_repeated_request_starts_none(shop: &Shop) {
        break_charges(&shop.stripe);
        let begun = post(&shop.app, "one", &json!({ "repair": false })).await.expect(202);
        post(&shop.app, "two", &json!({})).await.expect_problem(409, "reconciliation_running");
        let again = post(&shop.app, "one", &json!({ "repair": false })).await.expect(202);
        assert_eq!(again["reconciliation"]["id"], begun["reconciliation"]["id"]);
        post(&shop.app, "one", &json!({ "repair": true })).await.expect_problem(422, "idempotency_key_reused");
        shop.stripe.heal();
        let id = begun["reconciliation"]["id"].as_str().expect("an id");
        ended(&shop.app, id).await;
        shop.reconcile_finds(&[]).await;
        let list = shop.app.admin("GET", &format!("{RUNS}?limit=1"), None).await.expect(200);
        let next = list["next_cursor"].as_str().expect("there is another one");
        let list = shop.app.admin("GET", &format!("{RUNS}?cursor={next}"), None).await.expect(200);
        assert_eq!(list["data"][0]["id"], id);
        for (from, runs) in [("2020-01-01T00:00:00Z", 2), ("2999-01-01T00:00:00Z", 0)] {
            let list = shop.app.admin("GET", &format!("{RUNS}?from={from}"), None).await.expect(200);
            assert_eq!(list["data"].as_array().map(Vec::len), Some(runs), "{from}");
        }
        let lines = audit_page(shop.app.app.db.read(), Some(id), None, 10).await.expect("the audit log");
        let said: Vec<_> = lines.iter().map(|line| (line.actor.as_str(), line.action.as_str())).collect();
        assert_eq!(said, [("admin:bootstrap", "stripe.reconcile")]);
    }

    async fn a_run_whose_job_was_cancelled_makes_room_for_the_next(shop: &Shop) {
        break_charges(&shop.stripe);
        let begun = post(&shop.app, "one", &json!({})).await.expect(202);
        let run = &begun["reconciliation"];
        let cancel = format!("/admin/v1/jobs/{}/cancel", run["job_id"].as_str().expect("a job"));
        wait::until("the job is cancelled between two attempts", || async {
            let answer = shop.app.admin("POST", &cancel, Some(&json!({ "reason": "test" }))).await;
            (answer.status == 200).then_some(())
        })
        .await;
        shop.stripe.heal();
        shop.reconcile_finds(&[]).await;
        let run = ended(&shop.app, run["id"].as_str().expect("an id")).await;
        assert_eq!(run["state"], "failed");
    }

    async fn windows_beyond_thirty_days_and_unknown_runs_are_refused(shop: &Shop) {
        for hours in [0, -1, 721] {
            post(&shop.app, "key", &json!({ "since_hours": hours })).await.expect_problem(400, "invalid_window");
        }
        post(&shop.app, "key", &json!({ "since": "7d" })).await.expect_problem(400, "invalid_body");
        for id in ["rec_0", "x"] {
            shop.app.admin("GET", &format!("{RUNS}/{id}"), None).await.expect_problem(404, "not_found");
            shop.app.admin("GET", &format!("{RUNS}/{id}/findings"), None).await.expect_problem(404, "not_found");
        }
    }
}

with_backend! {
    async fn without_a_stripe_key_a_run_is_cancelled(backend: Backend) {
        let app = TestApp::start(backend).await;
        let begun = post(&app, "key", &json!({})).await.expect(202);
        let run = ended(&app, begun["reconciliation"]["id"].as_str().expect("an id")).await;
        assert_eq!((&run["state"], &run["reason"]), (&json!("cancelled"), &json!("no Stripe key is configured")));
        app.verify().await;
        app.stop().await;
    }

    async fn the_nightly_run_is_created_once_by_several_nodes(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.reconcile_hour = 0).await;
        let list = || async { shop.app.admin("GET", RUNS, None).await.expect(200)["data"].clone() };
        let done = wait::until("the night's run is done", || async {
            let runs = list().await;
            (runs[0]["state"] == "done").then_some(runs)
        })
        .await;
        assert_eq!(done[0]["requested_by"], "system");
        let config = shop.app.config.clone();
        let Shop { app, stripe } = shop;
        let (_, folder) = app.halt().await;
        let shop = Shop { app: TestApp::start_on(config, folder).await, stripe };
        // A run by support comes after the automatic ones.
        reconcile(&shop.app, true).await;
        let runs = shop.app.admin("GET", RUNS, None).await.expect(200)["data"].clone();
        let nightly = runs.as_array().expect("runs").iter().filter(|run| run["requested_by"] == "system");
        assert_eq!(nightly.count(), 1);
        shop.close().await;
    }
}

with_shop! {
    async fn all_pages_of_lists_are_read(shop: &Shop) {
        let now_s = crate::scene::now_ms() / 1_000;
        for n in 0..101 {
            for (kind, id) in [("customer", "cus"), ("refund", "re"), ("dispute", "du"), ("invoice", "in")] {
                let charge = json!({ "id": format!("ch_{n}"), "object": "charge", "customer": "cus_else" });
                shop.stripe.put(&json!({
                    "id": format!("{id}_{n:03}"), "object": kind, "created": now_s, "charge": charge, "metadata": {},
                }));
            }
        }
        // A dispute without a charge.
        shop.stripe.put(&json!({ "id": "re_101", "object": "refund", "created": now_s, "charge": null }));
        let run = shop.reconcile_finds(&[]).await;
        assert_eq!(run["checked"], 4 * 101 + 1, "{run:#}");
    }

    async fn many_lost_events_are_recovered_in_several_commits(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let events: Vec<Value> =
            (0..120).map(|_| stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, None))).collect();
        for event in &events {
            shop.stripe.add_listed_event(event, true);
        }
        let run = reconcile(&shop.app, true).await;
        let classes = found(&run);
        assert_eq!(classes.first(), Some(&("event_missing", 120, 120)), "{run:#}");
        shop.balance_becomes(&customer, 120 * 60).await;
    }

    async fn a_customer_that_never_got_its_stripe_customer_gets_it(shop: &Shop) {
        for _ in 0..2 {
            shop.stripe.fail_next(Method::POST, "/v1/customers", Fault::Refuse(400));
        }
        let customer = shop.app.onboard().await;
        wait::until("making one was given up", || async {
            let sql = "SELECT id FROM jobs WHERE kind = 'stripe.customer' AND state = 'dead'";
            texts(&shop.app, sql).await.pop()
        })
        .await;
        shop.stripe.heal();
        shop.reconcile_finds(&[("customer_missing", 1, 1)]).await;
        wait::until("there is a Stripe customer", || async {
            let me = shop.app.call(&customer, "GET", "/api/v1/customer", "", None).await.expect(200);
            me["stripe_customer_id"].as_str().map(str::to_owned)
        })
        .await;
        shop.reconcile_finds(&[]).await;
    }

    async fn a_run_fails_with_the_reason_if_stripe_refuses(shop: &Shop) {
        shop.stripe.fail_next(Method::GET, "/v1/events", Fault::Refuse(401));
        let run = reconcile(&shop.app, true).await;
        assert_eq!(run["state"], "failed", "{run:#}");
        assert!(run["reason"].as_str().is_some_and(|reason| reason.contains("told to fail")), "{run:#}");
        // A run without attempts left ends likewise.
        keep_busy(&shop.stripe, "/v1/events");
        let begun = post(&shop.app, "last", &json!({})).await.expect(202);
        let job = delay_job(&shop.app, "stripe.reconcile").await;
        sql(&shop.app, &format!("UPDATE jobs SET attempts_max = attempt + 1 WHERE id = '{job}'")).await;
        resume_job(&shop.app, &job).await;
        let run = ended(&shop.app, begun["reconciliation"]["id"].as_str().expect("an id")).await;
        assert_eq!(run["state"], "failed", "{run:#}");
        assert!(run["reason"].as_str().is_some_and(|reason| reason.contains("told to fail")), "{run:#}");
    }

    async fn a_job_without_an_open_run_does_nothing(shop: &Shop) {
        let over = "UPDATE reconciliations SET state = 'failed'";
        let gone = r#"UPDATE jobs SET args = '{"reconciliation":"rec_gone"}' WHERE state = 'available'"#;
        for (change, expected) in [(over, "the reconciliation is failed"), (gone, "the reconciliation is gone")] {
            keep_busy(&shop.stripe, "/v1/charges");
            post(&shop.app, expected.rsplit_once(' ').expect("words").1, &json!({})).await.expect(202);
            let job = delay_job(&shop.app, "stripe.reconcile").await;
            sql(&shop.app, change).await;
            resume_job(&shop.app, &job).await;
            let reason = wait::until("the job is cancelled", || async {
                let cancelled = format!("SELECT last_error FROM jobs WHERE id = '{job}' AND state = 'cancelled'");
                texts(&shop.app, &cancelled).await.pop()
            })
            .await;
            assert_eq!(reason, expected);
            shop.stripe.heal();
            sql(&shop.app, over).await;
        }
    }

    async fn a_database_failure_during_a_run_delays_it(shop: &Shop) {
        let (customer, _) = shop.renewed().await;
        keep_busy(&shop.stripe, "/v1/charges");
        let begun = post(&shop.app, "run", &json!({})).await.expect(202);
        let job = delay_job(&shop.app, "stripe.reconcile").await;
        shop.stripe.heal();
        resume_job_without(&shop.app, &job, "operations").await;
        let run = ended(&shop.app, begun["reconciliation"]["id"].as_str().expect("an id")).await;
        assert_eq!(run["state"], "done", "{run:#}");
        shop.balance_becomes(&customer, 120).await;
    }
}

with_backend! {
    async fn recent_changes_are_searched_on_every_page(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.reconcile_grace_s = 3_600).await;
        let (customer, told) = shop.renewed().await;
        // Both were created earlier, and one of them was paid just now, which is further back in Stripe's list of
        // events.
        let earlier = json!({ "created": crate::scene::now_ms() / 1_000 - 7_200 });
        let mut untold = told.clone();
        untold["id"] = json!("in_untold");
        shop.stripe.put(&untold);
        for invoice in [&told, &untold] {
            shop.stripe.set(stripe::id(invoice), &earlier);
        }
        shop.stripe.add_listed_event(&stripe::event("invoice.paid", &told), false);
        for n in 0..120 {
            shop.stripe.add_listed_event(&stripe::event("product.created", &json!({ "id": format!("prod_{n}") })), false);
        }
        shop.reconcile_finds(&[("invoice_not_granted", 1, 1)]).await;
        shop.balance_becomes(&customer, 2 * 60).await;
        shop.close().await;
    }
}
