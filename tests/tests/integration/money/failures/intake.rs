//! Failures 4 and 12 (see `failures.rs`): every event that Stripe signed is accepted once it can be stored, and can be
//! found.

use super::*;
use crate::private::Private;
use crate::scene::{SIGNUP, events, stripe_customer};
use bursar_services::Postgres;
use bursar_tests::unique::unique;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

/// Asserts a 503 while the database is down, and that the same event is accepted when it is back.
async fn is_refused_then_accepted(app: &TestApp, away: impl AsyncFnOnce(), back: impl AsyncFnOnce()) {
    let customer = app.onboard().await;
    let event = invoice_paid(&stripe_customer(), Some(&customer));
    away().await;
    let refused = app.deliver(&event).await;
    assert_eq!((refused.status, refused.code()), (503, "unavailable"), "{refused:?}");
    assert!(refused.retry_after.is_some(), "{refused:?}");
    back().await;
    wait::until("the resend is taken", || async { (app.deliver(&event).await.status == 200).then_some(()) }).await;
    let found = app.event_in_state(stripe::id(&event), "processed").await;
    assert_eq!(found["event"]["deliveries"], 1, "what was refused left nothing behind: {found}");
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);
    app.verify().await;
}

mod failure_4_an_event_refused_while_the_database_is_away_is_taken_and_processed_when_it_is_sent_again {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn embedded() {
        let app = TestApp::start(Backend::Embedded).await;
        let mut options = ConnectOptions::new(app.config.database_url());
        options.max_connections(1);
        let other: DatabaseConnection = Database::connect(options).await.unwrap();
        // Another transaction writes to the file and does not end.
        let away = async || {
            other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
        };
        let back = async || {
            other.execute_unprepared("ROLLBACK").await.unwrap();
        };
        is_refused_then_accepted(&app, away, back).await;
        app.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn production() {
        let postgres = Private::start(Postgres::start).await;
        let url = postgres.run(|postgres| postgres.create_database("bursar")).await;
        let app = TestApp::start_with(Backend::Production, |config| {
            config.database_url = url;
            config.database.acquire_timeout_ms = 500;
        })
        .await;
        let away = async || postgres.run(Postgres::kill).await;
        let back = async || postgres.run(Postgres::start_again).await;
        is_refused_then_accepted(&app, away, back).await;
        app.stop().await;
    }
}

with_shop! {
    async fn failure_12_an_event_of_an_unknown_version_with_unknown_fields_is_processed(shop: &Shop) {
        let customer = shop.pro().await;
        let mut renewal = shop.next_month();
        renewal["quantum_state"] = json!({ "of": ["whatever", { "comes": 1.5 }] });
        let mut event = stripe::event("invoice.paid", &renewal);
        event["api_version"] = "2031-01-01.zinnia".into();
        event["reality"] = "unknown".into();
        take_away(&mut event, &["request", "pending_webhooks", "created"]);
        shop.app.deliver(&event).await.expect(200);
        shop.app.event_in_state(stripe::id(&event), "processed").await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_12_an_event_of_an_unknown_type_is_stored_and_processed(shop: &Shop) {
        let event = stripe::event("invoice.teleported", &json!({ "id": "in_1", "object": "invoice" }));
        shop.app.deliver(&event).await.expect(200);
        assert_eq!(shop.app.event(stripe::id(&event)).await["event"]["state"], "processed");
    }

    async fn failure_12_an_event_of_the_wrong_mode_is_accepted_and_quarantined(shop: &Shop) {
        let customer = shop.pro().await;
        let mut event = stripe::event("invoice.paid", &shop.next_month());
        event["livemode"] = true.into();
        shop.app.deliver(&event).await.expect(200);
        let found = shop.app.event(stripe::id(&event)).await;
        assert!(found["event"]["last_error"].as_str().is_some_and(|why| why.starts_with("wrong_mode")), "{found}");
        let why = found["why"].as_str().unwrap();
        assert!(why.starts_with("It was given up without an attempt: wrong_mode"), "{why}");
        assert!(why.ends_with("A replay would end the same way."), "{why}");
        let dead = events(&shop.app, "state=dead").await;
        assert_eq!(dead[0]["external_id"], event["id"]);
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn failure_12_a_thin_event_waits_until_stripe_can_be_asked(shop: &Shop) {
        let customer = shop.pro().await;
        shop.next_month();
        let told = shop.stripe.list("event");
        let twin = told.iter().rev().find(|event| event["type"] == "invoice.paid").expect("an event");
        let thin = shop.control(&format!("events/{}/thin", stripe::id(twin)), json!({})).await;
        shop.fail_next("GET", "/v1/events", Fault::Refuse { status: 503, should_retry: None });
        shop.app.deliver(&thin).await.expect(200);
        shop.app.event_in_state(stripe::id(&thin), "processed").await;
        shop.app.event_in_state(stripe::id(twin), "processed").await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_12_a_thin_event_and_its_twin_grant_once(shop: &Shop) {
        let customer = shop.pro().await;
        shop.next_month();
        let told = shop.stripe.list("event");
        let twin = told.iter().rev().find(|event| event["type"] == "invoice.paid").expect("an event");
        let thin = shop.control(&format!("events/{}/thin", stripe::id(twin)), json!({})).await;
        assert_eq!(thin["snapshot_event"], twin["id"]);
        shop.app.deliver(&thin).await.expect(200);
        shop.app.event_in_state(stripe::id(&thin), "processed").await;
        shop.app.event_in_state(stripe::id(twin), "processed").await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        // Stripe delivers the twin as well.
        shop.app.deliver(twin).await.expect(200);
        assert_eq!(shop.app.event_in_state(stripe::id(twin), "processed").await["event"]["deliveries"], 2);
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_12_a_thin_event_without_a_twin_grants_once_from_its_object(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        let id = stripe::id(&renewal);
        let thin = json!({
            "id": format!("evt_{}", unique()), "object": "v2.core.event", "type": "v1.invoice.paid", "livemode": false,
            "created": "2026-01-01T00:00:00.000Z",
            "related_object": { "id": id, "type": "invoice", "url": format!("/v1/invoices/{id}") },
        });
        for _ in 0..2 {
            shop.app.deliver(&thin).await.expect(200);
        }
        shop.app.event_in_state(stripe::id(&thin), "processed").await;
        shop.app.event_in_state(&format!("{}:object", stripe::id(&thin)), "processed").await;
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_12_bytes_that_are_not_an_event_are_accepted_and_kept_apart(shop: &Shop) {
        for body in [b"{ \"id\": \"evt_cut".as_slice(), b"[]", b"\xff\xfe", b"{\"object\": \"event\"}"] {
            shop.app.deliver_bytes(body).await.expect(200);
        }
        let dead = events(&shop.app, "state=dead").await;
        assert_eq!(dead.len(), 4);
        assert!(dead.iter().all(|event| event["type"] == "unreadable"), "{dead:?}");
    }
}

with_backend! {
    async fn failure_12_events_are_accepted_under_the_old_secret_during_a_rotation(backend: Backend) {
        let shop = Shop::open_with_events(backend).await;
        let customer = shop.pro().await;
        for (month, secret) in (2..).zip([WEBHOOK_SECRETS[1], WEBHOOK_SECRETS[0]]) {
            let endpoint = NewEndpoint::new(format!("{}/webhooks/stripe", shop.app.base), secret);
            shop.stripe.add_endpoint(&endpoint).expect("an endpoint");
            shop.next_month();
            wait::until("the renewal has granted", || async {
                (shop.app.balance(&customer).await == month * PERIOD).then_some(())
            })
            .await;
        }
        shop.close().await;
    }
}
