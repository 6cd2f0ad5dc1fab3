//! How many mails with a link a mailbox gets, and how many forms a client posts.

use super::*;
use crate::scene::admin_post;

fn three_a_day(config: &mut Config) {
    asks(config);
    config.onboarding.confirmation_mails_per_day = 3;
}

with_backend! {
    async fn a_mailbox_gets_a_limited_number_of_links_by_whatever_alias(backend: Backend) {
        let app = TestApp::start_with(backend, three_a_day).await;
        let customer = sign_up(&app, "ada.l@gmail.com").await;
        ask(&app, &customer, "one").await.expect(202);
        ask(&app, &customer, "one").await.expect(202);
        ask(&app, &customer, "two").await.expect(202);
        let limited = ask(&app, &customer, "three").await;
        limited.expect_problem(429, "rate_limited");
        assert!(limited.retry_after.unwrap().parse::<u64>().unwrap() > 80_000);
        let alias = json!({ "email": "adal+more@googlemail.com", "name": "Ada" });
        let refused = app.request("POST", "/api/v1/customers/onboard", &[], Some(&alias)).await;
        refused.expect_problem(429, "rate_limited");
        assert_eq!(number(&app, "SELECT COUNT(*) FROM customers", []).await, 1, "a refused signup makes nothing");
        let links = "SELECT COUNT(*) FROM confirmation_links";
        assert_eq!(number(&app, links, []).await, 3, "the repeated request sent one");
        sign_up(&app, "grace@gmail.com").await;
        // Support is not limited.
        let path = format!("/admin/v1/customers/{}/confirmation-link", customer.id);
        admin_post(&app, &path, "it does not arrive").await.expect(200);
        assert_eq!(number(&app, links, []).await, 5);
        app.stop().await;
    }

    async fn a_known_address_uses_up_nobodys_links(backend: Backend) {
        let app = TestApp::start_with(backend, three_a_day).await;
        let customer = sign_up(&app, "ada@example.com").await;
        let again = json!({ "email": "ADA@example.com", "name": "Eve" });
        for _ in 0..5 {
            let refused = app.request("POST", "/api/v1/customers/onboard", &[], Some(&again)).await;
            refused.expect_problem(409, "customer_exists");
        }
        ask(&app, &customer, "one").await.expect(202);
        app.stop().await;
    }

    async fn the_same_key_for_another_kind_of_request_is_another_mail(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "ada@example.com").await;
        ask(&app, &customer, "one").await.expect(202);
        let missing = app.request("POST", CONFIRM, &[("x-api-key", &customer.api_key)], None).await;
        missing.expect_problem(400, "missing_idempotency_key");
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", "one")];
        let path = format!("/admin/v1/customers/{}/confirmation-link", customer.id);
        app.request("POST", &path, &headers, Some(&json!({ "reason": "lost" }))).await.expect(200);
        let other = app.request("POST", &path, &headers, Some(&json!({ "reason": "another" }))).await;
        other.expect_problem(422, "idempotency_key_reused");
        assert_eq!(number(&app, "SELECT COUNT(*) FROM confirmation_links", []).await, 3);
        app.stop().await;
    }

    async fn one_client_posts_twenty_forms_a_minute(backend: Backend) {
        let app = TestApp::start_with(backend, asks).await;
        let unknown = format!("/confirm?token=cfm_{}", "a".repeat(52));
        for _ in 0..20 {
            assert_eq!(confirm(&app, &unknown).await.status, 404);
        }
        let limited = confirm(&app, &unknown).await;
        assert!(limited.status == 429 && limited.headers.contains_key("retry-after"), "{}", limited.html);
        assert_eq!(limited.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(open(&app, &unknown).await.status, 404, "looking is not counted");
        app.stop().await;
    }
}
