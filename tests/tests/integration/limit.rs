//! Limits that all nodes share: exact, told to clients, and decided without the database where that is right.

mod shared;

use crate::database::number;
use crate::node::NodeProcess;
use crate::scene::with_backend;
use bursar_engine::Error;
use bursar_engine::domain::audit::Audit;
use bursar_engine::domain::rate_limit::Quota;
use bursar_engine::domain::rate_limit::log::Taken;
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::rate_limit::take_audited;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, TestCustomer, wait};
use futures_util::future::join_all;
use serde_json::json;
use std::cell::Cell;

const EXCHANGED: &str = "SELECT COUNT(*) FROM audit_log WHERE action = 'credentials.exchange' AND target = $1";
const HOUR_MS: i64 = 3_600_000;
/// Far in the future, so that the application's retention does not delete the logs.
const START_MS: i64 = 4_000_000_000_000;

/// Takes one of a customer's exchanges, in a transaction that commits unless `rolls_back`.
async fn exchange(app: &TestApp, customer: &CustomerId, units: u32, now_ms: i64, rolls_back: bool) -> Taken {
    let tx = app.app.db.begin().await.unwrap();
    let line = Audit::new("customer:test", "credentials.exchange", customer, &json!({}));
    let quota = Quota { units, window_ms: HOUR_MS };
    let taken = take_audited(&tx, ("exchanges", quota), customer, &line, now_ms).await.unwrap();
    if rolls_back {
        tx.rollback().await.unwrap()
    } else {
        tx.commit().await.unwrap()
    }
    taken
}

fn is_taken(taken: &Taken) -> bool {
    matches!(taken, Taken::Share { .. })
}

/// Sends a request and returns its status and the fields `RateLimit-Policy`, `RateLimit` and `Retry-After`.
async fn fields(app: &TestApp, customer: &TestCustomer, method: &str, path: &str) -> (u16, [Option<String>; 3]) {
    let method = method.parse().unwrap();
    let mut request = app.client.request(method, format!("{}{path}", app.base)).header("x-api-key", &customer.api_key);
    if path == "/api/v1/usage" {
        request = request.header("Idempotency-Key", unique()).json(&json!({ "units": 1 }));
    }
    let answer = request.send().await.unwrap();
    let field = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), ["ratelimit-policy", "ratelimit", "retry-after"].map(field))
}

with_backend! {
    async fn exchanges_are_counted_with_their_lines_in_the_audit_log(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customers = [app.onboard().await.id, app.onboard().await.id];
        let [customer, other] = customers.map(CustomerId::trusted);
        assert!(is_taken(&exchange(&app, &customer, 5, START_MS, true).await));
        for n in 0..5 {
            assert!(is_taken(&exchange(&app, &customer, 5, START_MS + n, false).await), "a rollback returns what was taken");
        }
        let denied = exchange(&app, &customer, 5, START_MS + 10, false).await;
        assert!(matches!(denied, Taken::Denied { retry_after_ms, .. } if retry_after_ms == HOUR_MS - 10), "{denied:?}");
        assert!(is_taken(&exchange(&app, &other, 5, START_MS + 10, false).await));
        assert!(is_taken(&exchange(&app, &customer, 5, START_MS + HOUR_MS, false).await));
        let counts = [&customer, &other].map(|id| number(&app, EXCHANGED, [id.as_str().into()]));
        assert_eq!(join_all(counts).await, [6, 1]);
        app.stop().await;
    }

    async fn exchanges_at_once_pass_up_to_the_limit(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = CustomerId::trusted(app.onboard().await.id);
        let taken = join_all((0..40).map(|_| exchange(&app, &customer, 25, START_MS, false))).await;
        assert_eq!(taken.iter().filter(|taken| is_taken(taken)).count(), 25);
        assert_eq!(number(&app, EXCHANGED, [customer.as_str().into()]).await, 25);
        app.stop().await;
    }

    async fn nobody_exchanges_for_a_customer_that_is_not_there(backend: Backend) {
        let app = TestApp::start(backend).await;
        let tx = app.app.db.begin().await.unwrap();
        let customer = CustomerId::new();
        let line = Audit::new("customer:test", "credentials.exchange", &customer, &json!({}));
        let quota = Quota { units: 5, window_ms: HOUR_MS };
        let taken = take_audited(&tx, ("exchanges", quota), &customer, &line, START_MS).await;
        assert!(matches!(taken, Err(Error::NotFound("customer"))));
        tx.rollback().await.unwrap();
        app.stop().await;
    }

    async fn each_answer_says_what_is_left_of_the_keys_requests(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.limits.requests_per_minute = 4).await;
        let (customer, other) = (app.onboard().await, app.onboard().await);
        let policy = Some("\"requests\";q=4;w=60".to_owned());
        let (mut method, mut path) = ("GET", "/api/v1/customer");
        for left in [3, 2, 1, 0] {
            let (status, fields) = fields(&app, &customer, method, path).await;
            let begin = format!("\"requests\";r={left};t=");
            assert_eq!((status, &fields[0], &fields[2]), (200, &policy, &None));
            assert!(fields[1].as_ref().is_some_and(|text| text.starts_with(&begin)), "{fields:?} {begin}");
            // A request with a body is authenticated before its body and after it, and counts once.
            (method, path) = ("POST", "/api/v1/usage");
        }
        let (status, [policy_of_denied, left, retry_after]) = fields(&app, &customer, "GET", "/api/v1/customer").await;
        assert_eq!((status, policy_of_denied), (429, policy));
        let seconds = retry_after.unwrap();
        assert!((1..=61).contains(&seconds.parse::<u64>().unwrap()), "{seconds}");
        assert_eq!(left.unwrap(), format!("\"requests\";r=0;t={seconds}"));
        let refused = app.call(&customer, "GET", "/api/v1/customer", "", None).await;
        refused.expect_problem(429, "rate_limited");
        app.spend(&other, 1, "other").await.expect(200);
        app.stop().await;
    }

    async fn a_write_names_each_limit_that_it_counts_against(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.limits.keys_per_minute = 10).await;
        let customer = app.onboard().await;
        let path = format!("{}/api/v1/api-keys", app.base);
        let request = app.client.post(path).header("x-api-key", &customer.api_key).header("Idempotency-Key", unique());
        let answer = request.json(&json!({ "name": "ci" })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 201);
        let policy = answer.headers()["ratelimit-policy"].to_str().unwrap();
        assert_eq!(policy, "\"writes\";q=3000;w=300, \"keys\";q=20;w=120");
        assert!(answer.headers()["ratelimit"].to_str().unwrap().contains("\"keys\";r=19;t="));
        app.stop().await;
    }

    async fn exports_of_a_customer_are_limited(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.limits.exports_per_hour = 2).await;
        let (customer, other) = (app.onboard().await, app.onboard().await);
        let export = async |customer: &TestCustomer| fields(&app, customer, "GET", "/api/v1/credits/transactions.csv").await;
        assert_eq!([export(&customer).await.0, export(&customer).await.0], [200, 200]);
        let (status, [_, left, retry_after]) = export(&customer).await;
        assert_eq!(status, 429);
        assert_eq!(left.unwrap(), format!("\"exports\";r=0;t={}", retry_after.unwrap()));
        assert_eq!(export(&other).await.0, 200);
        app.spend(&customer, 1, "spent").await.expect(200);
        app.stop().await;
    }

    async fn a_mailbox_has_three_new_customers_a_day_by_whatever_alias(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.onboarding.per_mailbox_per_day = 3).await;
        let sign_up = async |alias: &str, headers: &[(&str, &str)], is_verified: Option<bool>| {
            let email = format!("{alias}@gmail.com");
            let body = json!({ "email": email, "name": "Ada", "email_verified": is_verified });
            app.request("POST", "/api/v1/customers/onboard", headers, Some(&body)).await
        };
        sign_up("adal", &[], None).await.expect(201);
        for _ in 0..4 {
            // A known address uses up nothing.
            sign_up("adal", &[], None).await.expect_problem(409, "customer_exists");
        }
        sign_up("adal+1", &[], None).await.expect(201);
        sign_up("ada.l", &[], None).await.expect(201);
        let limited = sign_up("adal+2", &[], None).await;
        limited.expect_problem(429, "rate_limited");
        assert!(limited.retry_after.unwrap().parse::<u64>().unwrap() > 80_000);
        assert_eq!(number(&app, "SELECT COUNT(*) FROM customers", []).await, 3, "a refused signup makes nothing");
        sign_up("grace", &[], None).await.expect(201);
        // Whoever vouches knows whose mailbox it is.
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        sign_up("adal+3", &[("Authorization", &bearer)], Some(true)).await.expect(201);
        app.stop().await;
    }

    async fn a_signup_says_what_is_left_for_its_address(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.onboarding.per_ip_per_minute = 2).await;
        let attempt = async || {
            let body = json!({ "email": format!("{}@example.com", unique()), "name": "Ada" });
            let request = app.client.post(format!("{}/api/v1/customers/onboard", app.base)).json(&body);
            let answer = request.send().await.unwrap();
            let field = answer.headers()["ratelimit"].to_str().unwrap().to_owned();
            assert_eq!(answer.headers()["ratelimit-policy"], "\"signups\";q=2;w=60");
            (answer.status().as_u16(), field)
        };
        assert_eq!(attempt().await, (201, "\"signups\";r=1;t=60".to_owned()));
        assert_eq!(attempt().await, (201, "\"signups\";r=0;t=60".to_owned()));
        let (status, left) = attempt().await;
        assert!(status == 429 && left.starts_with("\"signups\";r=0;t="), "{status} {left}");
        app.stop().await;
    }
}

/// Requests with one key on all nodes at once, several on each; returns how many passed.
async fn hammer(bases: &[&str], customer: &TestCustomer, each: usize) -> usize {
    let client = reqwest::Client::new();
    let requests = bases.iter().flat_map(|base| std::iter::repeat_n(base, each)).map(async |base| {
        let request = client.get(format!("{base}/api/v1/customer")).header("x-api-key", &customer.api_key);
        let status = request.send().await.unwrap().status().as_u16();
        assert!([200, 429].contains(&status), "{status}");
        status == 200
    });
    join_all(requests).await.into_iter().filter(|passed| *passed).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_hammering_one_key_pass_exactly_the_limit() {
    const LIMIT: usize = 700;
    let app = TestApp::start_with(Backend::Production, |config| config.limits.requests_per_minute = LIMIT as u32).await;
    let nodes = [NodeProcess::start(&app.config).await, NodeProcess::start(&app.config).await];
    let bases = [app.base.as_str(), nodes[0].base(), nodes[1].base()];
    let (customer, other) = (app.onboard().await, app.onboard().await);
    let began = tokio::time::Instant::now();
    let (passed, rounds) = (Cell::new(0), Cell::new(0));
    // What a node does not use of its share is found by the others once the share is over.
    wait::until("all of the limit is used", || async {
        let more = hammer(&bases, &customer, 20).await;
        passed.set(passed.get() + more);
        rounds.set(rounds.get() + 1);
        (passed.get() >= LIMIT).then_some(())
    })
    .await;
    passed.set(passed.get() + hammer(&bases, &customer, 40).await);
    // The first requests are forgotten after a minute, of which a slow machine may need more.
    if began.elapsed().as_secs() < 60 {
        assert_eq!(passed.get(), LIMIT, "in {} rounds", rounds.get());
    }
    assert_eq!(hammer(&bases, &other, 5).await, 15, "each key by itself");
    for node in nodes {
        node.terminate().await;
    }
    app.verify().await;
    app.stop().await;
}
