//! Failures of queues, channels and messages while the broker runs.

use super::{BrokerView, health, pointer};
use crate::scene::{
    PERIOD, SIGNUP, attempts, deliver_until, failed_times, invoice_paid, job, job_of, link, metric, now_ms,
    other_streams_proceed, stream_of, stripe_customer,
};
use bursar_engine::domain::job::{JobKind, JobState, NewJob};
use bursar_engine::infra::store::job::job_insert_many;
use bursar_engine::metric::{BROKER_PUBLISHED, BROKER_RECONNECTS};
use bursar_tests::{Backend, TestApp, stripe, wait};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use serde_json::json;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// An application without a sweeper, so that only the broker announces due jobs.
async fn without_sweeper() -> TestApp {
    TestApp::start_with(Backend::Production, |config| {
        config.jobs.sweep_grace_ms = HOUR_MS;
        config.jobs.backoff_base_ms = HOUR_MS;
    })
    .await
}

/// Waits until the application has opened another session with the broker.
async fn reconnected(app: &TestApp, before: f64) {
    wait::until("the application has connected again", || async {
        (metric(app, BROKER_RECONNECTS, "") > before).then_some(())
    })
    .await;
    app.app.runtime.broker.as_ref().unwrap().wait_until_connected().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumption_resumes_after_its_queue_was_deleted_and_after_a_channel_was_closed() {
    let app = without_sweeper().await;
    let view = BrokerView::of(&app).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let payment = || invoice_paid(&stripe_customer, Some(&customer));
    deliver_until(&app, &payment(), "processed").await;
    let (queue, parked) = (view.work_queue(), view.topology.parked_queue());

    // The broker cancels the consumer of a queue that is deleted.
    for name in [&queue, &parked] {
        let before = metric(&app, BROKER_RECONNECTS, "");
        view.channel().await.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        reconnected(&app, before).await;
        view.until_consumed(&queue).await;
        view.until_consumed(&parked).await;
        let confirmed = metric(&app, BROKER_PUBLISHED, "confirmed");
        deliver_until(&app, &payment(), "processed").await;
        assert!(metric(&app, BROKER_PUBLISHED, "confirmed") > confirmed);
    }

    // The broker closes a channel that publishes to an exchange that does not exist.
    let before = metric(&app, BROKER_RECONNECTS, "");
    let exchange = view.topology.work_exchange();
    view.channel().await.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    deliver_until(&app, &payment(), "processed").await;
    reconnected(&app, before).await;
    view.until_consumed(&queue).await;
    let confirmed = metric(&app, BROKER_PUBLISHED, "confirmed");
    deliver_until(&app, &payment(), "processed").await;
    assert!(metric(&app, BROKER_PUBLISHED, "confirmed") > confirmed);

    health(&app, "ok").await;
    assert_eq!(app.balance(&customer).await, SIGNUP + 5 * PERIOD);
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_and_duplicate_messages_do_nothing_and_parked_ones_are_redriven() {
    let app = without_sweeper().await;
    let view = BrokerView::of(&app).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let stream = stream_of(&stripe_customer);
    let (queue, parked) = (view.work_queue(), view.topology.parked_queue());

    for garbage in ["", "garbage", "{}", "{\"stream\":7}", "[\"\\u0000\"]"] {
        view.publish("", &queue, garbage.as_bytes()).await;
        view.publish("", &parked, garbage.as_bytes()).await;
    }
    view.publish("", &queue, &[0xff, 0xfe, 0x00]).await;
    view.announce("an unknown stream", "job_nobody", 0).await;

    // Duplicate pointers to a finished job.
    let done = invoice_paid(&stripe_customer, Some(&customer));
    deliver_until(&app, &done, "processed").await;
    let id = job_of(&app, &done).await.id;
    for attempt in [0, 0, 1, 7] {
        view.announce(&stream, id.as_str(), attempt).await;
    }
    // Duplicate pointers to a job that is scheduled in an hour.
    let waiting = invoice_paid(&crate::scene::stripe_customer(), None);
    app.deliver(&waiting).await.expect(200);
    failed_times(&app, &waiting, 1).await;
    let waiting = job_of(&app, &waiting).await;
    for attempt in [0, 1, 2] {
        view.announce(&waiting.stream_key, waiting.id.as_str(), attempt).await;
    }
    other_streams_proceed(&app).await;
    view.until_waiting(&queue, 0).await;
    view.until_waiting(&parked, 0).await;
    assert_eq!(job(&app, &waiting.id).await, waiting);
    assert_eq!((job(&app, &id).await.attempt, attempts(&app, &id).await.len()), (1, 1));
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);

    // A job whose only message was delivered too often and parked.
    let args = json!({ "customer": customer.id }).to_string();
    let forgotten = NewJob::new(JobKind::AccountSettle, args, now_ms());
    let tx = app.app.db.begin().await.unwrap();
    job_insert_many(&tx, std::slice::from_ref(&forgotten), now_ms()).await.unwrap();
    tx.commit().await.unwrap();
    other_streams_proceed(&app).await;
    assert_eq!(job(&app, &forgotten.id).await.state, JobState::Available, "it was not announced");
    view.publish("", &parked, &pointer(&forgotten.stream(), forgotten.id.as_str(), 0)).await;
    crate::scene::job_in_state(&app, &forgotten.id, JobState::Succeeded).await;

    // Unacknowledged messages would return to their queue once the application has stopped.
    app.verify().await;
    app.stop().await;
    for name in [&queue, &parked] {
        let messages = wait::until("the application has released its queues", || async {
            view.queue(name).await.filter(|(_, consumers)| *consumers == 0).map(|(messages, _)| messages)
        })
        .await;
        assert_eq!(messages, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_comes_back_through_its_delay_tier() {
    let app = TestApp::start_with(Backend::Production, |config| {
        config.jobs.sweep_grace_ms = HOUR_MS;
        config.jobs.backoff_base_ms = 1_000;
    })
    .await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let event = invoice_paid(&stripe_customer, None);
    app.deliver(&event).await.expect(200);
    failed_times(&app, &event, 2).await;
    link(&app, &customer, &stripe_customer).await;
    app.event_in_state(stripe::id(&event), "processed").await;
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);
    app.verify().await;
    app.stop().await;
}
