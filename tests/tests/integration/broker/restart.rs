//! Outages of the broker.

use super::{BrokerView, health};
use crate::private::{Private, Proxy};
use crate::scene::{PERIOD, SIGNUP, deliver_until, failed_times, invoice_paid, job_of, link, metric, stripe_customer};
use bursar_engine::metric::BROKER_PUBLISHED;
use bursar_services::RabbitMq;
use bursar_tests::app::ADMIN_TOKEN;
use bursar_tests::chaos::process::signal;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, wait};
use serde_json::{Value, json};

/// Longer than any test, so that everything processed was announced by the broker.
const NO_SWEEPER_MS: i64 = 60 * 60 * 1_000;

async fn deliver(app: &TestApp, customer: &TestCustomer, stripe_customer: &str, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    for _ in 0..count {
        let event = invoice_paid(stripe_customer, Some(customer));
        app.deliver(&event).await.expect(200);
        events.push(event);
    }
    events
}

async fn processed(app: &TestApp, events: &[Value]) {
    for event in events {
        app.event_in_state(stripe::id(event), "processed").await;
        assert_eq!(job_of(app, event).await.attempt, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_before_during_and_after_an_outage_of_the_broker_are_processed() {
    let broker = Private::start(RabbitMq::start).await;
    let url = broker.run(|broker| Ok(broker.url())).await;
    let (proxy, url) = Proxy::before(&url).await;
    let app = TestApp::start_with(Backend::Production, |config| config.amqp_url = url).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let mut events = deliver(&app, &customer, &stripe_customer, 5).await;
    processed(&app, &events).await;
    health(&app, "ok").await;

    // The broker is killed while events are processed, stays down for some, and is started again.
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    broker.run(RabbitMq::kill).await;
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    health(&app, "degraded").await;
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;
    broker.run(RabbitMq::start_again).await;
    health(&app, "ok").await;
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;

    // Only the connections are lost.
    for _ in 0..3 {
        let carried = proxy.carried();
        events.extend(deliver(&app, &customer, &stripe_customer, 3).await);
        proxy.cut();
        events.extend(deliver(&app, &customer, &stripe_customer, 3).await);
        wait::until("the application has connected again", || async { (proxy.carried() >= carried + 2).then_some(()) })
            .await;
        health(&app, "ok").await;
    }
    let confirmed = metric(&app, BROKER_PUBLISHED, "confirmed");
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;
    assert!(metric(&app, BROKER_PUBLISHED, "confirmed") > confirmed, "the broker is used again");
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD * i64::try_from(events.len()).unwrap());
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_works_without_a_hanging_broker_until_it_answers() {
    let broker = Private::start(RabbitMq::start).await;
    let (url, pid) = broker.run(|broker| Ok((broker.url(), broker.pid().unwrap()))).await;
    let app = TestApp::start_with(Backend::Production, |config| {
        config.amqp_url = url;
        config.amqp.confirms_max = 4;
        config.jobs.sweep_grace_ms = NO_SWEEPER_MS;
    })
    .await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let mut events = deliver(&app, &customer, &stripe_customer, 2).await;
    processed(&app, &events).await;

    // It keeps its connections and accepts messages, but confirms nothing. More is announced than may wait for a
    // confirmation, each message in its own stream.
    signal("STOP", pid).await.unwrap();
    let (mut others, mut announced) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let other = app.onboard().await;
        let event = invoice_paid(&crate::scene::stripe_customer(), Some(&other));
        app.deliver(&event).await.expect(200);
        others.push(other);
        announced.push(event);
    }
    processed(&app, &announced).await;
    health(&app, "degraded").await;
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;

    signal("CONT", pid).await.unwrap();
    health(&app, "ok").await;
    let confirmed = metric(&app, BROKER_PUBLISHED, "confirmed");
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;
    assert!(metric(&app, BROKER_PUBLISHED, "confirmed") > confirmed, "the broker is used again");
    for other in &others {
        assert_eq!(app.balance(other).await, SIGNUP + PERIOD);
    }
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_works_without_a_broker_that_is_out_of_memory() {
    let broker = Private::start(RabbitMq::start).await;
    let url = broker.run(|broker| Ok(broker.url())).await;
    let app = TestApp::start_with(Backend::Production, |config| config.amqp_url = url).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    let mut events = deliver(&app, &customer, &stripe_customer, 2).await;
    processed(&app, &events).await;

    broker.run(|broker| broker.set_memory_alarm(true)).await;
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;
    health(&app, "degraded").await;
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;

    broker.run(|broker| broker.set_memory_alarm(false)).await;
    health(&app, "ok").await;
    let confirmed = metric(&app, BROKER_PUBLISHED, "confirmed");
    events.extend(deliver(&app, &customer, &stripe_customer, 5).await);
    processed(&app, &events).await;
    assert!(metric(&app, BROKER_PUBLISHED, "confirmed") > confirmed, "the broker is used again");
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD * i64::try_from(events.len()).unwrap());
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_broker_loses_no_waiting_job() {
    const RETRY_MS: i64 = 20_000;
    let broker = Private::start(RabbitMq::start).await;
    let url = broker.run(|broker| Ok(broker.url())).await;
    let app = TestApp::start_with(Backend::Production, |config| {
        config.amqp_url = url;
        config.amqp.tiers_ms = vec![100, RETRY_MS];
        config.jobs.backoff_base_ms = RETRY_MS;
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
        let event = invoice_paid(&stripe_customer, None);
        app.deliver(&event).await.expect(200);
        failed_times(&app, &event, 1).await;
        waiting.push((customer, stripe_customer, event));
    }
    let tier = format!("{}.wait.{RETRY_MS}", app.config.amqp.prefix);
    BrokerView::of(&app).await.until_waiting(&tier, 10).await;

    for (customer, stripe_customer, _) in &waiting {
        link(&app, customer, stripe_customer).await;
    }
    broker.run(RabbitMq::wipe).await;
    health(&app, "ok").await;
    let view = BrokerView::of(&app).await;
    assert_eq!(view.queue(&tier).await, Some((0, 0)), "the queues exist again, and are empty");
    for (customer, _, event) in &waiting {
        app.event_in_state(stripe::id(event), "processed").await;
        let job = job_of(&app, event).await;
        assert_eq!((job.attempt, job.rescues), (2, 0));
        assert_eq!(app.balance(customer).await, SIGNUP + PERIOD);
    }
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_starts_without_its_broker_works_and_connects_later() {
    let shared = std::env::var("BURSAR_TEST_AMQP_URL").unwrap();
    let (proxy, url) = Proxy::before(&shared).await;
    proxy.close();
    // The harness waits for the broker, so requests bypass it until there is one.
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let starting = tokio::spawn(TestApp::start_with(Backend::Production, move |config| {
        config.listen = listen.to_string();
        config.amqp_url = url;
        config.jobs.sweep_grace_ms = NO_SWEEPER_MS;
    }));
    let client = wait::until("the application is running", || async {
        // The harness prepares TLS before it starts the application.
        std::net::TcpStream::connect(listen).ok().map(|_| reqwest::Client::new())
    })
    .await;
    let get = async |path: &str| -> Value {
        let request =
            client.get(format!("http://{listen}{path}")).header("Authorization", format!("Bearer {ADMIN_TOKEN}"));
        request.send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(get("/health").await["status"], "degraded");
    let email = format!("{}@example.com", unique());
    let signup = json!({ "email": email, "name": "Early", "source": "direct" });
    let onboard = client.post(format!("http://{listen}/api/v1/customers/onboard")).json(&signup);
    let made: Value = onboard.send().await.unwrap().json().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let customer = TestCustomer { id: text(&made["customer"]["id"]), api_key: text(&made["api_key"]) };
    let stripe_customer = stripe_customer();
    let early = invoice_paid(&stripe_customer, Some(&customer));
    let body = early.to_string();
    let signature = stripe::signature(body.as_bytes(), bursar_tests::app::WEBHOOK_SECRETS[0]);
    let webhook = client.post(format!("http://{listen}/webhooks/stripe")).header("Stripe-Signature", signature);
    assert_eq!(webhook.body(body).send().await.unwrap().status(), 200);
    wait::until("the event is processed without a broker", || async {
        let found = get(&format!("/admin/v1/events/{}", stripe::id(&early))).await;
        (found["event"]["state"] == "processed").then_some(())
    })
    .await;
    assert!(!starting.is_finished());

    proxy.open();
    let app = starting.await.unwrap();
    health(&app, "ok").await;
    deliver_until(&app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;
    assert!(metric(&app, BROKER_PUBLISHED, "confirmed") >= 1.0);
    assert_eq!(app.balance(&customer).await, SIGNUP + 2 * PERIOD);
    app.verify().await;
    app.stop().await;
}
