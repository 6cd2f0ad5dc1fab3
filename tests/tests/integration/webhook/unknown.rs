//! Events with an unknown customer: retried, dead in sight of support, replayed.

use super::*;

with_app! {
    async fn an_event_of_an_unknown_customer_is_retried_then_dead_then_replayed(app: &TestApp) {
        let stripe_customer = cus();
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, None));
        let id = stripe::id(&event);
        app.deliver(&event).await.expect(200);
        let dead = app.event_in_state(id, "dead").await;

        // Every attempt is recorded with its reason.
        let attempts = dead["attempts"].as_array().unwrap();
        let numbers: Vec<i64> = attempts.iter().map(|attempt| attempt["attempt"].as_i64().unwrap()).collect();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
        for (n, attempt) in attempts.iter().enumerate() {
            assert_eq!(attempt["outcome"], if n < 7 { "retry" } else { "dead" });
            assert!(attempt["reason"].as_str().unwrap().contains("customer_unknown"), "{attempt}");
        }
        let reason = format!("customer_unknown: no customer for Stripe customer {stripe_customer} yet");
        assert_eq!(dead["event"]["last_error"], format!("gave up after 8 attempts: {reason}"));
        assert_eq!(dead["event"]["attempts"], 8);
        let mut shown = scrubbed(&dead["event"]);
        shown["last_error"] = json!("[checked above]");
        assert_body!(shown, @r#"
        {
          "attempts": 8,
          "deliveries": 1,
          "external_id": "evt_…",
          "id": "evt_…",
          "job_id": "job_…",
          "last_error": "[checked above]",
          "processed_at": "[time]",
          "received_at": "[time]",
          "source": "stripe",
          "state": "dead",
          "stream": "stripe:cus_…",
          "type": "invoice.paid"
        }
        "#);

        // Support finds it by state and type, by its stream, and its job by the error.
        for query in ["state=dead&type=invoice.paid".to_owned(), format!("stream=stripe:{stripe_customer}")] {
            let found = events(app, &query).await;
            assert_eq!(found.iter().map(|event| event["external_id"].as_str().unwrap()).collect::<Vec<_>>(), [id]);
        }
        let jobs = app.admin("GET", "/admin/v1/jobs?state=dead&error=customer_unknown", None).await.expect(200);
        assert_eq!(jobs["data"][0]["id"], dead["event"]["job_id"]);
        assert_eq!(jobs["data"].as_array().unwrap().len(), 1);

        // A later event that names the customer links it. The dead one did not stop its stream.
        let customer = app.onboard().await;
        let object = stripe::pro_subscription(&stripe_customer, Some(&customer.id), "active");
        let created = stripe::event("customer.subscription.created", &object);
        app.deliver(&created).await.expect(200);
        app.event_in_state(stripe::id(&created), "processed").await;
        assert_eq!(app.balance(&customer).await, 5);

        let replayed = replay(app, id).await.expect(200);
        assert_eq!(replayed["event"]["external_id"], id);
        app.event_in_state(id, "processed").await;
        assert_eq!(app.balance(&customer).await, 65);

        // Another replay has no effect.
        replay(app, id).await.expect(200);
        let done = bursar_tests::wait::until("the second replay is done", || async {
            let found = app.event(id).await;
            (found["event"]["state"] == "processed" && found["event"]["attempts"] == 10).then_some(found)
        })
        .await;
        assert_eq!(done["event"]["last_error"], Value::Null);
        assert_eq!(app.balance(&customer).await, 65);
        app.verify().await;
    }

    async fn a_replayed_event_that_fails_again_gets_eight_more_attempts(app: &TestApp) {
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&cus(), None));
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "dead").await;
        replay(app, stripe::id(&event)).await.expect(200);
        let dead = bursar_tests::wait::until("the event is dead again", || async {
            let found = app.event(stripe::id(&event)).await;
            (found["event"]["state"] == "dead" && found["event"]["attempts"] != 8).then_some(found)
        })
        .await;
        assert_eq!(dead["event"]["attempts"], 16);
        assert_eq!(dead["attempts"].as_array().unwrap().len(), 16);
        app.verify().await;
    }

    async fn a_waiting_event_cannot_be_replayed_and_a_missing_one_is_not_found(app: &TestApp) {
        replay(app, "evt_nothing").await.expect_problem(404, "not_found");
        app.admin("GET", "/admin/v1/events/evt_nothing", None).await.expect_problem(404, "not_found");
        let stripe_customer = cus();
        let done = stripe::event("product.created", &json!({ "id": stripe_customer, "object": "customer" }));
        app.deliver(&done).await.expect(200);
        let stream = format!("/admin/v1/streams/stripe:{stripe_customer}");
        app.admin("POST", &format!("{stream}/pause"), Some(&json!({ "reason": "test" }))).await.expect(200);
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, None));
        app.deliver(&event).await.expect(200);
        replay(app, stripe::id(&event)).await.expect_problem(409, "job_not_ended");
        let waiting = app.event(stripe::id(&event)).await;
        assert_eq!([&waiting["event"]["state"], &waiting["why"]], ["waiting", "Its stream is paused: test."]);
        for reason in ["", " "] {
            let path = format!("/admin/v1/events/{}/replay", stripe::id(&done));
            app.admin("POST", &path, Some(&json!({ "reason": reason }))).await.expect_problem(400, "invalid_reason");
        }
        // It is not lost: the stream continues.
        app.admin("POST", &format!("{stream}/resume"), None).await.expect(200);
        app.event_in_state(stripe::id(&event), "dead").await;
    }

    async fn an_incomplete_event_is_dead_with_a_reason(app: &TestApp) {
        let customer = app.onboard().await;
        type Case = (&'static str, fn(&mut Value));
        let cases: [Case; 5] = [
            ("shape_incomplete", |invoice| invoice["id"] = Value::Null),
            ("shape_incomplete", |invoice| invoice["status"] = Value::Null),
            ("shape_incomplete", |invoice| invoice["lines"] = Value::Null),
            ("shape_incomplete", |invoice| {
                for amount in ["total", "amount_due", "amount_paid"] {
                    invoice[amount] = Value::Null;
                }
            }),
            // There is no Stripe that could be asked for the price.
            ("price_unknown", |invoice| {
                invoice["lines"]["data"][0]["pricing"]["price_details"]["price"] = json!("price_unheard_of");
            }),
        ];
        for (reason, change) in cases {
            let mut invoice = stripe::pro_invoice(&cus(), Some(&customer.id));
            change(&mut invoice);
            let event = stripe::event("invoice.paid", &invoice);
            app.deliver(&event).await.expect(200);
            let dead = app.event_in_state(stripe::id(&event), "dead").await;
            assert!(dead["event"]["last_error"].as_str().unwrap().starts_with(reason), "{dead}");
        }
        assert_eq!(app.balance(&customer).await, 5);
        app.verify().await;
    }
}
