//! Streams: order, blocking, pausing, skipping, and what support sees of them.

use crate::database::until_waiting;
use crate::scene::{
    PERIOD, SIGNUP, admin_get, admin_post, attempts, audited, deliver_until, failed_times, invoice_paid, job_of,
    jobs_of_stream, metric, now_ms, other_streams_proceed, ran_in_order, sql, stream_of, stripe_customer, with_backend,
};
use bursar_engine::domain::job::{JobKind, JobState};
use bursar_engine::metric::{JOB_ATTEMPTS, JOB_FENCED};
use bursar_tests::{Backend, TestApp, stripe, wait, with_app};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::Value;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Delivers events of one new customer, one after another; returns its stream and the events.
async fn deliver_in_turn(app: &TestApp, count: usize) -> (String, Vec<Value>) {
    let customer = app.onboard().await;
    let stripe_customer = stripe_customer();
    let mut events = Vec::new();
    for _ in 0..count {
        let event = invoice_paid(&stripe_customer, Some(&customer));
        app.deliver(&event).await.expect(200);
        events.push(event);
    }
    (stream_of(&stripe_customer), events)
}

fn path(stream: &str, action: &str) -> String {
    format!("/admin/v1/streams/{stream}{action}")
}

with_app! {
    async fn events_of_one_stream_run_one_at_a_time_in_order_of_arrival(app: &TestApp) {
        let sent = join_all((0..8).map(|_| deliver_in_turn(app, 6))).await;
        for (stream, events) in &sent {
            for event in events {
                app.event_in_state(stripe::id(event), "processed").await;
            }
            let jobs = ran_in_order(app, stream).await;
            assert!(jobs.iter().all(|job| job.attempt == 1), "{jobs:#?}");
            let mut arrived = Vec::new();
            for event in events {
                arrived.push(job_of(app, event).await.id);
            }
            assert_eq!(jobs.into_iter().map(|job| job.id).collect::<Vec<_>>(), arrived);
        }
        app.verify().await;
    }

    async fn an_event_that_keeps_failing_blocks_its_stream_until_it_is_dead(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        let failing = invoice_paid(&stripe_customer, None);
        let next = invoice_paid(&stripe_customer, Some(&customer));
        app.deliver(&failing).await.expect(200);
        app.deliver(&next).await.expect(200);

        let dead = app.event_in_state(stripe::id(&failing), "dead").await;
        assert_eq!(dead["event"]["attempts"], JobKind::StripeEvent.attempts_max());
        assert!(dead["event"]["last_error"].as_str().unwrap().contains("customer_unknown"), "{dead}");
        assert!(dead["why"].as_str().unwrap().starts_with("It was given up after 8 attempts"), "{dead}");
        app.event_in_state(stripe::id(&next), "processed").await;
        let jobs = ran_in_order(app, &stream).await;
        assert_eq!(jobs.iter().map(|job| job.state).collect::<Vec<_>>(), [JobState::Dead, JobState::Succeeded]);
        assert!(admin_get(app, &path(&stream, "")).await["stream"]["paused_at"].is_null());
        assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);
        app.verify().await;
    }

    async fn a_paused_stream_keeps_its_events_and_runs_them_in_order_once_resumed(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        deliver_until(app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;
        let paused = admin_post(app, &path(&stream, "/pause"), "a look at the bank").await.expect(200);
        assert_eq!(paused["stream"]["paused_reason"], "a look at the bank");
        admin_post(app, &path(&stream, "/pause"), "again").await.expect_problem(409, "stream_paused");

        let events = [0; 3].map(|_| invoice_paid(&stripe_customer, Some(&customer)));
        for event in &events {
            app.deliver(event).await.expect(200);
        }
        other_streams_proceed(app).await;
        let waiting = admin_get(app, &path(&stream, "")).await;
        assert_eq!(waiting["stream"]["epoch"], paused["stream"]["epoch"], "a paused stream was worked on");
        assert_eq!(waiting["stream"]["unfinished"], 3);
        for event in &events {
            let found = app.event(stripe::id(event)).await;
            assert_eq!((&found["event"]["state"], &found["event"]["attempts"]), (&"waiting".into(), &0.into()));
            assert_eq!(found["why"], "Its stream is paused: a look at the bank.");
        }
        assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);

        let resumed = app.admin("POST", &path(&stream, "/resume"), None).await.expect(200);
        assert!(resumed["stream"]["paused_at"].is_null());
        app.admin("POST", &path(&stream, "/resume"), None).await.expect_problem(409, "stream_not_paused");
        for event in &events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(ran_in_order(app, &stream).await.len(), 4);
        assert_eq!(app.balance(&customer).await, SIGNUP + 4 * PERIOD);
        assert_eq!(audited(app, &stream).await, ["stream.pause", "stream.resume"]);
        app.verify().await;
    }

    async fn a_skipped_event_is_shown_as_skipped_and_can_be_replayed_later(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        deliver_until(app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;
        admin_post(app, &path(&stream, "/skip"), "nothing there").await.expect_problem(409, "stream_empty");
        admin_post(app, &path(&stream, "/pause"), "to skip one").await.expect(200);
        let (unwanted, next) = (invoice_paid(&stripe_customer, Some(&customer)), invoice_paid(&stripe_customer, None));
        app.deliver(&unwanted).await.expect(200);
        app.deliver(&next).await.expect(200);

        let skipped = admin_post(app, &path(&stream, "/skip"), "paid by mistake").await.expect(200);
        assert_eq!(skipped["head"]["id"], job_of(app, &next).await.id.as_str());
        assert_eq!(skipped["stream"]["unfinished"], 1);
        let found = app.event(stripe::id(&unwanted)).await;
        assert_eq!((&found["event"]["state"], &found["event"]["attempts"]), (&"skipped".into(), &0.into()));
        assert_eq!(found["why"], "It was cancelled: skipped by support: paid by mistake.");

        app.admin("POST", &path(&stream, "/resume"), None).await.expect(200);
        app.event_in_state(stripe::id(&next), "processed").await;
        assert_eq!(app.event(stripe::id(&unwanted)).await["event"]["state"], "skipped");
        assert_eq!(app.balance(&customer).await, SIGNUP + 2 * PERIOD);

        let replay = format!("/admin/v1/events/{}/replay", stripe::id(&unwanted));
        admin_post(app, &replay, "it was right after all").await.expect(200);
        app.event_in_state(stripe::id(&unwanted), "processed").await;
        assert_eq!(app.balance(&customer).await, SIGNUP + 3 * PERIOD);
        assert_eq!(audited(app, &stream).await, ["stream.pause", "stream.skip", "stream.resume"]);
        app.verify().await;
    }

    async fn a_canary_runs_alone_and_its_stream_stays_paused(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        deliver_until(app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;
        let canary = path(&stream, "/canary");
        admin_post(app, &canary, "nothing there").await.expect_problem(409, "stream_empty");
        admin_post(app, &path(&stream, "/pause"), "a look").await.expect(200);
        let events = [0; 3].map(|_| invoice_paid(&stripe_customer, Some(&customer)));
        for event in &events {
            app.deliver(event).await.expect(200);
        }
        let second = job_of(app, &events[1]).await.id;
        let other = serde_json::json!({ "reason": "x", "job_id": second.as_str() });
        app.admin("POST", &canary, Some(&other)).await.expect_problem(409, "stream_moved");

        admin_post(app, &canary, "one first").await.expect(200);
        app.event_in_state(stripe::id(&events[0]), "processed").await;
        other_streams_proceed(app).await;
        let after = admin_get(app, &path(&stream, "")).await;
        assert_eq!(after["stream"]["paused_reason"], "a look");
        assert_eq!(after["stream"]["canary_job_id"], Value::Null);
        assert_eq!((&after["stream"]["unfinished"], &after["head"]["id"]), (&2.into(), &second.as_str().into()));
        assert_eq!(app.balance(&customer).await, SIGNUP + 2 * PERIOD);

        app.admin("POST", &path(&stream, "/resume"), None).await.expect(200);
        for event in &events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(ran_in_order(app, &stream).await.len(), 4);
        assert_eq!(audited(app, &stream).await, ["stream.pause", "stream.canary", "stream.resume"]);
        app.verify().await;
    }

    async fn a_canary_that_fails_is_tried_once_and_waits_at_the_head(app: &TestApp) {
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        deliver_until(app, &invoice_paid(&stripe_customer, None), "dead").await;
        admin_post(app, &path(&stream, "/pause"), "a look").await.expect(200);
        let failing = invoice_paid(&stripe_customer, None);
        app.deliver(&failing).await.expect(200);
        for attempts in 1..=2 {
            // The second time it waits after a failure, and is tried at once.
            admin_post(app, &path(&stream, "/canary"), "one try").await.expect(200);
            wait::until("the canary was tried", || async {
                (job_of(app, &failing).await.attempt == attempts).then_some(())
            })
            .await;
            other_streams_proceed(app).await;
            let job = job_of(app, &failing).await;
            assert_eq!((job.attempt, job.state), (attempts, JobState::Available));
            assert!(admin_get(app, &path(&stream, "")).await["stream"]["canary_job_id"].is_null());
        }
        // A new pause does not bring an old permission back.
        app.admin("POST", &path(&stream, "/resume"), None).await.expect(200);
        app.event_in_state(stripe::id(&failing), "dead").await;
        let canary = admin_post(app, &path(&stream, "/canary"), "too late").await;
        canary.expect_problem(409, "stream_empty");
    }

    async fn only_a_paused_stream_has_a_canary(app: &TestApp) {
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        let failing = invoice_paid(&stripe_customer, None);
        deliver_until(app, &failing, "dead").await;
        admin_post(app, &path(&stream, "/pause"), "a look").await.expect(200);
        app.deliver(&invoice_paid(&stripe_customer, None)).await.expect(200);
        let shown = admin_get(app, &path(&stream, "")).await;
        let (key, head) = (stream.as_str(), shown["head"]["id"].as_str().unwrap());
        // As if it were resumed between the look at its head and the change.
        sql(app, &format!("UPDATE streams SET paused_at_ms = NULL, owner = 'x', lease_until_ms = 9000000000000000 WHERE key = '{key}'"))
            .await;
        admin_post(app, &path(&stream, "/canary"), "why not").await.expect_problem(409, "stream_not_paused");
        sql(app, &format!("UPDATE streams SET paused_at_ms = 1, owner = NULL, lease_until_ms = 0 WHERE key = '{key}'")).await;
        assert_eq!(admin_get(app, &path(&stream, "")).await["head"]["id"], head);
    }

    async fn a_stream_that_does_not_exist_is_not_found(app: &TestApp) {
        app.admin("GET", &path("stripe:cus_nobody", ""), None).await.expect_problem(404, "not_found");
        admin_post(app, &path("stripe:cus_nobody", "/pause"), "why not").await.expect_problem(404, "not_found");
        admin_post(app, &path("stripe:cus_nobody", "/canary"), "why not").await.expect_problem(404, "not_found");
        admin_post(app, &path("stripe:cus_nobody", "/skip"), "why not").await.expect_problem(404, "not_found");
        app.admin("POST", &path("stripe:cus_nobody", "/resume"), None).await.expect_problem(404, "not_found");
    }
}

with_backend! {
    async fn support_is_told_what_every_job_of_a_stream_waits_for(backend: Backend) {
        // After the first failure there is no attempt for an hour.
        let app = TestApp::start_with(backend, |config| config.jobs.backoff_base_ms = HOUR_MS).await;
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        let stream = stream_of(&stripe_customer);
        let (failing, next) = (invoice_paid(&stripe_customer, None), invoice_paid(&stripe_customer, Some(&customer)));
        app.deliver(&failing).await.expect(200);
        failed_times(&app, &failing, 1).await;
        app.deliver(&next).await.expect(200);

        let (head, second) = (job_of(&app, &failing).await.id, job_of(&app, &next).await.id);
        let detail = admin_get(&app, &path(&stream, "")).await;
        assert_eq!(detail["head"]["id"], head.as_str());
        assert_eq!((&detail["head"]["state"], &detail["stream"]["unfinished"]), (&"scheduled".into(), &2.into()));
        let listed = admin_get(&app, "/admin/v1/streams").await;
        assert!(listed["data"].as_array().unwrap().iter().any(|row| row["key"] == stream.as_str()), "{listed}");

        let why = async |id: &str| admin_get(&app, &format!("/admin/v1/jobs/{id}")).await["why"].as_str().unwrap().to_owned();
        let tried_again = format!("It is tried again at {}: customer_unknown", detail["head"]["run_at"].as_str().unwrap());
        assert!(why(head.as_str()).await.starts_with(&tried_again), "{}", why(head.as_str()).await);
        let run_at = detail["head"]["run_at"].as_str().unwrap();
        let waits = format!("It waits for {head} before it in its stream, which is scheduled for {run_at}.");
        assert_eq!(why(second.as_str()).await, waits);

        admin_post(&app, &path(&stream, "/pause"), "waiting for the bank").await.expect(200);
        assert_eq!(why(head.as_str()).await, "Its stream is paused: waiting for the bank.");
        assert_eq!(why(second.as_str()).await, "Its stream is paused: waiting for the bank.");
        let paused = admin_get(&app, "/admin/v1/streams?paused=true").await;
        assert_eq!(paused["data"].as_array().unwrap().len(), 1, "{paused}");

        app.admin("POST", &path(&stream, "/resume"), None).await.expect(200);
        admin_post(&app, &path(&stream, "/skip"), "no such customer").await.expect(200);
        app.event_in_state(stripe::id(&next), "processed").await;
        assert_eq!(why(head.as_str()).await, "It was cancelled: skipped by support: no such customer.");
        assert_eq!(why(second.as_str()).await, "It is done.");
        app.verify().await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_keep_the_order_of_streams_that_both_work_on() {
    let app = TestApp::start(Backend::Production).await;
    let second = TestApp::start_on(app.config.clone(), None).await;
    let mut sent = Vec::new();
    for _ in 0..6 {
        let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
        let events: Vec<_> = (0..8).map(|_| invoice_paid(&stripe_customer, Some(&customer))).collect();
        sent.push((customer, stream_of(&stripe_customer), events));
    }
    for number in 0..8 {
        let node = if number % 2 == 0 { &app } else { &second };
        for answer in join_all(sent.iter().map(|(_, _, events)| node.deliver(&events[number]))).await {
            answer.expect(200);
        }
    }
    for (customer, stream, events) in &sent {
        for event in events {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        // Epochs show the order of execution; the nodes' clocks may differ.
        let mut epochs = Vec::new();
        for job in jobs_of_stream(&app, stream).await {
            assert_eq!((job.attempt, job.rescues), (1, 0), "{job:#?}");
            epochs.extend(attempts(&app, &job.id).await.into_iter().map(|attempt| attempt.epoch));
        }
        assert!(epochs.len() == 8 && epochs.is_sorted(), "{epochs:?}");
        assert_eq!(second.balance(customer).await, SIGNUP + 8 * PERIOD);
    }
    app.verify().await;
    second.stop().await;
    app.stop().await;
}

// Production only: on SQLite no job can be claimed during another write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_committed_after_its_runner_timed_out_counts() {
    let app = TestApp::start_with(Backend::Production, |config| config.ledger.timeout_ms = 100).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let block = app.app.db.begin().await.unwrap();
    let lock = format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", customer.id);
    block.execute_unprepared(&lock).await.unwrap();
    let event = invoice_paid(&stripe_customer, Some(&customer));
    app.deliver(&event).await.expect(200);
    until_waiting(&app, 1).await;
    let begun = now_ms();
    wait::until("the runner has given up waiting", || async { (now_ms() > begun + 300).then_some(()) }).await;
    block.rollback().await.unwrap();
    app.event_in_state(stripe::id(&event), "processed").await;
    let counted = async || {
        let ended = metric(&app, JOB_ATTEMPTS, "kind=\"stripe.event\"");
        let fenced = metric(&app, JOB_FENCED, "");
        (ended + fenced > 0.0).then_some((ended, fenced))
    };
    assert_eq!(wait::until("the attempt is counted", counted).await, (1.0, 0.0));
    assert_eq!(job_of(&app, &event).await.attempt, 1);
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);
    app.verify().await;
    app.stop().await;
}
