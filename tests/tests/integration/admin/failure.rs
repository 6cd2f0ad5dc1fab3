//! Failures by cause: what support sees of dead jobs and events, and replaying a group.

use super::*;
use crate::scene::{deliver_until, invoice_paid, stripe_customer};

const FAILURES: &str = "/admin/v1/failures";

/// Delivers events of live mode to a server for test mode, which are dead on arrival; returns their ids at Stripe.
async fn deliver_of_wrong_mode(app: &TestApp, event_type: &str, customer: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let mut event = stripe::event(event_type, &stripe::pro_invoice(customer, None));
        event["livemode"] = json!(true);
        app.deliver(&event).await.expect(200);
        ids.push(stripe::id(&event).to_owned());
    }
    ids
}

async fn groups(app: &TestApp, query: &str) -> Vec<(String, String, u64)> {
    let answer = app.admin("GET", &format!("{FAILURES}{query}"), None).await.expect(200);
    assert_eq!((&answer["is_complete"], &answer["left_out"]), (&json!(true), &json!(0)), "{answer}");
    let groups = answer["data"].as_array().unwrap();
    let counts = groups.iter().map(|group| group["count"].as_u64().unwrap());
    assert_eq!(answer["jobs_read"], counts.sum::<u64>(), "{answer}");
    let text = |group: &Value, name: &str| group[name].as_str().unwrap_or_default().to_owned();
    groups.iter().map(|g| (text(g, "cause"), text(g, "event_type"), g["count"].as_u64().unwrap())).collect()
}

with_app! {
    async fn failures_are_counted_by_cause_and_type(app: &TestApp) {
        assert!(groups(app, "").await.is_empty());
        deliver_of_wrong_mode(app, "invoice.paid", "cus_one", 3).await;
        deliver_of_wrong_mode(app, "invoice.payment_failed", "cus_one", 1).await;
        let (one, other) = (invoice_paid(&stripe_customer(), None), invoice_paid(&stripe_customer(), None));
        deliver_until(app, &one, "dead").await;
        deliver_until(app, &other, "dead").await;

        let group = |cause: &str, event_type: &str, count| (cause.to_owned(), event_type.to_owned(), count);
        let (wrong, unknown) = (group("wrong_mode", "invoice.paid", 3), group("customer_unknown", "invoice.paid", 2));
        let failed = group("wrong_mode", "invoice.payment_failed", 1);
        assert_eq!(groups(app, "").await, [wrong.clone(), unknown.clone(), failed.clone()]);
        assert_eq!(groups(app, "?event_type=invoice.paid").await, [wrong.clone(), unknown.clone()]);
        assert_eq!(groups(app, "?stream=stripe:cus_one").await, [wrong.clone(), failed.clone()]);
        assert_eq!(groups(app, "?error=customer_unknown&kind=stripe.event").await, [unknown]);
        assert!(groups(app, "?kind=mail.send").await.is_empty());
        assert!(groups(app, "?from=2999-01-01T00:00:00Z").await.is_empty());
        assert_eq!(groups(app, "?from=2020-01-01T00:00:00Z&stream=stripe:cus_one").await, [wrong, failed]);

        let answer = app.admin("GET", FAILURES, None).await.expect(200);
        let job = app.event(stripe::id(&other)).await["event"]["job_id"].clone();
        assert_eq!(answer["data"][1]["latest_job_id"], job);
        let example = answer["data"][1]["example"].as_str().unwrap();
        assert!(example.starts_with("gave up after 8 attempts: customer_unknown: "), "{example}");
        app.admin("GET", &format!("{FAILURES}?from=soon"), None).await.expect_problem(400, "invalid_time");
        app.admin("GET", &format!("{FAILURES}?customer=x"), None).await.expect_problem(404, "not_found");
    }

    async fn a_group_is_replayed_and_what_became_of_its_jobs_is_counted(app: &TestApp) {
        deliver_of_wrong_mode(app, "invoice.paid", "cus_one", 2).await;
        let other = deliver_of_wrong_mode(app, "invoice.payment_failed", "cus_one", 1).await;
        let filter = json!({ "state": "dead", "cause": "wrong_mode", "event_type": "invoice.paid" });
        let body = json!({ "filter": filter, "rate_per_second": 1000, "reason": "ticket 4711" });
        let made = app.admin("POST", "/admin/v1/replays", Some(&body)).await.expect(201);
        assert_eq!(made["replay"]["total"], 2);
        let path = format!("/admin/v1/replays/{}", made["replay"]["id"].as_str().unwrap());
        let seen = app.admin("GET", &path, None).await.expect(200);
        assert_eq!(seen["outcomes"]["not_started"], 2, "{seen}");

        app.admin("POST", &format!("{path}/start"), None).await.expect(200);
        let ended = bursar_tests::wait::until("the jobs have died again", || async {
            let seen = app.admin("GET", &path, None).await.expect(200);
            (seen["outcomes"]["dead"] == 2).then_some(seen)
        })
        .await;
        for outcome in ["succeeded", "cancelled", "retrying", "waiting", "not_started", "skipped", "deleted"] {
            assert_eq!(ended["outcomes"][outcome], 0, "{outcome}: {ended}");
        }
        let untouched = app.event(&other[0]).await;
        assert_eq!(untouched["event"]["attempts"], 0, "another type of event is another group");
        for cause in ["customer_unknown", "wrong_mod", "WRONG_MODE"] {
            let body = json!({ "filter": { "state": "dead", "cause": cause }, "reason": "ticket 4711" });
            assert_eq!(app.admin("POST", "/admin/v1/replays", Some(&body)).await.expect(201)["replay"]["total"], 0);
        }
    }

    async fn lists_are_narrowed_by_customer_time_and_reason(app: &TestApp) {
        let (customer, other) = (app.onboard().await, app.onboard().await);
        let (own, foreign) = (stripe_customer(), stripe_customer());
        let (paid, also) = (invoice_paid(&own, Some(&customer)), invoice_paid(&foreign, Some(&other)));
        deliver_until(app, &paid, "processed").await;
        deliver_until(app, &also, "processed").await;
        // The customer is linked to the Stripe customer from the first event on, so this one is found by its stream.
        let mut dead = stripe::event("invoice.paid", &stripe::pro_invoice(&own, None));
        dead["livemode"] = json!(true);
        app.deliver(&dead).await.expect(200);
        app.event_in_state(stripe::id(&dead), "dead").await;

        let external = |rows: &[Value]| -> Vec<String> {
            rows.iter().map(|row| row["external_id"].as_str().unwrap().to_owned()).collect()
        };
        let of_it = format!("/admin/v1/events?customer={}", customer.id);
        assert_eq!(external(&data(app, &of_it).await), [stripe::id(&dead), stripe::id(&paid)]);
        let narrowed = [
            (format!("{of_it}&error=wrong_mode"), 1),
            (format!("{of_it}&error=nothing"), 0),
            (format!("{of_it}&from=2020-01-01T00:00:00Z"), 2),
            (format!("{of_it}&from=2999-01-01T00:00:00Z"), 0),
            (format!("/admin/v1/jobs?customer={}&kind=stripe.event", customer.id), 2),
            (format!("/admin/v1/jobs?customer={}&kind=stripe.event&error=wrong_mode", customer.id), 1),
            (format!("/admin/v1/jobs?customer={}&from=2999-01-01T00:00:00Z", customer.id), 0),
            (format!("/admin/v1/mails?customer={}&from=2999-01-01T00:00:00Z", customer.id), 0),
            (format!("/admin/v1/mails?customer={}&error=nothing", customer.id), 0),
            ("/admin/v1/customers?from=2999-01-01T00:00:00Z".to_owned(), 0),
            ("/admin/v1/customers?from=2020-01-01T00:00:00Z".to_owned(), 2),
            ("/admin/v1/audit?from=2999-01-01T00:00:00Z".to_owned(), 0),
            (format!("/admin/v1/audit?target={}&reason=no%20such%20reason", customer.id), 0),
            ("/admin/v1/replays?from=2020-01-01T00:00:00Z&reason=x".to_owned(), 0),
            (format!("/admin/v1/payments?customer={}&reason=card_declined", customer.id), 0),
            (format!("/admin/v1/invoices?customer={}&reason=card_declined", customer.id), 0),
            (format!("/admin/v1/operations?customer={}&reason=card_declined", customer.id), 0),
        ];
        for (path, count) in narrowed {
            assert_eq!(data(app, &path).await.len(), count, "{path}");
        }
        let acts = format!("/admin/v1/audit?target={}", customer.id);
        let since = format!("{acts}&from=2020-01-01T00:00:00Z");
        assert_eq!(data(app, &since).await, data(app, &acts).await);
        let all = data(app, &format!("/admin/v1/jobs?customer={}&limit=100", customer.id)).await;
        assert_eq!(list::paged(app, &format!("/admin/v1/jobs?customer={}", customer.id), 2).await, all);
        for list in [
            "events", "jobs", "mails", "audit", "replays", "customers", "payments", "operations", "streams",
            "stripe/reconciliations",
        ] {
            let path = format!("/admin/v1/{list}?from=yesterday");
            app.admin("GET", &path, None).await.expect_problem(400, "invalid_time");
        }
    }

    async fn streams_whose_jobs_only_wait_for_their_time_are_left_out_on_request(app: &TestApp) {
        let customer = app.onboard().await;
        let stripe_customer = stripe_customer();
        deliver_until(app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;
        let stream = format!("stripe:{stripe_customer}");
        let pause = json!({ "reason": "a look, ticket 4711" });
        app.admin("POST", &format!("/admin/v1/streams/{stream}/pause"), Some(&pause)).await.expect(200);
        let keys = |rows: &[Value]| -> Vec<String> {
            rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
        };
        bursar_tests::wait::until("only the paused stream is not idle", || async {
            (keys(&data(app, "/admin/v1/streams?due=true").await) == [stream.clone()]).then_some(())
        })
        .await;
        let all = keys(&data(app, "/admin/v1/streams?limit=100").await);
        assert!(all.iter().any(|key| key.starts_with("mail.send:")), "follow-up mails wait: {all:?}");
        let of_it = format!("/admin/v1/streams?customer={}&due=true", customer.id);
        assert_eq!(keys(&data(app, &of_it).await), std::slice::from_ref(&stream));
        assert_eq!(keys(&data(app, "/admin/v1/streams?reason=4711").await), [stream]);
        assert!(data(app, "/admin/v1/streams?reason=4712").await.is_empty());
        assert!(data(app, "/admin/v1/streams?paused=true&due=true").await.len() == 1);
    }
}
