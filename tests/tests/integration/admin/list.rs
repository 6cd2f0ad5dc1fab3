//! Search, filters and pages of support's lists; cancelled jobs; paused streams.

use super::*;
use bursar_engine::domain::job::{JobKind, NewJob};
use bursar_engine::ids::{CustomerId, HoldId};
use bursar_engine::infra::store::job::job_insert_many;

/// Follow-up mails scheduled by a signup.
const FOLLOW_UPS: usize = 5;

pub(super) async fn paged(app: &TestApp, path: &str, limit: usize) -> Vec<Value> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let (mut all, mut next) = (Vec::new(), format!("{path}{joint}limit={limit}"));
    loop {
        let page = app.admin("GET", &next, None).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= limit);
        all.extend(rows.iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { return all };
        next = format!("{path}{joint}limit={limit}&cursor={cursor}");
    }
}

fn field<'a>(rows: &'a [Value], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str().unwrap()).collect()
}

async fn sign_up(app: &TestApp, email: &str, name: &str) -> String {
    let body = json!({ "email": email, "name": name });
    let made = app.request("POST", "/api/v1/customers/onboard", &[], Some(&body)).await.expect(201);
    made["customer"]["id"].as_str().unwrap().to_owned()
}

/// Adds a job that settles a customer's account in an hour, as the previous release did; returns it.
async fn waiting_job(app: &TestApp) -> Value {
    let customer = app.onboard().await;
    let now_ms = app.app.clock.now_ms();
    let args = json!({ "customer": customer.id }).to_string();
    let mut job = NewJob::new(JobKind::AccountSettle, args, now_ms + 3_600_000);
    job.unique_key = Some(format!("settle:{}", HoldId::new()));
    job.customer_id = Some(CustomerId::trusted(customer.id.clone()));
    let tx = app.app.db.begin().await.unwrap();
    job_insert_many(&tx, &[job], now_ms).await.unwrap();
    tx.commit().await.unwrap();
    let jobs = data(app, "/admin/v1/jobs?kind=account.settle&state=scheduled").await;
    jobs.into_iter().find(|job| job["customer_id"] == customer.id.as_str()).unwrap()
}

with_app! {
    async fn customers_are_found_by_part_of_email_or_name_and_by_full_id(app: &TestApp) {
        let ada = sign_up(app, "Ada@Example.com", "Ada Lovelace").await;
        let grace = sign_up(app, "grace_h@navy.example", "Grace Hopper 100%").await;
        let stripe_customer = format!("cus_{}", unique());
        let object = stripe::pro_subscription(&stripe_customer, Some(&ada), "active");
        let event = stripe::event("customer.subscription.created", &object);
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "processed").await;
        let cases: Vec<(&str, Vec<&str>)> = vec![
            ("ada@example.com", vec![&ada]),
            ("ADA@", vec![&ada]),
            ("lovelace", vec![&ada]),
            ("%20Hopper%20", vec![&grace]),
            (&ada, vec![&ada]),
            (&stripe_customer, vec![&ada]),
            ("example", vec![&grace, &ada]),
            ("", vec![&grace, &ada]),
            // Wildcards of LIKE stand for themselves.
            ("%25", vec![&grace]),
            ("_", vec![&grace]),
            ("%5C", vec![]),
            ("'", vec![]),
            ("nobody", vec![]),
        ];
        for (search, expected) in cases {
            let found = data(app, &format!("/admin/v1/customers?search={search}")).await;
            assert_eq!(field(&found, "id"), expected, "{search}");
        }
        let all = data(app, "/admin/v1/customers").await;
        assert_eq!(paged(app, "/admin/v1/customers", 1).await, all);
        assert_eq!(paged(app, "/admin/v1/customers?search=example", 1).await, all);
    }

    async fn events_are_filtered_and_paged_newest_first(app: &TestApp) {
        let customer = app.onboard().await;
        let mut ids = Vec::new();
        for n in 0..6 {
            let event = match n % 3 {
                0 => stripe::event("invoice.paid", &stripe::pro_invoice("cus_one", Some(&customer.id))),
                1 => stripe::event("product.created", &json!({ "id": "prod_1", "object": "product" })),
                _ => {
                    let mut event = stripe::event("invoice.paid", &stripe::pro_invoice("cus_two", None));
                    event["livemode"] = json!(true);
                    event
                }
            };
            app.deliver(&event).await.expect(200);
            ids.push(stripe::id(&event).to_owned());
        }
        app.event_in_state(&ids[0], "processed").await;
        app.event_in_state(&ids[3], "processed").await;
        let at = |places: &[usize]| places.iter().map(|at| ids[*at].as_str()).collect::<Vec<_>>();
        let cases: [(&str, &[usize]); 9] = [
            ("", &[5, 4, 3, 2, 1, 0]),
            ("?state=processed", &[4, 3, 1, 0]),
            ("?state=dead", &[5, 2]),
            ("?state=waiting", &[]),
            ("?state=skipped", &[]),
            ("?type=invoice.paid", &[5, 3, 2, 0]),
            ("?type=invoice.paid&state=processed", &[3, 0]),
            ("?stream=stripe:cus_two", &[5, 2]),
            ("?type=unheard.of", &[]),
        ];
        for (query, places) in cases {
            let path = format!("/admin/v1/events{query}");
            let found = data(app, &path).await;
            assert_eq!(field(&found, "external_id"), at(places), "{query}");
            assert_eq!(paged(app, &path, 1).await, found, "{query}");
            assert_eq!(paged(app, &path, 2).await, found, "{query}");
        }
        app.admin("GET", "/admin/v1/events?state=lost", None).await.expect_problem(400, "invalid_parameter");
        // By its id in Bursar as well as by Stripe's.
        let seen = app.event(&ids[0]).await;
        assert_eq!(app.event(seen["event"]["id"].as_str().unwrap()).await, seen);
    }

    async fn jobs_are_filtered_and_paged(app: &TestApp) {
        let event = stripe::event("invoice.paid", &stripe::pro_invoice("cus_unknown", None));
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "dead").await;
        let (first, second) = (waiting_job(app).await, waiting_job(app).await);
        let (first, second) = (first["id"].as_str().unwrap(), second["id"].as_str().unwrap());
        let dead = app.event(stripe::id(&event)).await["event"]["job_id"].as_str().unwrap().to_owned();
        let cases: Vec<(&str, Vec<&str>)> = vec![
            ("state=scheduled&kind=account.settle", vec![second, first]),
            ("state=available&kind=account.settle", vec![]),
            ("kind=account.settle", vec![second, first]),
            ("state=dead", vec![&dead]),
            ("kind=stripe.event", vec![&dead]),
            ("stream=stripe:cus_unknown", vec![&dead]),
            ("event_type=invoice.paid", vec![&dead]),
            ("event_type=invoice.paid&state=succeeded", vec![]),
            ("error=no%20customer%20for%20Stripe%20customer%20cus_unknown", vec![&dead]),
            ("error=%25", vec![]),
            ("error=cusXunknown", vec![]),
        ];
        for (query, expected) in cases {
            let path = format!("/admin/v1/jobs?{query}");
            let found = data(app, &path).await;
            assert_eq!(field(&found, "id"), expected, "{query}");
            assert_eq!(paged(app, &path, 1).await, found, "{query}");
        }
        let scheduled = data(app, "/admin/v1/jobs?state=scheduled&limit=100").await;
        assert!(scheduled.iter().all(|job| job["state"] == "scheduled"), "{scheduled:?}");
        let mut kinds = field(&scheduled, "kind");
        kinds.sort_unstable();
        assert_eq!(kinds, [vec!["account.settle"; 2], vec!["mail.send"; 2 * FOLLOW_UPS]].concat());
        app.admin("GET", "/admin/v1/jobs?state=lost", None).await.expect_problem(400, "invalid_parameter");
    }

    async fn a_waiting_job_can_be_cancelled_once_and_the_reason_is_recorded(app: &TestApp) {
        let job = waiting_job(app).await;
        let path = format!("/admin/v1/jobs/{}", job["id"].as_str().unwrap());
        let seen = app.admin("GET", &path, None).await.expect(200);
        assert_eq!(seen["job"], job);
        assert!(seen["why"].as_str().unwrap().starts_with("It is due at "), "{seen}");
        let cancel = format!("{path}/cancel");
        app.admin("POST", &cancel, Some(&json!({ "reason": "" }))).await.expect_problem(400, "invalid_reason");
        let cancelled = app.admin("POST", &cancel, Some(&json!({ "reason": "ticket 4711" }))).await.expect(200);
        assert_body!(cancelled, @r#"
        {
          "attempts": [],
          "job": {
            "attempt": 0,
            "attempts_max": 20,
            "created_at": "[time]",
            "customer_id": "cst_…",
            "event_id": null,
            "finished_at": "[time]",
            "id": "job_…",
            "kind": "account.settle",
            "last_error": "cancelled by support: ticket 4711",
            "run_at": "[time]",
            "seq": 1,
            "state": "cancelled",
            "stream": "account.settle:job_…",
            "unique_key": "settle:hld_…"
          },
          "why": "It was cancelled: cancelled by support: ticket 4711."
        }
        "#);
        app.admin("POST", &cancel, Some(&json!({ "reason": "again" }))).await.expect_problem(409, "job_not_waiting");
        assert_eq!(audit_lines(app, "job.cancel").await, 1);
        for nothing in ["job_00000000000000000000000000", "nonsense"] {
            let path = format!("/admin/v1/jobs/{nothing}");
            app.admin("GET", &path, None).await.expect_problem(404, "not_found");
            let answer = app.admin("POST", &format!("{path}/cancel"), Some(&json!({ "reason": "x" }))).await;
            answer.expect_problem(404, "not_found");
        }
    }

    async fn streams_with_work_or_paused_are_listed_by_key(app: &TestApp) {
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(waiting_job(app).await["stream"].as_str().unwrap().to_owned());
        }
        let waiting = data(app, "/admin/v1/jobs?state=scheduled&limit=100").await;
        let mut with_work = field(&waiting, "stream");
        assert!(streams.iter().all(|stream| with_work.contains(&stream.as_str())));
        assert_eq!(with_work.len(), 3 * (1 + FOLLOW_UPS));
        with_work.sort_unstable();
        with_work.dedup();
        // The daily recurring job and the jobs of the signup may still be running.
        let list = "/admin/v1/streams?limit=100";
        bursar_tests::wait::until("only scheduled jobs are left", || async {
            (data(app, list).await.len() == with_work.len()).then_some(())
        })
        .await;
        let all = data(app, list).await;
        assert_eq!(field(&all, "key"), with_work);
        assert_eq!(paged(app, "/admin/v1/streams", 1).await, all);
        assert!(data(app, "/admin/v1/streams?paused=true").await.is_empty());
        let path = format!("/admin/v1/streams/{}", streams[1]);
        let reason = json!({ "reason": "ticket 4711" });
        let paused = app.admin("POST", &format!("{path}/pause"), Some(&reason)).await.expect(200);
        assert_eq!(paused["stream"]["paused_reason"], "ticket 4711");
        assert_eq!(paused["head"]["kind"], "account.settle");
        assert_eq!(field(&data(app, "/admin/v1/streams?paused=true").await, "key"), [&streams[1]]);
        assert_eq!(field(&data(app, "/admin/v1/streams?from=2020-01-01T00:00:00Z").await, "key"), [&streams[1]]);
        assert!(data(app, "/admin/v1/streams?from=2999-01-01T00:00:00Z").await.is_empty());
        app.admin("POST", &format!("{path}/pause"), Some(&reason)).await.expect_problem(409, "stream_paused");
        app.admin("POST", &format!("{path}/resume"), None).await.expect(200);
        app.admin("POST", &format!("{path}/resume"), None).await.expect_problem(409, "stream_not_paused");
        assert_eq!((audit_lines(app, "stream.pause").await, audit_lines(app, "stream.resume").await), (1, 1));
        app.admin("GET", "/admin/v1/streams/nothing", None).await.expect_problem(404, "not_found");
    }

    async fn invalid_text_is_refused_or_finds_nothing_but_is_never_an_internal_error(app: &TestApp) {
        let reason = json!({ "reason": "x" });
        let replay = json!({ "filter": { "kind": "a\u{0}" }, "dry_run": true, "reason": "a\u{0}" });
        let mut requests: Vec<(&str, &str, Option<&Value>)> = vec![
            ("POST", "/admin/v1/events/%00/replay", Some(&reason)),
            ("POST", "/admin/v1/streams/%00/pause", Some(&reason)),
            ("POST", "/admin/v1/streams/%00/resume", None),
            ("POST", "/admin/v1/streams/%00/skip", Some(&reason)),
            ("POST", "/admin/v1/replays", Some(&replay)),
        ];
        for path in [
            "/admin/v1/customers?search=a%00b", "/admin/v1/customers/%00", "/admin/v1/customers/%00/timeline",
            "/admin/v1/events?type=%00", "/admin/v1/events?stream=%00", "/admin/v1/events/%00",
            "/admin/v1/jobs?kind=%00", "/admin/v1/jobs?stream=%00", "/admin/v1/jobs?event_type=%00",
            "/admin/v1/jobs?error=%00", "/admin/v1/jobs/%00", "/admin/v1/streams/%00", "/admin/v1/replays/%00",
            "/admin/v1/customers?search=%FF", "/admin/v1/customers/%FF", "/admin/v1/events/%FF",
            "/admin/v1/streams/%FF",
            "/admin/v1/jobs?error=%FF%FE", "/admin/v1/events?type=%", "/admin/v1/streams/%E2%80%AE",
        ] {
            requests.push(("GET", path, None));
        }
        let mut failures = Vec::new();
        for (method, path, body) in requests {
            let answer = app.admin(method, path, body).await;
            if answer.status >= 500 {
                failures.push(format!("{method} {path}: {} {}", answer.status, answer.code()));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }
}
