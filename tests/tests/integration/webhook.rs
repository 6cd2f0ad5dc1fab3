//! Stripe's webhook: which deliveries are accepted, and that accepted ones are stored.

mod effect;
mod unknown;

use crate::database::{number, rows};
use crate::scene::events;
use crate::snapshot::{assert_body, scrubbed};
use bursar_engine::clock::Clock;
use bursar_engine::domain::webhook::sign;
use bursar_tests::answer::Answer;
use bursar_tests::app::WEBHOOK_SECRETS;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, stripe, with_app};
use futures_util::future::join_all;
use serde_json::{Value, json};

const EVENTS: &str = "SELECT COUNT(*) FROM events";

fn now_s() -> i64 {
    Clock::System.now_ms() / 1_000
}

fn cus() -> String {
    format!("cus_{}", unique())
}

/// An event of a type that the application ignores.
fn product_created() -> Value {
    stripe::event("product.created", &json!({ "id": format!("prod_{}", unique()), "object": "product" }))
}

async fn replay(app: &TestApp, id: &str) -> Answer {
    app.admin("POST", &format!("/admin/v1/events/{id}/replay"), Some(&json!({ "reason": "ticket 4711" }))).await
}

with_app! {
    async fn an_unsigned_or_stale_delivery_is_refused_and_not_stored(app: &TestApp) {
        let body = product_created().to_string();
        let bytes = body.as_bytes();
        let (secret, now) = (WEBHOOK_SECRETS[0], now_s());
        let good = sign(secret, bytes, now);
        let mac = good.split_once("v1=").unwrap().1;
        let cases = [
            (None, "signature_missing"),
            (Some(String::new()), "signature_missing"),
            (Some("nonsense".to_owned()), "signature_malformed"),
            (Some(format!("v1={mac}")), "signature_malformed"),
            (Some(format!("t={now}")), "signature_malformed"),
            (Some(format!("t={now},v0={mac}")), "signature_malformed"),
            (Some(format!("t={now},t={now},v1={mac}")), "signature_malformed"),
            (Some(format!("t=now,v1={mac}")), "signature_malformed"),
            (Some(format!("t={now},v1=")), "signature_malformed"),
            (Some(format!("t={now},v1={}", &mac[1..])), "signature_malformed"),
            (Some(format!("t={},v1={mac}", now - 1)), "signature_mismatch"),
            (Some(sign("whsec_wrong", bytes, now)), "signature_mismatch"),
            (Some(sign("", bytes, now)), "signature_mismatch"),
            (Some(sign(WEBHOOK_SECRETS.join(","), bytes, now)), "signature_mismatch"),
            (Some(sign(secret, format!("{body} ").as_bytes(), now)), "signature_mismatch"),
            (Some(sign("whsec_wrong", bytes, now - 4_000)), "signature_stale"),
            (Some(sign(secret, bytes, now - 400)), "signature_stale"),
            (Some(sign(WEBHOOK_SECRETS[1], bytes, now - 400)), "signature_stale"),
            (Some(sign(secret, bytes, now + 400)), "signature_future"),
        ];
        for (signature, code) in cases {
            let answer = app.deliver_signed(bytes, signature.as_deref()).await;
            assert_eq!((answer.status, answer.code()), (400, code), "{signature:?}: {}", answer.body);
            assert_eq!(answer.content_type, "application/problem+json");
        }
        assert_eq!(number(app, EVENTS, []).await, 0);
    }

    async fn a_refusal_says_why_and_nothing_that_helps_to_forge(app: &TestApp) {
        let answer = app.deliver_signed(b"{}", Some(&sign("whsec_wrong", b"{}", now_s()))).await;
        assert_body!(answer.body, @r#"
        {
          "code": "signature_mismatch",
          "detail": "the signature does not match",
          "status": 400,
          "title": "Bad Request",
          "type": "about:blank"
        }
        "#);
    }

    async fn any_valid_signature_under_any_current_secret_is_accepted(app: &TestApp) {
        let body = |event: &Value| event.to_string().into_bytes();
        let event = body(&product_created());
        let old = sign(WEBHOOK_SECRETS[1], &event, now_s());
        let answer = app.deliver_signed(&event, Some(&old)).await.expect(200);
        assert_eq!(answer, json!({ "received": true, "duplicate": false }));
        // During a rotation Stripe signs with both secrets; ours need not be the first.
        let event = body(&product_created());
        let ours = sign(WEBHOOK_SECRETS[0], &event, now_s());
        let (time, mac) = ours.split_once(",v1=").unwrap();
        let header = format!("{time},v1={},v0={mac},v1={mac}", "0".repeat(64));
        app.deliver_signed(&event, Some(&header)).await.expect(200);
        for drift_s in [-250, 250] {
            let event = body(&product_created());
            let signature = sign(WEBHOOK_SECRETS[0], &event, now_s() + drift_s);
            app.deliver_signed(&event, Some(&signature)).await.expect(200);
        }
        assert_eq!(number(app, EVENTS, []).await, 4);
    }

    async fn a_delivery_with_the_headers_that_stripe_sends_is_accepted(app: &TestApp) {
        let body = product_created().to_string();
        let request = app.client.post(format!("{}/webhooks/stripe", app.base));
        let request = request.header("Content-Type", "application/json; charset=utf-8");
        let request = request.header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)");
        let request = request.header("Stripe-Signature", sign(WEBHOOK_SECRETS[0], body.as_bytes(), now_s()));
        assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), 200);
    }

    async fn signed_bytes_that_are_not_an_event_are_stored_dead_as_unreadable(app: &TestApp) {
        let bodies: [&[u8]; 7] =
            [b"", b"\xff\xfe\x00garbage", b"null", b"[]", b"{}", br#"{"id":"evt_1"}"#, br#"{"type":"invoice.paid"}"#];
        for (n, body) in bodies.into_iter().enumerate() {
            let first = app.deliver_bytes(body).await.expect(200);
            let again = app.deliver_bytes(body).await.expect(200);
            assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
            let dead = events(app, "state=dead&type=unreadable").await;
            assert_eq!(dead.len(), n + 1);
            assert!(dead[0]["last_error"].as_str().unwrap().starts_with("unreadable: "), "{}", dead[0]);
            assert_eq!(dead[0]["deliveries"], 2);
            // The bytes are shown to support.
            let shown = app.event(dead[0]["external_id"].as_str().unwrap()).await;
            let why = shown["why"].as_str().unwrap();
            assert!(why.contains("unreadable") && why.ends_with("A replay would end the same way."), "{shown}");
        }
        app.verify().await;
    }

    async fn an_event_of_the_other_mode_is_kept_in_quarantine(app: &TestApp) {
        let customer = app.onboard().await;
        let mut event = stripe::event("invoice.paid", &stripe::pro_invoice(&cus(), Some(&customer.id)));
        event["livemode"] = json!(true);
        app.deliver(&event).await.expect(200);
        let found = app.event(stripe::id(&event)).await;
        assert_eq!(found["event"]["state"], "dead");
        assert!(found["event"]["last_error"].as_str().unwrap().starts_with("wrong_mode"), "{found}");
        assert_eq!(found["attempts"], json!([]));
        assert_eq!(app.balance(&customer).await, 5);
    }

    async fn a_replay_does_not_bring_play_money_out_of_quarantine(app: &TestApp) {
        let customer = app.onboard().await;
        let mut event = stripe::event("invoice.paid", &stripe::pro_invoice(&cus(), Some(&customer.id)));
        event["livemode"] = json!(true);
        app.deliver(&event).await.expect(200);
        replay(app, stripe::id(&event)).await;
        let found = bursar_tests::wait::until("the replay is over", || async {
            let found = app.event(stripe::id(&event)).await;
            (found["event"]["state"] != "waiting").then_some(found)
        })
        .await;
        assert_eq!((&found["event"]["state"], app.balance(&customer).await), (&json!("dead"), 5));
    }

    async fn an_event_of_an_ignored_type_is_stored_and_processed(app: &TestApp) {
        let event = product_created();
        app.deliver(&event).await.expect(200);
        let found = app.event(stripe::id(&event)).await;
        assert_eq!(found["event"]["state"], "processed");
        assert_eq!(found["payload"], event);
    }

    async fn a_thin_event_is_processed_in_the_stream_of_its_object(app: &TestApp) {
        let event = json!({
            "id": format!("evt_{}", unique()), "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found",
            "livemode": false, "created": "2026-01-01T00:00:00.000Z", "context": null, "reason": null,
            "snapshot_event": "evt_twin",
            "related_object": { "id": "cus_thin", "type": "customer", "url": "/v1/customers/cus_thin" },
        });
        app.deliver(&event).await.expect(200);
        // Its twin would be fetched, but there is no Stripe key, so nothing else is done.
        let found = app.event_in_state(stripe::id(&event), "processed").await;
        assert_eq!(found["event"]["stream"], "stripe:cus_thin");
    }

    async fn an_event_is_kept_byte_for_byte(app: &TestApp) {
        let id = format!("evt_{}", unique());
        let odd = "\"n\": 1.50e+2,\"é\":\"\\u00e9\\/\",\"n\":1";
        let body = format!("{{\r\n\t\"type\" : \"x.y\",\n  \"id\":\"{id}\", {odd}}}\n \n");
        app.deliver_bytes(body.as_bytes()).await.expect(200);
        let sql = "SELECT payload FROM events WHERE external_id = $1";
        let stored: Vec<u8> = rows(app, sql, [id.into()]).await[0].try_get_by_index(0).unwrap();
        assert_eq!(stored, body.as_bytes());
    }

    async fn characters_that_databases_reject_lose_no_event(app: &TestApp) {
        let customer = app.onboard().await;
        let nul = "a\u{0}b\u{7}\u{feff}\u{10ffff}";
        for event_type in ["invoice.payment_failed", "customer.subscription.updated", "product.created", nul] {
            let mut object = stripe::pro_invoice(&cus(), Some(&customer.id));
            object["status"] = json!(nul);
            object["currency"] = json!(nul);
            let error = json!({ "message": nul, "code": nul });
            object["payments"] = json!([{ "payment": { "payment_intent": { "last_payment_error": error } } }]);
            let mut event = stripe::event(event_type, &object);
            app.deliver(&event).await.expect(200);
            app.deliver(&event).await.expect(200);
            let id = stripe::id(&event).to_owned();
            let found = bursar_tests::wait::until("the event is worked off", || async {
                let found = app.event(&id).await;
                (found["event"]["state"] != "waiting").then_some(found)
            })
            .await;
            assert_eq!(found["payload"], event, "what is shown is what was sent");
            // An invalid id, and one that differs from it only in such a character, are two events.
            for odd in [format!("{id}{nul}"), format!("{id}{nul}\u{1}")] {
                event["id"] = json!(odd);
                assert_eq!(app.deliver(&event).await.expect(200)["duplicate"], false);
                assert_eq!(app.deliver(&event).await.expect(200)["duplicate"], true);
            }
        }
        assert_eq!(number(app, EVENTS, []).await, 12);
        bursar_tests::wait::until("nothing waits", || async {
            events(app, "state=waiting").await.is_empty().then_some(())
        })
        .await;
        app.verify().await;
    }

    async fn an_event_of_a_mebibyte_is_accepted_and_a_larger_one_is_not(app: &TestApp) {
        let mut event = product_created();
        event["data"]["object"]["description"] = json!("x".repeat(1_024 * 1_024));
        app.deliver(&event).await.expect(200);
        event["id"] = json!("evt_too_large");
        event["data"]["object"]["description"] = json!("x".repeat(4 * 1_024 * 1_024));
        app.deliver(&event).await.expect_problem(413, "body_too_large");
        assert_eq!(number(app, EVENTS, []).await, 1);
    }

    async fn copies_of_an_event_are_counted_and_do_nothing(app: &TestApp) {
        let customer = app.onboard().await;
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&cus(), Some(&customer.id)));
        assert_eq!(app.deliver(&event).await.expect(200), json!({ "received": true, "duplicate": false }));
        assert_eq!(app.deliver(&event).await.expect(200), json!({ "received": true, "duplicate": true }));
        let found = app.event_in_state(stripe::id(&event), "processed").await;
        assert_eq!(app.deliver(&event).await.expect(200), json!({ "received": true, "duplicate": true }));
        assert_eq!(app.event(stripe::id(&event)).await["event"]["deliveries"], 3);
        assert_eq!(number(app, EVENTS, []).await, 1);
        assert_eq!(app.balance(&customer).await, 65);
        assert_body!(found["attempts"], @r#"
        [
          {
            "attempt": 1,
            "duration_ms": "[ms]",
            "epoch": "[epoch]",
            "finished_at": "[time]",
            "node": "[node]",
            "outcome": "done",
            "reason": null,
            "started_at": "[time]"
          }
        ]
        "#);
        app.verify().await;
    }

    async fn twenty_copies_at_once_are_one_event_and_one_grant(app: &TestApp) {
        let customer = app.onboard().await;
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&cus(), Some(&customer.id)));
        let answers = join_all((0..20).map(|_| app.deliver(&event))).await;
        let bodies: Vec<Value> = answers.into_iter().map(|answer| answer.expect(200)).collect();
        assert_eq!(bodies.iter().filter(|body| body["duplicate"] == false).count(), 1);
        let found = app.event_in_state(stripe::id(&event), "processed").await;
        assert_eq!(found["event"]["deliveries"], 20);
        assert_eq!((number(app, EVENTS, []).await, app.balance(&customer).await), (1, 65));
        assert_eq!(number(app, "SELECT COUNT(*) FROM jobs WHERE event_id IS NOT NULL", []).await, 1);
        app.verify().await;
    }

    async fn many_concurrent_events_are_all_stored_and_processed(app: &TestApp) {
        let customers: Vec<TestCustomer> = join_all((0..10).map(|_| app.onboard())).await;
        let mut deliveries = Vec::new();
        for customer in &customers {
            let stripe_customer = cus();
            for _ in 0..3 {
                let invoice = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
                deliveries.push(stripe::event("invoice.paid", &invoice));
                deliveries.push(stripe::event("invoice.payment_succeeded", &invoice));
                deliveries.push(product_created());
            }
        }
        for answer in join_all(deliveries.iter().map(|event| app.deliver(event))).await {
            answer.expect(200);
        }
        for event in &deliveries {
            app.event_in_state(stripe::id(event), "processed").await;
        }
        for customer in &customers {
            assert_eq!(app.balance(customer).await, 5 + 3 * 60);
        }
        app.verify().await;
    }
}
