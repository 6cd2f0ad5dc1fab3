//! Dry runs: a replay's effects without executing them.

use super::{all_are, dead_payments, items, prepare, prepare_dead, replay_until, step};
use crate::scene::{
    PERIOD, SIGNUP, admin_get, admin_post, attempts, audited, customer_id, deliver_until, job_of, jobs_of_stream,
    now_ms, stripe_customer,
};
use bursar_engine::domain::job::{Job, JobKind, JobState, NewJob};
use bursar_engine::ids::JobId;
use bursar_engine::infra::store::account::{account_find, entry_list};
use bursar_engine::infra::store::customer::customer_find;
use bursar_engine::infra::store::job::job_insert_many;
use bursar_engine::infra::store::subscription::subscription_list;
use bursar_engine::usecase::handler::replay::dry_run;
use bursar_tests::{TestApp, TestCustomer, stripe, with_app};
use serde_json::{Value, json};

/// Everything stored about a customer, in a comparable form.
async fn stored(app: &TestApp, customer: &TestCustomer) -> String {
    let (db, id) = (app.app.db.read(), customer_id(customer));
    let account = account_find(db, &id).await.unwrap();
    let entries = entry_list(db, &id, None, 1_000).await.unwrap();
    let row = customer_find(db, &id).await.unwrap();
    let subscriptions = subscription_list(db, &id).await.unwrap();
    format!("{account:#?} {entries:#?} {row:#?} {subscriptions:#?}")
}

/// Runs a dry run of all dead jobs; returns the results in order.
async fn tried(app: &TestApp) -> Vec<Value> {
    let id = prepare_dead(app, 1_000, true).await;
    step(app, &id, "start").await.expect(200);
    let done = replay_until(app, &id, "is done", |found| found["state"] == "done").await;
    assert_eq!((&done["dry_run"], &done["done"]), (&true.into(), &done["total"]));
    let items = items(app, &id).await;
    assert!(all_are(&items, "tried"), "{items:?}");
    assert_eq!(audited(app, &id).await, ["replay.create", "replay.start"]);
    items.into_iter().map(|item| item["result"].clone()).collect()
}

with_app! {
    async fn a_failing_job_is_its_own_result_and_does_not_stop_the_dry_run(app: &TestApp) {
        let dead = dead_payments(app, 2).await;
        dead.cause_is_removed(app).await;
        let unreadable = NewJob::new(JobKind::AccountSettle, "[]".to_owned(), now_ms());
        let tx = app.app.db.begin().await.unwrap();
        job_insert_many(&tx, &[NewJob { state: JobState::Dead, ..unreadable }], now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        let results = tried(app).await;
        let of = |outcome: &str| results.iter().filter(|result| result["outcome"] == outcome).collect::<Vec<_>>();
        assert_eq!(of("done").len(), 2, "{results:?}");
        assert!(of("failed")[0]["reason"].as_str().unwrap().contains("arguments of a job"), "{results:?}");
    }

    async fn a_dry_run_reports_ledger_changes_and_makes_none(app: &TestApp) {
        let dead = dead_payments(app, 3).await;
        dead.cause_is_removed(app).await;
        let jobs: Vec<Job> = dead.jobs(app).await;
        let before = stored(app, &dead.customer).await;

        let would_gain = json!({
            "outcome": "done",
            // What is known of the invoice.
            "changes": 1,
            "ledger": { "customer_id": dead.customer.id, "amount": PERIOD, "balance_after": SIGNUP + PERIOD },
        });
        // Each is tried alone, so none counts the others' credits.
        assert_eq!(tried(app).await, vec![would_gain; 3]);
        assert_eq!(stored(app, &dead.customer).await, before);
        assert_eq!(dead.jobs(app).await, jobs);
        for job in &jobs {
            assert_eq!((job.state, attempts(app, &job.id).await.len()), (JobState::Dead, 1));
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP);
        app.verify().await;

        // Afterwards the real replay does what was predicted.
        let id = prepare_dead(app, 1_000, false).await;
        step(app, &id, "start").await.expect(200);
        for event in &dead.events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 3 * PERIOD);
        app.verify().await;
    }

    async fn a_dry_run_reports_repeated_failures_and_earlier_grants(app: &TestApp) {
        // One is dead while nobody has decided what its price sells.
        let hopeless = dead_payments(app, 1).await;
        // The other one's payment was also announced by a second event, which granted the credits meanwhile.
        let granted = dead_payments(app, 1).await;
        granted.cause_is_removed(app).await;
        let mut second = granted.events[0].clone();
        second["id"] = json!(format!("evt_{}", bursar_tests::unique::unique()));
        second["type"] = json!("invoice.payment_succeeded");
        deliver_until(app, &second, "processed").await;
        assert_eq!(app.balance(&granted.customer).await, SIGNUP + PERIOD);
        let before = [stored(app, &hopeless.customer).await, stored(app, &granted.customer).await];

        let results = tried(app).await;
        assert_eq!(results.len(), 2);
        let of_hopeless = results.iter().find(|result| result["outcome"] == "dead").unwrap();
        assert!(of_hopeless["reason"].as_str().unwrap().starts_with("price_unknown"), "{of_hopeless}");
        let of_granted = results.iter().find(|result| result["outcome"] == "done").unwrap();
        assert_eq!(of_granted["ledger"], json!({ "amount": 0, "already": PERIOD }));
        assert_eq!([stored(app, &hopeless.customer).await, stored(app, &granted.customer).await], before);
        assert_eq!(job_of(app, &hopeless.events[0]).await.attempt, 1);
    }

    async fn a_dry_run_reports_other_changes_and_makes_none(app: &TestApp) {
        let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
        // Skipped, so that an ended job would link, subscribe, upgrade, remember the invoice and grant.
        let stream = format!("stripe:{stripe_customer}");
        let ignored = stripe::event("customer.created", &json!({ "id": stripe_customer, "object": "customer" }));
        deliver_until(app, &ignored, "processed").await;
        admin_post(app, &format!("/admin/v1/streams/{stream}/pause"), "to skip one").await.expect(200);
        let payment = crate::scene::invoice_paid(&stripe_customer, Some(&customer));
        app.deliver(&payment).await.expect(200);
        admin_post(app, &format!("/admin/v1/streams/{stream}/skip"), "not now").await.expect(200);
        let before = (stored(app, &customer).await, job_of(app, &payment).await);

        // Signup also left a cancelled job, since there is no Stripe to create a Stripe customer at.
        let filter = json!({ "state": "cancelled", "kind": "stripe.event" });
        let request = json!({ "filter": filter, "dry_run": true, "reason": "ticket 4711" });
        let made = prepare(app, &request).await.expect(201);
        let id = made["replay"]["id"].as_str().unwrap();
        step(app, id, "start").await.expect(200);
        replay_until(app, id, "is done", |found| found["state"] == "done").await;
        let result = items(app, id).await.remove(0)["result"].clone();
        assert_eq!((&result["outcome"], &result["changes"]), (&"done".into(), &4.into()), "{result}");
        assert_eq!(result["ledger"]["amount"], PERIOD);
        assert_eq!((stored(app, &customer).await, job_of(app, &payment).await), before);
        assert_eq!(jobs_of_stream(app, &stream).await.len(), 2);
        let shown = admin_get(app, &format!("/admin/v1/streams/{stream}")).await;
        assert_eq!(shown["stream"]["paused_reason"], "to skip one");
    }
}

with_app! {
    async fn a_dry_run_of_a_job_that_is_gone_or_has_none_says_so(app: &TestApp) {
        let handlers = &app.app.runtime.handlers;
        let gone = dry_run(handlers, &JobId::new(), now_ms()).await.unwrap();
        assert_eq!(gone, json!({ "outcome": "gone" }));
        let retention = NewJob::new(JobKind::Retention, "{}".to_owned(), now_ms() + 1_000_000);
        let tx = app.app.db.begin().await.unwrap();
        job_insert_many(&tx, std::slice::from_ref(&retention), now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        let report = dry_run(handlers, &retention.id, now_ms()).await.unwrap();
        assert_eq!(report["outcome"], "not tried", "{report}");
    }

    async fn a_dry_run_says_that_an_event_would_be_tried_again(app: &TestApp) {
        let event = crate::scene::invoice_paid(&stripe_customer(), None);
        deliver_until(app, &event, "dead").await;
        let job = job_of(app, &event).await;
        let report = dry_run(&app.app.runtime.handlers, &job.id, now_ms()).await.unwrap();
        assert_eq!(report["outcome"], "retry", "{report}");
        assert!(report["reason"].as_str().unwrap().starts_with("customer_unknown"), "{report}");
        assert_eq!(job_of(app, &event).await, job);
    }
}
