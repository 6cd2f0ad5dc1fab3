//! Replays: a frozen set of jobs, previewed, run at a limited rate, paused, resumed, cancelled.

mod dry_run;

use crate::node::NodeProcess;
use crate::scene::{
    PERIOD, SIGNUP, admin_get, admin_post, attempts, audited, decide_price, deliver_until, job_in_state, job_of,
    jobs_of_stream, now_ms, other_streams_proceed, sql, stripe_customer, subscription_event, undecidable_invoice,
    with_backend,
};
use bursar_engine::domain::job::{Job, JobKind, JobState, NewJob};
use bursar_engine::domain::replay::Action;
use bursar_engine::ids::ReplayId;
use bursar_engine::infra::store::commit::{Unit, UnitResult, commit_units};
use bursar_engine::infra::store::job::job_insert_many;
use bursar_engine::infra::store::replay::replay_find;
use bursar_engine::usecase::handler::replay::run;
use bursar_engine::usecase::replay::act as act_on;
use bursar_tests::answer::Answer;
use bursar_tests::{TestApp, TestCustomer, stripe, wait, with_app};
use serde_json::{Value, json};

/// A customer with payments that are dead until it is decided what their price sells.
struct Dead {
    customer: TestCustomer,
    stripe_customer: String,
    events: Vec<Value>,
}

async fn dead_payments(app: &TestApp, count: usize) -> Dead {
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let events: Vec<_> = (0..count).map(|_| undecidable_invoice(&stripe_customer, &customer)).collect();
    for event in &events {
        deliver_until(app, event, "dead").await;
    }
    Dead { customer, stripe_customer, events }
}

impl Dead {
    /// Makes a replay grant the credits from now on, and nothing else: the subscription is known.
    async fn cause_is_removed(&self, app: &TestApp) {
        decide_price(app, &self.stripe_customer).await;
        deliver_until(app, &subscription_event(&self.stripe_customer, &self.customer), "processed").await;
    }

    async fn jobs(&self, app: &TestApp) -> Vec<Job> {
        let mut jobs = Vec::new();
        for event in &self.events {
            jobs.push(job_of(app, event).await);
        }
        jobs
    }
}

async fn prepare(app: &TestApp, request: &Value) -> Answer {
    app.admin("POST", "/admin/v1/replays", Some(request)).await
}

/// Prepares a replay of all dead jobs; returns its id.
async fn prepare_dead(app: &TestApp, rate: i64, dry_run: bool) -> String {
    let filter = json!({ "state": "dead" });
    let request = json!({ "filter": filter, "rate_per_second": rate, "dry_run": dry_run, "reason": "ticket 4711" });
    prepare(app, &request).await.expect(201)["replay"]["id"].as_str().unwrap().to_owned()
}

async fn step(app: &TestApp, id: &str, step: &str) -> Answer {
    app.admin("POST", &format!("/admin/v1/replays/{id}/{step}"), None).await
}

async fn replay(app: &TestApp, id: &str) -> Value {
    admin_get(app, &format!("/admin/v1/replays/{id}")).await["replay"].clone()
}

/// Waits until a condition holds for a replay; returns it.
async fn replay_until(app: &TestApp, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait::until(&format!("the replay {what}"), || async {
        let found = replay(app, id).await;
        holds(&found).then_some(found)
    })
    .await
}

async fn items(app: &TestApp, id: &str) -> Vec<Value> {
    admin_get(app, &format!("/admin/v1/replays/{id}/items?limit=100")).await["data"].as_array().unwrap().clone()
}

fn all_are(items: &[Value], state: &str) -> bool {
    items.iter().all(|item| item["state"] == state)
}

with_app! {
    async fn a_preview_counts_and_shows_the_set_and_runs_nothing(app: &TestApp) {
        let dead = dead_payments(app, 12).await;
        dead.cause_is_removed(app).await;
        let before = dead.jobs(app).await;
        let filter = json!({
            "state": "dead", "kind": "stripe.event", "event_type": "invoice.paid",
            "stream": format!("stripe:{}", dead.stripe_customer), "error": "price_unknown",
        });
        let made = prepare(app, &json!({ "filter": filter, "reason": "ticket 4711" })).await.expect(201);
        let shown = &made["replay"];
        assert_eq!((&shown["state"], &shown["total"], &shown["done"]), (&"preview".into(), &12.into(), &0.into()));
        assert_eq!(shown["rate_per_second"], 50, "the default");
        let sample: Vec<_> = made["sample"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
        assert_eq!(sample, before[..10].iter().map(|job| job.id.as_str()).collect::<Vec<_>>());

        other_streams_proceed(app).await;
        let id = shown["id"].as_str().unwrap();
        assert_eq!(replay(app, id).await["state"], "preview");
        let items = items(app, id).await;
        assert!(all_are(&items, "waiting") && items.len() == 12, "{items:?}");
        assert_eq!(dead.jobs(app).await, before);
        assert_eq!(app.balance(&dead.customer).await, SIGNUP);

        // A filter that matches nothing is allowed: the preview shows it.
        let none = json!({ "filter": { "state": "dead", "error": "no such error" }, "reason": "ticket 4711" });
        assert_eq!(prepare(app, &none).await.expect(201)["replay"]["total"], 0);
    }

    async fn a_replay_runs_the_frozen_set_and_grants_each_payment_once(app: &TestApp) {
        let dead = dead_payments(app, 4).await;
        let id = prepare_dead(app, 1_000, false).await;
        // Jobs that die later are not in the set, and jobs replayed by hand meanwhile are not run twice.
        let later = dead_payments(app, 1).await;
        dead.cause_is_removed(app).await;
        later.cause_is_removed(app).await;
        let by_hand = format!("/admin/v1/events/{}/replay", stripe::id(&dead.events[0]));
        admin_post(app, &by_hand, "one first").await.expect(200);
        app.event_in_state(stripe::id(&dead.events[0]), "processed").await;
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + PERIOD);

        assert_eq!(step(app, &id, "start").await.expect(200)["replay"]["state"], "running");
        let done = replay_until(app, &id, "is done", |found| found["state"] == "done").await;
        assert_eq!((&done["total"], &done["done"]), (&4.into(), &4.into()));
        assert!(done["finished_at"].is_string());
        for event in &dead.events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        assert!(all_are(&items(app, &id).await, "replayed"));
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 4 * PERIOD);
        let left = later.jobs(app).await.remove(0);
        assert_eq!((left.state, left.attempt), (JobState::Dead, 1));
        assert_eq!(app.balance(&later.customer).await, SIGNUP);

        // The same replay again has no effect.
        let everything = json!({ "filter": { "event_type": "invoice.paid", "state": "succeeded" }, "reason": "again" });
        let again = prepare(app, &everything).await.expect(201)["replay"]["id"].as_str().unwrap().to_owned();
        step(app, &again, "start").await.expect(200);
        replay_until(app, &again, "is done", |found| found["state"] == "done").await;
        for job in dead.jobs(app).await {
            job_in_state(app, &job.id, JobState::Succeeded).await;
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 4 * PERIOD);
        app.verify().await;
    }

    async fn a_replay_skips_deleted_and_waiting_jobs(app: &TestApp) {
        let dead = dead_payments(app, 3).await;
        dead.cause_is_removed(app).await;
        let by_hand = |event: &Value| format!("/admin/v1/events/{}/replay", stripe::id(event));
        admin_post(app, &by_hand(&dead.events[0]), "one first").await.expect(200);
        app.event_in_state(stripe::id(&dead.events[0]), "processed").await;
        let filter = json!({ "event_type": "invoice.paid" });
        let made = prepare(app, &json!({ "filter": filter, "reason": "ticket 4711" })).await.expect(201);
        let id = made["replay"]["id"].as_str().unwrap();
        assert_eq!(made["replay"]["total"], 3);

        // Then retention deletes the first, and the second is replayed by hand and waits.
        let jobs = dead.jobs(app).await;
        let long_ago = now_ms() - 91 * 24 * 60 * 60 * 1_000;
        sql(app, &format!("UPDATE jobs SET finished_at_ms = {long_ago} WHERE id = '{}'", jobs[0].id)).await;
        let retention = NewJob::new(JobKind::Retention, "{}".to_owned(), long_ago);
        let tx = app.app.db.begin().await.unwrap();
        job_insert_many(&tx, std::slice::from_ref(&retention), now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        job_in_state(app, &retention.id, JobState::Succeeded).await;
        let stream = format!("/admin/v1/streams/stripe:{}", dead.stripe_customer);
        admin_post(app, &format!("{stream}/pause"), "to see it wait").await.expect(200);
        admin_post(app, &by_hand(&dead.events[1]), "one more").await.expect(200);

        step(app, id, "start").await.expect(200);
        let done = replay_until(app, id, "is done", |found| found["state"] == "done").await;
        assert_eq!(done["done"], 3);
        let items = items(app, id).await;
        let states: Vec<_> = items.iter().map(|item| item["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["skipped", "skipped", "replayed"]);

        app.admin("POST", &format!("{stream}/resume"), None).await.expect(200);
        for (event, job) in dead.events.iter().zip(&jobs).skip(1) {
            app.event_in_state(stripe::id(event), "processed").await;
            assert_eq!(attempts(app, &job.id).await.len(), 2);
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 3 * PERIOD);
        app.verify().await;
    }

    async fn a_replay_at_one_a_second_runs_one_job_between_two_snoozes(app: &TestApp) {
        let dead = dead_payments(app, 3).await;
        dead.cause_is_removed(app).await;
        let id = prepare_dead(app, 1, false).await;
        step(app, &id, "start").await.expect(200);
        replay_until(app, &id, "is done", |found| found["state"] == "done").await;
        let run = jobs_of_stream(app, &format!("replay:{id}")).await.remove(0);
        let rounds = attempts(app, &run.id).await;
        let outcomes: Vec<_> = rounds.iter().map(|round| round.outcome.as_str()).collect();
        assert_eq!(outcomes, ["snooze", "snooze", "snooze", "done"]);
        assert_eq!((run.state, run.attempt), (JobState::Succeeded, 1));
        // No job was released before its round.
        for (event, round) in dead.events.iter().zip(&rounds) {
            app.event_in_state(stripe::id(event), "processed").await;
            let again = attempts(app, &job_of(app, event).await.id).await;
            assert_eq!(again.len(), 2);
            assert!(again[1].started_at_ms >= round.started_at_ms, "{again:#?} {round:#?}");
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 3 * PERIOD);
    }

    async fn a_paused_replay_resumes_where_it_stopped_and_a_cancelled_one_never(app: &TestApp) {
        let dead = dead_payments(app, 6).await;
        dead.cause_is_removed(app).await;
        let id = prepare_dead(app, 1, false).await;
        let conflict = async |steps: &[&str]| {
            for name in steps {
                step(app, &id, name).await.expect_problem(409, "replay_state");
            }
        };
        conflict(&["pause", "resume"]).await;
        step(app, &id, "start").await.expect(200);
        conflict(&["start", "resume"]).await;
        replay_until(app, &id, "has begun", |found| found["done"].as_i64() >= Some(1)).await;

        assert_eq!(step(app, &id, "pause").await.expect(200)["replay"]["state"], "paused");
        conflict(&["start", "pause"]).await;
        let stream = format!("replay:{id}");
        let run = jobs_of_stream(app, &stream).await.remove(0);
        let ended = job_in_state(app, &run.id, JobState::Cancelled).await;
        assert_eq!(ended.last_error.unwrap(), "the replay is paused");
        let paused_at = replay(app, &id).await["done"].as_i64().unwrap();
        other_streams_proceed(app).await;
        assert_eq!(replay(app, &id).await["done"], paused_at);
        assert!(paused_at < 6, "there was nothing left to pause");

        assert_eq!(step(app, &id, "resume").await.expect(200)["replay"]["state"], "running");
        replay_until(app, &id, "has gone on", |found| found["done"].as_i64() > Some(paused_at)).await;
        let cancelled = step(app, &id, "cancel").await.expect(200);
        assert_eq!(cancelled["replay"]["state"], "cancelled");
        assert!(cancelled["replay"]["finished_at"].is_string());
        conflict(&["start", "pause", "resume", "cancel"]).await;
        job_in_state(app, &jobs_of_stream(app, &stream).await[1].id, JobState::Cancelled).await;

        // Finished jobs stay finished; the rest stays dead.
        let items = items(app, &id).await;
        let (mut replayed, mut waiting) = (0, 0);
        for (item, event) in items.iter().zip(&dead.events) {
            match item["state"].as_str().unwrap() {
                "replayed" => {
                    app.event_in_state(stripe::id(event), "processed").await;
                    replayed += 1;
                }
                state => {
                    let found = app.event(stripe::id(event)).await;
                    assert_eq!((state, &found["event"]["state"]), ("waiting", &"dead".into()));
                    waiting += 1;
                }
            }
        }
        assert!(replayed > paused_at && waiting > 0, "{items:?}");
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + replayed * PERIOD);
        let steps = ["replay.create", "replay.start", "replay.pause", "replay.resume", "replay.cancel"];
        assert_eq!(audited(app, &id).await, steps);
        app.verify().await;
    }

    async fn a_replay_paused_and_resumed_at_once_runs_each_job_once(app: &TestApp) {
        let dead = dead_payments(app, 3).await;
        dead.cause_is_removed(app).await;
        let id = prepare_dead(app, 1, false).await;
        step(app, &id, "start").await.expect(200);
        for _ in 0..3 {
            step(app, &id, "pause").await.expect(200);
            step(app, &id, "resume").await.expect(200);
        }
        assert_eq!(replay_until(app, &id, "is done", |found| found["state"] == "done").await["done"], 3);
        for event in &dead.events {
            app.event_in_state(stripe::id(event), "processed").await;
            assert_eq!(job_of(app, event).await.attempt, 2);
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 3 * PERIOD);
        app.verify().await;
    }

    async fn a_failed_replay_says_why_and_can_be_resumed(app: &TestApp) {
        let dead = dead_payments(app, 2).await;
        dead.cause_is_removed(app).await;
        let id = prepare_dead(app, 50, false).await;
        // Its filter is unreadable, so every attempt fails.
        sql(app, &format!("UPDATE replays SET filter = 'not JSON', state = 'running' WHERE id = '{id}'")).await;
        let run = NewJob {
            stream_key: Some(format!("replay:{id}")),
            ..NewJob::new(JobKind::ReplayRun, json!({ "replay": id }).to_string(), now_ms())
        };
        let tx = app.app.db.begin().await.unwrap();
        job_insert_many(&tx, std::slice::from_ref(&run), now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        job_in_state(app, &run.id, JobState::Dead).await;
        sql(app, &format!("UPDATE replays SET filter = '{{}}' WHERE id = '{id}'")).await;

        assert_eq!(replay(app, &id).await["state"], "failed");
        assert_eq!(app.balance(&dead.customer).await, SIGNUP);
        step(app, &id, "resume").await.expect(200);
        replay_until(app, &id, "is done", |found| found["state"] == "done").await;
        for event in &dead.events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 2 * PERIOD);
        app.verify().await;
    }

    async fn the_job_of_a_replay_that_is_gone_is_cancelled(app: &TestApp) {
        let run = NewJob::new(JobKind::ReplayRun, json!({ "replay": "rpl_gone" }).to_string(), now_ms());
        let tx = app.app.db.begin().await.unwrap();
        job_insert_many(&tx, std::slice::from_ref(&run), now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        let ended = job_in_state(app, &run.id, JobState::Cancelled).await;
        assert_eq!(ended.last_error.as_deref(), Some("the replay is gone"));
    }

    async fn a_step_decided_before_a_pause_is_not_carried_out(app: &TestApp) {
        let dead = dead_payments(app, 3).await;
        let id = prepare_dead(app, 50, false).await;
        let replay_id = ReplayId::trusted(id.clone());
        sql(app, "UPDATE replays SET state = 'running'").await;
        let verdict = run(&app.app.runtime.handlers, &replay_id, now_ms()).await.unwrap();
        sql(app, "UPDATE replays SET state = 'paused'").await;
        let unit = Unit { effects: verdict.effects, ..Unit::default() };
        let committed = commit_units(&app.app.db, std::slice::from_ref(&unit), "a-node", now_ms()).await.unwrap();
        assert!(matches!(&committed[0], UnitResult::Committed(wakes) if wakes.is_empty()), "{committed:?}");
        assert!(all_are(&items(app, &id).await, "waiting"));
        assert!(dead.jobs(app).await.iter().all(|job| job.state == JobState::Dead));

        sql(app, "UPDATE replays SET state = 'running'").await;
        let committed = commit_units(&app.app.db, &[unit], "a-node", now_ms()).await.unwrap();
        assert!(matches!(&committed[0], UnitResult::Committed(wakes) if wakes.len() == 3), "{committed:?}");
        assert!(all_are(&items(app, &id).await, "replayed"));
    }

    async fn an_invalid_replay_is_refused(app: &TestApp) {
        let request = |rate: i64, reason: &str| {
            json!({ "filter": { "state": "dead" }, "rate_per_second": rate, "reason": reason })
        };
        for rate in [0, 1_001, -1] {
            prepare(app, &request(rate, "ticket 4711")).await.expect_problem(400, "invalid_rate");
        }
        for reason in ["", "   ", &"x".repeat(501)] {
            prepare(app, &request(50, reason)).await.expect_problem(400, "invalid_reason");
        }
        let unknown_state = json!({ "filter": { "state": "sleepy" }, "reason": "ticket 4711" });
        prepare(app, &unknown_state).await.expect_problem(400, "invalid_body");
        let unknown_field = json!({ "filter": { "colour": "x" }, "reason": "ticket 4711" });
        prepare(app, &unknown_field).await.expect_problem(400, "invalid_body");
        let listed = admin_get(app, "/admin/v1/replays").await;
        assert_eq!(listed["data"], json!([]), "a refused replay is not stored");
        for id in ["rpl_00000000000000000000000000", "nonsense"] {
            step(app, id, "start").await.expect_problem(404, "not_found");
        }
    }
}

with_backend! {
    async fn a_running_replay_survives_a_restart_of_the_application(backend: Backend) {
        let app = TestApp::start(backend).await;
        let dead = dead_payments(&app, 4).await;
        dead.cause_is_removed(&app).await;
        let id = prepare_dead(&app, 1, false).await;
        step(&app, &id, "start").await.expect(200);
        replay_until(&app, &id, "has begun", |found| found["done"].as_i64() >= Some(1)).await;

        let (config, folder) = app.halt().await;
        let app = TestApp::start_on(config, folder).await;
        let done = replay_until(&app, &id, "is done", |found| found["state"] == "done").await;
        assert_eq!(done["done"], 4);
        assert!(all_are(&items(&app, &id).await, "replayed"));
        for event in &dead.events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        let run = jobs_of_stream(&app, &format!("replay:{id}")).await;
        assert_eq!((run.len(), run[0].attempt, run[0].rescues), (1, 1, 0), "{run:#?}");
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 4 * PERIOD);
        app.verify().await;
        app.stop().await;
    }

    async fn a_running_replay_continues_after_its_process_was_killed(backend: Backend) {
        let app = TestApp::start(backend).await;
        let dead = dead_payments(&app, 6).await;
        dead.cause_is_removed(&app).await;
        let id = prepare_dead(&app, 2, false).await;
        let (config, folder) = app.halt().await;
        let served = NodeProcess::start(&config).await;
        let replay_id = ReplayId::trusted(id.clone());
        act_on(&served.db, &replay_id, Action::Start, "admin:test", now_ms()).await.unwrap();
        let done = async || replay_find(served.db.read(), &replay_id).await.unwrap().unwrap().done;
        wait::until("the replay has begun", || async { (done().await > 0).then_some(()) }).await;
        served.kill().await;
        assert!(done().await < 6, "there was nothing left to do");

        served.start_again().await;
        wait::until("the replay is done", || async { (done().await == 6).then_some(()) }).await;
        served.terminate().await;
        let app = TestApp::start_on(config, folder).await;
        replay_until(&app, &id, "is done", |found| found["state"] == "done").await;
        for event in &dead.events {
            app.event_in_state(stripe::id(event), "processed").await;
            assert_eq!(job_of(&app, event).await.attempt, 2);
        }
        assert_eq!(app.balance(&dead.customer).await, SIGNUP + 6 * PERIOD);
        app.verify().await;
        app.stop().await;
    }
}
