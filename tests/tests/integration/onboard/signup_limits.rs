//! Limits on signup: `onboarding.enabled`, disposable domains, attempts per minute from one address.

use super::{CUSTOMERS, person, sign_up};
use crate::database::number;
use crate::scene::with_backend;
use crate::snapshot::assert_body;
use bursar_engine::config::Config;
use bursar_tests::answer::Answer;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, TestApp, with_app};
use futures_util::future::join_all;

const LIMITS: &str = "SELECT COUNT(*) FROM rate_limits";

fn limited(config: &mut Config) {
    config.onboarding.per_ip_per_minute = 10;
}

fn proxied(config: &mut Config) {
    limited(config);
    config.http.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
}

/// Makes a signup attempt with a new email address, and with this header if it is not empty.
async fn attempt(app: &TestApp, forwarded_for: &str) -> Answer {
    let headers = [("X-Forwarded-For", forwarded_for)];
    let headers = if forwarded_for.is_empty() { &headers[..0] } else { &headers[..] };
    let body = person(&format!("{}@example.com", unique()));
    app.request("POST", "/api/v1/customers/onboard", headers, Some(&body)).await
}

fn assert_limited(answer: &Answer) {
    answer.expect_problem(429, "rate_limited");
    let seconds: u64 = answer.retry_after.as_deref().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

with_app! {
    async fn disposable_domains_and_all_below_them_are_refused(app: &TestApp) {
        let refused = sign_up(app, &person("ada@mailinator.com")).await;
        refused.expect_problem(422, "email_disposable");
        assert_body!(refused.body, @r#"
        {
          "code": "email_disposable",
          "detail": "addresses of this domain are not accepted; use a permanent one",
          "status": 422,
          "title": "Unprocessable Entity",
          "type": "about:blank"
        }
        "#);
        for email in ["Ada@MAILINATOR.com", "ada@any.sub.mailinator.com"] {
            sign_up(app, &person(email)).await.expect_problem(422, "email_disposable");
        }
        assert_eq!(number(app, CUSTOMERS, []).await, 0);
        sign_up(app, &person("ada@not-mailinator.com")).await.expect(201);
    }
}

with_backend! {
    async fn domains_can_be_allowed_and_denied_by_configuration(backend: Backend) {
        let app = TestApp::start_with(backend, |config| {
            config.onboarding.domains_allowed = vec!["mailinator.com".to_owned()];
            config.onboarding.domains_denied = vec!["rival.example".to_owned()];
        })
        .await;
        sign_up(&app, &person("ada@mailinator.com")).await.expect(201);
        for email in ["ada@rival.example", "ada@mail.rival.example"] {
            sign_up(&app, &person(email)).await.expect_problem(422, "email_disposable");
        }
        app.stop().await;
    }

    async fn with_signup_disabled_existing_customers_keep_working(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = app.onboard().await;
        let (mut config, folder) = app.halt().await;
        config.onboarding.enabled = false;
        limited(&mut config);
        let app = TestApp::start_on(config, folder).await;
        let refused = sign_up(&app, &person("ada@example.com")).await;
        refused.expect_problem(503, "onboarding_disabled");
        assert_eq!(refused.retry_after.as_deref(), Some("60"));
        assert_eq!(number(&app, CUSTOMERS, []).await, 1);
        assert_eq!(number(&app, LIMITS, []).await, 0, "with signup disabled no attempt is counted");
        app.spend(&customer, 1, "one").await.expect(200);
        app.stop().await;
    }

    async fn ten_attempts_a_minute_from_one_address_pass_whatever_their_outcome(backend: Backend) {
        let app = TestApp::start_with(backend, limited).await;
        let ada = person("ada@example.com");
        sign_up(&app, &ada).await.expect(201);
        for _ in 0..3 {
            sign_up(&app, &ada).await.expect_problem(409, "customer_exists");
            sign_up(&app, &person("ada")).await.expect_problem(400, "invalid_email");
            sign_up(&app, &person("ada@mailinator.com")).await.expect_problem(422, "email_disposable");
        }
        for _ in 0..3 {
            assert_limited(&attempt(&app, "").await);
            assert_limited(&sign_up(&app, &ada).await);
        }
        assert_eq!(number(&app, CUSTOMERS, []).await, 1);
        app.stop().await;
    }

    async fn ten_of_forty_concurrent_attempts_pass(backend: Backend) {
        let app = TestApp::start_with(backend, limited).await;
        let answers = join_all((0..40).map(|_| attempt(&app, ""))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 10);
        answers.iter().filter(|answer| answer.status != 201).for_each(assert_limited);
        assert_eq!(number(&app, CUSTOMERS, []).await, 10);
        app.stop().await;
    }

    async fn a_forged_forwarded_address_does_not_help(backend: Backend) {
        let app = TestApp::start_with(backend, limited).await;
        for n in 0..10 {
            attempt(&app, &format!("198.51.100.{n}")).await.expect(201);
        }
        assert_limited(&attempt(&app, "198.51.100.77").await);
        app.stop().await;
    }

    async fn behind_a_trusted_proxy_each_of_its_callers_has_its_own_limit(backend: Backend) {
        let app = TestApp::start_with(backend, proxied).await;
        for n in 0..10 {
            // The caller's own entries precede the one that the proxy appended.
            attempt(&app, &format!("192.0.2.{n}, 198.51.100.1")).await.expect(201);
        }
        assert_limited(&attempt(&app, "192.0.2.99, 198.51.100.1").await);
        attempt(&app, "198.51.100.2").await.expect(201);
        for n in 0..10 {
            attempt(&app, &format!("2001:db8:1:2::{n}")).await.expect(201);
        }
        assert_limited(&attempt(&app, "2001:db8:1:2:ffff::1").await);
        attempt(&app, "2001:db8:1:3::1").await.expect(201);
        app.stop().await;
    }

    async fn ipv6_is_limited_by_site_and_in_all_and_ipv4_is_not_affected(backend: Backend) {
        let app = TestApp::start_with(backend, |config| {
            proxied(config);
            (config.onboarding.per_ipv6_site_per_minute, config.onboarding.ipv6_per_minute) = (3, 5);
        })
        .await;
        for network in 0..3 {
            attempt(&app, &format!("2001:db8:1:{network}::1")).await.expect(201);
        }
        assert_limited(&attempt(&app, "2001:db8:1:ffff::1").await);
        for site in 2..4 {
            attempt(&app, &format!("2001:db8:{site}::1")).await.expect(201);
        }
        assert_limited(&attempt(&app, "2001:db8:9::1").await);
        attempt(&app, "198.51.100.1").await.expect(201);
        app.stop().await;
    }
}

// Production only: SQLite serves one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_limit_of_ten_attempts() {
    let one = TestApp::start_with(Backend::Production, limited).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    let nodes = [&one, &two];
    let answers = join_all((0..40).map(|n| attempt(nodes[n % 2], ""))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 10);
    answers.iter().filter(|answer| answer.status != 201).for_each(assert_limited);
    two.stop().await;
    one.stop().await;
}
