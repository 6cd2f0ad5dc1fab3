//! The end-to-end journeys of the command `e2e`, on both pairs of backends.

use bursar_sandbox::{NewEndpoint, Options, Sandbox};
use bursar_tests::app::{ADMIN_TOKEN, GITHUB_SECRETS, WEBHOOK_SECRETS};
use bursar_tests::e2e::report::Report;
use bursar_tests::e2e::target::{StripeMode, Target};
use bursar_tests::e2e::{self, Journey};
use bursar_tests::{Backend, TestApp};

use crate::scene::with_backend;

/// An application with its own sandbox, which delivers its events.
async fn shop(backend: Backend) -> (TestApp, Sandbox) {
    let stripe = Sandbox::start(Options { seed: Some(1), ..Options::default() }).await.expect("the sandbox starts");
    let url = stripe.url().to_owned();
    let app = TestApp::start_with(backend, |config| {
        config.stripe.secret_key = "sk_test_sandbox".to_owned();
        config.stripe.api_base = url;
    })
    .await;
    let endpoint = NewEndpoint::new(format!("{}/webhooks/stripe", app.base), WEBHOOK_SECRETS[0]);
    stripe.add_endpoint(&endpoint).expect("an endpoint");
    (app, stripe)
}

fn target(app: &TestApp, stripe: &Sandbox) -> Target {
    Target {
        admin_token: Some(ADMIN_TOKEN.to_owned()),
        stripe_webhook_secret: Some(WEBHOOK_SECRETS[0].to_owned()),
        github_secret: Some(GITHUB_SECRETS[0].to_owned()),
        sandbox_url: Some(stripe.url().to_owned()),
        sandbox_token: Some(stripe.control_token().reveal().to_owned()),
        ..Target::new(&app.base)
    }
}

async fn walk(target: Target, journeys: &[Journey]) -> Report {
    e2e::run(target, journeys, journeys.len(), &|_, _| {}).await.expect("the server answers")
}

/// Runs one journey on a new application with all options and asserts that every step passed.
async fn assert_passes(backend: Backend, journey: Journey) {
    let (app, stripe) = shop(backend).await;
    let report = walk(target(&app, &stripe), &[journey]).await;
    assert!(report.is_good(), "{}", report.failures().join("\n"));
    assert_eq!(report.skips(), Vec::<String>::new());
    app.verify().await;
    app.stop().await;
}

with_backend! {
    async fn the_signup_journey_passes(backend: Backend) {
        assert_passes(backend, Journey::Signup).await;
    }

    async fn the_pay_as_you_go_journey_passes(backend: Backend) {
        assert_passes(backend, Journey::PayAsYouGo).await;
    }

    async fn the_pro_journey_passes(backend: Backend) {
        assert_passes(backend, Journey::Pro).await;
    }

    async fn the_marketplace_journey_passes(backend: Backend) {
        assert_passes(backend, Journey::Marketplace).await;
    }

    async fn the_webhooks_journey_passes(backend: Backend) {
        assert_passes(backend, Journey::Webhooks).await;
    }

    async fn all_journeys_pass_concurrently(backend: Backend) {
        let (app, stripe) = shop(backend).await;
        let report = walk(target(&app, &stripe), &Journey::ALL).await;
        assert!(report.is_good(), "{}", report.failures().join("\n"));
        assert_eq!((report.stripe, report.skips()), (StripeMode::Test, Vec::new()));
        app.verify().await;
        app.stop().await;
    }

    async fn the_safe_subset_creates_no_customer_and_reports_what_it_skips(backend: Backend) {
        let (app, stripe) = shop(backend).await;
        let report = walk(Target { only_safe_steps: true, ..target(&app, &stripe) }, &Journey::ALL).await;
        assert!(report.is_good(), "{}", report.failures().join("\n"));
        let skips = report.skips();
        assert!(skips.iter().any(|line| line.contains("signup") && line.contains("--email-domain")), "{skips:?}");
        assert!(skips.iter().any(|line| line.contains("pro") && line.contains("charges a card")), "{skips:?}");
        let customers = app.admin("GET", "/admin/v1/customers", None).await.expect(200);
        assert_eq!(customers["data"], serde_json::json!([]));
        let events = app.admin("GET", "/admin/v1/events", None).await.expect(200);
        assert_eq!(events["data"], serde_json::json!([]));
        app.stop().await;
    }

    async fn with_a_domain_the_safe_subset_signs_one_customer_up_and_charges_nobody(backend: Backend) {
        let (app, stripe) = shop(backend).await;
        let domain = Some("e2e.example.com".to_owned());
        let safe = Target { only_safe_steps: true, email_domain: domain, ..target(&app, &stripe) };
        let report = walk(safe, &Journey::ALL).await;
        assert!(report.is_good(), "{}", report.failures().join("\n"));
        let customers = app.admin("GET", "/admin/v1/customers", None).await.expect(200);
        let emails: Vec<&str> =
            customers["data"].as_array().unwrap().iter().map(|row| row["email"].as_str().unwrap()).collect();
        assert_eq!(emails, [format!("e2e-{}-signup-2@e2e.example.com", report.run)]);
        assert!(stripe.list("charge").is_empty());
        app.stop().await;
    }

    async fn without_the_sandbox_only_the_renewal_and_the_money_check_are_skipped(backend: Backend) {
        let (app, stripe) = shop(backend).await;
        let report = walk(Target { sandbox_url: None, ..target(&app, &stripe) }, &Journey::ALL).await;
        assert!(report.is_good(), "{}", report.failures().join("\n"));
        let skips = report.skips();
        assert_eq!(skips.len(), 2, "{skips:?}");
        assert!(skips.iter().all(|line| line.ends_with("needs --sandbox-url and --sandbox-token")), "{skips:?}");
        app.stop().await;
    }

    async fn without_stripe_and_secrets_steps_are_skipped_with_the_reason(backend: Backend) {
        let app = TestApp::start(backend).await;
        let report = walk(Target::new(&app.base), &Journey::ALL).await;
        assert!(report.is_good(), "{}", report.failures().join("\n"));
        let skips = report.skips().join("\n");
        for reason in ["the server has no Stripe", "needs --github-secret", "needs --stripe-webhook-secret"] {
            assert!(skips.contains(reason), "{reason}: {skips}");
        }
        app.stop().await;
    }

    async fn a_failed_journey_shows_the_expectation_and_no_secret(backend: Backend) {
        let (app, stripe) = shop(backend).await;
        let mut wrong = target(&app, &stripe);
        wrong.numbers.unit_price_minor = 1;
        let report = walk(wrong, &[Journey::PayAsYouGo]).await;
        assert!(!report.is_good());
        let text = report.failures().join("\n");
        assert!(text.contains("/warning contains \"0.01\""), "{text}");
        assert!(text.contains("POST /api/v1/usage") && text.contains("sent  {"), "{text}");
        assert!(!text.contains("bsk_") && !text.contains(ADMIN_TOKEN), "{text}");
        app.stop().await;
    }
}
